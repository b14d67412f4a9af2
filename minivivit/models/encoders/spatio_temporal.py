"""Model 1, joint spatio-temporal attention: every token sees every other (the paper's section 3.3)."""

from functools import partial

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.layers.trace import Trace
from minivivit.layers.transformer_layer import transformer_layer_backward, transformer_layer_forward
from minivivit.models.encoders.embeddings import token_grid
from minivivit.models.encoders.forward_options import ForwardOptions
from minivivit.models.encoders.layer_arguments import layer_arguments
from minivivit.models.encoders.single_encoder import single_encoder_backward, single_encoder_forward


def spatio_temporal_forward(
    pixel_values: Array, params: dict, config: VivitConfig, options: ForwardOptions
) -> tuple[Array, dict, dict | None]:
    r"""Encode a clip with attention among all its :math:`n_t n_h n_w` tubelets (and the CLS token) in every layer.

    The layer is the plain transformer layer; attention costs :math:`(n_t n_h n_w)^2`.

    Returns
    -------
    last_hidden_state : array, shape (batch, tokens, hidden)
    outputs : dict
        ``"hidden_states"`` and ``"attentions"``.
    cache : dict or None
    """
    grid = token_grid(pixel_values.shape, config, options.interpolate)
    layer_forward = partial(
        transformer_layer_forward,
        **layer_arguments(config),
        explicit=options.explicit,
        bias=options.attention_bias,
    )
    return single_encoder_forward(pixel_values, params, config, options, grid, layer_forward)


def spatio_temporal_backward(dy: Array, cache: dict, trace: Trace | None = None) -> tuple[Array, dict]:
    """Gradients of `spatio_temporal_forward`: to the pixels, and as params."""
    return single_encoder_backward(dy, cache, transformer_layer_backward, trace)
