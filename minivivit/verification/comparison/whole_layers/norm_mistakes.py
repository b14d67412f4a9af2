"""Mistakes of a layer's norms, one of them or all."""

from collections.abc import Callable, Iterator

from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep
from minivivit.verification.comparison.mistakes.norms import (
    USUAL_EPSILONS,
    layer_norm,
    mistaken_scales,
    mistaken_statistics,
    normalised_twice,
    other_epsilon,
    plain_layer_norm,
)
from minivivit.verification.comparison.whole_layers.layer import Layer, Parameters
from minivivit.verification.comparison.whole_layers.mistake import Mistake, in_places, subsets


def norm_mistakes(layer: Layer) -> Iterator[Mistake]:
    """All of them."""
    norms = {branch.name: branch.norm for branch in layer.branches} | {"mlp": "layernorm_after"}
    eps = layer.config.layer_norm_eps
    epsilons = [
        other_epsilon(eps, candidate, outside)
        for outside in (False, True)
        for candidate in USUAL_EPSILONS
        if outside or candidate != eps
    ]
    left_out = MistakenStep("layer norm left out", "without the layer norm", "apply it", lambda x, w, b, eps: x)
    steps = (
        left_out,
        *epsilons,
        *mistaken_statistics(layer.config.hidden_size),
        *mistaken_scales(),
        *normalised_twice(),
    )
    for places in subsets(norms):
        for step in steps:
            yield in_places(step, "norm", places)
    for place, words in (("layer.input", "its input"), ("layer.output", "its output")):
        yield Mistake(
            "extra layer norm",
            f"with a norm without weight and bias applied to {words}",
            "ViViT normalises what goes into each branch, and not the stream",
            {place: lambda x: plain_layer_norm(x, eps)},
        )


def moved_norm_mistakes(layer: Layer, parameters: Parameters) -> Iterator[Mistake]:
    """Norms that are given another tensor, or that come after the sum."""
    wrong, advice = "norm of the wrong tensor", "the layer norm takes the stream with the branch before it added"
    given = [("mlp", "layernorm_after"), *((branch.name, branch.norm) for branch in layer.branches[1:])]
    for place, norm in given:
        mistake = f"with {norm} computed from what enters the layer"
        yield Mistake(wrong, mistake, advice, {f"{place}.norm_input": lambda stream, first: first})
    steps: dict[str, Callable] = {}
    for place, norm in (*((branch.name, branch.norm) for branch in layer.branches), ("mlp", "layernorm_after")):
        weight, bias = parameters[f"{norm}.weight"], parameters[f"{norm}.bias"]
        steps[f"{place}.norm"] = lambda x, w, b, eps: x
        steps[f"{place}.add"] = lambda stream, branch, normalised, first, weight=weight, bias=bias: layer_norm(
            stream + branch, weight, bias, layer.config.layer_norm_eps
        )
    yield Mistake(
        "post-norm instead of pre-norm",
        "with the layer norms applied to the sums, and not before the branches",
        "ViViT normalises what goes into each branch: x + MSA(LN(x))",
        steps,
    )
