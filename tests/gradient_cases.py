"""Every pair of forward and backward in ops/ and layers/, with inputs: what the tests of gradients, dtypes, threads and
mutations run over.

A case is a function of a generator and a dtype that returns (forward, backward, inputs), as
`minivivit.verification.gradients.check.check_gradients` takes them. The arrays' values do not depend on the dtype, but
for rounding.
"""

from contextlib import contextmanager
from functools import partial
from unittest import mock

import numpy

from minivivit import backend
from minivivit.config import VivitConfig
from minivivit.layers import layer_stack, mlp
from minivivit.layers.dot_product_attention import dot_product_attention_backward, dot_product_attention_forward
from minivivit.layers.factorised_dot_product_attention import (
    factorised_dot_product_attention_backward,
    factorised_dot_product_attention_forward,
)
from minivivit.layers.factorised_self_attention_layer import (
    factorised_self_attention_layer_backward,
    factorised_self_attention_layer_forward,
)
from minivivit.layers.layer_stack import layer_stack_backward, layer_stack_forward
from minivivit.layers.mlp import mlp_backward, mlp_forward
from minivivit.layers.multi_head_attention import multi_head_attention_backward, multi_head_attention_forward
from minivivit.layers.residual_branch import draw_branch, residual_branch_backward, residual_branch_forward
from minivivit.layers.transformer_layer import transformer_layer_backward, transformer_layer_forward
from minivivit.models.loss import loss_backward, loss_forward
from minivivit.ops import attention_dropout, blockwise_attention, layer_norm
from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.attention import attention_backward, attention_forward
from minivivit.ops.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from minivivit.ops.blockwise_attention import blockwise_attention_backward, blockwise_attention_forward
from minivivit.ops.cls_token import cls_token_backward, cls_token_forward
from minivivit.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward
from minivivit.ops.dropout import dropout_backward, dropout_forward, dropout_mask
from minivivit.ops.frame_sampling import frame_sampling_backward, frame_sampling_forward
from minivivit.ops.interpolate_position_embeddings import (
    interpolate_position_embeddings_backward,
    interpolate_position_embeddings_forward,
)
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
from minivivit.ops.linear import linear_backward, linear_forward
from minivivit.ops.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from minivivit.ops.pooling import pooling_backward, pooling_forward
from minivivit.ops.position_embedding import position_embedding_backward, position_embedding_forward
from minivivit.ops.softmax import softmax_backward, softmax_forward
from minivivit.ops.stochastic_depth import (
    stochastic_depth_backward,
    stochastic_depth_forward,
    stochastic_depth_mask,
)
from minivivit.ops.tubelet_embedding import tubelet_embedding_backward, tubelet_embedding_forward

CASES = {}


def case(name, *args, **kwargs):
    """Put a function into `CASES` under `name`, its further arguments filled in."""

    def add(make):
        assert name not in CASES
        CASES[name] = partial(make, *args, **kwargs)
        return make

    return add


@contextmanager
def small_blocks():
    """Cut the little arrays of the tests into several blocks, as large ones are in earnest."""
    with (
        mock.patch.object(backend, "LARGE_PRODUCT", 1),
        mock.patch.object(backend, "PRODUCT_PART", 3),
        mock.patch.object(layer_norm, "BLOCK_ENTRIES", 12),
        mock.patch.object(layer_stack, "FEWEST_TOKENS", 1),
        mock.patch.object(layer_stack, "PART_TOKENS", 1),
        mock.patch.object(mlp, "BLOCK_ROWS", 3),
        mock.patch.object(mlp, "ACTIVATION_ENTRIES", 12),
        mock.patch.object(attention_dropout, "MASK_ROWS", 2),
        mock.patch.object(blockwise_attention, "MASK_ROWS", 2),
        mock.patch.object(blockwise_attention, "BLOCK_ROWS", 2),
        mock.patch.object(blockwise_attention, "BLOCK_KEYS", 3),
        mock.patch.object(blockwise_attention, "TASK_ENTRIES", 12),
    ):
        yield


def normal(rng, dtype, *shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(dtype)


# --------------------------------------------------------------------------------------------------------------------
# Operators
# --------------------------------------------------------------------------------------------------------------------


@case("linear", bias=True)
@case("linear_without_bias", bias=False)
def linear_case(rng, dtype, bias):
    inputs = {"x": normal(rng, dtype, 2, 3, 4), "weight": normal(rng, dtype, 5, 4)}
    if bias:
        return linear_forward, linear_backward, {**inputs, "bias": normal(rng, dtype, 5)}
    return linear_forward, lambda dy, cache: linear_backward(dy, cache)[:2], inputs


@case("layer_norm")
def layer_norm_case(rng, dtype):
    inputs = {"x": normal(rng, dtype, 2, 4, 5), "weight": normal(rng, dtype, 5), "bias": normal(rng, dtype, 5)}
    return partial(layer_norm_forward, eps=1e-2), layer_norm_backward, inputs


def activation_case(rng, dtype, name):
    x = normal(rng, dtype, 4, 6, scale=2.0)
    x += numpy.sign(x) * dtype(0.01)  # relu has a kink at 0
    return *ACTIVATIONS[name], {"x": x}


for activation in ACTIVATIONS:
    case(activation, activation)(lambda name, rng, dtype: activation_case(rng, dtype, name))


@case("softmax")
def softmax_case(rng, dtype):
    return softmax_forward, softmax_backward, {"x": normal(rng, dtype, 2, 3, 5, scale=2.0)}


@case("attention")
@case("attention_with_bias", bias=True)
@case("attention_with_dropout", dropout=True)
@case("attention_with_both", bias=True, dropout=True)
def attention_case(rng, dtype, bias=False, dropout=False):
    inputs = {name: normal(rng, dtype, 2, 2, count, 3) for name, count in (("query", 4), ("key", 5), ("value", 5))}
    options = {}
    if bias:
        options["bias"] = normal(rng, dtype, 2, 1, 4, 5)
    if dropout:
        options |= {"dropout_keep": dropout_mask(rng, (2, 2, 4, 5), 0.3), "dropout_rate": 0.3}
    return partial(attention_forward, **options), attention_backward, inputs


@case("blockwise_attention")
@case("blockwise_attention_with_bias", bias=True)
@case("blockwise_attention_with_dropout", dropout=True)
@case("blockwise_attention_with_both", bias=True, dropout=True)
def blockwise_attention_case(rng, dtype, bias=False, dropout=False):
    inputs = {name: normal(rng, dtype, 2, 3, count, 3) for name, count in (("query", 5), ("key", 8), ("value", 8))}
    options = {}
    if bias:
        options["bias"] = normal(rng, dtype, 2, 1, 5, 8)
    if dropout:
        options["dropout"] = (1234, 0.3)
    return partial(blockwise_attention_forward, **options), blockwise_attention_backward, inputs


@case("tubelet_embedding", (2, 4, 3, 6, 4))
@case("tubelet_embedding_with_remainders", (2, 5, 3, 7, 5))
def tubelet_embedding_case(pixels_shape, rng, dtype):
    inputs = {"pixel_values": normal(rng, dtype, *pixels_shape), "weight": normal(rng, dtype, 5, 3, 2, 3, 2)}
    return tubelet_embedding_forward, tubelet_embedding_backward, {**inputs, "bias": normal(rng, dtype, 5)}


@case("position_embedding")
def position_embedding_case(rng, dtype):
    inputs = {"tokens": normal(rng, dtype, 3, 4, 5), "position_embeddings": normal(rng, dtype, 1, 4, 5)}
    return position_embedding_forward, position_embedding_backward, inputs


def interpolation_case(size, rng, dtype):
    forward = partial(interpolate_position_embeddings_forward, size=size)
    return forward, interpolate_position_embeddings_backward, {"grid": normal(rng, dtype, 3, 4, 5, 2)}


for what, new_size in {
    "time_up": (7, 4, 5),
    "time_down": (2, 4, 5),
    "rows_up": (3, 6, 5),
    "rows_down": (3, 3, 5),
    "columns_up": (3, 4, 11),
    "columns_down": (3, 4, 2),
    "all": (5, 3, 6),
    "nothing": (3, 4, 5),
}.items():
    case(f"interpolate_{what}", new_size)(interpolation_case)


@case("cls_token")
def cls_token_case(rng, dtype):
    inputs = {"tokens": normal(rng, dtype, 3, 4, 5), "cls_token": normal(rng, dtype, 1, 1, 5)}
    return cls_token_forward, cls_token_backward, inputs


@case("pooling_token", "token")
@case("pooling_gap", "gap")
@case("pooling_gmp", "gmp")
@case("pooling_gsp", "gsp")
def pooling_case(method, rng, dtype):
    ranks = rng.permuted(numpy.tile(numpy.arange(4.0)[:, None], (3, 1, 5)), axis=1)  # no near tie for a maximum
    tokens = (ranks + 0.1 * rng.standard_normal(ranks.shape)).astype(dtype)
    return partial(pooling_forward, method=method), pooling_backward, {"tokens": tokens}


@case("dropout")
def dropout_case(rng, dtype):
    forward = partial(dropout_forward, keep=dropout_mask(rng, (3, 4, 5), 0.4), rate=0.4)
    return forward, dropout_backward, {"x": normal(rng, dtype, 3, 4, 5)}


@case("stochastic_depth")
def stochastic_depth_case(rng, dtype):
    forward = partial(stochastic_depth_forward, keep=stochastic_depth_mask(rng, 6, 3, 0.4))
    return forward, stochastic_depth_backward, {"branch": normal(rng, dtype, 6, 2, 3)}


@case("frame_sampling")
def frame_sampling_case(rng, dtype):
    forward = partial(frame_sampling_forward, indices=[0, 2, 2, 3])  # one twice, one not at all
    return forward, frame_sampling_backward, {"pixel_values": normal(rng, dtype, 2, 4, 3, 2, 2)}


@case("mean_squared_error")
def mean_squared_error_case(rng, dtype):
    forward = partial(mean_squared_error_forward, targets=normal(rng, dtype, 3, 4))
    return forward, mean_squared_error_backward, {"predictions": normal(rng, dtype, 3, 4)}


@case("binary_cross_entropy")
def binary_cross_entropy_case(rng, dtype):
    forward = partial(binary_cross_entropy_forward, targets=rng.random((3, 4)).astype(dtype))
    return forward, binary_cross_entropy_backward, {"logits": normal(rng, dtype, 3, 4, scale=2.0)}


@case("cross_entropy")
@case("cross_entropy_with_label_smoothing", smoothing=0.3)
@case("cross_entropy_with_soft_targets", soft=True)
@case("cross_entropy_with_both", smoothing=0.3, soft=True)
@case("cross_entropy_with_unnormalised_targets", soft=True, mass=0.7)
def cross_entropy_case(rng, dtype, smoothing=0.0, soft=False, mass=1.0):
    labels = (mass * rng.dirichlet(numpy.ones(5), size=4)).astype(dtype) if soft else numpy.array([0, 3, 3, 1])
    forward = partial(cross_entropy_forward, labels=labels, label_smoothing=smoothing)
    return forward, cross_entropy_backward, {"logits": normal(rng, dtype, 4, 5, scale=2.0)}


@case("loss_with_class_splits")
@case("loss_with_class_splits_and_soft_targets", soft=True)
def class_splits_case(rng, dtype, soft=False):
    config = VivitConfig(num_labels=7, class_splits=[4, 3], problem_type="single_label_classification")
    labels = numpy.array([[0, 2], [3, 1], [1, 1]])
    if soft:
        labels = numpy.concatenate([rng.dirichlet(numpy.ones(n), size=3) for n in (4, 3)], axis=1).astype(dtype)
    forward = partial(loss_forward, labels=labels, config=config, label_smoothing=0.1)
    return forward, lambda dy, cache: dy * loss_backward(cache), {"logits": normal(rng, dtype, 3, 7)}


# --------------------------------------------------------------------------------------------------------------------
# Layers
# --------------------------------------------------------------------------------------------------------------------

HIDDEN, HEADS, WIDE = 8, 2, 10


def dense_params(rng, dtype, outputs, inputs, bias=True):
    weight = normal(rng, dtype, outputs, inputs, scale=inputs**-0.5)
    return {"weight": weight, "bias": normal(rng, dtype, outputs, scale=0.5)} if bias else {"weight": weight}


def norm_params(rng, dtype):
    return {"weight": 1 + normal(rng, dtype, HIDDEN, scale=0.3), "bias": normal(rng, dtype, HIDDEN, scale=0.3)}


def attention_params(rng, dtype, bias=True):
    projections = {name: dense_params(rng, dtype, HIDDEN, HIDDEN, bias) for name in ("query", "key", "value")}
    return {"attention": projections, "output": {"dense": dense_params(rng, dtype, HIDDEN, HIDDEN)}}


def mlp_params(rng, dtype):
    return {
        "intermediate": {"dense": dense_params(rng, dtype, WIDE, HIDDEN)},
        "output": {"dense": dense_params(rng, dtype, HIDDEN, WIDE)},
    }


def transformer_layer_params(rng, dtype, bias=True):
    return {
        "layernorm_before": norm_params(rng, dtype),
        "attention": attention_params(rng, dtype, bias),
        "layernorm_after": norm_params(rng, dtype),
        **mlp_params(rng, dtype),
    }


def factorised_layer_params(rng, dtype):
    return {
        "layernorm_temporal": norm_params(rng, dtype),
        "temporal_attention": attention_params(rng, dtype),
        "layernorm_spatial": norm_params(rng, dtype),
        "spatial_attention": attention_params(rng, dtype),
        "layernorm_after": norm_params(rng, dtype),
        **mlp_params(rng, dtype),
    }


def branch_draws(rng, shape, drop_rate=0.4):
    return draw_branch(rng, shape, 0.3, drop_rate, 1, numpy)


def layer_draws(rng, shape):
    draws = {"attention": branch_draws(rng, shape), "mlp": branch_draws(rng, shape), "attention_probs": (99, 0.3)}
    # of three samples one keeps both branches, one loses its attention, one its MLP
    draws["attention"]["depth"] = numpy.array([True, False, True]).reshape(3, 1, 1)
    draws["mlp"]["depth"] = numpy.array([True, True, False]).reshape(3, 1, 1)
    return draws


@case("mlp")
def mlp_case(rng, dtype):
    inputs = {"x": normal(rng, dtype, 2, 4, HIDDEN), "params": mlp_params(rng, dtype)}
    return partial(mlp_forward, activation="gelu_fast"), mlp_backward, inputs


@case("residual_branch", 0.3, 0.4)
@case("residual_branch_without_draws", 0.0, 0.0)
def residual_branch_case(dropout_rate, drop_rate, rng, dtype):
    draws = draw_branch(rng, (6, 3, 2), dropout_rate, drop_rate, 2, numpy)
    if drop_rate:
        draws["depth"] = numpy.array([True, True, False, False, True, True]).reshape(6, 1, 1)
    return (
        partial(residual_branch_forward, draws=draws),
        residual_branch_backward,
        {"branch": normal(rng, dtype, 6, 3, 2)},
    )


@case("dot_product_attention", explicit=False)
@case("dot_product_attention_explicit", explicit=True)
def dot_product_attention_case(rng, dtype, explicit):
    inputs = {name: normal(rng, dtype, 2, 2, 5, 3) for name in ("query", "key", "value")}
    options = {"explicit": explicit, "bias": normal(rng, dtype, 1, 1, 5, 5), "dropout": (7, 0.3)}
    return partial(dot_product_attention_forward, **options), dot_product_attention_backward, inputs


@case("factorised_dot_product_attention")
@case("factorised_dot_product_attention_explicit", explicit=True)
@case("factorised_dot_product_attention_with_dropout", dropout=(7, 0.3))
def factorised_dot_product_attention_case(rng, dtype, **options):
    inputs = {name: normal(rng, dtype, 2, 4, 6, 3) for name in ("query", "key", "value")}
    forward = partial(factorised_dot_product_attention_forward, grid=(2, 3), **options)
    return forward, factorised_dot_product_attention_backward, inputs


@case("multi_head_attention")
@case("multi_head_attention_without_bias", qkv_bias=False)
@case("multi_head_attention_explicit", explicit=True)
@case("multi_head_attention_with_dropout", dropout=(7, 0.3))
@case("multi_head_attention_over_a_grid", grid=(2, 3))
@case("multi_head_attention_masked", masked=True)
def multi_head_attention_case(rng, dtype, qkv_bias=True, masked=False, **options):
    inputs = {"x": normal(rng, dtype, 2, 6, HIDDEN), "params": attention_params(rng, dtype, qkv_bias)}
    if masked:
        options["bias"] = numpy.where(rng.random((2, 1, 6, 6)) < 0.3, dtype(numpy.finfo(dtype).min), dtype(0))
        options["bias"][..., 0] = 0
    forward = partial(multi_head_attention_forward, num_heads=HEADS, **options)
    return forward, multi_head_attention_backward, inputs


@case("transformer_layer")
@case("transformer_layer_without_bias", qkv_bias=False)
@case("transformer_layer_explicit", explicit=True)
@case("transformer_layer_with_draws", draws=True)
@case("transformer_layer_over_a_grid", grid=(2, 3))
def transformer_layer_case(rng, dtype, qkv_bias=True, draws=False, **options):
    inputs = {"x": normal(rng, dtype, 3, 6, HIDDEN), "params": transformer_layer_params(rng, dtype, qkv_bias)}
    if draws:
        options["draws"] = layer_draws(rng, inputs["x"].shape)
    forward = partial(transformer_layer_forward, num_heads=HEADS, activation="gelu", eps=1e-3, **options)
    return forward, transformer_layer_backward, inputs


@case("factorised_self_attention_layer", "time_space")
@case("factorised_self_attention_layer_space_first", "space_time")
@case("factorised_self_attention_layer_explicit", "time_space", explicit=True)
@case("factorised_self_attention_layer_with_draws", "space_time", draws=True)
def factorised_self_attention_layer_case(order, rng, dtype, draws=False, **options):
    inputs = {"x": normal(rng, dtype, 2, 6, HIDDEN), "params": factorised_layer_params(rng, dtype)}
    if draws:
        names = ("temporal", "spatial", "mlp")
        options["draws"] = {name: branch_draws(rng, inputs["x"].shape, drop_rate=0.0) for name in names}
        options["draws"] |= {"temporal_probs": (5, 0.3), "spatial_probs": (6, 0.3)}
    fixed = {"num_heads": HEADS, "activation": "gelu_fast", "eps": 1e-3, "grid": (2, 3), "order": order}
    forward = partial(factorised_self_attention_layer_forward, **fixed, **options)
    return forward, factorised_self_attention_layer_backward, inputs


@case("layer_stack")
@case("layer_stack_with_checkpointing", gradient_checkpointing=True)
def layer_stack_case(rng, dtype, gradient_checkpointing=False):
    layers = {str(index): transformer_layer_params(rng, dtype) for index in range(2)}
    inputs = {"x": normal(rng, dtype, 3, 4, HIDDEN), "layers": layers}
    layer_forward = partial(transformer_layer_forward, num_heads=HEADS, activation="silu", eps=1e-3)
    options = {
        "layer_forward": layer_forward,
        "draws": [layer_draws(rng, inputs["x"].shape) for _ in layers],
        "gradient_checkpointing": gradient_checkpointing,
    }
    backward = partial(layer_stack_backward, layer_backward=transformer_layer_backward)
    return partial(layer_stack_forward, **options), backward, inputs
