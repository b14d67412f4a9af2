"""Forward operators in float64, each with what rounding its own steps does to the result.

A program in half precision may round after every step that a textbook writes, or after few of them. `variance` is the
sum over the textbook's steps of the squares of the most that one rounding of the step does to the result: an entry m is
rounded by at most `unit(m)`. So it does not depend on how a port is fused, and a port that is fused stays well below.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.tensors.error import unit_roundoff

Array = numpy.ndarray
Unit = Callable[[Array], Array]
# What sums are taken in, whatever is stored.
ACCUMULATED = unit_roundoff("float32")
# Positive numbers of each precision: the smallest, and the smallest of full precision.
SMALLEST = {"float16": (2.0**-24, 2.0**-14), "bfloat16": (2.0**-133, 2.0**-126)}
# Where a score may be off by more, softmax is no longer about linear in it.
LARGEST_SCORE_ERROR = 0.5


@dataclass(frozen=True)
class Expected:
    """A result, and the sum of squares of what each step's rounding does to it at most.

    Attributes
    ----------
    values, variance : arrays, shape (rows, features)
    partial : array or 0
        The same of partial sums and of factors, where a port rounds them too: where terms cancel, an entry may lose
        much by that, and the whole tensor hardly.
    picked : array of int, or None
        Of the rows that are looked at, those that these are of; None for all.
    in_parts : bool
        Whether `variance` holds entry by entry, and not of the whole alone.
    mistake : callable, optional
        From theirs to a known mistake that explains it and that its size does not show, in words; "" for none.
    """

    values: Array
    variance: Array
    partial: Array | float = 0.0
    picked: Array | None = None
    in_parts: bool = True
    mistake: Callable[[Array], str] | None = None


def unit_of(precision: str) -> Unit:
    """The most by which an entry is rounded; some processors flush what is below full precision to 0."""
    u, (smallest, smallest_normal) = unit_roundoff(precision), SMALLEST[precision]

    def unit(values: Array) -> Array:
        sizes = numpy.abs(values)
        return numpy.maximum(numpy.where(sizes < smallest_normal, sizes, u * sizes), smallest / 2)

    return unit


def linear(unit: Unit, x: Array, weight: Array, bias: Array | None) -> Expected:
    """y = x W^T + b: the product is rounded, and the sum; products are summed up in float32 or better."""
    product = x @ weight.T
    values, partial = product if bias is None else product + bias, partial_sums(unit, x, weight.T)
    summed = summation(unit, weight.shape[1]) * partial
    return Expected(values, unit(product) ** 2 + unit(values) ** 2 + summed, partial)


def partial_sums(unit: Unit, x: Array, weight: Array) -> Array:
    """What rounding each factor x of a product x W does to it; in float32, for its size alone counts."""
    sizes = unit(x)
    largest = sizes.max(axis=-1, keepdims=True)
    squares = numpy.square((sizes / largest).astype("float32")) @ numpy.square(weight.astype("float32"))
    return squares * numpy.square(largest)


def summation(unit: Unit, terms: int) -> float:
    """What summing in float32 adds, as a part of what rounding the factors does."""
    return float(ACCUMULATED * terms / unit(numpy.ones(1))[0]) ** 2


def total(unit: Unit, *terms: Array) -> Expected:
    """A sum; terms may have been rounded just before they were recorded, or not."""
    values = sum(terms[1:], terms[0])
    return Expected(values, unit(values) ** 2 + sum(unit(term) ** 2 for term in terms))


def layer_norm(unit: Unit, x: Array, weight: Array, bias: Array, eps: float) -> Expected:
    """Mean, centred, variance, root, quotient, scaled, shifted."""
    mean = x.mean(axis=-1, keepdims=True)
    inverse = 1 / numpy.sqrt(x.var(axis=-1, keepdims=True) + eps)
    scaled = (x - mean) * inverse * weight
    values = scaled + bias
    variance = 4 * unit(scaled) ** 2 + (unit(mean) * inverse * weight) ** 2 + unit(values) ** 2
    return Expected(values, variance + (unit(x - mean) * inverse * weight) ** 2)


def activation(unit: Unit, name: str, x: Array) -> Expected:
    """Near 0 a written-out GELU is a small difference of numbers of the size of x / 2."""
    values = ACTIVATIONS[name][0](x.copy())[0]
    return Expected(values, 2 * unit(values) ** 2 + unit(x) ** 2)


def scores(unit: Unit, query: Array, key: Array) -> Expected:
    """q k^T / sqrt(d): the product is rounded, and the quotient; or the query first."""
    scale = 1 / math.sqrt(query.shape[-1])
    values = query @ key.swapaxes(-1, -2) * scale
    squares = numpy.square(key).swapaxes(-1, -2) * scale**2
    summed = (ACCUMULATED * query.shape[-1]) ** 2 * numpy.square(query)
    return Expected(values, 2 * unit(values) ** 2 + (unit(query) ** 2 + summed) @ squares)


def softmax(unit: Unit, values: Array) -> Expected:
    """The largest is subtracted, then exponentials, their sum, the quotient."""
    shifted = values - values.max(axis=-1, keepdims=True)
    probs = numpy.exp(shifted)
    probs /= probs.sum(axis=-1, keepdims=True)
    return Expected(probs, 3 * unit(probs) ** 2 + (probs * numpy.expm1(unit(shifted))) ** 2)


def context(unit: Unit, probs: Array, value: Array) -> Expected:
    """P V; probabilities may be recorded in a finer precision than they are multiplied in."""
    values = probs @ value
    summed = (ACCUMULATED * value.shape[-2]) ** 2 * numpy.square(probs)
    return Expected(values, 2 * unit(values) ** 2 + (unit(probs) ** 2 + summed) @ numpy.square(value))


def attention(unit: Unit, query: Array, key: Array, value: Array) -> Expected:
    """All three: an error of a score moves what its key adds to the average. Where that is much, nothing is known."""
    of_scores = scores(unit, query, key)
    of_probs = softmax(unit, of_scores.values)
    mixed = context(unit, of_probs.values, value)
    errors = numpy.sqrt(of_scores.variance) + unit(of_scores.values.max(axis=-1, keepdims=True) - of_scores.values)
    moved = numpy.square(of_probs.values * numpy.expm1(numpy.minimum(errors, LARGEST_SCORE_ERROR))) + of_probs.variance
    # sum_j m_j (v_j - c)^2
    spread = moved @ numpy.square(value) - 2 * mixed.values * (moved @ value)
    spread += moved.sum(axis=-1, keepdims=True) * numpy.square(mixed.values)
    variance = mixed.variance + 2 * unit(mixed.values) ** 2 + numpy.maximum(spread, 0)
    lost = (errors > LARGEST_SCORE_ERROR).any(axis=-1, keepdims=True)
    return Expected(mixed.values, numpy.where(lost, numpy.inf, variance))
