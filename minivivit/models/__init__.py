"""Floor 4 of the house: embeddings, the paper's four encoders (one file each), pooling and head, and the two models."""
