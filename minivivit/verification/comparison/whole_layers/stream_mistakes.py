"""Mistakes of a layer's sums, and of its activation."""

from collections.abc import Iterator

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.mistakes.activations import mistaken_activations
from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep
from minivivit.verification.comparison.whole_layers.layer import Layer
from minivivit.verification.comparison.whole_layers.mistake import Mistake, in_places, subsets

Array = numpy.ndarray


def sum_mistakes(layer: Layer) -> Iterator[Mistake]:
    """At one of the sums x + branch(LN(x)), or at all of them."""
    branches = {branch.name: branch.name for branch in layer.branches} | {"mlp": "the MLP"}
    for places in subsets(branches):
        for step in _sums():
            yield in_places(step, "add", places)
    advice = "the sum is of the stream after the branch before"
    for place in list(branches)[1:]:
        yield Mistake(
            "residual from the wrong place",
            f"with what enters the layer in place of the stream, where {branches[place]} is added",
            advice,
            {f"{place}.add": lambda stream, branch, normalised, first: first + branch},
        )


def _sums() -> Iterator[MistakenStep]:
    for cause, mistake, compute in (
        ("branch left out", "without the branch", lambda x, branch, normalised, first: x),
        ("branch added twice", "with the branch added twice", lambda x, branch, normalised, first: x + 2 * branch),
        ("residual subtracted", "with the branch subtracted", lambda x, branch, normalised, first: x - branch),
        ("residual left out", "without the stream", lambda x, branch, normalised, first: branch),
        ("residual added twice", "with the stream added twice", lambda x, branch, normalised, first: 2 * x + branch),
        (
            "residual of the normalised input",
            "with the normalised stream in place of the stream",
            lambda x, branch, normalised, first: normalised + branch,
        ),
    ):
        yield MistakenStep(cause, f"{mistake} at the sum", "a sum is of the stream and the branch", compute)


def activation_mistakes(layer: Layer) -> Iterator[Mistake]:
    """Another activation, none, or one where none belongs."""
    own = layer.config.hidden_act
    for step in mistaken_activations(own):
        yield in_places(step, "activation", {"mlp": "the MLP"})

    def activate(x: Array) -> Array:
        return ACTIVATIONS[own][0](x)[0]

    cause, advice = "activation after the second layer", "the activation stands between the two linear maps only"
    yield Mistake(cause, f"with {own} after the MLP's second linear map too", advice, {"mlp.output": activate})
    mistake = f"with {own} after the MLP's second linear map, and not between the two"
    yield Mistake(cause, mistake, advice, {"mlp.output": activate, "mlp.activation": lambda x: x})
