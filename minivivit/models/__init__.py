"""Floor 4 of the house: the two models, each an encoder, pooling and a head; their parameters and losses."""
