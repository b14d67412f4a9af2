"""RandAugment's operations that map each grey level to another: lookup tables of 256 entries.

All take and return uint8 clips (frames, height, width, 3). Where an operation looks at the histogram it is that of the
whole clip, so that all frames are mapped alike. The results are those of Pillow's `ImageOps`, to the bit, on the frames
stacked into one image.
"""

import numpy

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations.clip_checks import check_clip


def autocontrast(clip: numpy.ndarray) -> numpy.ndarray:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255.

    ``x <- floor(255 (x - low) / (high - low))``; a channel of one value stays.
    """
    check_clip(clip, uint8_only=True)
    result = clip.copy()
    for channel in range(3):
        low, high = int(clip[..., channel].min()), int(clip[..., channel].max())
        if low < high:
            scale = 255.0 / (high - low)
            table = numpy.arange(256) * scale + -low * scale
            result[..., channel] = numpy.clip(table, 0, 255).astype(numpy.uint8)[clip[..., channel]]
    return result


def equalize(clip: numpy.ndarray) -> numpy.ndarray:
    """Map each channel so that its values spread evenly over 0 to 255: the table is the cumulative histogram.

    With n(x) the number of values below x and s = (number of values - count of the brightest one) // 255, the table is
    ``x <- (s // 2 + n(x)) // s``. A channel with fewer than two values, or with s = 0, stays.
    """
    check_clip(clip, uint8_only=True)
    result = clip.copy()
    for channel in range(3):
        values = clip[..., channel]
        histogram = numpy.bincount(values.ravel(), minlength=256)
        step = int(values.size - histogram[values.max()]) // 255
        if step > 0:
            below = numpy.cumsum(histogram) - histogram  # (256,)
            table = numpy.minimum((step // 2 + below) // step, 255)
            result[..., channel] = table.astype(numpy.uint8)[values]
    return result


def invert(clip: numpy.ndarray) -> numpy.ndarray:
    """``x <- 255 - x``; twice is the identity."""
    check_clip(clip, uint8_only=True)
    return 255 - clip


def posterize(clip: numpy.ndarray, bits: int) -> numpy.ndarray:
    """Keep the `bits` highest bits of each value and clear the others. 8 is the identity, 0 is black."""
    check_clip(clip, uint8_only=True)
    if not 0 <= bits <= 8:
        raise InputError(f"bits is {bits!r}; expected 0 to 8")
    return clip & numpy.uint8(256 - 2 ** (8 - bits))


def solarize(clip: numpy.ndarray, threshold: int) -> numpy.ndarray:
    """Invert the values from `threshold` upwards. 256 is the identity, 0 inverts all."""
    check_clip(clip, uint8_only=True)
    levels = numpy.arange(256)  # of a type that holds the threshold 256, which uint8 does not
    return numpy.where(levels < threshold, levels, 255 - levels).astype(numpy.uint8)[clip]


def solarize_add(clip: numpy.ndarray, addition: int, threshold: int = 128) -> numpy.ndarray:
    """Add `addition` to the values below `threshold`, cut to 0 to 255. An addition of 0 is the identity."""
    check_clip(clip, uint8_only=True)
    levels = numpy.arange(256)
    added = numpy.clip(levels + addition, 0, 255)
    return numpy.where(levels < threshold, added, levels).astype(numpy.uint8)[clip]
