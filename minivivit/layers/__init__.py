"""Floor 3 of the house: operators put together with parameters.

A layer's backward reads as its forward read from the bottom up.
"""
