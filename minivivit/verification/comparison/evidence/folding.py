"""Model 3's times and places: folded into the first axis for one attention, and unfolded after it."""

import numpy

from minivivit.verification.comparison.evidence.evidence import LARGEST_SAMPLE, Evidence


def input_of(evidence: Evidence, name: str) -> numpy.ndarray | None:
    """A sample of our tensor `name` as what goes into the tensor that differs.

    Where that one is of one place at all times, or of one time at all places, those tokens of the clip.
    """
    shape = evidence.ours.shapes.get(name, ())
    grid, like = _times_and_places(evidence, shape), evidence.ours.shapes[evidence.name]
    x = evidence.sample(name)
    if x is None or grid is None or len(like) != 3 or like[0] == shape[0]:
        return x
    times, places = grid
    tokens = x.reshape(1, times, places, -1)
    if ".temporal_attention." in evidence.name and like[:2] == (shape[0] * places, times):
        return tokens[:, :, evidence.index % places]
    if ".spatial_attention." in evidence.name and like[:2] == (shape[0] * times, places):
        return tokens[:, evidence.index % times]
    return x


def branch_of(evidence: Evidence, name: str) -> numpy.ndarray | None:
    """A sample of our tensor `name` as what is added to the tensor that differs: tokens of the clip in their order."""
    shape = evidence.ours.shapes.get(name, ())
    like = evidence.ours.shapes[evidence.name]
    grid = _times_and_places(evidence, like)
    if grid is None or len(shape) != 3 or shape[0] == like[0] or numpy.prod(shape) > LARGEST_SAMPLE:
        return evidence.sample(name)
    times, places = grid
    whole, index = evidence.shared.whole(evidence.ours, name), evidence.index
    if shape[:2] == (like[0] * places, times) and ".temporal_attention." in name:
        return whole[index * places :][:places].swapaxes(0, 1).reshape(1, times * places, -1)
    if shape[:2] == (like[0] * times, places):
        return whole[index * times :][:times].reshape(1, times * places, -1)
    return None


def _times_and_places(evidence: Evidence, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Sizes of the grid, where the tensor's tokens are all of it."""
    if evidence.config is None or len(shape) != 3:
        return None
    times, rows, columns = evidence.config.grid_size
    return (times, rows * columns) if times * rows * columns == shape[1] else None
