"""Horizontal flip."""

import numpy

from minivivit.training.regularisation.augmentations.clip_checks import check_clip, check_probability


def horizontal_flip(clip: numpy.ndarray) -> numpy.ndarray:
    """The clip seen in a mirror: column x becomes column width - 1 - x. A view; twice is the identity."""
    check_clip(clip)
    return clip[:, :, ::-1]


def random_horizontal_flip(clip: numpy.ndarray, rng: numpy.random.Generator, prob: float = 0.5) -> numpy.ndarray:
    """Flip all frames with probability `prob`, or none.

    Not for classes that a mirror exchanges: "moves left" becomes "moves right". scenic flips on Kinetics and not on
    Something-Something v2, whose labels name directions.

    Parameters
    ----------
    clip : array (frames, height, width, 3), uint8 or float
    rng : numpy.random.Generator
        One draw, whether it flips or not.
    prob : float
        In [0, 1].
    """
    check_probability("prob", prob)
    check_clip(clip)
    return horizontal_flip(clip) if rng.random() < prob else clip
