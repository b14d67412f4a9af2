"""Operators compute with floats: whole numbers would be cut off in silence, and nothing has no maximum."""

import numpy
import pytest

from minivivit import InputError
from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.attention import attention_forward
from minivivit.ops.binary_cross_entropy import binary_cross_entropy_forward
from minivivit.ops.blockwise_attention import blockwise_attention_forward
from minivivit.ops.cross_entropy import cross_entropy_forward
from minivivit.ops.dropout import dropout_forward
from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.ops.linear import linear_forward
from minivivit.ops.mean_squared_error import mean_squared_error_forward
from minivivit.ops.pooling import pooling_forward
from minivivit.ops.softmax import softmax_forward

# Name -> a call of the operator on one array of shape (2, 2, 3, 4), all of it or a part.
OPERATORS = {
    **{name: forward for name, (forward, _) in ACTIVATIONS.items()},
    "softmax": softmax_forward,
    "layer_norm": lambda x: layer_norm_forward(x, numpy.ones(x.shape[-1]), numpy.zeros(x.shape[-1]), 1e-6),
    "attention": lambda x: attention_forward(x, x, x),
    "attention_keys": lambda x: attention_forward(numpy.ones((2, 2, 3, x.shape[-1] or 1)), x, x),
    "blockwise_attention": lambda x: blockwise_attention_forward(x, x, x),
    "blockwise_attention_values": lambda x: blockwise_attention_forward(numpy.ones(x.shape), numpy.ones(x.shape), x),
    "cross_entropy": lambda x: cross_entropy_forward(x[0, 0], numpy.zeros(len(x[0, 0]), dtype=int)),
    "binary_cross_entropy": lambda x: binary_cross_entropy_forward(x, x),
    "mean_squared_error": lambda x: mean_squared_error_forward(x, x),
    "dropout": lambda x: dropout_forward(x, numpy.ones(x.shape, dtype=bool), 0.5),
    "linear": lambda x: linear_forward(numpy.ones((2, x.shape[-1])), x[0, 0]),
    **{f"pooling_{method}": lambda x, m=method: pooling_forward(x[0], m) for method in ("token", "gap", "gmp", "gsp")},
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex128"])
def test_numbers_that_are_no_floats(name, dtype):
    with pytest.raises(InputError, match=rf"has dtype {dtype}; expected floats: convert it with .astype"):
        OPERATORS[name](numpy.ones((2, 2, 3, 4), dtype))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("shape", [(2, 2, 3, 0), (2, 2, 0, 4)])
def test_nothing(name, shape):
    with pytest.raises(InputError, match=r"has shape \(.*0.*\): it is empty"):
        OPERATORS[name](numpy.ones(shape))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_welcome(name, dtype):
    y, _ = OPERATORS[name](numpy.ones((2, 2, 3, 4), dtype))
    assert numpy.isfinite(y).all()
