"""Checks of softmax and attention (the paper's section 3.1; Vaswani et al. 2017)."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from minivivit.checks.case import Case
from minivivit.checks.draws import attention_parameters, distinct, far_keys, normal
from minivivit.checks.report import Report
from minivivit.checks.run_check import Task, run_check
from minivivit.layers import multi_head_attention as package
from minivivit.ops.attention import attention_forward
from minivivit.ops.softmax import softmax_forward

Rng = numpy.random.Generator
Array = numpy.ndarray


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
    `query`. The options are those of `minivivit.checks.run_check.run_check`.
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
    `minivivit.layers.multi_head_attention`. The options are those of `minivivit.checks.run_check.run_check`.
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


def _shifted_by_one_maximum(x: Array) -> Array:
    return _exp_ratio(x - x.max())


def _normalised_over_all(x: Array) -> Array:
    powers = numpy.exp(x - x.max())
    return powers / powers.sum()


def _softmax_cases(rng: Rng) -> list[Case]:
    a, b, c, d = distinct(rng, 4, 2, 7)
    offsets = numpy.arange(a)[:, None, None] * 1e4
    return [
        Case(f"x of shape {(a, b)}", {"x": normal(rng, a, b)}),
        Case(f"x of shape {(b,)}", {"x": normal(rng, b, scale=2)}),
        Case(f"x of shape {(a, b, c, d)}", {"x": normal(rng, a, b, c, d, scale=2)}),
        Case(f"x of shape {(a, b, c)} with entries near 1e4", {"x": 1e4 + normal(rng, a, b, c)}),
        Case(f"x of shape {(a, b, c)} with rows near 0, 1e4, 2e4, ...", {"x": offsets + normal(rng, a, b, c)}),
        Case(f"x of shape {(c, d)} with entries near -1e4", {"x": normal(rng, c, d) - 1e4}),
        Case(f"x of shape {(b, d)}, float32", {"x": normal(rng, b, d, dtype="float32")}),
    ]


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
    for about, dtype in (("", "float64"), ("", "float64"), (", scores near 1e4", "float64"), (", float32", "float32")):
        batch, heads = distinct(rng, 2, 2, 4)
        queries, keys, size = distinct(rng, 3, 5, 9)
        arguments = {
            "query": normal(rng, batch, heads, queries, size, dtype=dtype),
            "key": normal(rng, batch, heads, keys, size, dtype=dtype),
            "value": normal(rng, batch, heads, keys, size, dtype=dtype),
        }
        if "1e4" in about:
            arguments["key"] = far_keys(rng, batch, heads, keys, size)
        cases.append(Case(f"{queries} queries, {keys} keys of {size} features{about}", arguments))
    return cases


def _score_cases(rng: Rng) -> list[Case]:
    cases = _attention_cases(rng)
    return [Case(case.about, {name: case.arguments[name] for name in ("query", "key")}) for case in cases]


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
        ("the softmax is left out", lambda q, k, v: _scores(q, k) @ v),
        ("the scale is applied after the softmax; it belongs before", _attend_after_scaling),
        ("the keys are mixed; mix the values", lambda q, k, v: _softmax(_scores(q, k)) @ k),
        ("these are the probabilities; multiply them with the values", lambda q, k, v: _softmax(_scores(q, k))),
        ("the softmax runs over all entries of the array", lambda q, k, v: _normalised_over_all(_scores(q, k)) @ v),
    ],
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


def _heads(rng: Rng, dtype: str) -> tuple[int, int, int, int]:
    """(batch, heads, tokens, head_size), all different."""
    batch, num_heads, tokens, size = distinct(rng, 4, 2, 6)
    return batch, num_heads, tokens, size


def _split_cases(rng: Rng) -> list[Case]:
    cases = []
    for dtype in ("float64", "float64", "float64", "float32"):
        batch, num_heads, tokens, size = _heads(rng, dtype)
        x = normal(rng, batch, tokens, num_heads * size, dtype=dtype)
        cases.append(Case(f"x of shape {x.shape}, {num_heads} heads", {"x": x, "num_heads": num_heads}))
    return cases


def _merge_cases(rng: Rng) -> list[Case]:
    shapes = [(_heads(rng, dtype), dtype) for dtype in ("float64", "float64", "float64", "float32")]
    return [Case(f"heads of shape {shape}", {"heads": normal(rng, *shape, dtype=dtype)}) for shape, dtype in shapes]


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
) -> Callable:
    """Multi-head attention with one of its parts exchanged."""

    def forward(x: Array, params: dict, num_heads: int) -> Array:
        query, key, value = (split(linear(x, params["attention"][name]), num_heads) for name in names)
        merged = merge(attend(query, key, value))
        return linear(merged, params["output"]["dense"]) if project else merged

    return forward


def _scaled_by_hidden(x: Array, params: dict, num_heads: int) -> Array:
    hidden = x.shape[-1]
    return _multi_head_with(attend=_attend_with(lambda q, k: _products(q, k) / math.sqrt(hidden)))(x, params, num_heads)


def _multi_head_cases(rng: Rng) -> list[Case]:
    cases = []
    for dtype in ("float64", "float64", "float64", "float32"):
        batch, num_heads, tokens, size = _heads(rng, dtype)
        x = normal(rng, batch, tokens, num_heads * size, dtype=dtype)
        arguments = {"x": x, "params": attention_parameters(rng, num_heads * size, dtype), "num_heads": num_heads}
        cases.append(Case(f"x of shape {x.shape}, {num_heads} heads", arguments))
    return cases


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
)
