"""How far one tensor is from another: read block by block, so that neither need be in memory."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

import numpy

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted

# Precision -> (bits of the significand, the leading one included; smallest exponent e of a normal number 1.xxx * 2**e).
PRECISIONS = {
    "float64": (53, -1022),
    "float32": (24, -126),
    "tf32": (11, -126),  # float32's range with float16's significand: what tensor cores make of float32
    "bfloat16": (8, -126),
    "float16": (11, -14),
}

# Relative errors are taken where |ours| is at least this part of the tensor's rms, rounded down to a power of two: an
# entry that is 0 but for rounding would otherwise always be the worst.
RELATIVE_FLOOR = 2.0**-10

# Exponents that `numpy.frexp` gives to finite float64 numbers: from 2**-1074 to 2**1024.
_LOWEST_EXPONENT, _HIGHEST_EXPONENT = -1073, 1024


@dataclass(frozen=True)
class TensorError:
    """The difference d = theirs - ours of two tensors of one shape.

    Pairs of equal infinities, and NaN in both, count as equal. Where one is NaN or infinite and the other is something
    else, the pair counts in `num_nonfinite` and in nothing else.

    Attributes
    ----------
    max_abs : float
        The largest abs(d).
    max_rel : float
        The largest abs(d) / abs(ours), where abs(ours) is not below `RELATIVE_FLOOR` times the rms of ours.
    rms : float
        ||d|| / sqrt(n), for n pairs.
    relative_l2 : float
        ||d|| / ||ours||; infinite when ours is 0 and theirs is not, 0 when both are.
    cosine : float
        <ours, theirs> / (||ours|| ||theirs||); 1 when both are 0, 0 when one is.
    max_ulp : float
        The largest abs(d) / spacing(ours): in units in the last place, of the precision that was asked for.
    where : tuple of int or None
        Index of the worst entry: of the first in `num_nonfinite`, else of the largest abs(d). None without difference.
    ours, theirs : float
        The values there; 0 without difference.
    num_nonfinite : int
        Entries that are NaN or infinite in one and something else in the other.
    num_lost : int
        Those of them that are finite in ours: theirs has lost the number.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    rms: float = 0.0
    relative_l2: float = 0.0
    cosine: float = 1.0
    max_ulp: float = 0.0
    where: tuple[int, ...] | None = None
    ours: float = 0.0
    theirs: float = 0.0
    num_nonfinite: int = 0
    num_lost: int = 0


def unit_roundoff(precision: str) -> float:
    """The largest relative error of rounding to `precision`: 2**-p for a significand of p bits.

    Raises
    ------
    InputError
        For a precision that is not in `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is {quoted(precision)}; expected one of {', '.join(PRECISIONS)}")
    return 2.0 ** -PRECISIONS[precision][0]


def tensor_error(
    ours_blocks: Iterable[numpy.ndarray],
    theirs_blocks: Iterable[numpy.ndarray],
    shape: tuple[int, ...],
    precision: str = "float32",
) -> TensorError:
    """Compare two tensors in one pass over their blocks.

    Norms are summed in units of the block's largest entry, so that nothing overflows, and the cosine follows from them,

        1 - cos = (||d||**2 - (||ours|| - ||theirs||)**2) / (2 ||ours|| ||theirs||),

    which near 1 is more accurate than the quotient of its definition (elsewhere to 1e-16 times the quotient of the
    norms). The floor of `max_rel` is known only at the end; till then the largest relative error is kept for each power
    of two of abs(ours) on its own.

    Parameters
    ----------
    ours_blocks, theirs_blocks : iterables of flat floating-point arrays
        Both tensors, row-major, cut at the same places. Memory: a few blocks.
    shape : tuple of int
        Of the tensor, for `TensorError.where`.
    precision : {"float64", "float32", "tf32", "bfloat16", "float16"}
        In which `TensorError.max_ulp` counts.

    Raises
    ------
    InputError
        For an unknown precision, and for blocks whose sizes do not agree with each other or with `shape`.
    """
    unit_roundoff(precision)
    sums = _Sums(*PRECISIONS[precision])
    with numpy.errstate(over="ignore", invalid="ignore", under="ignore"):
        for ours, theirs in zip_longest(ours_blocks, theirs_blocks):
            if ours is None or theirs is None:
                raise InputError("the two tensors come in different numbers of blocks; cut both at the same places")
            sums.add(ours.astype("float64", copy=False), theirs.astype("float64", copy=False))
        if sums.size != math.prod(shape):
            raise InputError(f"the blocks hold {sums.size} numbers; expected {math.prod(shape)} for shape {shape}")
        return sums.result(shape)


class _Sums:
    """What is known after some blocks."""

    def __init__(self, bits: int, lowest_normal: int):
        self.bits, self.lowest_normal = bits, lowest_normal
        self.size = self.num_nonfinite = self.num_lost = self.num_left_out = 0
        self.norm_ours = self.norm_theirs = self.norm_difference = 0.0
        self.max_abs = self.max_ulp = 0.0
        self.worst: tuple[int, float, float] | None = None  # flat index, ours, theirs
        # The largest relative error of the entries with 2**(e - 1) <= abs(ours) < 2**e, at e - _LOWEST_EXPONENT.
        self.max_rel = numpy.zeros(_HIGHEST_EXPONENT - _LOWEST_EXPONENT + 1)

    def add(self, ours: numpy.ndarray, theirs: numpy.ndarray) -> None:
        """Take in one block of each."""
        if ours.shape != theirs.shape or ours.ndim != 1:
            raise InputError(f"blocks of shapes {ours.shape} and {theirs.shape}; expected flat ones of equal sizes")
        start, self.size = self.size, self.size + ours.size
        if ours.size == 0:
            return
        finite = numpy.isfinite(ours) & numpy.isfinite(theirs)
        if not finite.all():
            self._count_nonfinite(ours, theirs, finite, start)
            ours, theirs = numpy.where(finite, ours, 0.0), numpy.where(finite, theirs, 0.0)
        difference = theirs - ours
        self.norm_ours = math.hypot(self.norm_ours, _norm(ours))
        self.norm_theirs = math.hypot(self.norm_theirs, _norm(theirs))
        self.norm_difference = math.hypot(self.norm_difference, _norm(difference))
        numpy.abs(difference, out=difference)
        place = int(difference.argmax())
        if difference[place] == 0:
            return
        if difference[place] > self.max_abs:
            self.max_abs = float(difference[place])
            if self.num_nonfinite == 0:
                self.worst = (start + place, float(ours[place]), float(theirs[place]))
        self._scale(ours, difference)

    def _count_nonfinite(self, ours: numpy.ndarray, theirs: numpy.ndarray, finite: numpy.ndarray, start: int) -> None:
        self.num_left_out += finite.size - int(finite.sum())
        differ = ~finite & (ours != theirs) & ~(numpy.isnan(ours) & numpy.isnan(theirs))
        count = int(differ.sum())
        if count and self.num_nonfinite == 0:
            place = int(differ.argmax())
            self.worst = (start + place, float(ours[place]), float(theirs[place]))
        self.num_nonfinite += count
        self.num_lost += int((differ & numpy.isfinite(ours)).sum())

    def _scale(self, ours: numpy.ndarray, difference: numpy.ndarray) -> None:
        """The absolute differences relative to ours, and to its spacing."""
        exponents = numpy.frexp(ours)[1]  # abs(ours) = m * 2**e with 1/2 <= m < 1
        nonzero = ours != 0
        relative = numpy.divide(difference, ours, out=numpy.zeros_like(difference), where=nonzero)
        numpy.maximum.at(self.max_rel, exponents - _LOWEST_EXPONENT, numpy.abs(relative, out=relative))
        # Numbers of one power of two lie 2**(e - bits) apart; below the smallest normal one that no longer shrinks.
        exponents[~nonzero] = _LOWEST_EXPONENT
        numpy.maximum(exponents, self.lowest_normal + 1, out=exponents)
        self.max_ulp = max(self.max_ulp, float(numpy.ldexp(difference, self.bits - exponents).max()))

    def result(self, shape: tuple[int, ...]) -> TensorError:
        """The error of all blocks together."""
        root = math.sqrt(max(self.size - self.num_left_out, 1))
        floor = math.frexp(self.norm_ours / root * RELATIVE_FLOOR)[1] if math.isfinite(self.norm_ours) else 0
        max_rel = float(self.max_rel[max(floor, _LOWEST_EXPONENT) - _LOWEST_EXPONENT :].max())
        place, ours, theirs = self.worst or (0, 0.0, 0.0)
        where = None if self.worst is None else tuple(int(i) for i in numpy.unravel_index(place, shape))
        return TensorError(
            max_abs=self.max_abs,
            max_rel=max_rel,
            rms=self.norm_difference / root,
            relative_l2=_quotient(self.norm_difference, self.norm_ours),
            cosine=_cosine(self.norm_ours, self.norm_theirs, self.norm_difference),
            max_ulp=self.max_ulp,
            where=where,
            ours=ours,
            theirs=theirs,
            num_nonfinite=self.num_nonfinite,
            num_lost=self.num_lost,
        )


def _norm(values: numpy.ndarray) -> float:
    """Euclidean norm, in units of the largest entry: squares neither overflow nor vanish."""
    largest = max(float(values.max()), -float(values.min()))
    if largest == 0 or math.isinf(largest):
        return largest
    if 1e-100 < largest < 1e100:
        return math.sqrt(float(values @ values))
    scaled = values / largest
    return largest * math.sqrt(float(scaled @ scaled))


def _quotient(numerator: float, denominator: float) -> float:
    if numerator == 0:
        return 0.0
    if denominator == 0 or math.isinf(numerator):
        return math.inf
    return numerator / denominator


def _cosine(ours: float, theirs: float, difference: float) -> float:
    """The cosine of the angle in a triangle whose sides are known."""
    if difference == 0:
        return 1.0
    if ours == 0 or theirs == 0:
        return 0.0
    if not math.isfinite(ours + theirs + difference):
        return math.nan
    # The difference of the squares as a product, of which neither factor exceeds 2: it is 0 for parallel tensors.
    gap, shorter, longer = abs(ours - theirs), min(ours, theirs), max(ours, theirs)
    return min(1.0, max(-1.0, 1 - (difference - gap) / shorter * ((difference + gap) / longer) / 2))
