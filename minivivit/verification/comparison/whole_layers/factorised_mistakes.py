"""Mistakes of Model 3's layers: times and places folded wrongly, or in another order."""

from collections.abc import Iterator
from dataclasses import replace

import numpy

from minivivit.verification.comparison.whole_layers.layer import Layer, from_sequences, to_sequences
from minivivit.verification.comparison.whole_layers.mistake import Mistake

Array = numpy.ndarray
OTHER = {"temporal": "spatial", "spatial": "temporal"}
ADVICE = "over time a sequence is one place at all times; over space, one time at all places"


def factorised_mistakes(layer: Layer) -> Iterator[Mistake]:
    """What a fold of (batch, times, places) may get wrong."""
    axes = [branch for branch in layer.branches if branch.axis]
    for branches in (*([branch] for branch in axes), axes) if len(axes) > 1 else ():
        steps: dict = {}
        for branch in branches:
            steps |= _folded(layer, branch.name, OTHER[branch.axis])
        names = " and ".join(branch.name for branch in branches)
        yield Mistake(
            "space and time exchanged", f"with the other axis attended over in {names}", ADVICE, steps, whole=True
        )
    for branch in axes:
        yield from _reversed(layer, branch.name, branch.axis)


def _folded(layer: Layer, name: str, axis: str) -> dict:
    return {
        f"{name}.sequences": lambda x: to_sequences(x, layer.grid, axis),
        f"{name}.unfold": lambda y: from_sequences(y, layer.grid, axis),
    }


def _reversed(layer: Layer, name: str, axis: str) -> Iterator[Mistake]:
    """The sequences in reverse; attention does not mind where that happens."""
    what = "places" if axis == "temporal" else "times"

    def sequences(x: Array) -> Array:
        by_clip = to_sequences(x, layer.grid, axis).reshape(len(x), -1, *_sequence_shape(layer, x, axis))
        return by_clip[:, ::-1].reshape(-1, *by_clip.shape[2:])

    yield Mistake(
        f"{what} reversed",
        f"with the {what} in reverse in {name}, and not put back",
        f"check the order of the {what}",
        {f"{name}.sequences": sequences},
        whole=True,
    )
    for times_folded, words in ((1, "folded"), (2, "folded, and unfolded likewise,")):

        def refolded(x: Array, number: int = times_folded) -> Array:
            found = to_sequences(x, layer.grid, axis)
            for _ in range(number):
                found = found.reshape(len(x), -1, *found.shape[1:]).swapaxes(0, 1).reshape(found.shape)
            return found

        yield Mistake(
            f"{what} folded in another order",
            f"with ({what}, clips) {words} where (clips, {what}) are expected, in {name}",
            f"fold clips and {what} with the clips slowest",
            {f"{name}.sequences": refolded},
            batch=True,
        )


def _sequence_shape(layer: Layer, x: Array, axis: str) -> tuple[int, int]:
    """(tokens of a sequence, hidden)"""
    return layer.grid[0 if axis == "temporal" else 1], x.shape[-1]


def other_order(layer: Layer) -> Layer | None:
    """The layer with its attentions in the other order; None where there is one only."""
    return replace(layer, branches=layer.branches[::-1], kept={}) if len(layer.branches) > 1 else None
