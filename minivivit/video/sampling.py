"""Which frames of a clip a model is shown."""

import operator
from typing import Any

import numpy

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted


def sample_frame_indices(
    clip_len: int, frame_sample_rate: int, seg_len: int, rng: numpy.random.Generator | None = None
) -> numpy.ndarray:
    """Draw a window of ``clip_len * frame_sample_rate`` frames and pick `clip_len` frames evenly from it.

    As the function of this name in the documentation of transformers' ViViT, but for where the draw comes from: NumPy's
    global state there, which ``numpy.random.seed`` sets, and `rng` here, which nothing else can disturb. With
    ``window = clip_len * frame_sample_rate``::

        end     = rng.integers(window, seg_len)                    # uniform over window, ..., seg_len - 1
        start   = end - window
        indices = floor(clip(linspace(start, end, clip_len), start, end - 1))

    so the clip's very last frame is never drawn, as there.

    A short clip, ``seg_len <= window``, for which the original has nothing to draw from and fails, is one window as it
    is: start = 0, end = seg_len. Its indices spread evenly from its first frame to its last, nothing is drawn from
    `rng`, and where there are fewer frames than `clip_len`, frames repeat.

    Parameters
    ----------
    clip_len : int
        How many frames to pick.
    frame_sample_rate : int
        Pick every n-th frame, or nearly: linspace includes both ends, so steps are n * clip_len / (clip_len - 1).
    seg_len : int
        How many frames the clip has (`count_frames`).
    rng : numpy.random.Generator, optional
        Where the window's place is drawn from, such as ``numpy.random.default_rng(0)``: the same generator in the same
        state gives the same frames. None: a fresh one, another window at every call, whatever ``numpy.random.seed`` was
        told.

    Returns
    -------
    numpy.ndarray
        int64 (clip_len,), not decreasing, each in 0, ..., seg_len - 1.

    Raises
    ------
    InputError
        When a number is not a whole number of at least 1, or `rng` is neither a generator nor None.
    """
    if rng is None:
        rng = numpy.random.default_rng()
    if not isinstance(rng, numpy.random.Generator):
        raise InputError(
            f"rng is {type(rng).__name__}; expected a numpy.random.Generator, as numpy.random.default_rng(0)"
        )
    clip_len, window, seg_len = _checked_lengths(clip_len, frame_sample_rate, seg_len)
    end = int(rng.integers(window, seg_len)) if seg_len > window else seg_len
    return _spread(max(end - window, 0), end, clip_len)


def centre_frame_indices(clip_len: int, frame_sample_rate: int, seg_len: int) -> numpy.ndarray:
    """The indices of `sample_frame_indices` with the window in the middle of the clip, so that nothing is drawn.

    start = floor((seg_len - window) / 2), end = start + window; a short clip is one window as it is. The command line
    and evaluation use this one. Parameters, return value and errors as there.
    """
    clip_len, window, seg_len = _checked_lengths(clip_len, frame_sample_rate, seg_len)
    start = max(seg_len - window, 0) // 2
    return _spread(start, min(start + window, seg_len), clip_len)


def _spread(start: int, end: int, clip_len: int) -> numpy.ndarray:
    positions = numpy.linspace(start, end, num=clip_len)  # (clip_len,)
    return numpy.clip(positions, start, end - 1).astype(numpy.int64)


def _checked_lengths(clip_len: int, frame_sample_rate: int, seg_len: int) -> tuple[int, int, int]:
    """clip_len, the window's length, and seg_len, as ints."""
    clip_len, rate, seg_len = checked_counts(clip_len=clip_len, frame_sample_rate=frame_sample_rate, seg_len=seg_len)
    return clip_len, clip_len * rate, seg_len


def checked_counts(**counts: Any) -> list[int]:
    """Each of the named numbers as an int.

    Raises
    ------
    InputError
        When one of them is not a whole number of at least 1.
    """
    for name, value in counts.items():
        try:
            valid = operator.index(value) >= 1
        except TypeError:
            valid = False
        if not valid:
            raise InputError(f"{name} is {quoted(value)}; expected a whole number of at least 1")
    return [int(value) for value in counts.values()]
