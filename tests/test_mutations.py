"""The gradient checks must be able to fail: each mutation breaks one term of one backward pass, and must be caught.

A mutation is data: a file, a text in it, what replaces the text, and the case (of gradient_cases.py or model_cases.py)
that has to notice. The mutated file is compiled, and the code of its functions put in place of the originals' for one
check.
"""

import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
from gradient_cases import CASES, small_blocks
from model_cases import MODEL_CASES

import minivivit
from minivivit.verification.gradients.check import check_gradients

PACKAGE = Path(minivivit.__file__).parent

# (file, old text, new text, case that must fail)
# fmt: off
MUTATIONS = [
    # ---- operators
    ("ops/linear.py", "parallel_matmul(dy_rows.T, x_rows)", "parallel_matmul(dy_rows.T, x_rows) * 0.5", "linear"),
    ("ops/linear.py", "dy_rows.sum(axis=0) if", "dy_rows.mean(axis=0) if", "linear"),
    ("ops/linear.py", "parallel_matmul(dy_rows, weight).reshape", "parallel_matmul(-dy_rows, weight).reshape",
     "linear_without_bias"),
    ("ops/layer_norm.py", "dnormalised -= shift", "pass", "layer_norm"),
    ("ops/layer_norm.py", "dnormalised -= normalised\n", "pass\n", "layer_norm"),
    ("ops/layer_norm.py", "xp.multiply(dy_rows[rows], weight,", "xp.multiply(dy_rows[rows], 1.0,", "layer_norm"),
    ("ops/layer_norm.py", "column_dots(dy_rows[rows], normalised)", "column_dots(dy_rows[rows], x_rows[rows])",
     "layer_norm"),
    ("ops/layer_norm.py", "normalised *= stretch", "pass", "layer_norm"),
    ("ops/layer_norm.py", "xp.subtract(x, mean, out=normalised)", "xp.add(x, mean, out=normalised)", "layer_norm"),
    ("ops/layer_norm.py", "dbias_parts[index] = dy_rows[rows].sum(", "dbias_parts[index] = dy_rows[rows].mean(",
     "layer_norm"),
    ("ops/layer_norm.py", "dnormalised *= inverse_std", "dnormalised *= 1.0", "layer_norm"),
    ("ops/gelu.py", "dy, cumulative + x * density", "dy, cumulative", "gelu"),
    ("ops/gelu_tanh.py", "3 * CUBIC * slope", "2 * CUBIC * slope", "gelu_new"),
    ("ops/gelu_tanh.py", "dx *= 1 - tanh", "dx *= 1 + tanh", "gelu_fast"),
    ("ops/quick_gelu.py", "(1 + 1.702 * x * (1 - gate))", "(1 + x * (1 - gate))", "quick_gelu"),
    ("ops/silu.py", "(1 + x * (1 - gate))", "(1 + x * gate)", "silu"),
    ("ops/relu.py", '(cache["x"] > 0)', '(cache["x"] < 0)', "relu"),
    ("ops/tanh.py", "(1 - y * y)", "(1 - y)", "tanh"),
    ("ops/softmax.py", "(dy * y).sum(axis=-1, keepdims=True)", "dy.mean(axis=-1, keepdims=True)", "softmax"),
    ("ops/attention.py", 'softmax_backward(dprobs, cache["softmax"]) * cache["scale"]',
     'softmax_backward(dprobs, cache["softmax"])', "attention"),
    ("ops/attention.py", 'dvalue = parallel_matmul(cache["weights"]', 'dvalue = parallel_matmul(cache["probs"]',
     "attention_with_dropout"),
    ("ops/attention.py", 'dprobs = dropout_backward(dprobs, cache["dropout"])', "pass", "attention_with_dropout"),
    ("ops/blockwise_attention.py", "dweights -= delta", "pass", "blockwise_attention"),
    ("ops/blockwise_attention.py", "dweights *= weights", "pass", "blockwise_attention"),
    ("ops/blockwise_attention.py", "delta = delta / total[..., rows, :]", "pass", "blockwise_attention"),
    ("ops/blockwise_attention.py", "doutput[place]) / total", "doutput[place])", "blockwise_attention"),
    ("ops/blockwise_attention.py", "dquery_sum * scale", "dquery_sum", "blockwise_attention"),
    ("ops/blockwise_attention.py", "dkey_sum[..., keys, :] +=", "dkey_sum[..., keys, :] =", "blockwise_attention"),
    ("ops/blockwise_attention.py", "dvalue_sum[..., keys, :] +=", "dvalue_sum[..., keys, :] =", "blockwise_attention"),
    ("ops/blockwise_attention.py", "dquery_sum +=", "dquery_sum =", "blockwise_attention"),
    ("ops/blockwise_attention.py", "dropped = weights * mask", "dropped = weights", "blockwise_attention_with_dropout"),
    ("ops/blockwise_attention.py", "dweights *= mask", "pass", "blockwise_attention_with_both"),
    ("ops/blockwise_attention.py", 'if cache["bias"] is not None:', "if False:", "blockwise_attention_with_bias"),
    ("ops/tubelet_embedding.py", "boxes.transpose(0, 1, 5, 4, 2, 6, 3, 7)",
     "boxes.swapaxes(6, 7).reshape(boxes.shape).transpose(0, 1, 5, 4, 2, 6, 3, 7)", "tubelet_embedding"),
    ("ops/tubelet_embedding.py", "pixel_values[:, : n_t * t, :, : n_h * h, : n_w * w] = whole",
     "pixel_values[:, -n_t * t :, :, : n_h * h, : n_w * w] = whole", "tubelet_embedding_with_remainders"),
    ("ops/position_embedding.py", "dy.sum(axis=0, keepdims=True)", "dy.mean(axis=0, keepdims=True)",
     "position_embedding"),
    ("ops/cls_token.py", "dy[:, :1].sum(axis=0, keepdims=True)", "dy[:1, :1]", "cls_token"),
    ("ops/cls_token.py", "return dy[:, 1:],", "return dy[:, :-1],", "cls_token"),
    ("ops/interpolate_position_embeddings.py", '_multiply_along(cache["matrices"][axis].T,',
     '_multiply_along(abs(cache["matrices"][axis]).T,', "interpolate_rows_down"),
    ("ops/interpolate_position_embeddings.py", "for axis in (2, 1, 0):\n        if",
     "for axis in (2, 1, 0):\n        dgrid = dgrid * 1.01\n        if", "interpolate_time_up"),
    ("ops/pooling.py", "dtokens[:, 0] = dy", "dtokens[:, -1] = dy", "pooling_token"),
    ("ops/pooling.py", "dy = dy / shape[1]", "dy = dy / shape[0]", "pooling_gap"),
    ("ops/pooling.py", '(cache["tokens"] == cache["y"]', '(cache["tokens"] <= cache["y"]', "pooling_gmp"),
    ("ops/pooling.py", 'if method == "gap":\n        dy', "if True:\n        dy", "pooling_gsp"),
    ("ops/dropout.py", 'dy * cache["keep"] * cache["scale"]', 'dy * cache["keep"]', "dropout"),
    ("ops/stochastic_depth.py", 'return dy * cache["keep"]', "return dy", "stochastic_depth"),
    ("ops/frame_sampling.py", "dpixel_values[:, index] +=", "dpixel_values[:, index] =", "frame_sampling"),
    ("ops/mean_squared_error.py", "2 * dloss / difference", "dloss / difference", "mean_squared_error"),
    ("ops/binary_cross_entropy.py", "sigmoid(logits) - targets", "sigmoid(-logits) - targets", "binary_cross_entropy"),
    ("ops/binary_cross_entropy.py", "dloss / logits.size", "dloss / len(logits)", "binary_cross_entropy"),
    ("ops/cross_entropy.py", " * targets.sum(axis=-1, keepdims=True) - targets", " - targets",
     "cross_entropy_with_unnormalised_targets"),
    ("ops/cross_entropy.py", 'dloss / cache["num_counted"]', "dloss / targets.size",
     "cross_entropy_with_label_smoothing"),
    # ---- layers
    ("layers/mlp.py", "activate_backward(dactivated[few], activation_cache)", "dactivated[few]",
     "mlp"),
    ("layers/mlp.py", "parallel_matmul(dy_rows.T, activated)", "parallel_matmul(dy_rows.T, before)", "mlp"),
    ("layers/mlp.py", '"bias": dbefore.sum(axis=0)', '"bias": dbefore.mean(axis=0)', "mlp"),
    ("layers/mlp.py", '"bias": dy_rows.sum(axis=0)', '"bias": dy_rows[0]', "mlp"),
    ("layers/multi_head_attention.py", "dx = dx + dx_projection", "dx = dx_projection", "multi_head_attention"),
    ("layers/multi_head_attention.py", 'zip(("query", "key", "value"), dprojected, strict=True)',
     'zip(("key", "query", "value"), dprojected, strict=True)', "multi_head_attention"),
    ("layers/multi_head_attention.py", "dy_projection = merge_heads(dheads)",
     "dy_projection = dheads.copy().reshape(dy.shape)", "multi_head_attention_without_bias"),
    ("layers/residual_branch.py", 'dy = stochastic_depth_backward(dy, cache["depth"])', "pass", "residual_branch"),
    ("layers/residual_branch.py", 'dy = dropout_backward(dy, cache["dropout"])', "pass", "residual_branch"),
    ("layers/transformer_layer.py", "dy += dz", "pass", "transformer_layer"),
    ("layers/transformer_layer.py", "dx += dy", "dx += dz", "transformer_layer"),
    ("layers/transformer_layer.py", 'residual_branch_backward(dz, cache["mlp_branch"])', "dz",
     "transformer_layer_with_draws"),
    ("layers/transformer_layer.py", 'residual_branch_backward(dy, cache["attention_branch"])', "dy",
     "transformer_layer_with_draws"),
    ("layers/transformer_layer.py", 'residual_branch_backward(dy, cache["attention_branch"])',
     'residual_branch_backward(dz, cache["attention_branch"])', "transformer_layer_over_a_grid"),
    ("layers/factorised_self_attention_layer.py", "dy += dz", "pass", "factorised_self_attention_layer"),
    ("layers/factorised_self_attention_layer.py", "dx += dy", "pass", "factorised_self_attention_layer_space_first"),
    ("layers/factorised_self_attention_layer.py", 'in reversed(AXES[cache["order"]])', 'in AXES[cache["order"]]',
     "factorised_self_attention_layer"),
    ("layers/factorised_self_attention_layer.py", "dnormalised = _from_sequences(dsequences, grid, axis)",
     "dnormalised = dsequences.reshape(dy.shape)", "factorised_self_attention_layer"),
    ("layers/factorised_self_attention_layer.py", 'dbranch = residual_branch_backward(dy, cache["branch"])',
     "dbranch = dy",
     "factorised_self_attention_layer_with_draws"),
    ("layers/factorised_self_attention_layer.py", 'residual_branch_backward(dz, cache["mlp_branch"])', "dz",
     "factorised_self_attention_layer_with_draws"),
    ("layers/factorised_dot_product_attention.py", "[_from_sequences(gradient, grid, axis) for gradient in",
     "[gradient.copy().reshape(doutput[:, heads].shape) for gradient in", "factorised_dot_product_attention"),
    ("layers/factorised_dot_product_attention.py", "xp.concatenate(pair, axis=1) for pair",
     "xp.concatenate(pair[::-1], axis=1) for pair", "factorised_dot_product_attention"),
    ("layers/factorised_dot_product_attention.py", "_to_sequences(doutput[:, heads], grid, axis)",
     "_to_sequences(doutput[:, half:], grid, axis)", "multi_head_attention_over_a_grid"),
    ("layers/layer_stack.py", "dy, gradients[name] = layer_backward(dy, ", "_, gradients[name] = layer_backward(dy, ",
     "layer_stack"),
    ("layers/layer_stack.py", 'draws=kept["draws"]', "draws=None", "layer_stack_with_checkpointing"),
    # ---- models
    ("models/encoders/embeddings.py", 'dz = dropout_backward(dz, cache["dropout"])', "pass", "model_1_training"),
    ("models/encoders/embeddings.py", "cls_token_backward(dtokens,", "cls_token_backward(dtokens * 0.5,", "model_1"),
    ("models/encoders/embeddings.py", "xp.concatenate([dpositions[:, :num_cls], dgrid",
     "xp.concatenate([dpositions[:, :num_cls] * 0, dgrid", "model_1_interpolated"),
    ("models/encoders/single_encoder.py", 'dz, dweight, dbias = layer_norm_backward(dy, cache["norm"])',
     'dz, (_, dweight, dbias) = dy, layer_norm_backward(dy, cache["norm"])', "model_3"),
    ("models/encoders/single_encoder.py", "place_embeddings_backward(dz,", "place_embeddings_backward(dy,", "model_4"),
    ("models/encoders/factorised_encoder.py", "pooling_backward(dy.reshape(batch * times, hidden),",
     "pooling_backward(dy.swapaxes(0, 1).reshape(batch * times, hidden),", "model_2"),
    ("models/encoders/factorised_encoder.py", "dtokens = dframes.reshape(batch, -1, hidden)",
     "dtokens = dframes.reshape(batch, times, -1, hidden).swapaxes(1, 2).reshape(batch, -1, hidden)", "model_2_gap"),
    ("models/encoders/factorised_encoder.py", 'dz, dweight, dbias = layer_norm_backward(dy, cache["norm"])',
     'dz, (_, dweight, dbias) = dy, layer_norm_backward(dy, cache["norm"])', "model_2"),
    ("models/encoders/factorised_encoder.py", 'if "temporal" in cache:\n        dy, gradients',
     'if "temporal" in cache:\n        dy = dy * 0.5\n        dy, gradients', "model_2_training"),
    ("models/loss.py", '1.0 / len(cache["heads"])', "1.0", "loss_with_class_splits"),
    ("models/loss.py", "concatenate(heads, axis=1)", "concatenate(heads[::-1], axis=1)", "model_4_class_splits"),
    ("models/classification.py", 'dx = tanh_backward(dx, cache["tanh"])', "pass", "model_1_representation"),
    ("models/classification.py", 'return pooling_backward(dx, cache["pooling"])',
     'return -pooling_backward(dx, cache["pooling"])',
     "model_3_gmp"),
    ("models/vivit.py", "dlast_hidden_state = dlast_hidden_state + dlast", "dlast_hidden_state = dlast",
     "model_1_bare"),
    ("models/vivit.py", 'dbefore = activate_backward(dy, cache["activation"])', "dbefore = dy", "model_2_bare"),
]
# fmt: on


@contextmanager
def mutated(file, old, new):
    """Run with `old` replaced by `new` in a file of the package: its functions get the code of the mutated ones."""
    path = PACKAGE / file
    source = path.read_text()
    assert source.count(old) == 1, f"{file} holds {old!r} {source.count(old)} times: bring the mutation up to date"
    original = sys.modules["minivivit." + file.removesuffix(".py").replace("/", ".")]
    namespace = {"__name__": original.__name__}
    exec(compile(source.replace(old, new), str(path), "exec"), namespace)
    functions = dict(_functions(vars(original)))
    codes = {name: function.__code__ for name, function in functions.items()}
    try:
        for name, function in _functions(namespace):
            functions[name].__code__ = function.__code__
        yield
    finally:
        for name, code in codes.items():
            functions[name].__code__ = code


def _functions(namespace):
    """(name, function) of the functions and methods that a module defines."""
    for name, value in list(namespace.items()):
        if getattr(value, "__module__", None) != namespace["__name__"]:
            continue
        if isinstance(value, types.FunctionType):
            yield name, value
        elif isinstance(value, type):
            for method_name, method in vars(value).items():
                if isinstance(method, types.FunctionType):
                    yield f"{name}.{method_name}", method


class Replayed:
    """A forward pass that computes its first output, and repeats the others from the check before.

    Central differences call forward alone, which a mutation leaves as it is: they need computing once a case.
    """

    def __init__(self, forward, outputs):
        self.forward, self.outputs, self.calls = forward, outputs, 0

    def __call__(self, **inputs):
        self.calls += 1
        if 1 < self.calls <= len(self.outputs):
            return self.outputs[self.calls - 1], None
        y, *_, cache = self.forward(**inputs)
        if self.calls > len(self.outputs):
            self.outputs.append(y.copy())
        return y, cache


OUTPUTS = {}  # of each case, in the order of the calls


def check(name):
    """Check the gradients of a case, with the same draws each time."""
    rng = numpy.random.default_rng(2)
    outputs = OUTPUTS.setdefault(name, [])
    if name in MODEL_CASES:
        forward, backward, inputs = MODEL_CASES[name](rng)
        return check_gradients(Replayed(forward, outputs), backward, inputs, rng=rng, max_entries=0)
    with small_blocks():
        forward, backward, inputs = CASES[name](rng=rng, dtype=numpy.float64)
        return check_gradients(Replayed(forward, outputs), backward, inputs, rng=rng, max_entries=1)


def _id(mutation):
    return f"{mutation[0]}: {mutation[2]}".replace("\n", " ")


@pytest.mark.thorough
@pytest.mark.parametrize("mutation", MUTATIONS, ids=_id)
def test_the_check_catches(mutation):
    *replacement, name = mutation
    if name not in OUTPUTS:
        assert check(name), "without the mutation the gradients are right"
    with mutated(*replacement):
        # forward gives the bits that it gave before, or check_gradients would refuse to compare
        report = check(name)
    assert not report
    worst = max(each.max_rel_error for each in report.inputs)
    assert worst > 1e-4, "a broken term is no rounding error"


def test_every_file_with_a_backward_pass_is_mutated():
    """Files that only pick between others have no term of their own to break."""
    paths = [path for room in ("ops", "layers", "models") for path in (PACKAGE / room).rglob("*.py")]
    files = {path.relative_to(PACKAGE).as_posix() for path in paths if "_backward(" in path.read_text()}
    picks = {
        "ops/activation.py",
        "layers/dot_product_attention.py",
        "models/base.py",
        "models/encoders/spatio_temporal.py",
        "models/encoders/factorised_self_attention.py",
        "models/encoders/factorised_dot_product.py",
    }
    assert files - picks == {file for file, *_ in MUTATIONS}


def test_a_mutation_whose_text_is_gone_fails():
    with pytest.raises(AssertionError, match="up to date"), mutated("ops/tanh.py", "1 - y * z", "1"):
        pass
