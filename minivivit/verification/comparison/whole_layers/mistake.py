"""A mistake of a whole layer: other steps, other parameters, or other layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep
from minivivit.verification.comparison.whole_layers.layer import Layer, Parameters, Steps


@dataclass(frozen=True)
class Mistake:
    """What is otherwise than in our layer.

    Attributes
    ----------
    cause, mistake, advice : str
        As for a `Hypothesis`.
    steps : dict
        In place of ours.
    parameters : dict
        In place of ours, by their names inside the layer.
    whole : bool
        Whether the output of some tokens cannot be had without that of all.
    batch : bool
        Whether clips, or what is folded into the first axis, are mixed: then it is run on all of them.
    """

    cause: str
    mistake: str
    advice: str
    steps: Steps = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    whole: bool = False
    batch: bool = False

    def run(self, layer: Layer, x: numpy.ndarray, parameters: Parameters, target: str, rows: int | None) -> Any:
        """What the layer would have computed at `target`."""
        rows = None if self.whole or self.batch else rows
        return layer.run(x, parameters, self.steps, self.parameters, target, rows)


def in_places(step: MistakenStep, name: str, places: Mapping[str, str]) -> Mistake:
    """A mistaken step at some places, such as {"attention": "layernorm_before"}: the branch, and how it is called."""
    where = " and ".join(places.values())
    return Mistake(
        step.cause,
        f"{step.mistake} in {where}",
        step.advice,
        {f"{place}.{name}": step.compute for place in places},
        whole=step.whole,
    )


def subsets(places: Mapping[str, str]) -> list[dict[str, str]]:
    """Each of the places alone, then all of them."""
    single = [{place: words} for place, words in places.items()]
    return [*single, dict(places)] if len(single) > 1 else single
