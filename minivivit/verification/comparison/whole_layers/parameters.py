"""The parameters of a model's layers, read when they are asked for."""

import re
from collections.abc import Iterator, Mapping

from minivivit.verification.comparison.evidence.evidence import Evidence
from minivivit.verification.comparison.whole_layers.layer import Parameters

LAYER = r"(?P<stem>(?:.*\.)?layer\.)(?P<number>\d+)"


def layer_parameters(evidence: Evidence, name: str) -> Parameters:
    """Of a layer, by their names inside it."""
    found = {}
    for full in evidence.parameter_names(re.escape(name) + r"\..*"):
        parameter = evidence.parameter(full)
        if parameter is not None:
            found[full[len(name) + 1 :]] = parameter
    return found


class Layers(Mapping[str, Parameters]):
    """The parameters of layers by the layers' names, read one layer at a time."""

    def __init__(self, evidence: Evidence, names: list[str]):
        self.evidence, self.names = evidence, names

    def __getitem__(self, name: str) -> Parameters:
        return layer_parameters(self.evidence, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def other_layers(evidence: Evidence, name: str) -> Layers:
    """The parameters of all other layers, the nearest first."""
    names = {
        match[0]
        for parameter in evidence.parameter_names(LAYER + r"\..*")
        if (match := re.match(LAYER, parameter)) and match[0] != name
    }
    stem, number = _split(name)

    def distance(other: str) -> tuple[bool, int, int]:
        return _split(other)[0] != stem, abs(_split(other)[1] - number), -_split(other)[1]

    return Layers(evidence, sorted(names, key=distance))


def later_layers(name: str, others: Layers) -> Layers:
    """Those that come after it in its stack, in their order."""
    stem, number = _split(name)
    later = (other for other in others if _split(other)[0] == stem and _split(other)[1] > number)
    return Layers(others.evidence, sorted(later, key=_split))


def _split(name: str) -> tuple[str, int]:
    """("vivit.encoder.layer.", 3)"""
    stem, _, number = name.rpartition(".")
    return f"{stem}.", int(number)
