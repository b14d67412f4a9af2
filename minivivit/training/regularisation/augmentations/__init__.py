"""Augmentations: random changes of a clip that leave its class as it is.

A clip is a NumPy array (frames, height, width, 3) of uint8, 0 to 255, or of floats, 0 to 1. Every function returns a
new clip (or the one given, where nothing changes) of the same dtype and never writes to its input; whatever is drawn is
drawn once a clip, so that all frames change alike and the motion stays what it was. `augment_clip` chains them in the
order in which the paper's code does.
"""
