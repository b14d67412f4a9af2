"""Weights from elsewhere: scenic's checkpoints, and image models to start from."""

from minivivit.checkpoints.image_model import init_from_image_model
from minivivit.checkpoints.scenic import load_scenic, to_scenic

__all__ = ["init_from_image_model", "load_scenic", "to_scenic"]
