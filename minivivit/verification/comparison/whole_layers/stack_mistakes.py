"""Layers run twice, left out, or in another order."""

from collections.abc import Callable, Iterator, Mapping

import numpy

from minivivit.verification.comparison.evidence.evidence import Hypothesis
from minivivit.verification.comparison.whole_layers.layer import Layer, Parameters

ADVICE = "run the layers once each, in the order of their numbers"


def stack_hypotheses(
    layer: Layer,
    x: numpy.ndarray,
    parameters: Parameters,
    others: Mapping[str, Parameters],
    wanted: Callable[[str, str], bool],
    target: str = "",
) -> Iterator[Hypothesis]:
    """What a layer computes when the stack of layers is run in another way.

    Parameters
    ----------
    x : array
        What should enter the layer.
    others : dict
        Name of each other layer of the encoder -> its parameters, in their order.
    wanted : callable
        Whether a (cause, mistake) is to be computed.
    target : str
        What of the layer, by its name inside it; "" for its output.
    """
    names, order = list(others), "layers in another order"
    if not target and wanted("layer left out", "in what enters the layer"):
        yield Hypothesis("layer left out", "in what enters the layer", ADVICE, x)
    if wanted("layer run twice", "with the layer run twice"):
        twice = layer.run(layer.run(x, parameters), parameters, target=target)
        yield Hypothesis("layer run twice", "with the layer run twice", ADVICE, twice)
    chains = {f"with {name} run before it": [name] for name in names[:1]}
    chains |= {f"with {', '.join(names[::-1])} run before it": names[::-1]} if len(names) > 1 else {}
    for words, chain in chains.items():
        if wanted(order, words):
            y = x
            for name in chain:
                y = layer.run(y, others[name])
            yield Hypothesis(order, words, ADVICE, layer.run(y, parameters, target=target))
