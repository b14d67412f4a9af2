"""A stack of layers: each takes the output of the one before."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace, parallel_blocks, row_blocks
from minivivit.errors import InputError
from minivivit.layers.trace import Trace, follows_layers, hand_over, record, scope

# A larger sample, or a wider one, keeps all threads busy within each operation; and the gradients of wide layers, which
# each part has of its own until they are summed, take memory. Of smaller ones, this many tokens make a part of the
# batch: so few that there are parts, and so many that their operations are worth it.
LARGEST_SAMPLE = 1 << 16
WIDEST = 256
PART_TOKENS = 1056
FEWEST_TOKENS = 256


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
    in_parts: bool = False,
) -> tuple[Array, dict, dict | None]:
    """Apply the layers in order.

    No sample sees another one. So parts of a batch of small samples can go through all layers side by side, which gives
    threads more to do than the small operations within one layer.

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
    in_parts : bool
        Whether the layer may be given parts of the batch: it returns no probs, and has no arrays for the whole batch
        filled in. It is done on the CPU, where nothing is drawn and no trace follows. The parts do not depend on the
        number of threads; their sums are in another order than those of the whole batch, so the last digits differ.

    Returns
    -------
    y : array, shape (batch, tokens, hidden)
    outputs : dict
        ``"hidden_states"`` (a list, empty unless asked for) and ``"attentions"`` (a list with one entry a layer).
    cache : dict or None
    """
    if in_parts and not follows_layers(trace) and _draws_nothing(draws):
        parts = _parts_of(x)
        if len(parts) > 1:
            options: dict[str, Any] = {
                "keep_cache": keep_cache,
                "gradient_checkpointing": gradient_checkpointing,
                "output_hidden_states": output_hidden_states,
            }
            return _forward_in_parts(x, layers, layer_forward, parts, options)
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
    if "parts" in cache:
        return _backward_in_parts(dy, cache, layer_backward)
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


def _draws_nothing(draws: list[dict] | None) -> bool:
    """Whether no layer has a mask, which would be for the whole batch."""
    return all(
        mask is None
        for layer in draws or []
        for branch in layer.values()
        for mask in (branch.values() if isinstance(branch, dict) else [branch])
    )


def _parts_of(x: Array) -> list[slice]:
    """Slices of the batch, an even number of them, or one."""
    batch, tokens, hidden = x.shape
    is_small = tokens * hidden <= LARGEST_SAMPLE and hidden <= WIDEST
    if array_namespace(x) is not numpy or not is_small or batch * tokens < FEWEST_TOKENS:
        return [slice(0, batch)]
    return row_blocks(batch, min(max(1, PART_TOKENS // tokens), -(-batch // 2)))


def _forward_in_parts(
    x: Array, layers: dict[str, dict], layer_forward: Callable, parts: list[slice], options: dict[str, Any]
) -> tuple[Array, dict, dict | None]:
    """`layer_stack_forward` of each part, side by side."""
    results: list[Any] = [None] * len(parts)

    def compute(index: int) -> None:
        results[index] = layer_stack_forward(x[parts[index]], layers, layer_forward, **options)

    parallel_blocks([partial(compute, index) for index in range(len(parts))])
    ys, outputs, caches = zip(*results, strict=True)
    hidden_states = zip(*(output["hidden_states"] for output in outputs), strict=True)
    whole = {
        "hidden_states": [numpy.concatenate(states) for states in hidden_states],
        "attentions": outputs[0]["attentions"],  # all None
    }
    cache = {"parts": parts, "caches": caches} if options["keep_cache"] else None
    return numpy.concatenate(ys), whole, cache


def _backward_in_parts(dy: Array, cache: dict, layer_backward: Callable) -> tuple[Array, dict[str, dict]]:
    """`layer_stack_backward` of each part, side by side; the layers' gradients are summed in the order of the parts."""
    parts = cache["parts"]
    results: list[Any] = [None] * len(parts)

    def differentiate(index: int) -> None:
        results[index] = layer_stack_backward(dy[parts[index]], cache["caches"][index], layer_backward)

    parallel_blocks([partial(differentiate, index) for index in range(len(parts))])
    dxs, gradients = zip(*results, strict=True)
    return numpy.concatenate(dxs), _sum_of_trees(gradients)


def _sum_of_trees(trees: tuple) -> Any:
    """Arrays, or dicts of them, added up in their order."""
    first, *others = trees
    if isinstance(first, dict):
        return {name: _sum_of_trees(tuple(tree[name] for tree in trees)) for name in first}
    total = first + others[0]
    for other in others[1:]:
        total += other
    return total
