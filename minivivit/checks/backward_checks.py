"""Checks of the backward passes that lead through multi-head attention."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from minivivit.checks.case import Case
from minivivit.checks.draws import attention_parameters, distinct, far_keys, normal
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

_SOFTMAX_FORWARD = "minivivit.ops.softmax.softmax_forward"
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

    The shapes are those of `minivivit.checks.attention_checks.attention`. ``softmax_forward`` of the package may be
    called. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_ATTENTION_BACKWARD, student, **options)


def multi_head_attention_backward(student: Callable, **options: Any) -> Report:
    """Check ``multi_head_attention_backward(dy, x, params, num_heads) -> dx, gradients``.

    `dy` and `x` are (batch, tokens, hidden); `gradients` is a tree with the names and shapes of `params`.
    ``softmax_forward``, ``split_heads`` and ``merge_heads`` of the package may be called. The options are those of
    `minivivit.checks.run_check.run_check`.
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


def _linear_cases(rng: Rng) -> list[Case]:
    cases: list[Case] = []
    for num_axes, dtype in ((2, "float64"), (3, "float64"), (4, "float64"), (3, "float32"), (2, "float64")):
        *outer, inputs, outputs = distinct(rng, num_axes + 1, 2, 7)
        if len(cases) == 4:
            outputs = inputs  # a square weight, where a forgotten transpose raises no error
        dy, x = normal(rng, *outer, outputs, dtype=dtype), normal(rng, *outer, inputs, dtype=dtype)
        weight = normal(rng, outputs, inputs, dtype=dtype)
        about = f"x of shape {x.shape}, weight of shape {weight.shape}"
        cases.append(Case(about, {"dy": dy, "x": x, "weight": weight}))
    return cases


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
        ("dweight uses the first sample only", _linear_with(dweight=lambda dy, x, w: _rows(dy[0]).T @ _rows(x[0]))),
    ],
)


def _softmax_gradient(dy: Array, y: Array) -> Array:
    return package_softmax_backward(dy, {"y": y})


def _softmax_gradient_cases(rng: Rng) -> list[Case]:
    cases = []
    for num_axes, dtype in ((2, "float64"), (1, "float64"), (4, "float64"), (3, "float32")):
        shape = distinct(rng, num_axes, 2, 7)
        y = softmax_forward(normal(rng, *shape, dtype=dtype, scale=2))[0]
        cases.append(Case(f"y of shape {y.shape}", {"dy": normal(rng, *shape, dtype=dtype), "y": y}))
    return cases


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
    ("the way back through the softmax is left out", _attention_with(softmax_gradient=lambda dy, y: dy)),
    ("dvalue uses P; it is P^T dO", _attention_with(dvalue=lambda probs, doutput: probs @ doutput)),
    ("dkey uses dS; it is dS^T Q", _attention_with(dkey=lambda dscores, query: dscores @ query)),
    ("dquery and dkey are exchanged", _attention_with(exchanged=True)),
    (
        "dvalue is doutput, as if every token looked at itself alone",
        _attention_with(dvalue=lambda probs, doutput: doutput),
    ),
]


def _attention_cases(rng: Rng) -> list[Case]:
    cases = []
    kinds = [("", "float64"), ("", "float64"), (", as many keys", "float64"), (", scores near 1e4", "float64")]
    for about, dtype in [*kinds, (", float32", "float32")]:
        batch, heads = distinct(rng, 2, 2, 4)
        queries, keys, size = distinct(rng, 3, 5, 9)
        keys = queries if "as many" in about else keys  # where a forgotten transpose raises no error
        shapes = {"doutput": queries, "query": queries, "key": keys, "value": keys}
        arguments = {name: normal(rng, batch, heads, tokens, size, dtype=dtype) for name, tokens in shapes.items()}
        if "1e4" in about:
            arguments["key"] = far_keys(rng, batch, heads, keys, size)
        cases.append(Case(f"{queries} queries, {keys} keys of {size} features{about}", arguments))
    return cases


_ATTENTION_BACKWARD = Task(
    "attention_backward",
    ("dquery", "dkey", "dvalue"),
    _attention_gradients,
    _attention_cases,
    _WRONG_GRADIENTS,
    may_use=(_SOFTMAX_FORWARD,),
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
    through_output: bool = True,
    transposed: bool = False,
    mean: bool = False,
) -> Callable:
    """The gradients of multi-head attention with one of their parts made otherwise."""

    def backward(dy: Array, x: Array, params: dict, num_heads: int) -> tuple[Array, dict]:
        projections, dense = params["attention"], params["output"]["dense"]
        heads = [split(x @ p["weight"].T + p["bias"], num_heads) for p in projections.values()]
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
    for dtype in ("float64", "float64", "float64", "float32"):
        batch, num_heads, tokens, size = distinct(rng, 4, 2, 6)
        x, dy = (normal(rng, batch, tokens, num_heads * size, dtype=dtype) for _ in range(2))
        params = attention_parameters(rng, num_heads * size, dtype)
        arguments = {"dy": dy, "x": x, "params": params, "num_heads": num_heads}
        cases.append(Case(f"x of shape {x.shape}, {num_heads} heads", arguments))
    return cases


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
    may_use=(_SOFTMAX_FORWARD, *_HEADS),
)
