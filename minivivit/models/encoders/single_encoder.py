"""What Models 1, 3 and 4 share: embed the clip, apply a stack of layers over all its tokens, normalise.

The three differ in their layer alone: which tokens see which.
"""

from collections.abc import Callable

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.layers.layer_stack import layer_stack_backward, layer_stack_forward
from minivivit.layers.trace import Trace, record, scope
from minivivit.models.encoders.draws import draw_layers
from minivivit.models.encoders.embeddings import (
    patch_embeddings_backward,
    patch_embeddings_forward,
    place_embeddings_backward,
    place_embeddings_forward,
)
from minivivit.models.encoders.forward_options import ForwardOptions
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward


def single_encoder_forward(
    pixel_values: Array,
    params: dict,
    config: VivitConfig,
    options: ForwardOptions,
    grid: tuple[int, int, int],
    layer_forward: Callable,
    branches: tuple[str, ...] = ("attention", "mlp"),
    stochastic_depth: bool = True,
) -> tuple[Array, dict, dict | None]:
    r"""Encode a clip with one stack of layers.

    .. math::
        z_0 = [z_{cls}, E x_1, \dots, E x_N] + p, \qquad
        z_{l+1} = \mathrm{Layer}_l(z_l), \qquad y = \mathrm{LN}(z_L)

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
    params : dict
        ``embeddings``, ``encoder`` and ``layernorm``.
    grid : (times, rows, columns)
        Of the tokens that the clip becomes.
    layer_forward : callable
        The layer, with all but its input and its parameters filled in (see `minivivit.layers.layer_stack`).
    branches : names of a layer's residual branches
    stochastic_depth : bool
        Whether the layer has it.

    Returns
    -------
    last_hidden_state : array, shape (batch, tokens, hidden)
    outputs : dict
        ``"hidden_states"`` and ``"attentions"``.
    cache : dict or None

    References
    ----------
    The paper's equations 1 to 3.
    """
    embeddings = params["embeddings"]
    tokens, patch_cache = patch_embeddings_forward(
        pixel_values, embeddings["patch_embeddings"], config, scope(options.trace, "embeddings")
    )
    z, place_cache = place_embeddings_forward(
        tokens, embeddings, config, config.grid_size, grid, options.rng, options.trace
    )
    draws = draw_layers(options.rng, config, branches, z, config.num_hidden_layers, stochastic_depth=stochastic_depth)
    layers = params.get("encoder", {}).get("layer", {})  # a tree has no empty branches: without layers none is there
    z, outputs, stack_cache = layer_stack_forward(z, layers, layer_forward, draws=draws, **options.stack("encoder"))
    norm = params["layernorm"]
    y, norm_cache = layer_norm_forward(z, norm["weight"], norm["bias"], config.layer_norm_eps)
    record(options.trace, "layernorm", y)
    cache = {"patch": patch_cache, "place": place_cache, "stack": stack_cache, "norm": norm_cache}
    return y, outputs, cache if options.keep_cache else None


def single_encoder_backward(
    dy: Array, cache: dict, layer_backward: Callable, trace: Trace | None = None
) -> tuple[Array, dict]:
    """Gradients of `single_encoder_forward`, from the bottom up.

    Returns
    -------
    dpixel_values : array, shape (batch, frames, channels, height, width)
    gradients : dict
        As params.
    """
    record(trace, "layernorm", dy)
    dz, dweight, dbias = layer_norm_backward(dy, cache["norm"])
    dz, layers = layer_stack_backward(dz, cache["stack"], layer_backward, trace=scope(trace, "encoder"))
    record(trace, "embeddings", dz)
    dtokens, embeddings = place_embeddings_backward(dz, cache["place"])
    record(scope(trace, "embeddings"), "patch_embeddings", dtokens)
    dpixel_values, embeddings["patch_embeddings"] = patch_embeddings_backward(dtokens, cache["patch"])
    gradients = {
        "embeddings": embeddings,
        "encoder": {"layer": layers},
        "layernorm": {"weight": dweight, "bias": dbias},
    }
    return dpixel_values, gradients
