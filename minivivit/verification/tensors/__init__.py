"""Tensors by name, wherever they lie; the same numbers in other layouts; how far one tensor is from another."""
