"""Backward operators in float64, each with what rounding its own steps does to the result."""

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.suspicion.operators import Array, Expected, Unit, partial_sums, summation


def linear_backward(unit: Unit, dys: list[Array], weights: list[Array]) -> Expected:
    """dx = dy W; of query, key and value the sum, in one product or in three."""
    products = [dy @ weight for dy, weight in zip(dys, weights, strict=True)]
    values = sum(products[1:], products[0])
    partial = sum(partial_sums(unit, dy, weight) for dy, weight in zip(dys, weights, strict=True))
    variance = 2 * unit(values) ** 2 + sum(unit(product) ** 2 for product in products)
    return Expected(values, variance + summation(unit, len(weights[0])) * partial, partial)


def activation_backward(unit: Unit, name: str, x: Array, dy: Array, weight: Array) -> Expected:
    """dx = (dy W) f'(x); written out, f' is a sum of products of the size of 1 + x."""
    slope, derivative = dy @ weight, activation_derivative(name, x)
    values, partial = slope * derivative, partial_sums(unit, dy, weight) * numpy.square(derivative)
    variance = 2 * unit(values) ** 2 + unit(slope) ** 2 * (1 + numpy.square(x))
    return Expected(values, variance + summation(unit, len(weight)) * partial, partial)


def activation_derivative(name: str, x: Array) -> Array:
    """f'(x)"""
    forward, backward = ACTIVATIONS[name]
    return backward(numpy.ones_like(x), forward(x.copy())[1])


def layer_norm_backward(unit: Unit, stream: Array | None, dy: Array, x: Array, weight: Array, eps: float) -> Expected:
    r"""dx = stream + (g - mean(g) - n mean(g n)) / s, with g = dy w and n the normalised input.

    Of the whole alone: differentiated step by step in half precision, single entries of a right port were seen to err
    by 26 times this, and whole tensors by 0.8 times at most.
    """
    mean = x.mean(axis=-1, keepdims=True)
    inverse = 1 / numpy.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised, g = (x - mean) * inverse, dy * weight
    average, projection = g.mean(axis=-1, keepdims=True), (g * normalised).mean(axis=-1, keepdims=True)
    branch = (g - average - normalised * projection) * inverse
    values = branch if stream is None else stream + branch
    variance = unit(values) ** 2 + 4 * unit(branch) ** 2 + 4 * (unit(g) * inverse) ** 2
    variance += (unit(average) * inverse) ** 2 + 2 * (unit(projection) * normalised * inverse) ** 2
    variance += (unit(mean) * inverse * projection * inverse) ** 2 + (unit(normalised) * projection * inverse) ** 2
    # of both means each term is rounded, and so is what it is made of
    terms = (4 * unit(g * normalised) ** 2).mean(axis=-1, keepdims=True) / x.shape[-1]
    variance += (terms * normalised**2 + (unit(g) ** 2).mean(axis=-1, keepdims=True) / x.shape[-1]) * inverse**2
    return Expected(values, variance, in_parts=False)
