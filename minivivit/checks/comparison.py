"""Compare an answer with the expected array: which entries are wrong, by how much, and what that looks like."""

import itertools
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy

# What an entry may be off, as a part of the largest expected entry. Other orders of the same sums stay far below.
TOLERANCE = {"float32": 5e-5, "float64": 1e-8}
# ... or of this, where all that is expected is smaller: an answer is made of inputs of size 1, by sums whose terms may
# cancel, so this many digits behind the point are asked for and no more. x Phi(x) at -9 is -1e-18, or is rounded to 0.
LEAST_SCALE = 1.0
# What an array of objects may hold and still be one of numbers.
_PLAIN = (int, float, bool, Fraction, Decimal)


def as_numbers(answer: Any) -> numpy.ndarray | str:
    """An answer as an array of real numbers (lists of numbers too), or in words what it is instead."""
    if answer is None:
        return "is None (is the return missing?)"
    if callable(answer):
        return "is a function, not what it returns"
    try:
        array = numpy.asarray(answer)
    except Exception:
        array = numpy.asarray(None)
    if array.dtype.kind == "O" and all(
        type(entry) in _PLAIN or isinstance(entry, numpy.generic) for entry in array.flat
    ):
        array = array.astype("float64")
    if array.dtype.kind == "c":
        return "holds complex numbers"
    if array.dtype.kind not in "fiub":
        return f"is a {type(answer).__name__}, which makes no array of numbers"
    return array


def size_of(array: numpy.ndarray) -> float:
    """The largest absolute entry, or 1 where there is none but 0."""
    return float(abs(array).max(initial=0.0)) or 1.0


def scale_of(array: numpy.ndarray) -> float:
    """What errors in an answer are measured by: the largest absolute entry that is expected, or `LEAST_SCALE`."""
    return max(size_of(array), LEAST_SCALE)


def differences(got: numpy.ndarray, want: numpy.ndarray, dtype: str, scale: float) -> numpy.ndarray:
    """Which entries are wrong, as booleans of the shape of both; NaN is wrong."""
    with numpy.errstate(all="ignore"):
        return ~(abs(got - want) <= TOLERANCE[dtype] * scale)


def describe(answer: Any, want: numpy.ndarray, dtype: str, scale: float | None = None) -> str:
    """What is wrong with an answer, in words with numbers; empty when nothing is.

    Parameters
    ----------
    answer : object
        As a student returned it.
    want : float64 array
    dtype : {"float32", "float64"}
        Of the inputs.
    scale : float, optional
        What errors are measured by; `scale_of` `want` when None.
    """
    got = as_numbers(answer)
    if isinstance(got, str):
        return f"{got}; expected an array of shape {want.shape}"
    if got.shape != want.shape:
        return f"has shape {got.shape}; expected {want.shape}"
    wrong = differences(got, want, dtype, scale_of(want) if scale is None else scale)
    if not wrong.any():
        return ""
    finite = numpy.isfinite(got)
    if not finite.all():
        kinds = [name for name, found in (("NaN", numpy.isnan(got)), ("infinite", numpy.isinf(got))) if found.any()]
        return f"{(~finite).sum()} of {got.size} entries are {' or '.join(kinds)}; expected finite numbers"
    error = abs(got - want)
    worst = tuple(int(index) for index in numpy.unravel_index(int(error.argmax()), error.shape))
    place = f" at {list(worst)}" if worst else ""
    numbers = f"got {float(got[worst]):.6g}, expected {float(want[worst]):.6g}, off by {float(error[worst]):.2g}"
    return f"{wrong.sum()} of {got.size} entries are wrong{_confined(wrong)}; the worst{place}: {numbers}"


def _confined(wrong: numpy.ndarray) -> str:
    """Where the wrong entries are, when an axis has them at one index only; they are all right elsewhere."""
    if wrong.all() or wrong.sum() < 2:
        return ""
    for axis, length in enumerate(wrong.shape):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        found = numpy.flatnonzero(wrong.any(axis=others))
        if len(found) == 1 and length > 1:
            return f", all at index {found[0]} of axis {axis}"
    return ""


def agree(first: Any, second: Any, dtype: str) -> bool:
    """Whether two answers are the same wrong answer: one shape, near entries, NaN and infinities in the same places."""
    one, other = as_numbers(first), as_numbers(second)
    if isinstance(one, str) or isinstance(other, str) or one.shape != other.shape:
        return False
    scale = scale_of(other[numpy.isfinite(other)])
    return bool(numpy.allclose(one, other, rtol=0, atol=10 * TOLERANCE[dtype] * scale, equal_nan=True))


ZERO = "the result was never filled in: it is 0 everywhere"


def general_cause(answer: Any, want: numpy.ndarray) -> str:
    """The likely cause by the looks of the numbers, whatever was computed; empty when they look like nothing known.

    Any one number is some factor times another: of a scalar it says nothing of the kind.
    """
    got = as_numbers(answer)
    if isinstance(got, str):
        return ""
    if got.shape != want.shape:
        return _cause_of_shape(got, want)
    if not numpy.isfinite(got).all():
        return "a division by zero, or exp, log or a root of what they cannot take"
    if got.dtype.kind != "f" and (want != numpy.round(want)).any():
        return f"the result has dtype {got.dtype.name}, which cuts off what is behind the point"
    if not got.any():
        return ZERO
    if got.dtype == numpy.float16:
        return "the result is float16, a lower precision than that of the input"
    got = got.astype("float64")
    scale = size_of(want)
    if abs(got - want).max() < 1e-4 * scale:
        return "a lower precision somewhere (float32, or a rounded constant), or an eps that is not the one given"
    if axes := _permutation(got, want):
        return f"the axes are in another order: transpose{axes} would put them right"
    if _same_numbers(got, want):
        return "the right numbers in the wrong places: check the order of the axes in reshape and transpose"
    factor = float((got * want).sum() / (want * want).sum()) if want.any() and want.size > 1 else 0.0
    if factor and abs(got - factor * want).max() < 1e-6 * scale:
        return (
            "the sign is turned" if math.isclose(factor, -1, rel_tol=1e-6) else f"a factor: all is {factor:.4g} times"
        )
    if want.size > 1 and numpy.ptp(got - want) < 1e-6 * scale:
        return "the same number is added to every entry"
    return ""


def _cause_of_shape(got: numpy.ndarray, want: numpy.ndarray) -> str:
    if axes := _permutation(got, want):
        return f"the axes are in another order: transpose{axes} would put them right"
    if got.size == want.size and _same_numbers(got, want):
        return "the right numbers in another shape: a reshape, transpose or keepdims is missing or too many"
    if sorted(got.shape) == sorted(want.shape):
        return "the axes are in another order"
    if got.ndim < want.ndim and got.size < want.size:
        return "a sum, mean or index took an axis away"
    if got.ndim > want.ndim and got.shape[got.ndim - want.ndim :] == want.shape:
        return "a sum over the first axes is missing"
    return ""


def _permutation(got: numpy.ndarray, want: numpy.ndarray) -> tuple[int, ...] | None:
    """The order of axes that makes the answer right, if there is one."""
    if got.ndim != want.ndim or got.ndim > 5 or sorted(got.shape) != sorted(want.shape):
        return None
    for axes in itertools.permutations(range(got.ndim)):
        turned = got.transpose(axes)
        if turned.shape == want.shape and numpy.allclose(turned, want, rtol=0, atol=1e-5 * size_of(want)):
            return axes
    return None


def _same_numbers(got: numpy.ndarray, want: numpy.ndarray) -> bool:
    scale = size_of(want)
    first, second = numpy.sort(got, axis=None), numpy.sort(want, axis=None)
    return bool(numpy.allclose(first, second, rtol=0, atol=1e-5 * scale))
