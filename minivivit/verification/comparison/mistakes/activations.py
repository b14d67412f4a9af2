"""Mistaken activations."""

from collections.abc import Iterator

import numpy

from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep

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


def mistaken_activations(own: str) -> Iterator[MistakenStep]:
    """Every activation that we know but `own`, none, and `own` twice."""

    def activate(x: numpy.ndarray, name: str = own) -> numpy.ndarray:
        return ACTIVATIONS[name][0](x)[0]

    for name, (words, cause) in NAMES.items():
        if name == own:
            continue
        if name in TANH_GELUS and own in TANH_GELUS:
            cause = "the tanh GELU's constant"
        elif cause == "erf against tanh GELU" and own not in (*TANH_GELUS, "gelu"):
            cause = "another activation"
        yield MistakenStep(
            cause,
            f"with {words} in place of {own}",
            f"the checkpoint's hidden_act is {own!r}: use it",
            lambda x, name=name: activate(x, name),
        )
    yield MistakenStep(
        "activation left out", "without the activation", f"apply {own} between the two linear maps", lambda x: x
    )
    yield MistakenStep(
        "activation twice", f"with {own} applied twice", "apply it once", lambda x: activate(activate(x))
    )
    yield MistakenStep(
        "another activation",
        "with leaky ReLU",
        f"the checkpoint's hidden_act is {own!r}",
        lambda x: numpy.where(x > 0, x, 0.01 * x),
    )
