"""Resizing 8-bit images as Pillow does, to the bit: two products with banded matrices, or a gather.

Let an axis of n pixels become one of m pixels, and let s = n / m be the step between output pixels. Output pixel i is
centred on c_i = (i + 1/2) s of the input axis and is a weighted mean of the input pixels around it,

    y_i = sum_j w_ij x_j,    w_ij = f((j + 1/2 - c_i) / max(s, 1)) / sum_k f((k + 1/2 - c_i) / max(s, 1)),

with a kernel f that vanishes outside [-r, r]. The stretching by max(s, 1) is the *antialias*: when an image shrinks,
each output pixel averages over all the input that it stands for. (PyTorch's `interpolate` does so only when asked.) As
f has a bounded support, the matrix W = (w_ij) is banded, and an image X becomes Y = W_vertical X W_horizontal^T.

Pillow computes this in integers. The weights are rounded to multiples of 2^-22, the sums are rounded to whole numbers
(halves upwards) and clipped to 0..255 after *each* of the two passes, which is why their order shows (see
`vertical_pass_first`). A float64 holds every such product and sum exactly (22 + 8 bits and a few for the sum, out of
53), so an ordinary matrix product in float64, in whatever order BLAS adds, gives Pillow's integers.

Reference: Pillow 13, `src/libImaging/Resample.c` (the kernels) and `Geometry.c` (nearest).
"""

import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy

from minivivit.backend import Array, parallel_blocks, to_numpy
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted

# Pillow accumulates in 32-bit integers: 8 bits for a pixel and 2 in reserve for the sum leave 22 for a weight.
PRECISION_BITS = 32 - 8 - 2

# Output pixels that one small dense product makes at a time: large enough for BLAS, small enough that the block of the
# banded matrix which it multiplies by holds few zeros.
PIXELS_PER_BAND = 32

Weights = tuple[Array, Array]  # where each row of a banded matrix begins, and its entries from there on

# Matrices of edges up to this are kept for the next clip; none takes more than a few MB.
KEPT_EDGE = 2**12

# A result with a longer edge, or with more pixel values in all (2 GiB of bytes), is taken for a mistake.
MAX_EDGE = 2**20
MAX_VALUES = 2**31

# --------------------------------------------------------------------------------------------------------------------
# The kernels
# --------------------------------------------------------------------------------------------------------------------


def box(x: Array) -> Array:
    """1 on (-1/2, 1/2], else 0. Open on the left, as in Pillow: two pixels never share an edge."""
    return numpy.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def bilinear(x: Array) -> Array:
    """The triangle 1 - |x| on [-1, 1]."""
    return numpy.maximum(1.0 - numpy.abs(x), 0.0)


def _sinc(x: Array) -> Array:
    """sin(pi x) / (pi x), and 1 at 0."""
    angle = numpy.where(x == 0.0, 1.0, x * numpy.pi)
    return numpy.where(x == 0.0, 1.0, numpy.sin(angle) / angle)


def hamming(x: Array) -> Array:
    """The sinc on [-1, 1] under Hamming's window 0.54 + 0.46 cos(pi x), the two constants rounded to float32."""
    a, b = float(numpy.float32(0.54)), float(numpy.float32(0.46))
    return numpy.where(numpy.abs(x) < 1.0, _sinc(x) * (a + b * numpy.cos(x * numpy.pi)), 0.0)


def bicubic(x: Array) -> Array:
    """Keys' cubic convolution kernel with a = -1/2 (PyTorch's `interpolate` has a = -3/4)."""
    a, x = -0.5, numpy.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return numpy.where(x < 1.0, near, numpy.where(x < 2.0, far, 0.0))


def lanczos(x: Array) -> Array:
    """The sinc on [-3, 3) under the window sinc(x / 3)."""
    return numpy.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


class Kernel(NamedTuple):
    """A resampling kernel: Pillow's number and name of it, its function f, its support r (f is 0 outside [-r, r])."""

    number: int
    name: str
    function: Callable[[Array], Array] | None
    support: float


# The numbers are Pillow's `Image.Resampling`, which is what a preprocessor_config.json holds under "resample".
NEAREST, LANCZOS, BILINEAR, BICUBIC, BOX, HAMMING = range(6)
KERNELS = {
    NEAREST: Kernel(NEAREST, "nearest", None, 0.0),
    LANCZOS: Kernel(LANCZOS, "lanczos", lanczos, 3.0),
    BILINEAR: Kernel(BILINEAR, "bilinear", bilinear, 1.0),
    BICUBIC: Kernel(BICUBIC, "bicubic", bicubic, 2.0),
    BOX: Kernel(BOX, "box", box, 0.5),
    HAMMING: Kernel(HAMMING, "hamming", hamming, 1.0),
}


def resampling_kernel(resample: Any) -> Kernel:
    """The kernel that `resample` names: a number of Pillow's `Image.Resampling` (0 to 5), or its name in letters."""
    if isinstance(resample, str):
        numbers = [number for number, kernel in KERNELS.items() if kernel.name == resample.lower()]
    elif isinstance(resample, bool):
        numbers = []
    else:
        numbers = [number for number in KERNELS if number == resample]
    if not numbers:
        names = ", ".join(f"{number} ({kernel.name})" for number, kernel in sorted(KERNELS.items()))
        raise InputError(f"resample is {quoted(resample)}; expected one of {names}")
    return KERNELS[numbers[0]]


# --------------------------------------------------------------------------------------------------------------------
# The banded matrix of one axis
# --------------------------------------------------------------------------------------------------------------------


def real_weights(in_size: int, out_size: int, kernel: Kernel, wanted: slice, dtype: Any = numpy.float64) -> Weights:
    """The rows `wanted` of the banded matrix W, each from its first entry on, before any rounding to integers.

    Pillow and PyTorch compute these alike, in float64; PyTorch does so in float32 for images of float32.

    Returns
    -------
    first : int64 array (rows,)
        The first input pixel that each output pixel looks at.
    weights : array (rows, taps)
        ``weights[i, t]`` is w_ij for j = first[i] + t; zero where a row has fewer taps than the widest.
    """
    assert kernel.function is not None
    number = numpy.dtype(dtype).type
    half, step = number(0.5), number(in_size) / number(out_size)
    stretch = max(step, number(1.0))
    reach = number(kernel.support) * stretch
    centre = (numpy.arange(wanted.start, wanted.stop) + 0.5).astype(dtype) * step  # (rows,)
    first = numpy.maximum(centre - reach + half, 0.0).astype(numpy.int64)
    stop = numpy.minimum((centre + reach + half).astype(numpy.int64), in_size)
    tap = numpy.arange(int((stop - first).max()))  # (taps,)
    position = ((first[:, None] + tap).astype(dtype) - centre[:, None] + half) * (number(1.0) / stretch)
    values = numpy.where(tap < (stop - first)[:, None], kernel.function(position), number(0.0))  # (rows, taps)
    # A row is added up from left to right. So does `accumulate`; `sum` would add in pairs and round differently.
    total = numpy.add.accumulate(values, axis=1)[:, -1:]  # (rows, 1)
    return first, numpy.divide(values, total, out=values, where=total != 0.0)


def whole_weights(weights: Array, bits: int) -> Array:
    """The weights in units of 2^-bits, rounded to whole numbers, halves away from zero."""
    return numpy.trunc(weights * 2.0**bits + numpy.copysign(0.5, weights))


def resampling_weights(in_size: int, out_size: int, kernel: Kernel, wanted: slice) -> Weights:
    """`real_weights` as Pillow has them: 2^22 w_ij, rounded to a whole number, halves away from zero, as a float64."""
    first, weights = real_weights(in_size, out_size, kernel, wanted)
    return first, whole_weights(weights, PRECISION_BITS)


class Band(NamedTuple):
    """Some rows of the banded matrix W as a dense one: ``output[rows] = matrix @ input[columns]``."""

    rows: slice
    columns: slice
    matrix: Array


class Pass(NamedTuple):
    """What one axis needs: the part of the input that is read, and the bands that multiply that part.

    No bands at all when the size does not change: the pass is then skipped.
    """

    read: slice
    bands: list[Band]


def resampling_pass(in_size: int, out_size: int, kernel: Kernel, wanted: slice) -> Pass:
    """The rows `wanted` of the matrix W, with Pillow's weights."""
    if in_size == out_size:
        return Pass(wanted, [])
    make = _kept_pass if max(in_size, out_size) <= KEPT_EDGE else _kept_pass.__wrapped__
    return make(in_size, out_size, kernel, wanted.start, wanted.stop)


@lru_cache(maxsize=8)
def _kept_pass(in_size: int, out_size: int, kernel: Kernel, start: int, stop: int) -> Pass:
    """The clips of a data set are of few sizes: the last matrices are kept, which nobody writes to."""
    first, weights = resampling_weights(in_size, out_size, kernel, slice(start, stop))
    return banded_pass(first, weights * 2.0**-PRECISION_BITS, in_size)


def banded_pass(first: Array, weights: Array, in_size: int) -> Pass:
    """Rows of the matrix W, as `real_weights` gives them, cut into bands of `PIXELS_PER_BAND` rows.

    The bands' `rows` count from the first row, and their `columns` from the first pixel that is read.
    """
    rows, taps = weights.shape
    # A row may reserve taps beyond the edge of the image; those weights are zeros.
    read = slice(int(first[0]), min(int(first[-1]) + taps, in_size))
    bands = []
    for start in range(0, rows, PIXELS_PER_BAND):
        stop = min(start + PIXELS_PER_BAND, rows)
        begin, end = int(first[start]), int(first[stop - 1]) + taps
        matrix = numpy.zeros((stop - start, end - begin))
        for row in range(start, stop):
            offset = int(first[row]) - begin
            matrix[row - start, offset : offset + taps] = weights[row]
        matrix = numpy.ascontiguousarray(matrix[:, : read.stop - begin])
        columns = slice(begin - read.start, begin - read.start + matrix.shape[1])
        bands.append(Band(slice(start, stop), columns, matrix))
    return Pass(read, bands)


def vertical_pass_first(in_shape: tuple[int, int], out_shape: tuple[int, int]) -> bool:
    """Whether Pillow, from version 13 on, does the vertical pass before the horizontal one.

    It does where the height loses more than twice as many pixels as the width: a portrait video of more than 2:1, for
    example. Earlier versions always do the horizontal pass first, which there gives other bits (by a level or two).
    """
    lost_rows, lost_columns = in_shape[0] - out_shape[0], in_shape[1] - out_shape[1]
    return lost_rows > 0 and lost_rows > 2 * lost_columns


def _round_and_clip(sums: Array) -> Array:
    """In place: to whole numbers, halves upwards, then into 0..255."""
    sums += 0.5
    numpy.floor(sums, out=sums)
    return numpy.clip(sums, 0.0, 255.0, out=sums)


def horizontal_pass(planes: Array, bands: list[Band], dtype: Any = numpy.uint8) -> Array:
    """One pass: (channels, rows, in_width) -> (channels, rows, width), of bytes, or of a `dtype` not rounded."""
    if not bands:
        return planes
    result = numpy.empty((*planes.shape[:2], bands[-1].rows.stop), dtype)
    for band in bands:
        sums = planes[:, :, band.columns].astype(numpy.float64, order="C") @ band.matrix.T
        result[:, :, band.rows] = _round_and_clip(sums) if dtype == numpy.uint8 else sums
    return result


def vertical_pass(planes: Array, bands: list[Band], dtype: Any = numpy.uint8) -> Array:
    """One pass: (channels, in_rows, width) -> (channels, height, width), of bytes, or of a `dtype` not rounded."""
    if not bands:
        return planes
    result = numpy.empty((planes.shape[0], bands[-1].rows.stop, planes.shape[2]), dtype)
    for band in bands:
        sums = band.matrix @ planes[:, band.columns].astype(numpy.float64, order="C")
        result[:, band.rows] = _round_and_clip(sums) if dtype == numpy.uint8 else sums
    return result


# --------------------------------------------------------------------------------------------------------------------
# Transparency: an image with an alpha channel is resized with its colours multiplied by alpha
# --------------------------------------------------------------------------------------------------------------------


def _premultiplied(planes: Array) -> Array:
    """Colours times alpha / 255, rounded to nearest; alpha, the last of (channels, height, width), stays."""
    product = planes[:-1].astype(numpy.uint16) * planes[-1] + numpy.uint16(128)
    colours = ((product >> 8) + product) >> 8  # division by 255 without dividing
    return numpy.concatenate([colours.astype(numpy.uint8), planes[-1:]])


def _unpremultiplied(planes: Array) -> Array:
    """Colours times 255 / alpha, rounded down and clipped to 255; as they are where alpha is 0 or 255."""
    alpha = planes[-1].astype(numpy.int32)
    divided = numpy.minimum(planes[:-1].astype(numpy.int32) * 255 // numpy.maximum(alpha, 1), 255)
    colours = numpy.where((alpha == 0) | (alpha == 255), planes[:-1], divided)
    return numpy.concatenate([colours.astype(numpy.uint8), planes[-1:]])


# --------------------------------------------------------------------------------------------------------------------
# Images
# --------------------------------------------------------------------------------------------------------------------


def _nearest_indices(in_size: int, out_size: int) -> Array:
    """The input pixel that each output pixel copies: floor(c_i), with c_i = s/2 + s + s + ... as a running sum.

    Pillow adds the step s again for each pixel, in float64, so the rounding errors add up too; the closed form
    (i + 1/2) s now and then falls on the other side of a whole number.
    """
    step = in_size / out_size
    steps = numpy.full(out_size, step)
    steps[0] = step * 0.5
    return numpy.add.accumulate(steps).astype(numpy.int64)


def _resample(
    planes: Array, out: Array, vertical: Pass, horizontal: Pass, vertical_first: bool, has_alpha: bool
) -> None:
    """One image (channels, in_height, in_width) into `out` (channels, height, width)."""
    planes = planes[:, vertical.read, horizontal.read]
    planes = _premultiplied(planes) if has_alpha else planes
    if vertical_first:
        planes = horizontal_pass(vertical_pass(planes, vertical.bands), horizontal.bands)
    else:
        planes = vertical_pass(horizontal_pass(planes, horizontal.bands), vertical.bands)
    numpy.copyto(out, _unpremultiplied(planes) if has_alpha else planes)


def _gather(planes: Array, out: Array, rows: Array, columns: Array) -> None:
    """One image into `out`, each output pixel a copy of the input pixel at (rows[i], columns[j])."""
    numpy.copyto(out, planes[:, rows[:, None], columns])


VALUES_TOGETHER = (
    1 << 16
)  # so many of small images are resized at once: Python's part is then as small as of large ones


def resize_planes(
    images: Sequence[Array], size: tuple[int, int], resample: Any = BILINEAR, window: tuple[slice, slice] | None = None
) -> Array:
    """Resize images of one shape, as Pillow does, to the bit; all of the result or a window of it.

    Parameters
    ----------
    images : sequence of uint8 arrays (channels, height, width)
        All of one shape; views with any strides are welcome. One to four channels: with two or four, the last is
        alpha, as Pillow takes it, and every kernel but nearest works on colours multiplied by alpha.
    size : (int, int)
        Height and width of the result.
    resample : int or str
        Number or name of the kernel: see `KERNELS`.
    window : (slice, slice), optional
        The rows and the columns of the result that are wanted. The others are not computed, which makes a centre crop
        nearly free.

    Returns
    -------
    uint8 array (images, channels, rows, columns)
        The same whatever the number of threads: each image is one task.

    Raises
    ------
    InputError
        For another dtype or number of channels, an empty image, a size below 1, an unknown kernel, or a result of more
        than 2^31 values.
    """
    kernel = resampling_kernel(resample)
    if any(image.dtype != numpy.uint8 for image in images):
        raise InputError("images to resize as Pillow does must be uint8; convert them first")
    plan = checked_plan(images, size, window)
    (in_height, in_width), (height, width) = plan.in_shape, plan.out_shape
    out = numpy.empty(plan.shape, numpy.uint8)
    channels = plan.shape[1]
    has_alpha = channels in (2, 4)
    if kernel.function is None or plan.in_shape == plan.out_shape:
        rows, columns = _nearest_indices(in_height, height)[plan.rows], _nearest_indices(in_width, width)[plan.columns]
        resize_one = partial(_gather, rows=rows, columns=columns)
    else:
        resize_one = partial(
            _resample,
            vertical=resampling_pass(in_height, height, kernel, plan.rows),
            horizontal=resampling_pass(in_width, width, kernel, plan.columns),
            vertical_first=vertical_pass_first(plan.in_shape, plan.out_shape),
            has_alpha=has_alpha,
        )
    together = 1 if has_alpha else max(1, VALUES_TOGETHER // (channels * in_height * in_width))
    parallel_blocks(
        [
            partial(_several, resize_one, images[first : first + together], out[first : first + together])
            for first in range(0, len(images), together)
        ]
    )
    return out


def _several(resize_one: Callable[[Array, Array], None], images: Sequence[Array], out: Array) -> None:
    """Resize some images as if they were one of more channels: each channel is resized for itself, in whole numbers."""
    if len(images) == 1:
        resize_one(images[0], out[0])
        return
    # First as they lie in memory, pixel by pixel, then by channels: each step by itself is a fast one.
    pixels = numpy.stack([image.transpose(1, 2, 0) for image in images])  # (images, height, width, channels)
    planes = numpy.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    resize_one(planes.reshape(-1, *planes.shape[2:]), out.reshape(-1, *out.shape[2:]))


class Plan(NamedTuple):
    """What is to become of images of one shape: their size before and after, the window wanted, the result's shape."""

    in_shape: tuple[int, int]
    out_shape: tuple[int, int]
    rows: slice
    columns: slice
    shape: tuple[int, int, int, int]


def checked_plan(images: Sequence[Array], size: tuple[int, int], window: tuple[slice, slice] | None) -> Plan:
    """The plan, if the images agree, the size is one, and the work within measure; before any memory is taken."""
    channels, *in_shape = _checked_shape(images)
    out_shape = checked_size(size)
    parts = window or (slice(None), slice(None))
    rows, columns = (slice(*part.indices(edge)) for part, edge in zip(parts, out_shape, strict=True))
    shape = (len(images), channels, rows.stop - rows.start, columns.stop - columns.start)
    passes = channels * max(in_shape[0] * shape[3], shape[2] * in_shape[1])  # between the two passes, for one image
    check_number_of_values(max(math.prod(shape), passes), f"resizing to {out_shape[0]} x {out_shape[1]}")
    return Plan((in_shape[0], in_shape[1]), out_shape, rows, columns, shape)


def _checked_shape(images: Sequence[Array]) -> tuple[int, int, int]:
    if len(images) == 0:
        raise InputError("there are no images to resize; expected at least one")
    shape, dtype = images[0].shape, images[0].dtype
    if any(image.dtype != dtype or image.shape != shape for image in images):
        raise InputError("images to resize together must all be of one dtype and shape; convert them first")
    if len(shape) != 3 or 0 in shape or shape[0] > 4:
        raise InputError(f"an image has the shape {shape}; expected (1 to 4 channels, height, width), none of them 0")
    return shape


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width as ints of at least 1."""
    try:
        height, width = (operator.index(edge) for edge in size)
    except (TypeError, ValueError):
        raise InputError(f"the size is {quoted(size)}; expected two whole numbers, height and width") from None
    if height < 1 or width < 1:
        raise InputError(f"the size is {quoted(height)} x {quoted(width)} (height x width); both must be at least 1")
    if max(height, width) > MAX_EDGE:
        shown = f"{quoted(height)} x {quoted(width)}"
        raise InputError(f"the size is {shown} (height x width); an edge may have {MAX_EDGE:,} at most")
    return height, width


def check_number_of_values(count: int, what: str) -> None:
    """Refuse work that would make more than `MAX_VALUES` pixel values, before any memory is taken."""
    if count > MAX_VALUES:
        raise InputError(f"{what} would make {count:,} values, more than {MAX_VALUES:,}; choose a smaller size")


def resize_uint8(image: Array, size: tuple[int, int], resample: Any = BILINEAR) -> Array:
    """Resize one image or a clip, as ``PIL.Image.fromarray(image).resize((width, height), resample)`` does, to the bit.

    Parameters
    ----------
    image : uint8 array (height, width, channels) or (frames, height, width, channels)
        One to four channels, the last of two or four being alpha.
    size : (int, int)
        Height and width of the result.
    resample : int or str
        Number or name of the kernel: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming.

    Returns
    -------
    uint8 array
        Of the same layout, with the new height and width.

    Raises
    ------
    InputError
        As `resize_planes`.
    """
    if not isinstance(image, numpy.ndarray) or image.ndim not in (3, 4):
        raise InputError(
            f"expected a NumPy array (height, width, channels) or (frames, height, width, channels), got "
            f"{getattr(image, 'shape', type(image).__name__)}"
        )
    image = to_numpy(image)
    frames = image if image.ndim == 4 else image[None]
    result = resize_planes([numpy.moveaxis(frame, -1, 0) for frame in frames], size, resample)
    result = numpy.ascontiguousarray(numpy.moveaxis(result, 1, -1))  # (frames, height, width, channels)
    return result if image.ndim == 4 else result[0]
