"""Model 2, the factorised encoder: first every frame by itself, then the frames among each other (section 3.3)."""

from functools import partial
from typing import Any

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.layers.layer_stack import layer_stack_backward, layer_stack_forward
from minivivit.layers.trace import Trace, record, scope
from minivivit.layers.transformer_layer import transformer_layer_backward, transformer_layer_forward
from minivivit.models.encoders.draws import draw_layers
from minivivit.models.encoders.embeddings import (
    patch_embeddings_backward,
    patch_embeddings_forward,
    place_embeddings_backward,
    place_embeddings_forward,
    token_grid,
)
from minivivit.models.encoders.forward_options import ForwardOptions
from minivivit.models.encoders.layer_arguments import layer_arguments
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
from minivivit.ops.pooling import pooling_backward, pooling_forward


def factorised_encoder_forward(
    pixel_values: Array, params: dict, config: VivitConfig, options: ForwardOptions
) -> tuple[Array, dict, dict | None]:
    r"""Encode each temporal index with a spatial encoder, and what they become with a temporal encoder.

    .. math::
        h_t = \mathrm{pool}(\mathrm{Spatial}(x_{t,1}, \dots, x_{t,n_s})), \qquad
        y = \mathrm{Temporal}(h_1, \dots, h_{n_t})

    Each encoder has position embeddings (and a CLS token, where the classifier is "token") of its own. Attention costs
    :math:`n_t n_s^2 + n_t^2`. With `spatial_only_baseline` there is no temporal encoder, and y is h.

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
    params : dict
        ``embeddings`` (the tubelets), ``spatial_encoder`` and ``temporal_encoder``.

    Returns
    -------
    last_hidden_state : array, shape (batch, [1 +] times, hidden)
    outputs : dict
        ``"hidden_states"`` and ``"attentions"``, each with "spatial", (batch, times, ...), and "temporal" apart.
    cache : dict or None

    References
    ----------
    The paper's figure 4; scenic ``model.SpaceTimeViViT``.
    """
    batch = len(pixel_values)
    times, rows, columns = token_grid(pixel_values.shape, config, options.interpolate)
    _, old_rows, old_columns = config.grid_size
    patch_params = params["embeddings"]["patch_embeddings"]
    tokens, patch_cache = patch_embeddings_forward(
        pixel_values, patch_params, config, scope(options.trace, "embeddings")
    )
    frames = tokens.reshape(batch * times, rows * columns, -1)  # the temporal indices become part of the batch
    grids = ((1, old_rows, old_columns), (1, rows, columns))
    y, spatial_outputs, spatial_cache = _encoder_forward(
        frames, params["spatial_encoder"], config, options, "spatial_encoder", grids, copies=times
    )
    y, pooling_cache = pooling_forward(y, config.classifier)
    y = y.reshape(batch, times, -1)  # (batch, times, hidden)
    record(options.trace, "spatial_encoder", y)
    outputs: dict[str, Any] = {}
    for name in ("hidden_states", "attentions"):
        arrays = [_unfold(array, batch, times) for array in spatial_outputs[name]]
        outputs[name] = {"spatial": arrays, "temporal": []}
    cache = {"patch": patch_cache, "spatial": spatial_cache, "pooling": pooling_cache}
    if not config.spatial_only_baseline:
        grids = ((config.grid_size[0], 1, 1), (times, 1, 1))
        y, temporal_outputs, cache["temporal"] = _encoder_forward(
            y, params["temporal_encoder"], config, options, "temporal_encoder", grids
        )
        for name in ("hidden_states", "attentions"):
            outputs[name]["temporal"] = temporal_outputs[name]
    return y, outputs, cache if options.keep_cache else None


def factorised_encoder_backward(dy: Array, cache: dict, trace: Trace | None = None) -> tuple[Array, dict]:
    """Gradients of `factorised_encoder_forward`, from the bottom up: to the pixels, and as params."""
    gradients: dict[str, Any] = {}
    if "temporal" in cache:
        dy, gradients["temporal_encoder"] = _encoder_backward(dy, cache["temporal"], "temporal_encoder", trace)
    record(trace, "spatial_encoder", dy)
    batch, times, hidden = dy.shape
    dframes = pooling_backward(dy.reshape(batch * times, hidden), cache["pooling"])
    dframes, gradients["spatial_encoder"] = _encoder_backward(dframes, cache["spatial"], "spatial_encoder", trace)
    dtokens = dframes.reshape(batch, -1, hidden)
    record(scope(trace, "embeddings"), "patch_embeddings", dtokens)
    dpixel_values, patch_gradients = patch_embeddings_backward(dtokens, cache["patch"])
    return dpixel_values, {"embeddings": {"patch_embeddings": patch_gradients}, **gradients}


def _encoder_forward(
    tokens: Array,
    params: dict,
    config: VivitConfig,
    options: ForwardOptions,
    name: str,
    grids: tuple[tuple[int, int, int], tuple[int, int, int]],
    copies: int = 1,
) -> tuple[Array, dict, dict]:
    """One of the two encoders: place embeddings, layers, layer norm."""
    trace = scope(options.trace, name)
    z, place_cache = place_embeddings_forward(tokens, params, config, *grids, options.rng, trace)
    layers = params.get("layer", {})  # a tree has no empty branches: without layers none is there
    draws = draw_layers(options.rng, config, ("attention", "mlp"), z, len(layers), copies=copies)
    layer_forward = partial(transformer_layer_forward, **layer_arguments(config), explicit=options.explicit)
    z, outputs, stack_cache = layer_stack_forward(z, layers, layer_forward, draws=draws, **options.stack(name))
    norm = params["layernorm"]
    y, norm_cache = layer_norm_forward(z, norm["weight"], norm["bias"], config.layer_norm_eps)
    record(trace, "layernorm", y)
    return y, outputs, {"place": place_cache, "stack": stack_cache, "norm": norm_cache}


def _encoder_backward(dy: Array, cache: dict, name: str, trace: Trace | None) -> tuple[Array, dict]:
    """Gradients of `_encoder_forward`, from the bottom up."""
    trace = scope(trace, name)
    record(trace, "layernorm", dy)
    dz, dweight, dbias = layer_norm_backward(dy, cache["norm"])
    dz, layers = layer_stack_backward(dz, cache["stack"], transformer_layer_backward, trace=trace)
    record(trace, "embeddings", dz)
    dtokens, gradients = place_embeddings_backward(dz, cache["place"])
    return dtokens, {**gradients, "layer": layers, "layernorm": {"weight": dweight, "bias": dbias}}


def _unfold(array: Array | None, batch: int, times: int) -> Array | None:
    """(batch * times, ...) -> (batch, times, ...)"""
    return None if array is None else array.reshape(batch, times, *array.shape[1:])
