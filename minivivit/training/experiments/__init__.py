"""Trainings beside each other, by one rule."""
