"""Measuring a model on many clips, each seen in several views: answers, their file, and the figures made of them."""
