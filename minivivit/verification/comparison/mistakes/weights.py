"""Mistaken parameters of linear maps: each is computed from the name of the parameter's kind and the parameter."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy

from minivivit.verification.rounding.precisions import round_to_precision

# By how many places rows or columns may have been moved on, beside the size of a head.
SHIFTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class MistakenWeights:
    """How parameters were loaded wrongly.

    Attributes
    ----------
    cause, mistake, advice : str
        As for `MistakenStep`.
    change : callable
        From "weight" or "bias" and the parameter to what was loaded in its place.
    alone : bool
        Whether it is tried on one linear map at a time, and not on several at once.
    of_norms_too : bool
        Whether it may be of layer norms as well.
    """

    cause: str
    mistake: str
    advice: str
    change: Callable[[str, numpy.ndarray], numpy.ndarray]
    alone: bool = False
    of_norms_too: bool = False


def rounded_weights(weight: numpy.ndarray) -> list[tuple[str, numpy.ndarray]]:
    """A parameter as a checkpoint in a lower precision would give it back, by the precision's name."""
    return [(name, _rounded(weight, name)) for name in ("bfloat16", "float16")]


def quantised_weights(weight: numpy.ndarray) -> list[tuple[str, numpy.ndarray]]:
    """A weight as int8 would give it back, by how many scales it has."""
    by_output = numpy.abs(weight.reshape(len(weight), -1)).max(axis=1).reshape(-1, *[1] * (weight.ndim - 1))
    return [
        (words, numpy.round(weight / scale) * scale)
        for words, scale in (
            ("one scale for each output", numpy.where(by_output > 0, by_output, 1.0) / 127),
            ("one scale for all", (numpy.abs(weight).max() or 1.0) / 127),
        )
    ]


def mistaken_weights(head_size: int) -> Iterator[MistakenWeights]:
    """Of linear maps, (outputs, inputs) and (outputs,)."""
    yield MistakenWeights(
        "bias left out", "without the bias", "load and add it", lambda kind, p: 0 * p if kind == "bias" else p
    )
    yield MistakenWeights(
        "transposed weight",
        "with the weight transposed (x W + b for x W^T + b)",
        "a weight is (outputs, inputs) as in PyTorch; a Flax or TensorFlow kernel is (inputs, outputs)",
        lambda kind, p: p.T if p.ndim == 2 and len(set(p.shape)) == 1 else p,
    )
    for name, both in product(("bfloat16", "float16"), (True, False)):
        words = "weights and biases" if both else "weights, and not the biases,"
        yield MistakenWeights(
            "weights rounded",
            f"with the {words} rounded to {name}",
            f"the checkpoint went through {name}; convert it from the original",
            partial(_stored, name, both),
            of_norms_too=both,
        )
    for index, words in enumerate(("one scale for each output", "one scale for each weight")):
        yield MistakenWeights(
            "weights quantised",
            f"with the weights quantised to int8, {words}",
            "compare with the weights before they are quantised",
            partial(_quantised, index),
        )
    yield from _orders(head_size)


def _orders(head_size: int) -> Iterator[MistakenWeights]:
    """Rows or columns in reverse, or moved on; columns by whole heads are an order of heads, named elsewhere."""
    for shift in (0, *(sign * size for size in sorted({*SHIFTS, head_size}) for sign in (1, -1))):
        words = f"moved on by {shift} in a circle" if shift else "in reverse"

        def moved(array: numpy.ndarray, axis: int, shift: int = shift) -> numpy.ndarray:
            return numpy.roll(array, shift, axis) if shift else numpy.flip(array, axis)

        def rows(kind: str, parameter: numpy.ndarray, moved: Callable = moved) -> numpy.ndarray:
            return moved(parameter, 0)

        def columns(kind: str, parameter: numpy.ndarray, moved: Callable = moved) -> numpy.ndarray:
            return moved(parameter, 1) if parameter.ndim == 2 else parameter

        advice = "check the order of the weight's rows and columns"
        yield MistakenWeights("feature order", f"with the outputs {words}", advice, rows, alone=True)
        if not shift or shift % head_size:
            mistake = f"with the weight's columns {words}"
            yield MistakenWeights("input columns permuted", mistake, advice, columns, alone=True)


def _stored(precision: str, biases_too: bool, kind: str, parameter: numpy.ndarray) -> numpy.ndarray:
    return _rounded(parameter, precision) if biases_too or kind == "weight" else parameter


def _quantised(index: int, kind: str, parameter: numpy.ndarray) -> numpy.ndarray:
    return quantised_weights(parameter)[index][1] if kind == "weight" else parameter


def _rounded(array: numpy.ndarray, precision: str) -> numpy.ndarray:
    return round_to_precision(array, precision).astype("float64")
