"""Resizing as PyTorch's ``interpolate(..., antialias=True)`` does: of bytes to the bit, as two products of integers.

The matrices are Pillow's before rounding (`minivivit.video.resize.real_weights`): the same kernels, stretched in the
same way, bicubic with a = -1/2. Three things differ for bytes, and each of them moves some values by a grey level:

- The weights are 16-bit integers, multiples of 2^-b, where Pillow's are multiples of 2^-22. The number of bits b is
  the largest up to 22 with which the largest weight of the axis is still below 2^15: 15 for an axis that shrinks to
  half its length, 14 for one that grows.
- The horizontal pass always comes first.
- A fourth channel is a channel like the others: no colours are multiplied by alpha.

Alike are the rounding to whole numbers and the clipping to 0..255 after each pass, and that an axis which keeps its
length is skipped. A float64 holds all products and sums exactly here too (16 + 8 bits and a few for the sum).

On processors with AVX2 or NEON the sums run in vectors, on others one by one: whole numbers have the same sum. (But
torchvision, from which transformers' video processor calls PyTorch, gives bilinear PyTorch's bytes only where there is
AVX2 or NEON, and elsewhere its floats, which are rounded once at the end.)

Images of floats are resized in floats and not rounded in between. There the order of PyTorch's sums, which differs from
processor to processor, decides the last bits, and ours are as near as float32 lets them be.

Reference: PyTorch 2.13, ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` and ``UpSampleKernelAVXAntialias.h``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy

from minivivit.backend import Array, parallel_blocks
from minivivit.errors import InputError
from minivivit.video.resize import (
    BICUBIC,
    BILINEAR,
    LANCZOS,
    NEAREST,
    Kernel,
    Pass,
    banded_pass,
    checked_plan,
    horizontal_pass,
    real_weights,
    resampling_kernel,
    vertical_pass,
    whole_weights,
)

MOST_BITS = 22
KERNELS = (NEAREST, LANCZOS, BILINEAR, BICUBIC)  # the others are Pillow's alone


def torch_kernel(resample: Any) -> Kernel:
    """The kernel that `resample` names, by number or name, if PyTorch has it for tensors."""
    kernel = resampling_kernel(resample)
    if kernel.number not in KERNELS:
        raise InputError(
            f"resample is {kernel.number} ({kernel.name}), which PyTorch has not for tensors; expected 0 (nearest), "
            "1 (lanczos), 2 (bilinear) or 3 (bicubic)"
        )
    return kernel


def weight_bits(largest: float) -> int:
    """The number of bits b for weights in units of 2^-b, the largest of which is `largest`: 22 at most."""
    bits = 0
    while bits < MOST_BITS and int(0.5 + largest * 2.0 ** (bits + 1)) < 2**15:
        bits += 1
    return bits


def int16_weights(in_size: int, out_size: int, kernel: Kernel) -> tuple[Array, Array, int]:
    """All rows of the banded matrix W, each from its first entry on, for bytes.

    Returns
    -------
    first : int64 array (rows,)
        The first input pixel that each output pixel looks at.
    weights : float64 array (rows, taps)
        ``weights[i, t]`` is 2^b w_ij rounded to a whole number, halves away from zero, for j = first[i] + t.
    bits : int
        The number b, which depends on the largest weight of all rows.
    """
    first, weights = real_weights(in_size, out_size, kernel, slice(0, out_size))
    bits = weight_bits(float(weights.max()))
    return first, whole_weights(weights, bits), bits


def torch_pass(in_size: int, out_size: int, kernel: Kernel, wanted: slice, dtype: Any) -> Pass:
    """The rows `wanted` of the matrix W, with PyTorch's weights for images of `dtype`."""
    if in_size == out_size:
        return Pass(wanted, [])
    if dtype != numpy.uint8:
        return banded_pass(*real_weights(in_size, out_size, kernel, wanted, dtype), in_size)
    first, weights, bits = int16_weights(in_size, out_size, kernel)
    return banded_pass(first[wanted], weights[wanted] * 2.0**-bits, in_size)


def nearest_indices(in_size: int, out_size: int) -> Array:
    """The input pixel that each output pixel copies with "nearest-exact": floor((i + 1/2) s), in float32."""
    step = numpy.float32(in_size) / numpy.float32(out_size)
    centre = (numpy.arange(out_size, dtype=numpy.float32) + numpy.float32(0.5)) * step
    return numpy.minimum(centre.astype(numpy.int64), in_size - 1)


def _working_dtype(dtype: Any) -> Any:
    """What images of `dtype` are resized in: bytes and the two floats in themselves, all others in float32."""
    return dtype if dtype in (numpy.uint8, numpy.float32, numpy.float64) else numpy.dtype(numpy.float32)


def _resize(image: Array, out: Array, vertical: Pass, horizontal: Pass) -> None:
    """One image (channels, in_height, in_width) into `out` (channels, height, width), the width first."""
    dtype = _working_dtype(image.dtype)
    planes = image[:, vertical.read, horizontal.read].astype(dtype, copy=False)
    planes = vertical_pass(horizontal_pass(planes, horizontal.bands, dtype), vertical.bands, dtype)
    if image.dtype.kind in "iu" and dtype != image.dtype:
        limits = numpy.iinfo(image.dtype)
        planes = numpy.clip(numpy.rint(planes.astype(numpy.float64)), limits.min, limits.max)
    numpy.copyto(out, planes, casting="unsafe")


def resize_planes_as_torch(
    images: Sequence[Array], size: tuple[int, int], resample: Any = BILINEAR, window: tuple[slice, slice] | None = None
) -> Array:
    """Resize images of one shape, as PyTorch does with antialias; all of the result or a window of it.

    Parameters
    ----------
    images : sequence of arrays (channels, height, width)
        All of one shape and dtype, with one to four channels: bytes, to the bit; floats, in their precision; and other
        integers, in float32, rounded to the nearest (halves to even) at the end.
    size : (int, int)
        Height and width of the result.
    resample : int or str
        Number or name of the kernel: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic.
    window : (slice, slice), optional
        The rows and the columns of the result that are wanted. The others are not computed.

    Returns
    -------
    array (images, channels, rows, columns)
        Of the images' dtype, and the same whatever the number of threads: each image is one task.

    Raises
    ------
    InputError
        For another number of channels, an empty image, a size below 1, a kernel that PyTorch does not have, or a result
        of more than 2^31 values.
    """
    kernel = torch_kernel(resample)
    plan = checked_plan(images, size, window)
    (in_height, in_width), (height, width) = plan.in_shape, plan.out_shape
    out = numpy.empty(plan.shape, images[0].dtype)
    if kernel.function is None:
        places = nearest_indices(in_height, height)[plan.rows, None], nearest_indices(in_width, width)[plan.columns]
        for i, image in enumerate(images):
            out[i] = image[:, places[0], places[1]]
        return out
    dtype = _working_dtype(out.dtype)
    vertical = torch_pass(in_height, height, kernel, plan.rows, dtype)
    horizontal = torch_pass(in_width, width, kernel, plan.columns, dtype)
    parallel_blocks([partial(_resize, image, out[i], vertical, horizontal) for i, image in enumerate(images)])
    return out
