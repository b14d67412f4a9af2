"""Bilinear interpolation, one axis after the other."""

import numpy

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations.clip_checks import check_clip


def bilinear_resize(clip: numpy.ndarray, height: int, width: int) -> numpy.ndarray:
    """Resize every frame to `height` x `width` by bilinear interpolation between pixel centres.

    Output pixel i of n has its centre at ``x = (i + 1/2) size / n - 1/2`` on the input's grid. With ``x`` cut to
    ``[0, size - 1]``, ``j = floor(x)`` and ``t = x - j``, its value is ``(1 - t) input[j] + t input[j + 1]``, first
    for the rows, then for the columns. No low-pass filter comes before a reduction. This is ``tf.image.resize`` with
    its defaults, with which scenic resizes training clips.

    Parameters
    ----------
    clip : array (frames, height, width, 3), uint8 or float
        uint8 is interpolated in float32 and rounded to the nearest (scenic drops the fraction, which darkens a clip by
        half a grey level on average).

    Returns
    -------
    array (frames, height, width, 3) of the clip's dtype
    """
    check_clip(clip)
    if height < 1 or width < 1:
        raise InputError(f"cannot resize to {height} x {width}; expected at least 1 x 1")
    if clip.shape[1:3] == (height, width):
        return clip
    values = clip.astype(numpy.float32) if clip.dtype == numpy.uint8 else clip
    values = _interpolate(_interpolate(values, 1, height), 2, width)
    if clip.dtype == numpy.uint8:
        return numpy.rint(values).astype(numpy.uint8)  # between two grey levels, so within 0 to 255
    return values


def _interpolate(values: numpy.ndarray, axis: int, size: int) -> numpy.ndarray:
    old_size = values.shape[axis]
    x = (numpy.arange(size) + 0.5) * (old_size / size) - 0.5
    x = numpy.clip(x, 0, old_size - 1)
    below = numpy.floor(x).astype(int)
    above = numpy.minimum(below + 1, old_size - 1)
    t = (x - below).astype(values.dtype)  # (size,)
    t = t.reshape([-1 if position == axis else 1 for position in range(values.ndim)])
    lower = values.take(below, axis)
    result = values.take(above, axis)
    result -= lower
    result *= t
    result += lower
    return result


def resize_smallest(clip: numpy.ndarray, min_resize: int) -> numpy.ndarray:
    """Resize so that the shorter side is `min_resize` and the aspect ratio stays, as scenic does before it crops.

    Parameters
    ----------
    clip : array (frames, height, width, 3), uint8 or float
    min_resize : int
        scenic has 256 for crops of 224.

    Returns
    -------
    array (frames, new height, new width, 3)
        The longer side is rounded down.
    """
    check_clip(clip)
    _, height, width, _ = clip.shape
    new_height = max(min_resize, height * min_resize // width)
    new_width = max(min_resize, width * min_resize // height)
    return bilinear_resize(clip, new_height, new_width)
