"""Recipes: the settings of trainings that others have published, as data with their source."""
