"""Model 3, factorised self-attention: in every layer over time, then over space (the paper's section 3.3)."""

from functools import partial

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.layers.factorised_self_attention_layer import (
    factorised_self_attention_layer_backward,
    factorised_self_attention_layer_forward,
)
from minivivit.layers.trace import Trace
from minivivit.models.encoders.embeddings import token_grid
from minivivit.models.encoders.forward_options import ForwardOptions
from minivivit.models.encoders.layer_arguments import layer_arguments
from minivivit.models.encoders.single_encoder import single_encoder_backward, single_encoder_forward


def factorised_self_attention_forward(
    pixel_values: Array, params: dict, config: VivitConfig, options: ForwardOptions
) -> tuple[Array, dict, dict | None]:
    r"""Encode a clip with two attentions a layer, one over time and one over space.

    As many tokens as Model 1 and no CLS token, for it would belong to no place and no time. Attention costs
    :math:`n_t n_s (n_t + n_s)` for :math:`n_t` times and :math:`n_s = n_h n_w` places.

    Returns
    -------
    last_hidden_state : array, shape (batch, times * places, hidden)
    outputs : dict
        ``"hidden_states"``, and ``"attentions"`` with "temporal" and "spatial" apart.
    cache : dict or None
    """
    times, rows, columns = token_grid(pixel_values.shape, config, options.interpolate)
    layer_forward = partial(
        factorised_self_attention_layer_forward,
        **layer_arguments(config),
        explicit=options.explicit,
        grid=(times, rows * columns),
        order=config.attention_order,
    )
    return single_encoder_forward(
        pixel_values,
        params,
        config,
        options,
        (times, rows, columns),
        layer_forward,
        branches=("temporal", "spatial", "mlp"),
        stochastic_depth=False,
    )


def factorised_self_attention_backward(dy: Array, cache: dict, trace: Trace | None = None) -> tuple[Array, dict]:
    """Gradients of `factorised_self_attention_forward`: to the pixels, and as params."""
    return single_encoder_backward(dy, cache, factorised_self_attention_layer_backward, trace)
