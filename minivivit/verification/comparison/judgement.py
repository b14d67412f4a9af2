"""Whether rounding explains a difference: the measured budget of each tensor, and what of it is allowed.

A port is judged by what its own precision does to this very network, on these very weights and this very clip. The
trace of ours holds, beside our float64 run, how far our own run in each precision strays from it (see
`minivivit.verification.rounding.budget`), tensor by tensor: errors grow with depth, and so do the budgets. Theirs may
have

    relative_l2 <= 4 (budget's + u)   and   max_abs <= 10 (budget's + 2 u rms(ours)),

where u is the precision's unit roundoff: it stands in where our own run happened to round nothing away.

The factors are measured: 350 runs of transformers' models were compared with ours (25 random configs of 1 to 8 layers;
float64, float32, bfloat16 and float16; eager and SDPA attention; one BLAS thread and two). Quotients of their error and
budget's, each with its share of u as above:

                          relative_l2                    max_abs
                   median  99 %  largest  factor   median  99 %  largest  factor
    forward         0.7    1.6     2.7      4        0.9    2.5     4.2     10
    gradients       0.8    2.6     9.6     20        1.0    3.7    14.4     40

A gradient strays further: where rounding moves an argument of ReLU past 0, its derivative jumps; and how a sum over all
tokens is taken (in PyTorch's bfloat16 even the number of threads tells) differs more than how one over a row is. Three
kinds of tensor need another rule:

- Whose error few entries carry, as where a softmax is saturated or one feature is a hundred times the others. The
  norms of two draws of k independent errors of one size differ by chance: the square of their quotient has the F
  distribution of k and k degrees of freedom, and is larger than F(k) once in 1 / `CHANCE` times. k is at least
  (||d|| / max abs(d))**2 of one clip, since two may be the same, and the first factor is at least
  `SYSTEMATIC` sqrt(F(k)), which is 4 for k = 40 and 11 for 11. Both factors are raised in proportion, up to `MOST`
  times if it is not nothing but rounding; those of u are not, which is no draw, but what rounding makes at most.
- Of few entries altogether (`FEW`): a sum of few rounding errors may nearly vanish in our run. The loss is one number.
  Such a tensor takes the larger one of its budget and that of the tensor before it, in absolute terms.
- Nothing but rounding, as the gradient of the key's bias is, which is 0 in exact arithmetic: where the budget says so
  (relative_l2 above `NOISE`), entries depend on the order of every sum, and both factors are `NOISE_FACTORS`.
"""

import itertools
import math
import sys
from collections.abc import Mapping

from scipy.special import fdtri

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.verification.rounding.budget import float64_budgets
from minivivit.verification.tensors.error import TensorError, unit_roundoff
from minivivit.verification.tensors.source import TensorSource

# (of relative_l2, of max_abs)
FACTORS, GRADIENT_FACTORS, NOISE_FACTORS = (4.0, 10.0), (20.0, 40.0), (40.0, 40.0)
FEW = 8
NOISE = 0.1
# How often a right tensor may be called wrong by chance, and the quotient of errors that two right programs have.
CHANCE, SYSTEMATIC = 1e-7, 1.6
# Where that would be more than so many times the factors, so many are allowed, unless it is nothing but rounding: else
# next to nothing would be judged.
MOST = 4.0
# A trace's JSON has no infinity: where a precision overflows, its budget is the largest number.
UNBOUNDED = 1e300
BUDGET_KEYS = ("relative_l2", "max_abs", "rms")

Budget = dict[str, float]


def judge(
    name: str,
    error: TensorError,
    budget: Budget,
    before: Budget | None,
    size: int,
    precision: str,
    floor: tuple[float, float] = (0.0, 0.0),
    samples: int = 1,
) -> tuple[float, float]:
    """What is allowed of a tensor, and how many times that its error is.

    Parameters
    ----------
    name : str
        Of ours: gradients are allowed more.
    error : TensorError
        Theirs against ours.
    budget : dict
        ``{"relative_l2", "max_abs", "rms"}`` of our own run in the precision, against ours.
    before : dict or None
        The budget of the tensor before.
    size : int
        Number of entries.
    precision : str
    floor : tuple of float
        The rms and the largest error that those of its inputs explain, see
        `minivivit.verification.comparison.inheritance`: no less is allowed.
    samples : int
        Entries of the first axis where it counts clips, or times or places of clips. They may be all the same, as those
        of black or still clips are, and so may be their errors: they are no independent draws.

    Returns
    -------
    allowed : float
        The largest relative_l2 that rounding explains.
    excess : float
        The larger quotient of relative_l2 and max_abs by what is allowed; above 1 rounding does not explain it.
        Infinite where one is NaN or infinite and the other is not, whatever the budget: float64 has the number, and
        theirs has lost it. NaN where all is finite and the budget is not: what bounds nothing judges nothing.
    """
    allowed, allowed_maximum = limits(name, error, budget, before, size, precision, floor, samples)
    if error.num_nonfinite:
        return allowed, math.inf
    if is_unbounded(budget):
        return allowed, math.nan
    # Where ours is 0 throughout, no error has a relative size.
    relative = 0.0 if math.isinf(error.relative_l2) or allowed >= UNBOUNDED else times(error.relative_l2, allowed)
    return allowed, max(relative, times(error.max_abs, allowed_maximum))


def limits(
    name: str,
    error: TensorError,
    budget: Budget,
    before: Budget | None,
    size: int,
    precision: str,
    floor: tuple[float, float] = (0.0, 0.0),
    samples: int = 1,
) -> tuple[float, float]:
    """The largest relative_l2 and the largest max_abs that rounding explains, see `judge`."""
    u = unit_roundoff(precision)
    rms_of_ours = float(error.rms / error.relative_l2) if 0 < error.relative_l2 < math.inf else 0.0
    relative, largest = float(budget["relative_l2"]), float(budget["max_abs"])
    if size < FEW and before is not None and rms_of_ours:
        relative, largest = max(relative, before["rms"] / rms_of_ours), max(largest, before["max_abs"])
    factors = GRADIENT_FACTORS if name.startswith("gradient.") else FACTORS
    factors = NOISE_FACTORS if budget["relative_l2"] > NOISE else factors
    spread = _spread(budget, size, samples)
    more = max(1.0, spread / factors[0])
    more = more if factors is NOISE_FACTORS else min(more, MOST)
    inherited = floor[0] / rms_of_ours if rms_of_ours else 0.0
    allowed = max(factors[0] * (more * relative + u), inherited)
    return allowed, max(factors[1] * (more * largest + 2 * u * rms_of_ours), floor[1])


def _spread(budget: Budget, size: int, samples: int) -> float:
    """How many times the norm of our own run's error that of a right one may be by chance."""
    if size < FEW or not 0 < budget["max_abs"] < UNBOUNDED:
        return 1.0
    carriers = max(1.0, size / max(samples, 1) * (budget["rms"] / budget["max_abs"]) ** 2)
    return SYSTEMATIC / math.sqrt(float(fdtri(carriers, carriers, CHANCE)))


def is_unbounded(budget: Budget) -> bool:
    """Whether the precision overflows there, so that its budget bounds nothing."""
    return budget["max_abs"] >= UNBOUNDED


def times(error: float, allowed: float) -> float:
    """How many times an error is what is allowed."""
    if error == 0:
        return 0.0
    return error / allowed if allowed else math.inf


def budgets_in(ours: TensorSource, precision: str) -> dict[str, Budget]:
    """Name -> budget in a precision, as the metadata of our trace say; empty where they say nothing.

    Where only float32's is there, float64's is made from that.

    Raises
    ------
    InputError
        When they say something else.
    """
    of_all = ours.metadata.get("rounding_budgets")
    budgets = of_all.get(precision, {}) if isinstance(of_all, dict) else {}
    if not isinstance(budgets, dict):
        raise InputError(
            f"the rounding budgets of {ours.path} for {precision} are {quoted(budgets)}; expected an object"
        )
    for name, budget in budgets.items():
        values = [budget.get(key) for key in BUDGET_KEYS] if isinstance(budget, dict) else [None]
        if not all(isinstance(value, int | float) and 0 <= value <= sys.float_info.max for value in values):
            raise InputError(
                f"{ours.path}: the rounding budget of {quoted(name)} for {precision} is {quoted(budget)}; expected "
                f"{', '.join(BUDGET_KEYS)} as finite numbers of at least 0: write the trace again"
            )
    if precision == "float64" and not budgets:
        of_float32 = budgets_in(ours, "float32")
        return float64_budgets({name: {key: of[key] for key in BUDGET_KEYS} for name, of in of_float32.items()})
    return budgets


def budgets_before(ours: TensorSource, budgets: Mapping[str, Budget]) -> dict[str, Budget]:
    """Name -> the budget of the tensor before it."""
    names = [name for name in ours.shapes if name in budgets]
    return {name: budgets[before] for before, name in itertools.pairwise(names)}
