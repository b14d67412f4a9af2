"""An independent port of ViViT to PyTorch, and the mistakes that are planted into it."""
