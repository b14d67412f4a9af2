"""One case of a check: the inputs of one call, in words and as values."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.parameters import flatten


@dataclass(frozen=True)
class Case:
    """The inputs of one call.

    Attributes
    ----------
    about : str
        In words, such as "x of shape (2, 3, 7)".
    arguments : dict
        By name, in the order in which the function takes them: arrays, trees of arrays, numbers, a model, a generator.
    weight : int
        How many cases it counts for.
    """

    about: str
    arguments: dict[str, Any]
    weight: int = 1

    @property
    def dtype(self) -> str:
        """``"float32"`` when an array of the arguments has it, else ``"float64"``."""
        arrays = [value for argument in self.arguments.values() for value in leaves(argument).values()]
        return "float32" if any(array.dtype == numpy.float32 for array in arrays) else "float64"


def with_the_first_once_more(cases: list[Case]) -> list[Case]:
    """The cases and, last, two like the first: with its numbers in another order, and the first again.

    What keeps an answer from call to call, by shapes or for some calls, gives itself away.
    """
    first = cases[0]
    others = {name: copied(value, _reversed) for name, value in first.arguments.items()}
    return [
        *cases,
        Case(f"the numbers of case 1 in the other order ({first.about})", others),
        Case(f"case 1 once more ({first.about})", first.arguments),
    ]


def _reversed(array: numpy.ndarray) -> numpy.ndarray:
    """The last number first; rows that sum to 1 still do. Whole numbers stay where they are, and so does a model."""
    return array.ravel()[::-1].reshape(array.shape).copy() if array.dtype.kind == "f" else array.copy()


def large(about: str, arguments: dict[str, Any], others: list[Case]) -> Case:
    """A case that counts as much as all others: a gradient that is written out takes it at once, differences never."""
    return Case(f"{about}, the large case", arguments, weight=len(others))


def leaves(value: Any) -> dict[str, numpy.ndarray]:
    """The arrays within an argument or an answer, by flat name; what is no array is left out."""
    if isinstance(value, VivitForVideoClassification):
        return dict(value.state_dict())
    if isinstance(value, Mapping):
        return {name: array for name, array in flatten(value).items() if isinstance(array, numpy.ndarray)}
    return {"": value} if isinstance(value, numpy.ndarray) else {}


def copied(value: Any, convert: Callable[[numpy.ndarray], numpy.ndarray] = numpy.copy) -> Any:
    """A copy of an argument, sharing nothing with it; `convert` copies each array."""
    if isinstance(value, numpy.ndarray):
        return convert(value)
    if isinstance(value, Mapping):
        return {name: copied(part, convert) for name, part in value.items()}
    if isinstance(value, VivitForVideoClassification):
        model = VivitForVideoClassification(value.config, dtype=value.dtype, backend="numpy")
        model.load_state_dict(value.state_dict())
        return model
    return copy.deepcopy(value)


def in_float64(array: numpy.ndarray) -> numpy.ndarray:
    """A copy in float64; whole numbers stay what they are."""
    return array.astype("float64") if array.dtype.kind == "f" else array.copy()


def changed(before: Any, after: Any) -> list[str]:
    """Names of the arrays within an argument that are no longer what they were; "" for the argument itself."""
    old, new = leaves(before), leaves(after)
    names = [name for name in old if name not in new or not _same(old[name], new[name])]
    return names + [name for name in new if name not in old]


def _same(old: numpy.ndarray, new: numpy.ndarray) -> bool:
    return old.shape == new.shape and old.dtype == new.dtype and old.tobytes() == new.tobytes()
