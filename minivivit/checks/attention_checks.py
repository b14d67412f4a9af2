"""Checks of softmax and attention (the paper's section 3.1; Vaswani et al. 2017)."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from minivivit.checks.case import Case, with_the_first_once_more
from minivivit.checks.draws import (
    attention_sizes,
    distinct,
    far_keys,
    head_sizes,
    multi_head_arguments,
    normal,
    spread,
    spread_queries,
)
from minivivit.checks.report import Report
from minivivit.checks.run_check import Task, run_check
from minivivit.layers import multi_head_attention as package
from minivivit.ops.attention import attention_forward
from minivivit.ops.softmax import softmax_forward

Rng = numpy.random.Generator
Array = numpy.ndarray

# A softmax that is wrong costs its own points, and not those of what is built on it.
_SOFTMAX_FORWARD = "minivivit.ops.softmax.softmax_forward"


def softmax(student: Callable, **options: Any) -> Report:
    """Check ``softmax(x) -> y`` over the last axis.

    `x` has 1 to 4 axes and entries that exp cannot take as they are. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_SOFTMAX, student, **options)


def attention_scores(student: Callable, **options: Any) -> Report:
    """Check ``attention_scores(query, key) -> scores``: the scaled dot products.

    `query` is (batch, heads, queries, head_size), `key` (batch, heads, keys, head_size), the answer (batch, heads,
    queries, keys). The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_ATTENTION_SCORES, student, **options)


def attention(student: Callable, **options: Any) -> Report:
    """Check ``attention(query, key, value) -> output``: scaled dot-product attention.

    `query` is (batch, heads, queries, head_size), `key` and `value` (batch, heads, keys, head_size), the answer as
    `query`. ``softmax_forward`` of the package may be called. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_ATTENTION, student, **options)


def split_heads(student: Callable, **options: Any) -> Report:
    """Check ``split_heads(x, num_heads) -> heads``: (batch, tokens, hidden) to (batch, heads, tokens, head_size).

    The i-th head takes the i-th part of the features. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_SPLIT_HEADS, student, **options)


def merge_heads(student: Callable, **options: Any) -> Report:
    """Check ``merge_heads(heads) -> x``: (batch, heads, tokens, head_size) to (batch, tokens, hidden).

    It undoes `split_heads`. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_MERGE_HEADS, student, **options)


def multi_head_attention(student: Callable, **options: Any) -> Report:
    """Check ``multi_head_attention(x, params, num_heads) -> y``.

    `x` is (batch, tokens, hidden), as is the answer; `params` is spelled as in
    `minivivit.layers.multi_head_attention`. ``softmax_forward``, ``attention_forward``, ``split_heads`` and
    ``merge_heads`` of the package may be called. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_MULTI_HEAD_ATTENTION, student, **options)


# --------------------------------------------------------------------------------------------------------------------
# Softmax
# --------------------------------------------------------------------------------------------------------------------


def _softmax(x: Array, axis: int = -1) -> Array:
    return softmax_forward(x.swapaxes(axis, -1))[0].swapaxes(axis, -1)


def _exp_ratio(x: Array) -> Array:
    """Softmax as its definition has it, which overflows."""
    powers = numpy.exp(x)
    return powers / powers.sum(axis=-1, keepdims=True)


def _shifted_by(x: Array, shift: Array) -> Array:
    return _exp_ratio(x - shift)


def _without_keepdims(x: Array) -> Array:
    powers = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1)


def _shifted_by_one_maximum(x: Array) -> Array:
    return _exp_ratio(x - x.max())


def _normalised_over_all(x: Array) -> Array:
    powers = numpy.exp(x - x.max())
    return powers / powers.sum()


def _masked(rng: Rng, *shape: int) -> Array:
    """Scores of which some are -inf, as a mask makes them, and at least one of each row is not.

    Every second row is near -1.5e4: who takes -1e4 for -inf finds the hidden ones there the largest.
    """
    x = normal(rng, *shape, scale=2)
    x[1::2] -= 1.5e4
    hidden = rng.random(shape) < 0.4
    hidden[..., 0] = hidden.all(axis=-1) ^ hidden[..., 0]
    x[hidden] = -numpy.inf
    return x


def _softmax_cases(rng: Rng) -> list[Case]:
    a, b, c, d = distinct(rng, 4, 2, 7)
    offsets = numpy.arange(a)[:, None, None] * 1e4
    cases = [
        Case(f"x of shape {(a, b)}", {"x": normal(rng, a, b)}),
        Case(f"x of shape {(b,)}", {"x": normal(rng, b, scale=2)}),
        Case(f"x of shape {(a, b, c, d)}", {"x": normal(rng, a, b, c, d, scale=2)}),
        Case(f"x of shape {(a, b, c)} with entries near 1e4", {"x": 1e4 + normal(rng, a, b, c)}),
        Case(f"x of shape {(a, b, c)} with rows near 0, 1e4, 2e4, ...", {"x": offsets + normal(rng, a, b, c)}),
        Case(f"x of shape {(c, d)} with entries near -1e4", {"x": normal(rng, c, d) - 1e4}),
        Case(f"x of shape {(a, c, d)} with rows that spread over 1e4", {"x": spread(rng, a, c, d)}),
        Case(
            f"x of shape {(b, c)} with entries of -inf, as a mask makes them, and near -1.5e4",
            {"x": _masked(rng, b, c)},
        ),
        Case(f"x of shape {(1, c, c)}, a square", {"x": normal(rng, 1, c, c)}),
        Case(f"x of shape {(b, 1)}, one entry a row", {"x": normal(rng, b, 1)}),
        Case(f"x of shape {(b, d)}, float32", {"x": normal(rng, b, d, dtype="float32")}),
    ]
    return with_the_first_once_more(cases)


_SOFTMAX = Task(
    "softmax",
    ("y",),
    _softmax,
    _softmax_cases,
    [
        ("exp overflows (or all of a row underflows); subtract the row's maximum before exp", _exp_ratio),
        (
            "one maximum for the whole array leaves rows that underflow to 0 / 0; subtract each row's own",
            _shifted_by_one_maximum,
        ),
        ("the softmax runs over the axis before the last; it belongs on the last", lambda x: _softmax(x, -2)),
        ("the softmax runs over the first axis; it belongs on the last", lambda x: _softmax(x, 0)),
        ("the sum runs over the whole array; sum over the last axis, with keepdims=True", _normalised_over_all),
        (
            "a row is shifted by its least entry, and exp overflows; subtract its largest",
            lambda x: _shifted_by(x, x.min(axis=-1, keepdims=True)),
        ),
        (
            "a row is shifted by its mean, and exp overflows; subtract its largest entry",
            lambda x: _shifted_by(x, x.mean(axis=-1, keepdims=True)),
        ),
        (
            "a row is shifted by its first entry, and exp overflows; subtract its largest",
            lambda x: _shifted_by(x, x[..., :1]),
        ),
        ("the sum of a row is laid along the columns: keep its axis, with keepdims=True", _without_keepdims),
        ("the mean of a row stands where its sum belongs", lambda x: _softmax(x) * x.shape[-1]),
        ("the division by the row's sum is missing", lambda x: numpy.exp(x - x.max(axis=-1, keepdims=True))),
        ("the division by the row's sum is missing, and so is the shift", numpy.exp),
        ("this is the logarithm of the softmax", lambda x: numpy.log(_softmax(x))),
        ("the sign of x is turned before exp", lambda x: _softmax(-x)),
        ("2 is raised to x, not e", lambda x: _softmax(x * math.log(2))),
        ("x is divided by its sum, without exp", lambda x: x / x.sum(axis=-1, keepdims=True)),
    ],
)


# --------------------------------------------------------------------------------------------------------------------
# Attention in one head
# --------------------------------------------------------------------------------------------------------------------


def _products(query: Array, key: Array) -> Array:
    return query @ key.swapaxes(-1, -2)


def _scores(query: Array, key: Array) -> Array:
    return _products(query, key) / math.sqrt(query.shape[-1])


# (cause, scores)
_WRONG_SCORES = [
    ("the scale 1 / sqrt(head_size) is left out", _products),
    ("the scores are divided by head_size, not by its square root", lambda q, k: _products(q, k) / q.shape[-1]),
    ("the scores are multiplied by sqrt(head_size); divide", lambda q, k: _products(q, k) * math.sqrt(q.shape[-1])),
    ("the scale is of the number of keys; it is of head_size", lambda q, k: _products(q, k) / math.sqrt(k.shape[-2])),
    (
        "the scale is of the number of queries; it is of head_size",
        lambda q, k: _products(q, k) / math.sqrt(q.shape[-2]),
    ),
]


def _attention_cases(rng: Rng) -> list[Case]:
    cases = []
    for about, (batch, heads, queries, keys, size), dtype in attention_sizes(rng):
        arguments = {
            "query": normal(rng, batch, heads, queries, size, dtype=dtype),
            "key": normal(rng, batch, heads, keys, size, dtype=dtype),
            "value": normal(rng, batch, heads, keys, size, dtype=dtype),
        }
        if "near 1e4" in about:
            arguments["key"] = far_keys(rng, batch, heads, keys, size)
        if "spread" in about:
            arguments["query"] = spread_queries(rng, batch, heads, queries, size)
        cases.append(Case(f"{queries} queries, {keys} keys of {size} features{about}", arguments))
    return with_the_first_once_more(cases)


def _score_cases(rng: Rng) -> list[Case]:
    *cases, _other, _again = _attention_cases(rng)
    cases = [Case(case.about, {name: case.arguments[name] for name in ("query", "key")}) for case in cases]
    return with_the_first_once_more(cases)


_ATTENTION_SCORES = Task(
    "attention_scores",
    ("scores",),
    _scores,
    _score_cases,
    [
        *_WRONG_SCORES,
        ("rows are keys and columns queries; it is the other way round", lambda q, k: _scores(k, q)),
        ("the softmax is already applied", lambda q, k: _softmax(_scores(q, k))),
    ],
)


def _attend_with(scores: Callable) -> Callable:
    return lambda query, key, value: _softmax(scores(query, key)) @ value


def _attend_after_scaling(query: Array, key: Array, value: Array) -> Array:
    return _softmax(_products(query, key)) @ value / math.sqrt(query.shape[-1])


_ATTENTION = Task(
    "attention",
    ("output",),
    lambda query, key, value: attention_forward(query, key, value)[0],
    _attention_cases,
    [
        *((cause, _attend_with(scores)) for cause, scores in _WRONG_SCORES),
        (
            "the softmax runs over the queries; each query's row of keys sums to 1",
            lambda q, k, v: _softmax(_scores(q, k), -2) @ v,
        ),
        ("the softmax overflows; subtract each row's maximum", lambda q, k, v: _exp_ratio(_scores(q, k)) @ v),
        (
            "the softmax is shifted by one maximum for the whole array, and rows underflow; subtract each row's own",
            lambda q, k, v: _shifted_by_one_maximum(_scores(q, k)) @ v,
        ),
        (
            "the softmax is shifted by a row's least score, and overflows; subtract its largest",
            lambda q, k, v: _shifted_by(_scores(q, k), _scores(q, k).min(axis=-1, keepdims=True)) @ v,
        ),
        (
            "the softmax is shifted by a row's mean, and overflows; subtract its largest score",
            lambda q, k, v: _shifted_by(_scores(q, k), _scores(q, k).mean(axis=-1, keepdims=True)) @ v,
        ),
        (
            "the softmax is shifted by a row's first score, and overflows; subtract its largest",
            lambda q, k, v: _shifted_by(_scores(q, k), _scores(q, k)[..., :1]) @ v,
        ),
        ("the softmax is left out", lambda q, k, v: _scores(q, k) @ v),
        ("the scale is applied after the softmax; it belongs before", _attend_after_scaling),
        ("the keys are mixed; mix the values", lambda q, k, v: _softmax(_scores(q, k)) @ k),
        ("these are the probabilities; multiply them with the values", lambda q, k, v: _softmax(_scores(q, k))),
        ("the softmax runs over all entries of the array", lambda q, k, v: _normalised_over_all(_scores(q, k)) @ v),
    ],
    may_use=(_SOFTMAX_FORWARD,),
)


# --------------------------------------------------------------------------------------------------------------------
# Heads
# --------------------------------------------------------------------------------------------------------------------


def _split_without_transpose(x: Array, num_heads: int) -> Array:
    return x.reshape(len(x), num_heads, x.shape[1], -1)


def _split_every_nth(x: Array, num_heads: int) -> Array:
    return x.reshape(*x.shape[:2], -1, num_heads).transpose(0, 3, 1, 2)


def _merge_without_transpose(heads: Array) -> Array:
    batch, num_heads, tokens, size = heads.shape
    return heads.reshape(batch, tokens, num_heads * size)


def _merge_every_nth(heads: Array) -> Array:
    return heads.transpose(0, 2, 3, 1).reshape(len(heads), heads.shape[2], -1)


_MIXED_TOKENS = "reshape alone mixes tokens and heads: transpose the axes of tokens and heads too"
_EVERY_NTH = "a head takes every n-th feature; it takes the features of one part, side by side"


def _split_cases(rng: Rng) -> list[Case]:
    cases = []
    for (batch, num_heads, tokens, size), dtype in head_sizes(rng):
        x = normal(rng, batch, tokens, num_heads * size, dtype=dtype)
        cases.append(Case(f"x of shape {x.shape}, {num_heads} heads", {"x": x, "num_heads": num_heads}))
    return with_the_first_once_more(cases)


def _merge_cases(rng: Rng) -> list[Case]:
    cases = [
        Case(f"heads of shape {shape}", {"heads": normal(rng, *shape, dtype=dtype)}) for shape, dtype in head_sizes(rng)
    ]
    return with_the_first_once_more(cases)


_SPLIT_HEADS = Task(
    "split_heads",
    ("heads",),
    package.split_heads,
    _split_cases,
    [
        (_MIXED_TOKENS, _split_without_transpose),
        (_EVERY_NTH, _split_every_nth),
        (
            "tokens and heads are not exchanged: transpose after reshape",
            lambda x, num_heads: x.reshape(*x.shape[:2], num_heads, -1),
        ),
    ],
)

_MERGE_HEADS = Task(
    "merge_heads",
    ("x",),
    package.merge_heads,
    _merge_cases,
    [(_MIXED_TOKENS, _merge_without_transpose), (_EVERY_NTH, _merge_every_nth)],
)


def _linear(x: Array, params: dict) -> Array:
    return x @ params["weight"].T + params["bias"]


_RIGHT_ATTENTION = _attend_with(_scores)


def _multi_head_with(
    *,
    linear: Callable = _linear,
    split: Callable = package.split_heads,
    merge: Callable = package.merge_heads,
    attend: Callable = _RIGHT_ATTENTION,
    project: bool = True,
    names: tuple[str, str, str] = ("query", "key", "value"),
    without_bias: str = "",
) -> Callable:
    """Multi-head attention with one of its parts exchanged."""

    def forward(x: Array, params: dict, num_heads: int) -> Array:
        projections = dict(params["attention"])
        if without_bias:
            projections[without_bias] = projections[without_bias] | {"bias": 0}
        query, key, value = (split(linear(x, projections[name]), num_heads) for name in names)
        merged = merge(attend(query, key, value))
        return linear(merged, params["output"]["dense"]) if project else merged

    return forward


def _unshifted(query: Array, key: Array, value: Array) -> Array:
    return _exp_ratio(_scores(query, key)) @ value


def _scaled_by_hidden(x: Array, params: dict, num_heads: int) -> Array:
    hidden = x.shape[-1]
    return _multi_head_with(attend=_attend_with(lambda q, k: _products(q, k) / math.sqrt(hidden)))(x, params, num_heads)


def _multi_head_cases(rng: Rng) -> list[Case]:
    cases = []
    far = [((", scores near 1e4"), "float64"), ((", scores spread over 1e4"), "float64")]
    kinds = [*(("", sizes, dtype) for sizes, dtype in head_sizes(rng))]
    kinds += [(about, tuple(distinct(rng, 4, 2, 6)), dtype) for about, dtype in far]  # type: ignore[misc]
    for about, sizes, dtype in kinds:
        arguments = multi_head_arguments(rng, sizes, dtype, about)
        about = f"x of shape {arguments['x'].shape}, {arguments['num_heads']} heads{about}"
        cases.append(Case(about + f", {dtype}" * (dtype != "float64"), arguments))
    return with_the_first_once_more(cases)


_MULTI_HEAD_ATTENTION = Task(
    "multi_head_attention",
    ("y",),
    lambda x, params, num_heads: package.multi_head_attention_forward(x, params, num_heads, explicit=True)[0],
    _multi_head_cases,
    [
        ("the scale 1 / sqrt(head_size) is left out", _multi_head_with(attend=_attend_with(_products))),
        ("the scale is of hidden; in a head it is of head_size = hidden / num_heads", _scaled_by_hidden),
        (
            "the weights are not transposed: y = x W^T + b, the weight is stored (outputs, inputs)",
            _multi_head_with(linear=lambda x, p: x @ p["weight"] + p["bias"]),
        ),
        ("the biases are left out", _multi_head_with(linear=lambda x, p: x @ p["weight"].T)),
        ("the bias of the query is left out", _multi_head_with(without_bias="query")),
        ("the bias of the value is left out", _multi_head_with(without_bias="value")),
        (
            "the bias of the output projection is left out",
            lambda x, params, num_heads: _multi_head_with()(x, params, num_heads) - params["output"]["dense"]["bias"],
        ),
        ("the softmax over- or underflows; subtract each row's own maximum", _multi_head_with(attend=_unshifted)),
        (
            "the softmax over- or underflows; subtract each row's own maximum",
            _multi_head_with(attend=lambda q, k, v: _shifted_by_one_maximum(_scores(q, k)) @ v),
        ),
        ("split: " + _MIXED_TOKENS, _multi_head_with(split=_split_without_transpose)),
        ("merge: " + _MIXED_TOKENS, _multi_head_with(merge=_merge_without_transpose)),
        (
            "split and merge: " + _MIXED_TOKENS,
            _multi_head_with(split=_split_without_transpose, merge=_merge_without_transpose),
        ),
        ("merge: " + _EVERY_NTH, _multi_head_with(merge=_merge_every_nth)),
        (_EVERY_NTH, _multi_head_with(split=_split_every_nth, merge=_merge_every_nth)),
        ("the output projection is left out", _multi_head_with(project=False)),
        (
            "there is one head: split the features into num_heads parts before attention",
            lambda x, params, num_heads: _multi_head_with()(x, params, 1),
        ),
        ("query and key are exchanged", _multi_head_with(names=("key", "query", "value"))),
        ("the keys take the place of the values", _multi_head_with(names=("query", "key", "key"))),
        (
            "the softmax runs over the queries; each query's row of keys sums to 1",
            _multi_head_with(attend=lambda q, k, v: _softmax(_scores(q, k), -2) @ v),
        ),
        ("the softmax is left out", _multi_head_with(attend=lambda q, k, v: _scores(q, k) @ v)),
    ],
    may_use=(
        _SOFTMAX_FORWARD,
        "minivivit.ops.attention.attention_forward",
        "minivivit.layers.multi_head_attention.split_heads",
        "minivivit.layers.multi_head_attention.merge_heads",
    ),
)
