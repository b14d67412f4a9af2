"""What keeps a model from learning its few clips by heart: augmentations, mixup, label smoothing."""
