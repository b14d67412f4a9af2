"""Why their tensor is of another shape than ours: two axes that are exchanged, or attention over the other of two."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from minivivit.verification.tensors.layout_sizes import named_sizes
from minivivit.verification.tensors.layouts import Shape

# What the axes of ours count, by their number.
COUNTED = {
    2: ("batch", "features"),
    3: ("batch", "tokens", "features"),
    4: ("batch", "heads", "queries", "keys"),
    5: ("batch", "frames", "channels", "height", "width"),
}
WEIGHT = ("outputs", "inputs")
# A sequence for each place, or each time, of each clip: of the factorised models.
SEQUENCES = re.compile(r"temporal_attention|spatial_attention|\.temporal\.|\.spatial\.|spatial_encoder")
FACTORISED = re.compile(r"temporal|spatial")
SCORES = (".scores", ".probs")


def why_another_shape(name: str, shape: Shape, goal: Shape, config: Mapping[str, Any]) -> str:
    """What looks exchanged, to be said after the two shapes; "" where nothing does.

    Parameters
    ----------
    name : str
        Of ours.
    shape, goal : tuple of int
        Of theirs and of ours.
    config : mapping
        Of our model, as its trace says; without it, times and places cannot be told.
    """
    for first, second in itertools.combinations(range(len(goal)), 2):
        order = list(range(len(goal)))
        order[first], order[second] = second, first
        if shape != goal and shape == tuple(goal[axis] for axis in order):
            words = _counted(name, goal)
            theirs = f": ({', '.join(words[axis] for axis in order)})" if words else ""
            return f"; axes {first} and {second} of theirs look exchanged{theirs}"
    return _other_sequences(name, shape, goal, config)


def _counted(name: str, goal: Shape) -> tuple[str, ...]:
    """What each axis of ours counts; empty where that is not known."""
    if name.endswith(".weight"):
        return WEIGHT if len(goal) == 2 else ()
    words = COUNTED.get(len(goal), ())
    return ("sequences", *words[1:]) if words and SEQUENCES.search(name) else words


def _other_sequences(name: str, shape: Shape, goal: Shape, config: Mapping[str, Any]) -> str:
    """Attention over times where ours is over places, or the reverse."""
    sizes, axis = named_sizes(config, None), -1 if name.endswith(SCORES) else -2
    if not FACTORISED.search(name) or min(len(goal), len(shape)) < 3 or "places" not in sizes:
        return ""
    cls = config.get("attention_type") == "factorised_encoder"  # its two encoders have a CLS token each
    for ours, theirs in (("times", "places"), ("places", "times")):
        if sizes[ours] != sizes[theirs] and (goal[axis], shape[axis]) == (sizes[ours] + cls, sizes[theirs] + cls):
            return (
                f"; theirs has sequences of {shape[axis]}, over {theirs}, where ours has sequences of {goal[axis]}, "
                f"over {ours}: space and time look exchanged"
            )
    return ""
