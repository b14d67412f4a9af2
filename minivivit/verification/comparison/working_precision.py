"""In which precision theirs is computed, tensor by tensor, as far as the types say in which it is stored.

A file of several types is one of two things. Where a port computes in float32 and stores a tensor in bfloat16, that
tensor is float32's, rounded: nearly every entry is what ours is after rounding to bfloat16, and the tensors after it
are none the worse for it. Where a port computes in bfloat16 (as under autocast, which keeps some tensors in float32),
its entries are off by as much as bfloat16's numbers lie apart, many are another number than ours rounded, and all that
is made of them is as coarse, in whatever type it is stored. So the entries tell. The working precision starts as the
finest that a tensor is stored in, and becomes a coarser one with the first tensor that is stored in that and is not
ours, rounded.

What is computed in bfloat16 may be ours rounded all the same, as a convolution of black frames is, which is its bias.
Then the tensor that is made of it is the one that tells: it is at once as far off as bfloat16 makes it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import tee

import numpy

from minivivit.files.tensor_data import listed, quoted
from minivivit.verification.comparison.judgement import Budget, budgets_before, budgets_in, limits, times
from minivivit.verification.rounding.precisions import round_to_precision
from minivivit.verification.tensors.error import TensorError, tensor_error, unit_roundoff
from minivivit.verification.tensors.source import TensorSource

Blocks = Callable[[], Iterator[numpy.ndarray]]

# Of the entries that rounding changes, so many are ours rounded where theirs was only stored. What was computed in the
# precision errs by about half the distance of its numbers, and misses a quarter or more.
SAME_WHEN_ROUNDED = 0.9
# Of fewer entries that part says little.
ENOUGH = 64
# What is made of a tensor that was computed in a precision errs by more than this part of that precision's budget.
LIKE_COMPUTED = 0.2
# Below float16's smallest normal number its numbers lie so far apart.
SMALLEST_FLOAT16 = 2.0**-24


@dataclass(frozen=True)
class Storage:
    """What is left of an error when ours is rounded as theirs was stored.

    Attributes
    ----------
    precision : str
        In which it was stored.
    error : TensorError
        Theirs against ours rounded.
    changed, same : int
        Entries that rounding changes, and those of them that are the same afterwards.
    """

    precision: str
    error: TensorError
    changed: int
    same: int

    def judge(self, name: str, budget: Budget, before: Budget | None, size: int, precision: str) -> tuple[float, float]:
        """What is allowed of the relative error, and how many times that the error is, as `judgement.judge` says it.

        To what the working precision is allowed come the entries that it rounds otherwise: each is off by one step,
        which is 2 u of it, or float16's smallest number.
        """
        allowed, allowed_maximum = limits(name, self.error, budget, before, size, precision)
        unit, error = unit_roundoff(self.precision), self.error
        step, smallest = 2 * unit, SMALLEST_FLOAT16 if self.precision == "float16" else 0.0
        rms = error.rms / error.relative_l2 if 0 < error.relative_l2 < math.inf else 0.0
        relative = allowed + step * math.sqrt(1 - SAME_WHEN_ROUNDED) + (smallest / rms if rms else 0.0)
        largest = allowed_maximum + 2 * step * abs(error.ours) + smallest
        if error.num_nonfinite:
            return allowed + unit, math.inf
        return allowed + unit, max(times(error.relative_l2, relative), times(error.max_abs, largest))


class WorkingPrecision:
    """The precision that theirs is computed in, from tensor to tensor in the order of execution.

    Parameters
    ----------
    ours : TensorSource
        With its budgets.
    stored : dict of str to str
        Our name -> the precision that the pair is stored in.
    stated : str or None
        What the user says: theirs computes in that throughout.

    Attributes
    ----------
    now : str
    stray : list of str
        Our names of what was only stored in a coarser precision.
    since : str or None
        Our name of the first tensor that was computed in a coarser one than the tensors before.
    latest : dict of str to str
        Our name -> precision of what was only stored in it, and has nothing yet after it that differs.
    """

    def __init__(self, ours: TensorSource, stored: Mapping[str, str], stated: str | None = None):
        self.ours, self.stored, self.stated = ours, stored, stated
        self.stray: list[str] = []
        self.since: str | None = None
        self.latest: dict[str, str] = {}
        self.known: dict[str, tuple[dict[str, Budget], dict[str, Budget]]] = {}
        self.now = stated or min(stored.values(), key=unit_roundoff, default="float64")

    def budgets(self, precision: str) -> tuple[dict[str, Budget], dict[str, Budget]]:
        """Name -> budget in a precision, and that of the tensor before."""
        if precision not in self.known:
            budgets = budgets_in(self.ours, precision)
            self.known[precision] = budgets, budgets_before(self.ours, budgets)
        return self.known[precision]

    def may_judge(self) -> bool:
        """Whether there are budgets for it, or for one that it may yet turn out to be."""
        later = () if self.stated is not None or self.since is not None else self.stored.values()
        return any(self.budgets(kind)[0] for kind in {self.now, *later})

    def see(self, name: str, error: TensorError, their_blocks: Blocks) -> Storage | None:
        """Look at the next tensor, which differs: the working precision becomes its own, or it was only stored so."""
        own = self.stored.get(name, self.now)
        if unit_roundoff(own) <= unit_roundoff(self.now) or error.num_nonfinite:
            return None
        storage, (budgets, before) = _against_rounded(self.ours, name, their_blocks, own), self.budgets(self.now)
        only_stored = storage.same >= SAME_WHEN_ROUNDED * storage.changed
        if only_stored and storage.changed < ENOUGH and name in budgets:
            size = math.prod(self.ours.shapes[name])
            only_stored = storage.judge(name, budgets[name], before.get(name), size, self.now)[1] <= 1
        if only_stored:
            self.stray.append(name)
            self.latest[name] = own
            return storage
        if self.stated is None:
            self.now, self.since = own, name
        return None

    def suspects(self, relative_l2: float, name: str) -> str | None:
        """A coarser precision in which this tensor may be computed, that theirs is too far off for the present one.

        It is that of the tensors before, which look as if they were only stored in it.
        """
        for precision in self.latest.values() if self.stated is None else ():
            budget = self.budgets(precision)[0].get(name)
            if budget is not None and relative_l2 > LIKE_COMPUTED * budget["relative_l2"]:
                return precision
        return None

    def become(self, precision: str) -> None:
        """What was only stored in it was computed in it after all, and so is what follows."""
        self.now, self.since = precision, next(iter(self.latest))
        self.stray = [name for name in self.stray if name not in self.latest]
        self.latest = {}

    def note(self) -> list[str]:
        """That a file is mixed, and how it was judged."""
        counts = Counter(self.stored.values())
        if not self.stray and (self.stated is not None or len(counts) < 2):
            return []
        kinds = ", ".join(f"{kind} ({counts[kind]})" for kind in sorted(counts, key=unit_roundoff))
        words = [f"the pairs are stored in {kinds}, and each is judged by the precision of what it is made of"]
        if self.stray:
            words.append(f"only stored in a coarser type, and made in a finer: {listed(self.stray, 3)}")
        if self.since is not None:
            words.append(f"computed in {self.now} from {quoted(self.since)} on")
        return ["; ".join(words)]


def _against_rounded(ours: TensorSource, name: str, their_blocks: Blocks, precision: str) -> Storage:
    """Theirs against ours rounded, in one more pass over both."""
    changed = same = 0

    def rounded(values: numpy.ndarray) -> numpy.ndarray:
        return round_to_precision(values, precision).astype("float64")

    def pairs() -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
        nonlocal changed, same
        for left, right in zip(ours.blocks(name), their_blocks(), strict=True):
            left_rounded, right_rounded = rounded(left), rounded(right)
            counts = numpy.isfinite(left) & ((left_rounded != left) | (right_rounded != right))
            changed += int(counts.sum())
            same += int((left_rounded == right_rounded)[counts].sum())
            yield left_rounded, right_rounded

    left_blocks, right_blocks = tee(pairs())
    error = tensor_error((left for left, _ in left_blocks), (right for _, right in right_blocks), ours.shapes[name])
    return Storage(precision, error, changed, same)


def stored_precisions(ours: TensorSource, theirs: TensorSource, names: Mapping[str, str]) -> dict[str, str]:
    """Our name -> the coarser one of the types that both are stored in, of those that both have."""
    return {
        name: max((ours.dtypes[name], theirs.dtypes[their_name]), key=unit_roundoff)
        for name, their_name in names.items()
        if their_name in theirs
    }
