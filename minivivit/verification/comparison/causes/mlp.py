"""What goes wrong at the activation."""

from collections.abc import Iterator

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis

# Causes by the activation that theirs is, and what to set. Two of one cause differ by rounding only.
NAMES = {
    "gelu": ("exact GELU (erf)", "erf against tanh GELU"),
    "gelu_pytorch_tanh": ("the tanh approximation of GELU", "erf against tanh GELU"),
    "gelu_fast": ("the tanh approximation of GELU, its constant cut after ten digits", "erf against tanh GELU"),
    "quick_gelu": ("the sigmoid approximation of GELU (quick_gelu)", "quick_gelu"),
    "relu": ("ReLU", "another activation"),
    "silu": ("SiLU (swish)", "another activation"),
    "tanh": ("tanh", "another activation"),
}
TANH_GELUS = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh")


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
    for name, (words, cause) in NAMES.items():
        if name == ours:
            continue
        if name in TANH_GELUS and ours in TANH_GELUS:
            cause = "the tanh GELU's constant"
        elif cause == "erf against tanh GELU" and ours not in (*TANH_GELUS, "gelu"):
            cause = "another activation"
        yield Hypothesis(
            cause,
            f"with {words} in place of {ours}",
            f"the checkpoint's hidden_act is {ours!r}: use it",
            ACTIVATIONS[name][0](x)[0],
        )
    yield Hypothesis("activation left out", "without the activation", f"apply {ours} between the two linear maps", x)
    once = ACTIVATIONS[ours][0](x)[0]
    yield Hypothesis("activation twice", f"with {ours} applied twice", "apply it once", ACTIVATIONS[ours][0](once)[0])
    leaky = numpy.where(x > 0, x, 0.01 * x)
    yield Hypothesis("another activation", "with leaky ReLU", f"the checkpoint's hidden_act is {ours!r}", leaky)
