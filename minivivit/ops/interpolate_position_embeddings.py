"""Position embeddings for another number of frames or another resolution, with time and space kept apart."""

import math
from collections.abc import Callable

import numpy

from minivivit.backend import Array, array_namespace, one_pass

# The cubic convolution kernel's free parameter in PyTorch's interpolate(mode="bicubic"). (Pillow's bicubic has -0.5.)
CUBIC_A = -0.75


def interpolate_position_embeddings_forward(grid: Array, size: tuple[int, int, int]) -> tuple[Array, dict]:
    r"""Resample a grid of position embeddings: bicubic over rows and columns, linear over time.

    Each axis is resampled by a matrix, A over time, R over rows and C over columns, with half-pixel centres:

    .. math:: y_{t'r'c'} = \sum_{t, r, c} A_{t't} R_{r'r} C_{c'c}\, x_{trc}

    An axis whose size stays is left alone, to the bit.

    transformers treats the n = frames x rows x columns embeddings as one square image of sqrt(n) x sqrt(n), whose rows
    mix time with space, and resamples it to the new rows x columns. That is one frame's worth of embeddings where there
    must be one for every token of every frame, so on a real change of resolution it fails (with more than one temporal
    index). Here a change of resolution resamples each temporal slice like
    ``torch.nn.functional.interpolate(mode="bicubic", align_corners=False)``, and a change of the number of frames
    resamples each place in the frame linearly over time.

    Parameters
    ----------
    grid : array, shape (times, rows, columns, hidden)
        Without the CLS token's embedding.
    size : (times, rows, columns)
        The new grid.

    Returns
    -------
    y : array, shape (*size, hidden)
    cache : dict
    """
    times, rows, columns = grid.shape[:3]
    matrices = [
        _matrix(linear_interpolation_matrix, times, size[0], grid),
        _matrix(bicubic_interpolation_matrix, rows, size[1], grid),
        _matrix(bicubic_interpolation_matrix, columns, size[2], grid),
    ]
    y = grid
    for axis, matrix in enumerate(matrices):
        if matrix is not None:
            y = _multiply_along(matrix, y, axis)
    return y, {"matrices": matrices}


def interpolate_position_embeddings_backward(dy: Array, cache: dict) -> Array:
    r"""Gradient of `interpolate_position_embeddings_forward`.

    The output is linear in the grid, so each axis is multiplied by its matrix transposed, from the last to the first:
    :math:`dx_{trc} = \sum_{t', r', c'} A_{t't} R_{r'r} C_{c'c}\, dy_{t'r'c'}`.
    """
    dgrid = dy
    for axis in (2, 1, 0):
        if cache["matrices"][axis] is not None:
            dgrid = _multiply_along(cache["matrices"][axis].T, dgrid, axis)
    return dgrid


def linear_interpolation_matrix(old: int, new: int) -> numpy.ndarray:
    r"""Linear resampling from `old` to `new` samples as a matrix, shape (new, old), float64.

    Output i lies at :math:`x = (i + \tfrac12)\, old/new - \tfrac12` of the input, at least 0 (half-pixel centres, as
    PyTorch's ``align_corners=False``), and mixes the samples on either side of it by their distance.
    """
    matrix = numpy.zeros((new, old))
    for i in range(new):
        x = max((i + 0.5) * (old / new) - 0.5, 0.0)
        left = min(math.floor(x), old - 1)
        fraction = x - left
        matrix[i, left] += 1 - fraction
        matrix[i, min(left + 1, old - 1)] += fraction
    return matrix


def bicubic_interpolation_matrix(old: int, new: int) -> numpy.ndarray:
    r"""Cubic convolution from `old` to `new` samples as a matrix, shape (new, old), float64.

    Output i lies at :math:`x = (i + \tfrac12)\, old/new - \tfrac12` and mixes the four samples around it, those outside
    replaced by the outermost, with the weights of the kernel at their distances d (Keys 1981), a = -0.75:

    .. math::
        k(d) = \begin{cases}
          (a + 2) d^3 - (a + 3) d^2 + 1 & d \le 1 \\
          a d^3 - 5 a d^2 + 8 a d - 4 a & 1 < d < 2
        \end{cases}
    """
    matrix = numpy.zeros((new, old))
    for i in range(new):
        x = (i + 0.5) * (old / new) - 0.5
        left = math.floor(x)
        for sample in range(left - 1, left + 3):
            matrix[i, min(max(sample, 0), old - 1)] += _cubic_kernel(abs(x - sample))
    return matrix


def _cubic_kernel(distance: float) -> float:
    a, d = CUBIC_A, distance
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    if d < 2:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return 0.0


def _matrix(make: Callable[[int, int], numpy.ndarray], old: int, new: int, like: Array) -> Array | None:
    """The matrix for one axis on the device and in the dtype of `like`, or None where nothing changes."""
    return None if old == new else array_namespace(like).asarray(make(old, new), dtype=like.dtype)


def _multiply_along(matrix: Array, grid: Array, axis: int) -> Array:
    """Multiply one axis of the grid by a matrix."""
    xp = array_namespace(grid)
    with one_pass():
        product = xp.tensordot(matrix, grid, axes=(1, axis))  # the new axis comes first
    return xp.moveaxis(product, 0, axis)
