"""Floor 1 of the house: file formats, read with suspicion, written atomically. Nothing here knows what a model is."""
