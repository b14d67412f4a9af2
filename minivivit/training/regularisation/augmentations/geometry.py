"""RandAugment's operations that move pixels: rotation, shear, translation and cutout.

All take and return uint8 clips (frames, height, width, 3), and treat all frames alike. A point (x, y) lies x pixels to
the right and y pixels down from the top left corner of a frame, so the first pixel's centre is (1/2, 1/2). A pixel of
the result takes the value of the pixel that its centre comes from; outside the frame, that is `fill`.
"""

import math

import numpy

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations.clip_checks import check_clip

# The middle of the grey levels. Some operations look at a clip's intensities; the empty parts shall not move them.
FILL = 128


def _transform(clip: numpy.ndarray, matrix: tuple[float, float, float, float, float, float], fill: int):
    """Result pixel (x, y) from clip point (a x + b y + c, d x + e y + f), for the matrix (a, b, c, d, e, f)."""
    check_clip(clip, uint8_only=True)
    a, b, c, d, e, f = matrix
    _, height, width, _ = clip.shape
    x = numpy.arange(width) + 0.5  # (width,)
    y = numpy.arange(height)[:, None] + 0.5  # (height, 1)
    column = numpy.floor(a * x + b * y + c).astype(int)  # (height, width)
    row = numpy.floor(d * x + e * y + f).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    moved = clip[:, numpy.where(inside, row, 0), numpy.where(inside, column, 0)]
    return numpy.where(inside[..., None], moved, numpy.uint8(fill))


def rotate(clip: numpy.ndarray, degrees: float, fill: int = FILL) -> numpy.ndarray:
    """Turn each frame about its centre by `degrees`, counter-clockwise as one sees it. 0 is the identity."""
    check_clip(clip, uint8_only=True)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centre_x, centre_y = clip.shape[2] / 2, clip.shape[1] / 2
    # y points down, so this inverse turns the points clockwise. The last column keeps the centre where it is.
    c = centre_x - cosine * centre_x + sine * centre_y
    f = centre_y - sine * centre_x - cosine * centre_y
    return _transform(clip, (cosine, -sine, c, sine, cosine, f), fill)


def shear_x(clip: numpy.ndarray, level: float, fill: int = FILL) -> numpy.ndarray:
    """Shift each row to the left by `level` times its distance from the top. 0 is the identity."""
    return _transform(clip, (1, level, 0, 0, 1, 0), fill)


def shear_y(clip: numpy.ndarray, level: float, fill: int = FILL) -> numpy.ndarray:
    """Shift each column upwards by `level` times its distance from the left. 0 is the identity."""
    return _transform(clip, (1, 0, 0, level, 1, 0), fill)


def translate_x(clip: numpy.ndarray, pixels: float, fill: int = FILL) -> numpy.ndarray:
    """Shift each frame to the left by `pixels`. 0 is the identity."""
    return _transform(clip, (1, 0, pixels, 0, 1, 0), fill)


def translate_y(clip: numpy.ndarray, pixels: float, fill: int = FILL) -> numpy.ndarray:
    """Shift each frame upwards by `pixels`. 0 is the identity."""
    return _transform(clip, (1, 0, 0, 0, 1, pixels), fill)


def cutout(clip: numpy.ndarray, row: int, column: int, pad_size: int, fill: int = FILL) -> numpy.ndarray:
    """Fill the square of side ``2 pad_size`` about (`row`, `column`), the same in every frame.

    It covers rows ``row - pad_size`` up to but not including ``row + pad_size``, columns likewise, as far as they lie
    within the frame. A `pad_size` of 0 is the identity. (DeVries and Taylor, 2017.)
    """
    check_clip(clip, uint8_only=True)
    if pad_size < 0:
        raise InputError(f"pad_size is {pad_size!r}; expected at least 0")
    result = clip.copy()
    rows = slice(max(0, row - pad_size), max(0, row + pad_size))
    columns = slice(max(0, column - pad_size), max(0, column + pad_size))
    result[:, rows, columns] = fill
    return result
