"""The random masks of one training pass, drawn before the layers run."""

from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.config import VivitConfig
from minivivit.layers.residual_branch import draw_branch
from minivivit.ops.stochastic_depth import layer_drop_rate


def draw_layers(
    rng: numpy.random.Generator | None,
    config: VivitConfig,
    branches: tuple[str, ...],
    tokens: Array,
    num_layers: int,
    *,
    stochastic_depth: bool = True,
    copies: int = 1,
) -> list[dict] | None:
    """Draw the masks of every layer of a stack.

    Drawn beforehand, they make each layer an ordinary function with an ordinary gradient, and a layer that is computed
    again (`gradient_checkpointing`) gets the same masks.

    Parameters
    ----------
    rng : numpy.random.Generator or None
        None while not training: nothing is drawn.
    branches : names of the residual branches of a layer, as ``("attention", "mlp")``
        All but ``"mlp"`` are attentions and get a seed for dropout of their probabilities too.
    tokens : array, shape (batch, tokens, hidden)
        What goes into the first layer; the masks have its shape and lie on its device.
    stochastic_depth : bool
        False for Model 3, which has none.
    copies : int
        How many sequences of the batch belong to one sample (the frames, in Model 2's spatial encoder): a sample is
        dropped whole.
    """
    if rng is None:
        return None
    xp, shape = array_namespace(tokens), tokens.shape
    rate = config.attention_probs_dropout_prob
    layers = []
    for layer in range(num_layers):
        drop_rate = layer_drop_rate(layer, num_layers, config.stochastic_droplayer_rate) if stochastic_depth else 0.0
        draws: dict[str, Any] = {}
        for branch in branches:
            if branch != "mlp":
                draws[f"{branch}_probs"] = (int(rng.integers(2**62)), rate) if rate else None
            draws[branch] = draw_branch(rng, shape, config.hidden_dropout_prob, drop_rate, copies, xp)
        layers.append(draws)
    return layers
