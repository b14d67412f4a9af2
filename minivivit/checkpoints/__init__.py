"""Weights from elsewhere: scenic's checkpoints, and image models to start from."""

from minivivit.checkpoints.scenic import load_scenic, to_scenic

__all__ = ["load_scenic", "to_scenic"]
