"""Floor 2 of the house: one operator a file, ``NAME_forward`` and ``NAME_backward`` side by side.

Pure functions of arrays: no names of parameters, no config, no state. ``NAME_forward`` returns its output and a cache,
a plain dict of just what ``NAME_backward`` needs.
"""
