"""What goes wrong at the activation."""

from collections.abc import Iterator

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.mistakes.activations import mistaken_activations


def activated_output_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """An activation after the second linear map."""
    y = evidence.sample(evidence.name)
    if y is not None and evidence.config is not None:
        yield Hypothesis(
            "activation after the second layer",
            f"with {evidence.config.hidden_act} applied to it",
            "the activation stands between the two linear maps only",
            ACTIVATIONS[evidence.config.hidden_act][0](y)[0],
        )


def activation_hypotheses(evidence: Evidence, inputs: str) -> Iterator[Hypothesis]:
    """Every activation that we know, and none.

    Parameters
    ----------
    inputs : str
        The name of what goes into the activation.
    """
    x, config = evidence.sample(inputs), evidence.config
    if x is None or config is None:
        return
    x = x[:, : max(1, (1 << 20) // x.shape[-1])]  # a million numbers tell
    ours = config.hidden_act
    if not evidence.is_ours(ACTIVATIONS[ours][0](x)[0]):
        return
    for step in mistaken_activations(ours):
        yield Hypothesis(step.cause, step.mistake, step.advice, step.compute(x))
