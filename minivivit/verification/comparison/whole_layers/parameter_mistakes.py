"""Parameters of a layer that were loaded wrongly, or that are those of another layer."""

from collections.abc import Callable, Iterator, Mapping

import numpy

from minivivit.verification.comparison.mistakes.weights import mistaken_weights
from minivivit.verification.comparison.whole_layers.layer import Layer, Parameters
from minivivit.verification.comparison.whole_layers.mistake import Mistake

NORM = "layernorm"
LOADING = "check the names and the order in which the layers' parameters are loaded, and that no layer is left out"
# Other layers whose single modules are tried, and not only all of their parameters.
NEIGHBOURS = 4


def weight_mistakes(layer: Layer, parameters: Parameters) -> Iterator[Mistake]:
    """Transposed, rounded, quantised, without bias: one linear map, those of a branch, or all of them."""
    maps = [name.removesuffix(".weight") for name, array in parameters.items() if array.ndim == 2]
    groups = {f"in {name}": [name] for name in maps}
    for branch in layer.branches:
        projections = [name for name in maps if name.startswith(f"{branch.name}.attention.")]
        groups[f"in {branch.name}'s query, key and value"] = projections
        groups[f"in {branch.name}"] = [*projections, f"{branch.name}.output.dense"]
    groups["in the MLP"] = ["intermediate.dense", "output.dense"]
    groups["in every linear map of the layer"] = maps
    groups["in the whole layer"] = [*maps, *_norms(parameters)]
    for mistaken in mistaken_weights(layer.config.hidden_size // layer.heads):
        by_module = {
            name: _changed(parameters, name, mistaken.change)
            for name in [*maps, *(_norms(parameters) if mistaken.of_norms_too else [])]
        }
        for where, names in groups.items():
            if mistaken.alone and len(names) > 1:
                continue
            if len(names) > len(maps) and not mistaken.of_norms_too:
                continue
            if mistaken.cause == "input columns permuted" and names[0] == "output.dense":
                continue  # the rows of the first map in that order make the same
            changed = {key: array for name in names for key, array in by_module[name].items()}
            if changed:
                yield Mistake(mistaken.cause, f"{mistaken.mistake} {where}", mistaken.advice, parameters=changed)
    yield from _twice_biased(parameters, maps)


def _twice_biased(parameters: Parameters, maps: list[str]) -> Iterator[Mistake]:
    for name in maps:
        bias = parameters.get(f"{name}.bias")
        if bias is not None and bias.any():
            yield Mistake(
                "bias twice", f"with the bias of {name} added twice", "add it once",
                parameters={f"{name}.bias": 2 * bias},
            )  # fmt: skip


def _changed(
    parameters: Parameters, name: str, change: Callable[[str, numpy.ndarray], numpy.ndarray]
) -> dict[str, numpy.ndarray]:
    """Those parameters of a module that a change makes others of."""
    found = {}
    for kind in ("weight", "bias"):
        before = parameters.get(f"{name}.{kind}")
        after = None if before is None else change(kind, before)
        if before is not None and after is not None and not numpy.array_equal(before, after):
            found[f"{name}.{kind}"] = numpy.ascontiguousarray(after)
    return found


def _norms(parameters: Parameters) -> list[str]:
    return [name.removesuffix(".weight") for name in parameters if name.startswith(NORM) and name.endswith(".weight")]


def exchanged_parameters(layer: Layer, parameters: Parameters) -> Iterator[Mistake]:
    """Those of one module of the layer in another, or the two exchanged."""
    norms = _norms(parameters)
    pairs = [(first, second) for index, first in enumerate(norms) for second in norms[index + 1 :]]
    if len(layer.branches) > 1:
        pairs.append((layer.branches[0].name, layer.branches[1].name))
    for first, second in pairs:
        ways = (
            ({first: second}, f"with the parameters of {second} in {first}"),
            ({second: first}, f"with the parameters of {first} in {second}"),
            ({first: second, second: first}, f"with the parameters of {first} and {second} exchanged"),
        )
        for renamed, words in ways:
            changed = {
                f"{name}{ours[len(whose) :]}": array
                for name, whose in renamed.items()
                for ours, array in parameters.items()
                if ours.startswith(f"{whose}.")
            }
            yield Mistake("another layer's parameters", words, LOADING, parameters=changed)


def other_layers_parameters(
    layer: Layer, parameters: Parameters, others: Mapping[str, Parameters]
) -> Iterator[Mistake]:
    """Those of another layer: all of them, or those of one module.

    Parameters
    ----------
    others : dict
        Name of a layer -> its parameters.
    """
    modules = sorted({name.rpartition(".")[0] for name in parameters})
    prefixes = ["", *(branch.name + "." for branch in layer.branches), *(f"{module}." for module in modules)]
    for count, (other, theirs) in enumerate(others.items()):
        for prefix in prefixes if count < NEIGHBOURS else [""]:
            changed = {
                name: theirs[name]
                for name in parameters
                if name.startswith(prefix) and name in theirs and theirs[name].shape == parameters[name].shape
            }
            if changed and any(not numpy.array_equal(changed[name], parameters[name]) for name in changed):
                what = f"parameters of {other}" if not prefix else f"parameters of {other}.{prefix[:-1]}"
                yield Mistake("another layer's parameters", f"with the {what}", LOADING, parameters=changed)
