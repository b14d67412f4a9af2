"""Looking inside a model: where it looks, and what it needs."""
