"""Every intermediate value of a model by name, ours and others'."""
