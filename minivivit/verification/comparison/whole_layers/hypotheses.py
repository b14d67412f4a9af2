"""What could be wrong inside a layer, where theirs shows nothing between what enters it and what differs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy

from minivivit.verification.comparison.evidence.axes import attention_axes
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.whole_layers.attention_mistakes import attention_mistakes
from minivivit.verification.comparison.whole_layers.factorised_mistakes import factorised_mistakes, other_order
from minivivit.verification.comparison.whole_layers.layer import Branch, Layer, Parameters
from minivivit.verification.comparison.whole_layers.mistake import Mistake
from minivivit.verification.comparison.whole_layers.norm_mistakes import moved_norm_mistakes, norm_mistakes
from minivivit.verification.comparison.whole_layers.parameter_mistakes import (
    exchanged_parameters,
    other_layers_parameters,
    weight_mistakes,
)
from minivivit.verification.comparison.whole_layers.parameters import (
    Layers,
    later_layers,
    layer_parameters,
    other_layers,
)
from minivivit.verification.comparison.whole_layers.scaled_branches import scaled_branch_mistakes
from minivivit.verification.comparison.whole_layers.stack_mistakes import stack_hypotheses
from minivivit.verification.comparison.whole_layers.stream_mistakes import activation_mistakes, sum_mistakes
from minivivit.verification.comparison.whole_layers.trial import Trial

# Numbers that enter a layer. Where there are more, some hundred runs of it take minutes, and comparing takes seconds.
LARGEST = 1 << 18
# Mistakes at several steps: the first of them alone, which is all that a tensor inside the layer shows, is another one.
AT_SEVERAL_STEPS = ("post-norm instead of pre-norm", "activation after the second layer")


def layer_hypotheses(evidence: Evidence, name: str, inputs: str) -> Iterator[Hypothesis]:
    """Every known mistake of a layer, carried on to the tensor that differs.

    The layer is run on what they recorded before it, or on ours where they recorded nothing.

    Parameters
    ----------
    evidence : Evidence
        Of a tensor inside a layer, or of its output.
    name : str
        The layer, as in ``vivit.encoder.layer.3``.
    inputs : str
        The name of what enters it.
    """
    trial = _trial(evidence, name, inputs) if _hides_steps(evidence, name) else None
    if trial is None:
        return
    others = other_layers(evidence, name)
    for mistake in _mistakes(trial, others):
        if not trial.target or mistake.cause not in AT_SEVERAL_STEPS:
            yield from trial.tried(mistake)
    for mistake in scaled_branch_mistakes(evidence, trial.layer, trial.x, trial.parameters, trial.target):
        yield from trial.tried(mistake, is_fit=True)
    if not trial.target:
        yield from _other_runs(trial, name, others)


def first_norm_hypotheses(evidence: Evidence, name: str, inputs: str) -> Iterator[Hypothesis]:
    """What a layer's first norm computes where other layers, or this one, were run before it."""
    trial = _trial(evidence, name, inputs)
    if trial is not None:
        stack = later_layers(name, other_layers(evidence, name))
        yield from stack_hypotheses(trial.layer, trial.x, trial.parameters, stack, trial.is_wanted, trial.target)


def _trial(evidence: Evidence, name: str, inputs: str) -> Trial | None:
    """The layer of ours, where it gives what our trace holds."""
    layer, parameters, ours = _layer(evidence, name), layer_parameters(evidence, name), evidence.sample(inputs)
    if layer is None or not parameters or ours is None or ours.ndim != 3 or ours.size > LARGEST:
        return None
    if ours.shape[:2] != evidence.sample_shape(evidence.name)[:2]:
        return None  # times or places of Model 3's attentions
    target = evidence.name[len(name) + 1 :]
    try:
        if not evidence.is_ours(layer.run(ours, parameters, target=target)):
            return None
    except (KeyError, ValueError):  # other weights, or another grid than the config's
        return None
    layer.kept.clear()
    theirs = evidence.read_theirs(inputs)
    known = theirs is not None and theirs.shape == ours.shape and numpy.isfinite(theirs).all()
    return Trial(evidence, layer, theirs if theirs is not None and known else ours, parameters, target, inputs)


def _mistakes(trial: Trial, others: Mapping[str, Parameters]) -> Iterator[Mistake]:
    layer, parameters = trial.layer, trial.parameters
    yield from attention_mistakes(layer, trial.x.shape[1])
    yield from activation_mistakes(layer)
    yield from sum_mistakes(layer)
    yield from norm_mistakes(layer)
    yield from moved_norm_mistakes(layer, parameters)
    yield from weight_mistakes(layer, parameters)
    yield from exchanged_parameters(layer, parameters)
    yield from other_layers_parameters(layer, parameters, others)
    yield from factorised_mistakes(layer)


def _other_runs(trial: Trial, name: str, others: Layers) -> Iterator[Hypothesis]:
    """The stack's layers run in another way, and this one's attentions in the other order."""
    stack = later_layers(name, others)
    yield from stack_hypotheses(trial.layer, trial.x, trial.parameters, stack, trial.is_wanted)
    turned = other_order(trial.layer)
    if turned is not None:
        first, second = (branch.axis for branch in trial.layer.branches)
        words = {"temporal": "time", "spatial": "space"}
        yield from replace(trial, layer=turned).tried(
            Mistake(
                f"{words[second]} before {words[first]}",
                f"with {second} attention before {first} attention",
                "check attention_order",
            )
        )


def _layer(evidence: Evidence, name: str) -> Layer | None:
    config = evidence.config
    if config is None or config.num_attention_heads < 1 or config.hidden_size % config.num_attention_heads:
        return None
    if config.attention_type != "factorised_self_attention":
        return Layer(config, (Branch("attention", "layernorm_before", "attention_residual"),))
    axes = attention_axes(config)
    return Layer(
        config,
        tuple(Branch(f"{axis}_attention", f"layernorm_{axis}", f"{axis}_attention_residual", axis) for axis in axes),
    )


def _hides_steps(evidence: Evidence, name: str) -> bool:
    """Whether the step before what differs is inside the layer and was not recorded."""
    names = list(evidence.ours.shapes)
    before = names[max(0, names.index(evidence.name) - 1)]
    return before.startswith(f"{name}.") and evidence.read_theirs(before) is None
