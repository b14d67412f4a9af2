"""Model 4, factorised dot-product attention: half of the heads over time, half over space (section 3.3)."""

from functools import partial

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.layers.trace import Trace
from minivivit.layers.transformer_layer import transformer_layer_backward, transformer_layer_forward
from minivivit.models.encoders.embeddings import token_grid
from minivivit.models.encoders.forward_options import ForwardOptions
from minivivit.models.encoders.layer_arguments import layer_arguments
from minivivit.models.encoders.single_encoder import single_encoder_backward, single_encoder_forward


def factorised_dot_product_forward(
    pixel_values: Array, params: dict, config: VivitConfig, options: ForwardOptions
) -> tuple[Array, dict, dict | None]:
    """Encode a clip with the parameters of Model 1, but let each head see one axis only.

    The layer is the plain transformer layer with its attention replaced
    (`minivivit.layers.factorised_dot_product_attention`). There is no CLS token, for it would belong to no place and no
    time.

    Returns
    -------
    last_hidden_state : array, shape (batch, times * places, hidden)
    outputs : dict
        ``"hidden_states"``, and ``"attentions"`` with "temporal" and "spatial" apart.
    cache : dict or None
    """
    times, rows, columns = token_grid(pixel_values.shape, config, options.interpolate)
    layer_forward = partial(
        transformer_layer_forward,
        **layer_arguments(config),
        explicit=options.explicit,
        grid=(times, rows * columns),
    )
    return single_encoder_forward(pixel_values, params, config, options, (times, rows, columns), layer_forward)


def factorised_dot_product_backward(dy: Array, cache: dict, trace: Trace | None = None) -> tuple[Array, dict]:
    """Gradients of `factorised_dot_product_forward`: to the pixels, and as params."""
    return single_encoder_backward(dy, cache, transformer_layer_backward, trace)
