"""Backward passes held against differences of the forward pass."""
