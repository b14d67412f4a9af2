"""What goes wrong between query, key and value and the attention's output."""

import math
from collections.abc import Iterator

import numpy

from minivivit.layers.multi_head_attention import merge_heads, split_heads
from minivivit.ops.softmax import softmax_forward
from minivivit.verification.comparison.causes.dropout import dropout_hypotheses
from minivivit.verification.comparison.evidence.axes import Axis
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis

# Queries for which attention is computed again; each takes (heads, tokens) numbers.
QUERIES = 128
# A score below this was masked out.
MASKED = -1e4


def score_hypotheses(evidence: Evidence, attention: str) -> Iterator[Hypothesis]:
    """What could be wrong with the scores, given query and key that agree.

    Parameters
    ----------
    attention : str
        The attention's name, as in ``vivit.encoder.layer.0.attention.attention``.
    """
    scores, heads = _first_scores(evidence, evidence.name), _heads(evidence, attention)
    if scores is None or heads is None:
        return
    query, key, _ = heads
    if not evidence.is_ours(query[:, :, : scores.shape[2]] @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])):
        return
    for name, factor, advice in _scales(query.shape[-1], query.shape[1]):
        yield Hypothesis(name, f"with {advice[0]}", advice[1], scores * factor)
    if scores.shape[-1] == scores.shape[-2]:
        yield Hypothesis(
            "query and key swapped",
            "with the scores transposed (key @ query.T)",
            "rows of the scores are queries: query @ key.T",
            scores.swapaxes(-1, -2),
        )
        yield from _causal_mask(evidence, scores)
    for rule, (query_split, key_split, _) in _other_splits(evidence, attention):
        yield Hypothesis(
            "heads split without a transpose",
            rule,
            "reshape to (batch, tokens, heads, head size), then transpose tokens and heads",
            query_split @ key_split.swapaxes(-1, -2) / math.sqrt(query.shape[-1]),
        )


def probability_hypotheses(evidence: Evidence, attention: str) -> Iterator[Hypothesis]:
    """What could be wrong with the probabilities, given scores that agree."""
    scores, probs = _first_scores(evidence, f"{attention}.scores"), _first_scores(evidence, evidence.name)
    if scores is None or probs is None:
        return
    for cause, mistake, advice, wrong in _other_probabilities(scores):
        yield Hypothesis(cause, mistake, advice, wrong)
    yield from _keys_cut_off(evidence, scores)
    yield from _padding(evidence, scores)
    yield from dropout_hypotheses(evidence, probs)


def _keys_cut_off(evidence: Evidence, scores: numpy.ndarray) -> Iterator[Hypothesis]:
    """Some keys have no probability at any query: the same ones in every sample."""
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or theirs.shape != scores.shape:
        return
    empty = evidence.fitted("empty keys", numpy.flatnonzero((theirs == 0).all(axis=(0, 1, 2))).tolist())
    if not empty or len(empty) == scores.shape[-1]:
        return
    left = scores.copy()
    left[..., empty] = -1e30
    words = Axis("key", scores.shape[-1]).words(empty)
    for probs, how in (
        (softmax_forward(left)[0], "before softmax"),
        (numpy.where(left == -1e30, 0.0, softmax_forward(scores)[0]), "after softmax"),
    ):
        yield Hypothesis(
            "keys cut off",
            f"with {words} left out {how}",
            "every query sees all keys: check the mask and the last tile of keys",
            probs,
        )


def _padding(evidence: Evidence, scores: numpy.ndarray) -> Iterator[Hypothesis]:
    """Keys of zeros beside ours: each adds exp(0) = 1 to softmax's denominator."""
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or theirs.shape != scores.shape or not (theirs.sum(axis=-1) > 0).all():
        return
    largest = scores.max(axis=-1, keepdims=True)
    exponentials = numpy.exp(scores - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    lacking = (1 / theirs.sum(axis=-1, keepdims=True) - 1) * total * numpy.exp(largest)
    number = evidence.fitted("padding", float(numpy.round(numpy.median(lacking))))
    if 1 < number < 1e6:
        yield Hypothesis(
            "padding without a mask",
            f"with {number:.0f} keys of zeros beside them",
            "mask the padding out before softmax",
            exponentials / (total + number * numpy.exp(-largest)),
        )


def context_hypotheses(evidence: Evidence, attention: str) -> Iterator[Hypothesis]:
    """What could be wrong with the attention's output, given query, key and value that agree.

    Scores and probabilities are seldom recorded, so their mistakes are tried here as well.
    """
    heads = _heads(evidence, attention)
    context = evidence.sample(evidence.name)
    if heads is None or context is None or context.shape != merge_heads(heads[0]).shape:
        return
    query, key, value = heads
    few = query[:, :, :QUERIES]
    scores = few @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])  # (1, heads, queries, tokens)
    if not evidence.is_ours(merge_heads(softmax_forward(scores)[0] @ value)):
        return  # factorised heads
    for name, factor, (mistake, advice) in _scales(query.shape[-1], query.shape[1]):
        yield Hypothesis(name, f"with {mistake}", advice, merge_heads(softmax_forward(scores * factor)[0] @ value))
    swapped = key[:, :, :QUERIES] @ query.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    yield Hypothesis(
        "query and key swapped",
        "with query and key swapped",
        "the scores are query @ key.T",
        merge_heads(softmax_forward(swapped)[0] @ value),
    )
    yield Hypothesis(
        "key and value swapped",
        "with key and value swapped",
        "scores are of the keys, and the values are what is averaged",
        merge_heads(softmax_forward(few @ value.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))[0] @ key),
    )
    for cause, mistake, advice, wrong in _other_probabilities(scores, complete=scores.shape[2] == scores.shape[3]):
        yield Hypothesis(cause, mistake, advice, merge_heads(wrong @ value))
    yield from _other_merges(evidence, attention, context, heads)


def _heads(evidence: Evidence, attention: str) -> list[numpy.ndarray] | None:
    """Query, key and value in heads: three arrays (1, heads, tokens, head size); None where any is missing."""
    parts = evidence.samples(*(f"{attention}.{name}" for name in ("query", "key", "value")))
    if parts is None or evidence.config is None or parts[0].ndim != 3:
        return None
    num_heads = evidence.config.num_attention_heads
    if any(part.shape != parts[0].shape for part in parts) or parts[0].shape[-1] % num_heads:
        return None
    return [split_heads(part, num_heads) for part in parts]


def _first_scores(evidence: Evidence, name: str) -> numpy.ndarray | None:
    """Scores or probabilities, (1, heads, tokens, tokens), where they are small enough to be read."""
    scores = evidence.sample(name)
    return scores if scores is not None and scores.ndim == 4 else None


def _scales(head_size: int, num_heads: int) -> Iterator[tuple[str, float, tuple[str, str]]]:
    """(cause, factor on our scores, (mistake, advice))"""
    root, hidden = math.sqrt(head_size), head_size * num_heads
    advice = f"divide by sqrt(head size) = sqrt({head_size}) = {root:.4g}, once"
    yield "missing 1/sqrt(d)", root, ("scores that are not divided by sqrt(head size)", advice)
    yield "scaled by d", 1 / root, ("scores divided by the head size instead of its root", advice)
    yield "scaled by the hidden size", root / math.sqrt(hidden), ("scores divided by sqrt(hidden size)", advice)
    yield "scaled by the hidden size", root / hidden, ("scores divided by the hidden size", advice)
    yield "scaled by the number of heads", root / math.sqrt(num_heads), ("scores divided by sqrt(heads)", advice)
    yield "scaled by sqrt(d) upwards", head_size, ("scores multiplied by sqrt(head size)", advice)
    yield "scaled by sqrt(sqrt(d))", math.sqrt(root), ("scores divided by the fourth root of the head size", advice)


def _causal_mask(evidence: Evidence, scores: numpy.ndarray) -> Iterator[Hypothesis]:
    """Scores of later tokens hugely negative, and the others ours."""
    theirs = evidence.read_theirs(evidence.name)
    if theirs is None or theirs[:1].shape != scores.shape:
        return
    masked = theirs[:1] < MASKED
    if masked.any() and (masked == ~numpy.tri(scores.shape[-1], dtype=bool)).all():
        yield Hypothesis(
            "causal mask",
            "with the later tokens masked out",
            "ViViT's attention sees all tokens: no mask, is_causal=False",
            numpy.where(masked, 0.0, scores),
            numpy.where(masked, 0.0, theirs[:1]),
        )


def _other_probabilities(scores: numpy.ndarray, complete: bool = True) -> Iterator[tuple[str, str, str, numpy.ndarray]]:
    """(cause, mistake, advice, probabilities); `complete` where the scores are of all queries."""
    advice = "softmax over the last axis of (batch, heads, queries, keys)"
    if complete:
        over_queries = softmax_forward(scores.swapaxes(-1, -2))[0].swapaxes(-1, -2)
        yield "softmax over the wrong axis", "with softmax over the queries", advice, over_queries
    over_heads = numpy.moveaxis(softmax_forward(numpy.ascontiguousarray(numpy.moveaxis(scores, 1, -1)))[0], -1, 1)
    yield "softmax over the wrong axis", "with softmax over the heads", advice, over_heads
    yield "softmax left out", "without softmax", "apply softmax to the scores", scores
    yield (
        "softmax left out",
        "with every token weighted alike",
        "apply softmax to the scores",
        numpy.full_like(scores, 1 / scores.shape[-1]),
    )
    base_2 = softmax_forward(scores * math.log(2))[0]
    yield (
        "exponential with base 2",
        "with powers of 2 in softmax",
        "a kernel that uses exp2 must multiply the scores by log2(e) first",
        base_2,
    )
    queries, keys = scores.shape[-2:]
    masked = numpy.where(numpy.tri(queries, keys, dtype=bool), scores, -1e30)
    yield (
        "causal mask",
        "with the later tokens masked out",
        "ViViT's attention sees all tokens: no mask, is_causal=False",
        softmax_forward(masked)[0],
    )
    exponentials = numpy.exp(scores)
    yield (
        "softmax with 1 added",
        "with 1 added to softmax's denominator",
        "softmax has no sink here: exp(s) / sum(exp(s))",
        exponentials / (1 + exponentials.sum(axis=-1, keepdims=True)),
    )
    yield (
        "sigmoid in place of softmax",
        "with a sigmoid in place of softmax",
        "apply softmax to the scores",
        1 / (1 + numpy.exp(-scores)),
    )


def _other_splits(evidence: Evidence, attention: str) -> Iterator[tuple[str, list[numpy.ndarray]]]:
    """Query, key and value cut into heads by a reshape alone, or with the features ordered (head size, heads)."""
    parts = evidence.samples(*(f"{attention}.{name}" for name in ("query", "key", "value")))
    if parts is None or evidence.config is None:
        return
    batch, tokens, hidden = parts[0].shape
    num_heads = evidence.config.num_attention_heads
    head_size = hidden // num_heads
    yield (
        "with (batch, tokens, hidden) reshaped to (batch, heads, tokens, head size)",
        [part.reshape(batch, num_heads, tokens, head_size) for part in parts],
    )
    yield (
        "with the features ordered (head size, heads)",
        [part.reshape(batch, tokens, head_size, num_heads).transpose(0, 3, 1, 2) for part in parts],
    )


def _other_merges(
    evidence: Evidence, attention: str, context: numpy.ndarray, heads: list[numpy.ndarray]
) -> Iterator[Hypothesis]:
    """Heads put together, or cut, in another way. Needs all queries, so only where there are not too many."""
    query, key, value = heads
    apart = split_heads(context, query.shape[1])  # (1, heads, tokens, head size)
    advice = "transpose (batch, heads, tokens, head size) to (batch, tokens, heads, head size) before the reshape"
    yield Hypothesis(
        "heads merged without a transpose",
        "with (batch, heads, tokens, head size) reshaped to (batch, tokens, hidden)",
        advice,
        apart.reshape(context.shape),
    )
    yield Hypothesis(
        "heads merged in another order",
        "with the features ordered (head size, heads)",
        "keep each head's features together",
        apart.transpose(0, 2, 3, 1).reshape(context.shape),
    )
    if query.shape[2] > 4 * QUERIES:
        return
    for rule, (query, key, value) in _other_splits(evidence, attention):
        probs = softmax_forward(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))[0]
        advice = "reshape to (batch, tokens, heads, head size), then transpose tokens and heads"
        mixed = probs @ value
        cause = "heads split without a transpose"
        yield Hypothesis(cause, rule, advice, merge_heads(mixed))
        yield Hypothesis(cause, f"{rule}, and back likewise", advice, mixed.reshape(context.shape))
