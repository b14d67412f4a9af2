"""Checks of the backward passes that lead through multi-head attention."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from minivivit.checks.case import Case, large, with_the_first_once_more
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
from minivivit.ops.attention import attention_backward as package_attention_backward
from minivivit.ops.attention import attention_forward
from minivivit.ops.linear import linear_backward as package_linear_backward
from minivivit.ops.softmax import softmax_backward as package_softmax_backward
from minivivit.ops.softmax import softmax_forward

Rng = numpy.random.Generator
Array = numpy.ndarray

# What a later task may call instead of an answer to an earlier one: a mistake costs its own points, and no others.
_SOFTMAX_FORWARD = "minivivit.ops.softmax.softmax_forward"
_SOFTMAX_BACKWARD_NAME = "minivivit.ops.softmax.softmax_backward"
_LINEAR_BACKWARD_NAME = "minivivit.ops.linear.linear_backward"
_ATTENTION_NAMES = ("minivivit.ops.attention.attention_forward", "minivivit.ops.attention.attention_backward")
_HEADS = ("minivivit.layers.multi_head_attention.split_heads", "minivivit.layers.multi_head_attention.merge_heads")


def linear_backward(student: Callable, **options: Any) -> Report:
    """Check ``linear_backward(dy, x, weight) -> dx, dweight, dbias`` of y = x W^T + b.

    `dy` is (..., outputs), `x` (..., inputs) and `weight` (outputs, inputs). The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_LINEAR_BACKWARD, student, **options)


def softmax_backward(student: Callable, **options: Any) -> Report:
    """Check ``softmax_backward(dy, y) -> dx``, where y is what the softmax over the last axis gave.

    The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_SOFTMAX_BACKWARD, student, **options)


def attention_backward(student: Callable, **options: Any) -> Report:
    """Check ``attention_backward(doutput, query, key, value) -> dquery, dkey, dvalue``.

    The shapes are those of `minivivit.checks.attention_checks.attention`. ``softmax_forward`` and ``softmax_backward``
    of the package may be called. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_ATTENTION_BACKWARD, student, **options)


def multi_head_attention_backward(student: Callable, **options: Any) -> Report:
    """Check ``multi_head_attention_backward(dy, x, params, num_heads) -> dx, gradients``.

    `dy` and `x` are (batch, tokens, hidden); `gradients` is a tree with the names and shapes of `params`.
    ``softmax_forward``, ``split_heads`` and ``merge_heads`` of the package may be called, and of the earlier tasks
    ``linear_backward``, ``softmax_backward``, ``attention_forward`` and ``attention_backward``. The options are those
    of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_MULTI_HEAD_ATTENTION_BACKWARD, student, **options)


# --------------------------------------------------------------------------------------------------------------------
# Linear and softmax
# --------------------------------------------------------------------------------------------------------------------


def _rows(a: Array) -> Array:
    return a.reshape(-1, a.shape[-1])


def _linear_gradients(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    dx, dweight, dbias = package_linear_backward(dy, {"x": x, "weight": weight, "has_bias": True})
    assert dbias is not None
    return dx, dweight, dbias


def _linear_arguments(rng: Rng, outer: tuple[int, ...], inputs: int, outputs: int, dtype: str) -> dict[str, Array]:
    return {
        "dy": normal(rng, *outer, outputs, dtype=dtype),
        "x": normal(rng, *outer, inputs, dtype=dtype),
        "weight": normal(rng, outputs, inputs, dtype=dtype),
    }


def _linear_cases(rng: Rng) -> list[Case]:
    sizes: list[tuple[tuple[int, ...], int, int, str]] = []
    for num_axes, dtype in ((1, "float64"), (2, "float64"), (3, "float64"), (1, "float64"), (2, "float32")):
        *outer, inputs, outputs = distinct(rng, num_axes + 2, 2, 7)
        outputs = inputs if len(sizes) == 3 else outputs  # a square, where a forgotten transpose raises no error
        sizes.append((tuple(outer), inputs, outputs, dtype))
    rows, inputs, outputs = distinct(rng, 3, 2, 7)
    ends = [((1,), inputs, outputs), ((1, rows), inputs, 1), ((rows, 1), 1, outputs)]
    sizes[3:3] = [(*end, "float64") for end in ends]
    cases = []
    for size in sizes:
        given = _linear_arguments(rng, *size)
        about = f"x of shape {given['x'].shape}, weight of shape {given['weight'].shape}"
        cases.append(Case(about + f", {size[-1]}" * (size[-1] != "float64"), given))
    cases = with_the_first_once_more(cases)
    given = _linear_arguments(rng, (40, 50), 48, 4, "float64")
    return [*cases, large(f"x of shape {given['x'].shape}", given, cases)]


def _linear_with(**others: Callable) -> Callable:
    """The gradients with some of dx, dweight and dbias made otherwise."""

    def backward(dy: Array, x: Array, weight: Array) -> tuple:
        right = dict(zip(("dx", "dweight", "dbias"), _linear_gradients(dy, x, weight), strict=True))
        return tuple(others[name](dy, x, weight) if name in others else right[name] for name in right)

    return backward


_LINEAR_BACKWARD = Task(
    "linear_backward",
    ("dx", "dweight", "dbias"),
    _linear_gradients,
    _linear_cases,
    [
        ("dx uses W^T; it is dy W", _linear_with(dx=lambda dy, x, w: dy @ w.T)),
        (
            "dweight is transposed; it is dy^T x, (outputs, inputs) as the weight",
            _linear_with(dweight=lambda dy, x, w: _rows(x).T @ _rows(dy)),
        ),
        (
            "dweight is a mean over the rows; it is their sum",
            _linear_with(dweight=lambda dy, x, w: _rows(dy).T @ _rows(x) / len(_rows(x))),
        ),
        ("dbias is a mean over the rows; it is their sum", _linear_with(dbias=lambda dy, x, w: _rows(dy).mean(axis=0))),
        (
            "dbias sums over the first axis only; over all but the last",
            _linear_with(dbias=lambda dy, x, w: dy.sum(axis=0)),
        ),
        ("dbias is not summed over the rows", _linear_with(dbias=lambda dy, x, w: dy)),
        ("dbias sums over the outputs; over the rows", _linear_with(dbias=lambda dy, x, w: dy.sum(axis=-1))),
        ("dweight is not summed over the samples", _linear_with(dweight=lambda dy, x, w: dy.swapaxes(-1, -2) @ x)),
        ("dweight has the wrong sign", _linear_with(dweight=lambda dy, x, w: -_rows(dy).T @ _rows(x))),
        ("dx has the wrong sign", _linear_with(dx=lambda dy, x, w: -dy @ w)),
        ("dweight uses the first sample only", _linear_with(dweight=lambda dy, x, w: _rows(dy[0]).T @ _rows(x[0]))),
    ],
    weights=(2, 2, 1),
)


def _softmax_gradient(dy: Array, y: Array) -> Array:
    return package_softmax_backward(dy, {"y": y})


def _softmax_gradient_cases(rng: Rng) -> list[Case]:
    cases = []
    for about, num_axes, dtype in (
        ("", 2, "float64"),
        ("", 1, "float64"),
        ("", 4, "float64"),
        (", one row", 3, "float64"),
        (", a square", 2, "float64"),
        (", probabilities near 0 and 1", 3, "float64"),
        (", float32", 3, "float32"),
    ):
        shape = distinct(rng, num_axes, 2, 7)
        if "square" in about:
            shape[1] = shape[0]
        if "one row" in about:
            shape[:2] = [1, 1]
        x = spread(rng, *shape) if "near" in about else normal(rng, *shape, dtype=dtype, scale=2)
        y = softmax_forward(x)[0]
        cases.append(Case(f"y of shape {y.shape}{about}", {"dy": normal(rng, *shape, dtype=dtype), "y": y}))
    cases = with_the_first_once_more(cases)
    x, dy = normal(rng, 40, 50, 16, scale=2), normal(rng, 40, 50, 16)
    # In these rows a step that is small enough for 1e6 is lost beside the probability near 1: a difference along dy,
    # which gives dx at once since the Jacobian is symmetric, has no digits left there. A formula has all.
    x[0, :, 0], x[0, :, 1:] = 0, x[0, :, 1:] / 4 - 15
    dy[0, :, 1:] *= 1e6
    y = softmax_forward(x)[0]
    about = f"y of shape {y.shape} with probabilities near 1e-6 where dy is near 1e6"
    return [*cases, large(about, {"dy": dy, "y": y}, cases)]


_SOFTMAX_BACKWARD = Task(
    "softmax_backward",
    ("dx",),
    _softmax_gradient,
    _softmax_gradient_cases,
    [
        (
            "only the diagonal y (1 - y) is taken; every score of a row moves all of its probabilities",
            lambda dy, y: dy * y * (1 - y),
        ),
        ("the term with the row's sum is missing", lambda dy, y: dy * y),
        ("the sum is over dy; over dy * y", lambda dy, y: y * (dy - dy.sum(axis=-1, keepdims=True))),
        ("the mean stands where the sum belongs", lambda dy, y: y * (dy - (dy * y).mean(axis=-1, keepdims=True))),
        (
            "the sum runs over the first axis; over the last",
            lambda dy, y: y * (dy - (dy * y).sum(axis=0, keepdims=True)),
        ),
        ("the sum runs over the whole array; over the last axis", lambda dy, y: y * (dy - (dy * y).sum())),
        (
            "the sums of the rows are laid along the columns: keep their axis, with keepdims=True",
            lambda dy, y: y * (dy - (dy * y).sum(axis=-1)),
        ),
        ("the terms are added: dy minus the sum", lambda dy, y: y * (dy + (dy * y).sum(axis=-1, keepdims=True))),
        ("the sum is not multiplied by y", lambda dy, y: y * dy - (dy * y).sum(axis=-1, keepdims=True)),
        ("the factor y in front is missing", lambda dy, y: dy - (dy * y).sum(axis=-1, keepdims=True)),
        ("the terms are exchanged: dy minus the sum", lambda dy, y: y * ((dy * y).sum(axis=-1, keepdims=True) - dy)),
        ("the softmax is applied again, to what it gave", lambda dy, y: _softmax_gradient(dy, softmax_forward(y)[0])),
    ],
)


# --------------------------------------------------------------------------------------------------------------------
# Attention
# --------------------------------------------------------------------------------------------------------------------


def _attention_gradients(doutput: Array, query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
    return package_attention_backward(doutput, attention_forward(query, key, value)[1])


def _transposed(a: Array) -> Array:
    return a.swapaxes(-1, -2)


def _attention_with(
    *,
    softmax_gradient: Callable = _softmax_gradient,
    forward_scale: Callable = math.sqrt,
    backward_scale: Callable = math.sqrt,
    key_scale: Callable | None = None,
    dvalue: Callable = lambda probs, doutput: _transposed(probs) @ doutput,
    dkey: Callable = lambda dscores, query: _transposed(dscores) @ query,
    exchanged: bool = False,
) -> Callable:
    """The gradients of attention with one of their parts made otherwise."""

    def backward(doutput: Array, query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
        size = query.shape[-1]
        probs = softmax_forward(query @ _transposed(key) / forward_scale(size))[0]
        dscores = softmax_gradient(doutput @ _transposed(value), probs)
        dquery = dscores @ key / backward_scale(size)
        to_key = dkey(dscores, query) / (key_scale or backward_scale)(size)
        return (to_key, dquery, dvalue(probs, doutput)) if exchanged else (dquery, to_key, dvalue(probs, doutput))

    return backward


def _one(size: int) -> float:
    return 1.0


# (cause, gradients of attention)
_WRONG_GRADIENTS = [
    ("the scale 1 / sqrt(head_size) is left out of the backward pass", _attention_with(backward_scale=_one)),
    (
        "the scale 1 / sqrt(head_size) is left out when the probabilities are computed again",
        _attention_with(forward_scale=_one),
    ),
    (
        "the scale 1 / sqrt(head_size) is left out, forward and backward",
        _attention_with(forward_scale=_one, backward_scale=_one),
    ),
    ("the scale is left out of dkey", _attention_with(key_scale=_one)),
    ("the softmax's gradient is its diagonal only", _attention_with(softmax_gradient=lambda dy, y: dy * y * (1 - y))),
    ("the softmax's gradient lacks the row's sum", _attention_with(softmax_gradient=lambda dy, y: dy * y)),
    (
        "the sum within the softmax's gradient is added; it is subtracted",
        _attention_with(softmax_gradient=lambda dy, y: y * (dy + (dy * y).sum(axis=-1, keepdims=True))),
    ),
    ("the way back through the softmax is left out", _attention_with(softmax_gradient=lambda dy, y: dy)),
    ("dvalue uses P; it is P^T dO", _attention_with(dvalue=lambda probs, doutput: probs @ doutput)),
    ("dkey uses dS; it is dS^T Q", _attention_with(dkey=lambda dscores, query: dscores @ query)),
    ("dquery and dkey are exchanged", _attention_with(exchanged=True)),
    (
        "dvalue is doutput, as if every token looked at itself alone",
        _attention_with(dvalue=lambda probs, doutput: doutput),
    ),
]


def _attention_arguments(
    rng: Rng, sizes: tuple[int, int, int, int, int], dtype: str, about: str = ""
) -> dict[str, Array]:
    batch, heads, queries, keys, size = sizes
    shapes = {"doutput": queries, "query": queries, "key": keys, "value": keys}
    arguments = {name: normal(rng, batch, heads, tokens, size, dtype=dtype) for name, tokens in shapes.items()}
    if "near 1e4" in about:
        arguments["key"] = far_keys(rng, batch, heads, keys, size)
    if "spread" in about:
        arguments["query"] = spread_queries(rng, batch, heads, queries, size)
    return arguments


def _attention_cases(rng: Rng) -> list[Case]:
    cases = []
    for about, sizes, dtype in attention_sizes(rng, one_token=False):
        arguments = _attention_arguments(rng, sizes, dtype, about)
        cases.append(Case(f"{sizes[2]} queries, {sizes[3]} keys of {sizes[4]} features{about}", arguments))
    cases = with_the_first_once_more(cases)
    sizes = (4, 4, 16, 16, 80)
    return [*cases, large("16 queries, 16 keys of 80 features", _attention_arguments(rng, sizes, "float64"), cases)]


_ATTENTION_BACKWARD = Task(
    "attention_backward",
    ("dquery", "dkey", "dvalue"),
    _attention_gradients,
    _attention_cases,
    _WRONG_GRADIENTS,
    may_use=(_SOFTMAX_FORWARD, _SOFTMAX_BACKWARD_NAME),
    weights=(3, 3, 1),  # dvalue is given in the text
)


# --------------------------------------------------------------------------------------------------------------------
# Multi-head attention
# --------------------------------------------------------------------------------------------------------------------


def _multi_head_gradients(dy: Array, x: Array, params: dict, num_heads: int) -> tuple[Array, dict]:
    cache = package.multi_head_attention_forward(x, params, num_heads, explicit=True)[2]
    return package.multi_head_attention_backward(dy, cache)


def _multi_head_with(
    *,
    attend_backward: Callable = _attention_gradients,
    split: Callable = package.split_heads,
    merge: Callable = package.merge_heads,
    parts: tuple[str, ...] = ("query", "key", "value"),
    without_bias: str = "",
    through_output: bool = True,
    transposed: bool = False,
    mean: bool = False,
) -> Callable:
    """The gradients of multi-head attention with one of their parts made otherwise."""

    def backward(dy: Array, x: Array, params: dict, num_heads: int) -> tuple[Array, dict]:
        projections, dense = params["attention"], params["output"]["dense"]
        heads = [
            split(x @ p["weight"].T + (name != without_bias) * p["bias"], num_heads) for name, p in projections.items()
        ]
        merged = merge(attention_forward(*heads)[0])
        dmerged, dweight, dbias = _linear_gradients(dy, merged, dense["weight"])
        dmerged = dmerged if through_output else dy
        gradients: dict = {"attention": {}, "output": {"dense": {"weight": dweight, "bias": dbias}}}
        dx = numpy.zeros_like(x)
        for name, dheads in zip(projections, attend_backward(split(dmerged, num_heads), *heads), strict=True):
            weight = projections[name]["weight"]
            dx_part, dweight, dbias = _linear_gradients(merge(dheads), x, weight)
            gradients["attention"][name] = {"weight": dweight, "bias": dbias}
            if name in parts:
                dx += merge(dheads) @ weight.T if transposed else dx_part
        return (dx / 3 if mean else dx), gradients

    return backward


def _split_without_transpose(x: Array, num_heads: int) -> Array:
    return x.reshape(len(x), num_heads, x.shape[1], -1)


def _merge_without_transpose(heads: Array) -> Array:
    batch, num_heads, tokens, size = heads.shape
    return heads.reshape(batch, tokens, num_heads * size)


def _weights_transposed(dy: Array, x: Array, params: dict, num_heads: int) -> tuple[Array, dict]:
    """Every gradient of a weight transposed."""

    def transpose(tree: dict) -> dict:
        return {
            name: transpose(part) if isinstance(part, dict) else part.T if name == "weight" else part
            for name, part in tree.items()
        }

    dx, gradients = _multi_head_gradients(dy, x, params, num_heads)
    return dx, transpose(gradients)


def _multi_head_cases(rng: Rng) -> list[Case]:
    cases = []
    far = [((", scores near 1e4"), "float64"), ((", scores spread over 1e4"), "float64")]
    kinds = [*(("", sizes, dtype) for sizes, dtype in head_sizes(rng))]
    kinds += [(about, tuple(distinct(rng, 4, 2, 6)), dtype) for about, dtype in far]  # type: ignore[misc]
    for about, sizes, dtype in kinds:
        arguments = multi_head_arguments(rng, sizes, dtype, about)
        dy = normal(rng, *arguments["x"].shape, dtype=dtype)
        about = f"x of shape {dy.shape}, {sizes[1]} heads{about}" + f", {dtype}" * (dtype != "float64")
        cases.append(Case(about, {"dy": dy, **arguments}))
    cases = with_the_first_once_more(cases)
    given = multi_head_arguments(rng, (2, 4, 12, 24), "float64", "")
    arguments = {"dy": normal(rng, *given["x"].shape), **given}
    return [*cases, large(f"x of shape {given['x'].shape}, 4 heads", arguments, cases)]


_MULTI_HEAD_ATTENTION_BACKWARD = Task(
    "multi_head_attention_backward",
    ("dx", "gradients"),
    _multi_head_gradients,
    _multi_head_cases,
    [
        (
            "dx has the part through the query only; x feeds three projections: add them up",
            _multi_head_with(parts=("query",)),
        ),
        (
            "dx has the part through the value only; x feeds three projections: add them up",
            _multi_head_with(parts=("value",)),
        ),
        ("dx lacks the part through the value", _multi_head_with(parts=("query", "key"))),
        ("dx lacks the part through the key", _multi_head_with(parts=("query", "value"))),
        ("the bias of the query is left out of the forward pass", _multi_head_with(without_bias="query")),
        ("the bias of the value is left out of the forward pass", _multi_head_with(without_bias="value")),
        ("dx is the mean of the three parts; it is their sum", _multi_head_with(mean=True)),
        ("the way back through the output projection is left out", _multi_head_with(through_output=False)),
        (
            "the weights are transposed on the way back: dx = dy W, as W is (outputs, inputs)",
            _multi_head_with(transposed=True),
        ),
        ("the gradients of the weights are transposed; they have the shape of the weights", _weights_transposed),
        (
            "split: reshape alone mixes tokens and heads: transpose too",
            _multi_head_with(split=_split_without_transpose),
        ),
        (
            "merge: reshape alone mixes tokens and heads: transpose too",
            _multi_head_with(merge=_merge_without_transpose),
        ),
        (
            "split and merge: reshape alone mixes tokens and heads: transpose too",
            _multi_head_with(split=_split_without_transpose, merge=_merge_without_transpose),
        ),
        *((cause, _multi_head_with(attend_backward=attend)) for cause, attend in _WRONG_GRADIENTS),
    ],
    may_use=(_SOFTMAX_FORWARD, _SOFTMAX_BACKWARD_NAME, _LINEAR_BACKWARD_NAME, *_ATTENTION_NAMES, *_HEADS),
)
