"""Attention rollout: how much each place of the clip contributes to what the classifier sees."""

from collections.abc import Callable
from typing import Any

import numpy

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.layers.factorised_self_attention_layer import AXES
from minivivit.layers.multi_head_attention import split_heads
from minivivit.layers.trace import Trace
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import token_grid
from minivivit.ops.softmax import softmax_forward

# Queries whose attention is computed at a time: few enough that their probabilities stay small.
ROWS = 512


class QueriesAndKeys(dict):
    """A store for `Trace` that keeps the queries and keys of every attention, and nothing else.

    The probabilities follow from them, a few rows at a time, so that no tokens x tokens array need be held: for
    ViViT-B/16x2 those of all layers and heads would take 5.7 GB in float32, the queries and keys take 0.23 GB.

    Parameters
    ----------
    on_record : callable, optional
        Called with each name that is recorded, kept or not, and with ``"rollout."`` and the name of each
        attention that is rolled out: a progress bar listens here.
    """

    def __init__(self, on_record: Callable[[str], Any] | None = None):
        super().__init__()
        self.on_record = on_record

    def wants(self, name: str) -> bool:
        """Neither scores nor probabilities."""
        return False

    def tick(self, name: str) -> None:
        """Tell the listener, if there is one, how far we are."""
        if self.on_record is not None:
            self.on_record(name)

    def __setitem__(self, name: str, array: Array) -> None:
        self.tick(name)
        if name.endswith((".query", ".key")):
            super().__setitem__(name, array)


def attention_rollout(
    model: VivitForVideoClassification,
    pixel_values: Array,
    *,
    interpolate_pos_encoding: bool = False,
    on_record: Callable[[str], Any] | None = None,
) -> tuple[Any, numpy.ndarray]:
    r"""Classify clips and roll the attention of all layers out to the input.

    Half of what a layer passes on is taken to come through its residual connection and half through its attention,
    averaged over the heads:

    .. math::
        \hat A_l = \tfrac12 I + \tfrac12 \, \mathrm{mean}_h A_{l,h}, \qquad r = e^\top \hat A_L \cdots \hat A_2 \hat A_1

    where e picks what the classifier sees: the CLS token, or the mean over all tokens where there is none (for the
    maximum and the sum too). Only the row vector r is wanted, so it is pushed through the layers from the last to the
    first and no two matrices are multiplied. In the factorised encoder r goes through the temporal encoder, then from
    the representation of each temporal index through the spatial encoder. A layer of factorised self-attention is two
    such steps, and one of factorised dot-product attention averages its temporal and its spatial heads.

    What falls on a CLS token is left out at the end, and the rest scaled to sum to 1.

    Parameters
    ----------
    model : VivitForVideoClassification
    pixel_values : array, shape (batch, frames, channels, height, width)
    interpolate_pos_encoding : bool
        As in ``model.forward``.
    on_record : callable, optional
        See `QueriesAndKeys`.

    Returns
    -------
    outputs : VideoClassifierOutput
        Of the same forward pass.
    weights : numpy.ndarray, shape (batch, times, rows, columns)
        One number a tubelet; those of a clip sum to 1.

    References
    ----------
    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928, section 3.
    """
    store = QueriesAndKeys(on_record)
    outputs = model.forward(
        pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, return_dict=True, trace=Trace(store)
    )
    config = model.config
    grid = token_grid(tuple(numpy.shape(pixel_values)), config, interpolate_pos_encoding)
    batch, (times, rows, columns) = len(pixel_values), grid
    roll = _roll_factorised_encoder if config.attention_type == "factorised_encoder" else _roll_single_encoder
    weights = to_numpy(roll(store, model, batch, (times, rows * columns)))
    sums = weights.sum(axis=(1, 2), keepdims=True)
    if not (sums > 0).all():
        raise InputError(
            "the CLS token sees none of the clip, for the model has no layers: there is nothing to roll out"
        )
    weights = weights / sums
    return outputs, weights.reshape(batch, times, rows, columns)


def _roll_single_encoder(
    store: QueriesAndKeys, model: VivitForVideoClassification, batch: int, grid: tuple[int, int]
) -> Array:
    """Models 1, 3 and 4. Returns (batch, times, places)."""
    config, (times, places) = model.config, grid
    row = _first_row(batch, times * places, model)
    for layer in reversed(range(config.num_hidden_layers)):
        name = f"vivit.encoder.layer.{layer}"
        if config.attention_type == "spatio_temporal":
            row = (row + _push(row, store, f"{name}.attention", config.num_attention_heads)) / 2
        elif config.attention_type == "factorised_self_attention":
            for axis in reversed(AXES[config.attention_order]):
                pushed = _push(
                    _sequences(row, grid, axis), store, f"{name}.{axis}_attention", config.num_attention_heads
                )
                row = (row + _tokens(pushed, batch, grid, axis)) / 2
        else:
            row = row / 2 + _push_dot_product(row, store, f"{name}.attention", config.num_attention_heads, grid) / 2
    return row[:, int(config.use_cls_token) :].reshape(batch, times, places)


def _roll_factorised_encoder(
    store: QueriesAndKeys, model: VivitForVideoClassification, batch: int, grid: tuple[int, int]
) -> Array:
    """Model 2: over time, then over the places of each temporal index. Returns (batch, times, places)."""
    config, (times, places) = model.config, grid
    cls, heads = int(config.use_cls_token), config.num_attention_heads
    if config.spatial_only_baseline:
        over_time = model.xp.full((batch, times), 1 / times, dtype=model.dtype)
    else:
        over_time = _first_row(batch, times, model)
        for layer in reversed(range(config.num_temporal_layers)):
            name = f"vivit.temporal_encoder.layer.{layer}.attention"
            over_time = (over_time + _push(over_time, store, name, heads)) / 2
        over_time = over_time[:, cls:]
    over_space = _first_row(batch * times, places, model)
    for layer in reversed(range(config.num_hidden_layers)):
        name = f"vivit.spatial_encoder.layer.{layer}.attention"
        over_space = (over_space + _push(over_space, store, name, heads)) / 2
    return over_time[:, :, None] * over_space[:, cls:].reshape(batch, times, places)


def _first_row(batch: int, tokens: int, model: VivitForVideoClassification) -> Array:
    """e, what the classifier sees of [CLS +] tokens: (batch, [1 +] tokens)."""
    if not model.config.use_cls_token:
        return model.xp.full((batch, tokens), 1 / tokens, dtype=model.dtype)
    row = model.xp.zeros((batch, 1 + tokens), dtype=model.dtype)
    row[:, 0] = 1
    return row


def _push(row: Array, store: QueriesAndKeys, name: str, num_heads: int) -> Array:
    """row times the attention probabilities of one layer, averaged over its heads: (sequences, tokens)."""
    store.tick(f"rollout.{name}")
    query = split_heads(store[f"{name}.attention.query"], num_heads)  # (sequences, heads, tokens, head_size)
    key = split_heads(store[f"{name}.attention.key"], num_heads)
    return _push_through_heads(row, query, key)


def _push_through_heads(row: Array, query: Array, key: Array) -> Array:
    """sum_i row_i softmax(q_i K^T / sqrt(d)), averaged over heads, for `ROWS` queries of one head at a time."""
    num_heads, num_tokens, head_size = query.shape[1:]
    pushed = row * 0
    for head in range(num_heads):
        transposed_key = key[:, head].swapaxes(1, 2) / head_size**0.5  # (sequences, head_size, tokens)
        for start in range(0, num_tokens, ROWS):
            rows = slice(start, start + ROWS)
            probs, _ = softmax_forward(query[:, head, rows] @ transposed_key)  # (sequences, rows, tokens)
            pushed += (row[:, None, rows] @ probs)[:, 0]
    return pushed / num_heads


def _push_dot_product(row: Array, store: QueriesAndKeys, name: str, num_heads: int, grid: tuple[int, int]) -> Array:
    """As `_push` for Model 4, whose first half of the heads attends over time and the second over space."""
    store.tick(f"rollout.{name}")
    batch, half = len(row), num_heads // 2
    query = split_heads(store[f"{name}.attention.query"], num_heads)
    key = split_heads(store[f"{name}.attention.key"], num_heads)
    pushed = 0
    for axis, heads in (("temporal", slice(0, half)), ("spatial", slice(half, None))):
        parts = [_head_sequences(array[:, heads], grid, axis) for array in (query, key)]
        pushed = pushed + _tokens(_push_through_heads(_sequences(row, grid, axis), *parts), batch, grid, axis) / 2
    return pushed


def _head_sequences(heads: Array, grid: tuple[int, int], axis: str) -> Array:
    """(batch, heads, times * places, size) -> (batch * places, heads, times, size), or (batch * times, ...)."""
    batch, num_heads, _, size = heads.shape
    heads = heads.reshape(batch, num_heads, *grid, size)
    order = (0, 3, 1, 2, 4) if axis == "temporal" else (0, 2, 1, 3, 4)
    length = grid[0] if axis == "temporal" else grid[1]
    return heads.transpose(*order).reshape(-1, num_heads, length, size)


def _sequences(row: Array, grid: tuple[int, int], axis: str) -> Array:
    """(batch, times * places) -> (batch * places, times), or (batch * times, places)."""
    times, places = grid
    if axis == "spatial":
        return row.reshape(-1, places)
    return row.reshape(-1, times, places).swapaxes(1, 2).reshape(-1, times)


def _tokens(sequences: Array, batch: int, grid: tuple[int, int], axis: str) -> Array:
    """Undo `_sequences`."""
    times, places = grid
    if axis == "spatial":
        return sequences.reshape(batch, times * places)
    return sequences.reshape(batch, places, times).swapaxes(1, 2).reshape(batch, times * places)
