"""A stack of layers: each takes the output of the one before."""

from collections.abc import Callable
from typing import Any

from minivivit.backend import Array
from minivivit.errors import InputError
from minivivit.layers.trace import Trace, hand_over, record, scope


def layer_stack_forward(
    x: Array,
    layers: dict[str, dict],
    layer_forward: Callable[..., tuple[Array, Any, dict | None]],
    *,
    draws: list[dict] | None = None,
    keep_cache: bool = True,
    gradient_checkpointing: bool = False,
    output_hidden_states: bool = False,
    trace: Trace | None = None,
) -> tuple[Array, dict, dict | None]:
    """Apply the layers in order.

    Parameters
    ----------
    x : array, shape (batch, tokens, hidden)
    layers : dict
        Parameters of the layers by number, ``{"0": ..., "1": ...}``.
    layer_forward : callable
        ``layer_forward(x, params, draws=, keep_cache=, trace=) -> (y, probs, cache)``.
    draws : list of dict, optional
        The random masks of each layer, while training with dropout or stochastic depth.
    gradient_checkpointing : bool
        Keep only what goes into each layer, and compute the layer again on the way back: the memory of one layer's
        cache instead of all, for one more forward pass. The bits are the same.
    output_hidden_states : bool
        Collect what goes into each layer and what comes out of the last.

    Returns
    -------
    y : array, shape (batch, tokens, hidden)
    outputs : dict
        ``"hidden_states"`` (a list, empty unless asked for) and ``"attentions"`` (a list with one entry a layer).
    cache : dict or None
    """
    hidden_states, attentions, caches = [x] if output_hidden_states else [], [], []
    for index, (name, params) in enumerate(layers.items()):
        inner_trace = scope(trace, f"layer.{name}")
        layer_draws = None if draws is None else draws[index]
        keep_layer_cache = keep_cache and not gradient_checkpointing
        y, probs, cache = layer_forward(x, params, draws=layer_draws, keep_cache=keep_layer_cache, trace=inner_trace)
        record(trace, f"layer.{name}", y)
        caches.append({"x": x, "params": params, "draws": layer_draws} if gradient_checkpointing else cache)
        if output_hidden_states:
            hidden_states.append(y)
        attentions.append(probs)
        x = y
    outputs = {"hidden_states": hidden_states, "attentions": attentions}
    if not keep_cache:
        return x, outputs, None
    again = layer_forward if gradient_checkpointing else None
    return x, outputs, {"names": list(layers), "layers": caches, "layer_forward": again}


def layer_stack_backward(
    dy: Array,
    cache: dict,
    layer_backward: Callable[..., tuple[Array, dict]],
    *,
    trace: Trace | None = None,
) -> tuple[Array, dict[str, dict]]:
    """Gradients of `layer_stack_forward`: through the layers from the last to the first.

    A layer's cache is let go as soon as it has served; so a cache serves one backward pass, and refuses a second.

    Returns
    -------
    dx : array, shape (batch, tokens, hidden)
    gradients : dict
        As layers.
    """
    if len(cache["layers"]) != len(cache["names"]):
        raise InputError("this cache has served a backward pass, and serves only one: run the forward pass again")
    gradients: dict[str, dict] = {}
    for name in reversed(cache["names"]):
        record(trace, f"layer.{name}", dy)
        layer_cache = cache["layers"].pop()
        if cache["layer_forward"] is not None:
            kept = layer_cache
            _, _, layer_cache = cache["layer_forward"](kept["x"], kept["params"], draws=kept["draws"], keep_cache=True)
        dy, gradients[name] = layer_backward(dy, layer_cache, trace=scope(trace, f"layer.{name}"))
        hand_over(trace, f"layer.{name}", gradients[name])
    return dy, dict(reversed(gradients.items()))
