"""One of the two GELUs taken for the other, which rounding to half precision all but hides."""

import math

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.mistakes.activations import NAMES, TANH_GELUS
from minivivit.verification.comparison.suspicion.gradients import activation_derivative
from minivivit.verification.comparison.suspicion.operators import Array, Expected, Unit

EXACT = "gelu"
# Beyond, float32's own cancellation in 1 + erf(x) is more than a rounding.
FARTHEST = 3.5
# The other one explains so many of the entries, to one rounding each, and ours no more than so many.
EXPLAINED, UNEXPLAINED = 0.999, 0.98
# One rounding, and what float32 adds to it.
ONE_ROUNDING = 1.05
# A number rounded to nearest is off by so much of the most, in rms. So large a sum is seven times its rms.
RMS, LARGE = 0.41, 3.0
NEAR_ONE = 0.3


def other_gelu(name: str) -> str | None:
    """The one that an activation may be taken for."""
    if name == EXACT:
        return "gelu_pytorch_tanh"
    return EXACT if name in TANH_GELUS else None


def other_gelu_words(unit: Unit, name: str, x: Array, theirs: Array) -> str:
    """Says so where every entry of theirs is one rounding away from the other GELU of its input, and not from ours.

    A port that rounds at every step is one rounding away from neither.
    """
    other = other_gelu(name)
    known = numpy.abs(x) < FARTHEST
    if other is None or not known.any():
        return ""
    explained = []
    for each in (name, other):
        values = ACTIVATIONS[each][0](x.copy())[0]
        close = numpy.abs(theirs - values) <= ONE_ROUNDING * unit(values)
        explained.append(float(close[known].mean()))
    if explained[0] > UNEXPLAINED or explained[1] < EXPLAINED:
        return ""
    return (
        f"one rounding away from {NAMES[other][0]} of its input in {explained[1]:.1%} of its entries, and from {name}, "
        f"which the config names, in {explained[0]:.1%}"
    )


def other_slope_words(name: str, x: Array, slope: Array, theirs: Array, right: Expected) -> str:
    r"""Says so where the other GELU's derivative is in theirs, whose forward pass is right.

    With d what the other derivative would change of dx = slope f'(x), theirs less ours is fitted by :math:`\beta d`,
    with weights :math:`1 / s_i^2`. Rounding gives a :math:`\beta` of 0, up to :math:`0.41 / \sqrt{\sum d_i^2 / s_i^2}`
    in rms, the mistake one of 1.
    """
    other = other_gelu(name)
    if other is None:
        return ""
    change = slope * (activation_derivative(other, x) - activation_derivative(name, x))
    squares = float((numpy.square(change) / right.variance).sum())
    beta = float(((theirs - right.values) * change / right.variance).sum()) / squares if squares else 0.0
    if abs(beta - 1) > NEAR_ONE or beta * math.sqrt(squares) < LARGE:
        return ""
    return (
        f"off by {beta:.2f} times what the derivative of {NAMES[other][0]} in place of that of {name} would change, "
        f"give or take {RMS / math.sqrt(squares):.2f} by rounding"
    )
