"""The built-in data: clips whose class is in the motion and in no single frame."""
