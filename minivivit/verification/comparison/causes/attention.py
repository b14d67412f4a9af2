"""What goes wrong between query, key and value and the attention's output."""

import math
from collections.abc import Iterator

import numpy

from minivivit.layers.multi_head_attention import merge_heads, split_heads
from minivivit.verification.comparison.causes.dropout import dropout_hypotheses
from minivivit.verification.comparison.evidence.axes import Axis
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.mistakes.softmaxes import (
    mistaken_softmaxes,
    padded_softmax,
    scales,
    softmax,
    without_keys,
)

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
    for name, factor, mistake, advice in scales(query.shape[-1], query.shape[1]):
        yield Hypothesis(name, f"with {mistake}", advice, scores * factor)
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
    for step in mistaken_softmaxes():
        yield Hypothesis(step.cause, step.mistake, step.advice, step.compute(scores))
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
    words = Axis("key", scores.shape[-1]).words(empty)
    for probs, how in (
        (without_keys(scores, empty), "before softmax"),
        (numpy.where(numpy.isin(range(scores.shape[-1]), empty), 0.0, softmax(scores)), "after softmax"),
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
    lacking = (1 / theirs.sum(axis=-1) - 1) * numpy.exp(scores).sum(axis=-1)
    number = evidence.fitted("padding", float(numpy.round(numpy.median(lacking))))
    if 1 < number < 1e6:
        yield Hypothesis(
            "padding without a mask",
            f"with {number:.0f} keys of zeros beside them",
            "mask the padding out before softmax",
            padded_softmax(scores, number),
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
    if not evidence.is_ours(merge_heads(softmax(scores) @ value)):
        return  # factorised heads
    for name, factor, mistake, advice in scales(query.shape[-1], query.shape[1]):
        yield Hypothesis(name, f"with {mistake}", advice, merge_heads(softmax(scores * factor) @ value))
    swapped = key[:, :, :QUERIES] @ query.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    yield Hypothesis(
        "query and key swapped",
        "with query and key swapped",
        "the scores are query @ key.T",
        merge_heads(softmax(swapped) @ value),
    )
    yield Hypothesis(
        "key and value swapped",
        "with key and value swapped",
        "scores are of the keys, and the values are what is averaged",
        merge_heads(softmax(few @ value.swapaxes(-1, -2) / math.sqrt(query.shape[-1])) @ key),
    )
    for step in mistaken_softmaxes():
        if not step.whole or scores.shape[2] == scores.shape[3]:
            yield Hypothesis(step.cause, step.mistake, step.advice, merge_heads(step.compute(scores) @ value))
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
        probs = softmax(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
        advice = "reshape to (batch, tokens, heads, head size), then transpose tokens and heads"
        mixed = probs @ value
        cause = "heads split without a transpose"
        yield Hypothesis(cause, rule, advice, merge_heads(mixed))
        yield Hypothesis(cause, f"{rule}, and back likewise", advice, mixed.reshape(context.shape))
