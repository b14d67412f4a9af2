"""Mistakes between the projections of a layer and the sum of its attention."""

from collections.abc import Iterator
from itertools import combinations

import numpy

from minivivit.layers.multi_head_attention import split_heads
from minivivit.verification.comparison.evidence.axes import Axis
from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep
from minivivit.verification.comparison.mistakes.softmaxes import (
    HIDDEN,
    mistaken_softmaxes,
    other_head_sizes,
    padded_softmax,
    paddings,
    scales,
    softmax,
    tiles_of_keys,
    without_keys,
)
from minivivit.verification.comparison.whole_layers.layer import Layer
from minivivit.verification.comparison.whole_layers.mistake import Mistake, in_places, subsets

Array = numpy.ndarray
# Pairs of heads are exchanged where there are not more heads than this.
MOST_HEADS = 16


def attention_mistakes(layer: Layer, tokens: int) -> Iterator[Mistake]:
    """All of them, in each attention and in all.

    Parameters
    ----------
    tokens : int
        Of the layer.
    """
    if not layer.scores_are_known:
        return
    for places in subsets({branch.name: branch.name for branch in layer.branches}):
        for step, name in _steps(layer):
            yield in_places(step, name, places)
    for branch in layer.branches:
        keys = {"temporal": layer.grid[0], "spatial": layer.grid[1]}.get(branch.axis, tokens)
        for step in _by_key(keys):
            yield in_places(step, "softmax", {branch.name: branch.name})
        if not branch.axis:
            yield from _batch_first(branch.name)
            yield from _masks(layer, branch.name, tokens)


def _steps(layer: Layer) -> Iterator[tuple[MistakenStep, str]]:
    """(mistake, name of the step)"""
    size, heads = layer.config.hidden_size // layer.heads, layer.heads
    for cause, factor, mistake, advice in (*scales(size, heads), *other_head_sizes(size, heads)):
        step = MistakenStep(cause, f"with {mistake}", advice, lambda scores, factor=factor: scores * factor)
        yield step, "scores"
    for step in mistaken_softmaxes():
        yield step, "softmax"
    for step in _splits():
        yield step, "split"
    for step in _merges():
        yield step, "merge"
    for step in _head_orders(heads):
        yield step, "context"


def _splits() -> Iterator[MistakenStep]:
    """Query, key and value exchanged, cut into heads in another way, or one head taken for all."""

    def named(order: tuple[int, int, int]):
        return lambda q, k, v, heads: tuple(split_heads((q, k, v)[index], heads) for index in order)

    for order, words in (((1, 0, 2), "query and key"), ((0, 2, 1), "key and value"), ((2, 1, 0), "query and value")):
        yield MistakenStep(
            f"{words} swapped",
            f"with {words} swapped",
            "check the conversion's names, the order in a merged QKV, and that the scores are query @ key.T",
            named(order),
            whole=True,
        )
    for index, part in ((1, "key"), (2, "value")):
        yield MistakenStep(
            f"one {part} head for all",
            f"with the {part} of head 0 in every head",
            f"every head has its own {part}",
            lambda q, k, v, heads, index=index: tuple(
                numpy.broadcast_to(split_heads(x, heads)[:, :1], split_heads(x, heads).shape)
                if place == index
                else split_heads(x, heads)
                for place, x in enumerate((q, k, v))
            ),
        )
    yield MistakenStep(
        "heads split without a transpose",
        "with (batch, tokens, hidden) reshaped to (batch, heads, tokens, head size)",
        "reshape to (batch, tokens, heads, head size), then transpose tokens and heads",
        lambda q, k, v, heads: tuple(x.reshape(len(x), heads, x.shape[1], -1) for x in (q, k, v)),
        whole=True,
    )
    yield MistakenStep(
        "heads interleaved",
        "with the features of query, key and value ordered (head size, heads)",
        "keep each head's features together",
        lambda q, k, v, heads: tuple(x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2) for x in (q, k, v)),
    )


def _merges() -> Iterator[MistakenStep]:
    yield MistakenStep(
        "heads merged without a transpose",
        "with (batch, heads, tokens, head size) reshaped to (batch, tokens, hidden)",
        "transpose (batch, heads, tokens, head size) to (batch, tokens, heads, head size) before the reshape",
        lambda context: context.reshape(len(context), context.shape[2], -1),
        whole=True,
    )
    yield MistakenStep(
        "heads merged in another order",
        "with the features ordered (head size, heads)",
        "keep each head's features together",
        lambda context: context.transpose(0, 2, 3, 1).reshape(len(context), context.shape[2], -1),
    )


def _head_orders(heads: int) -> Iterator[MistakenStep]:
    orders = {f"with the {heads} heads in reverse": list(range(heads))[::-1]}
    for shift in (1, -1) if heads > 2 else ():
        orders[f"with the heads moved on by {shift} in a circle"] = numpy.roll(range(heads), shift).tolist()
    for first, second in combinations(range(heads), 2) if heads <= MOST_HEADS else ():
        order = list(range(heads))
        order[first], order[second] = second, first
        orders[f"with heads {first} and {second} exchanged"] = order
    for words, order in orders.items():
        if order != sorted(order):
            yield MistakenStep(
                "head order", words, "check the order of the heads", lambda context, order=order: context[:, order]
            )


def _by_key(keys: int) -> Iterator[MistakenStep]:
    """Keys left out, and keys of zeros."""
    for left_out in tiles_of_keys(keys):
        words = Axis("key", keys).words(list(left_out))
        advice = "every query sees all keys: check the mask and the last tile of keys"
        yield MistakenStep(
            "keys cut off",
            f"with {words} left out before softmax",
            advice,
            lambda scores, left_out=left_out: without_keys(scores, list(left_out)),
        )
    for number in paddings(keys):
        yield MistakenStep(
            "padding without a mask",
            f"with {number} keys of zeros beside them",
            "mask the padding out before softmax",
            lambda scores, number=number: padded_softmax(scores, number),
        )


def _batch_first(name: str) -> Iterator[Mistake]:
    def exchanged(x: Array) -> Array:
        return numpy.ascontiguousarray(x.swapaxes(0, 1))

    yield Mistake(
        "batch_first",
        f"with attention among the sequences of the batch, token by token, in {name}",
        "nn.MultiheadAttention takes (tokens, batch, hidden) unless it is given batch_first=True",
        {f"{name}.sequences": exchanged, f"{name}.unfold": exchanged},
        batch=True,
    )


def _masks(layer: Layer, name: str, tokens: int) -> Iterator[Mistake]:
    """Tokens that see those of their time, or of their place, and the CLS token alone."""
    times, places = layer.grid
    cls_tokens = tokens - times * places
    if cls_tokens not in (0, 1):
        return
    time, place = (index.reshape(-1) for index in numpy.divmod(numpy.arange(times * places), places))
    for words, index in (("time", time), ("place", place)):
        seen = numpy.ones((tokens, tokens), bool)
        seen[cls_tokens:, cls_tokens:] = index[:, None] == index
        yield Mistake(
            "attention mask",
            f"with every token seeing only those of its {words}, in {name}",
            "the attention of this model sees all tokens: give it no mask",
            {f"{name}.softmax": lambda scores, seen=seen: softmax(
                numpy.where(seen[: scores.shape[-2]], scores, HIDDEN)
            )},
        )  # fmt: skip
