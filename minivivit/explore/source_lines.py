"""The lines of the package's own source that make a value and its gradient."""

import ast
import importlib
import inspect
import textwrap
from functools import cache
from typing import Any

# A place in the source: module, function, and the beginning of the line that makes the value.
Place = tuple[str, str, str]

LAYER = "layers.transformer_layer"
HEADS = "layers.multi_head_attention"
FACTORISED = "layers.factorised_self_attention_layer"
_TO_LINEAR = ("ops.linear", "linear_forward", "y = parallel_matmul(rows, weight.T)")
_THROUGH_LINEAR = ("ops.linear", "linear_backward", "dx = parallel_matmul(dy_rows, weight)")

# role of a step (minivivit.explore.network_steps) -> where its array is made, and where the gradient to it is made:
# that is in the backward function of whoever reads it.
PLACES: dict[str, tuple[Place, Place]] = {
    "tubelet": (
        ("ops.tubelet_embedding", "tubelet_embedding_forward", "tokens, linear_cache = linear_forward("),
        ("ops.cls_token", "cls_token_backward", "return dy[:, 1:]"),
    ),
    "place": (
        ("ops.position_embedding", "position_embedding_forward", "return tokens + position_embeddings"),
        (LAYER, "transformer_layer_backward", "dx += dy"),
    ),
    "norm": (
        ("ops.layer_norm", "layer_norm_forward", "one_kernel(_scale_and_shift"),
        (HEADS, "multi_head_attention_backward", "dx = dx + dx_projection"),
    ),
    "query": (_TO_LINEAR, ("ops.attention", "attention_backward", "dquery = ")),
    "key": (_TO_LINEAR, ("ops.attention", "attention_backward", "dkey = ")),
    "value": (_TO_LINEAR, ("ops.attention", "attention_backward", "dvalue = ")),
    "scores": (
        ("ops.attention", "attention_forward", "scores = parallel_matmul("),
        ("ops.attention", "attention_backward", "dscores = softmax_backward("),
    ),
    "probs": (
        ("ops.softmax", "softmax_forward", "y /= y.sum("),
        ("ops.attention", "attention_backward", "dprobs = parallel_matmul("),
    ),
    "heads": (
        ("ops.attention", "attention_forward", "output = parallel_matmul("),
        (HEADS, "multi_head_attention_backward", "dmerged, dweight, dbias = linear_backward("),
    ),
    "attention output": (
        (HEADS, "multi_head_attention_forward", "y, output_cache = linear_forward("),
        (LAYER, "transformer_layer_backward", 'dbranch = residual_branch_backward(dy, cache["attention_branch"])'),
    ),
    "attention residual": (
        (LAYER, "transformer_layer_forward", "y = x + branch"),
        (LAYER, "transformer_layer_backward", "dy += dz"),
    ),
    "MLP norm": (
        ("ops.layer_norm", "layer_norm_forward", "one_kernel(_scale_and_shift"),
        ("layers.mlp", "mlp_backward", 'matmul(dbefore[rows], wide["weight"]'),
    ),
    "wide": (
        ("layers.mlp", "mlp_forward", "widened = matmul("),
        ("layers.mlp", "mlp_backward", "dactivated[few] = activate_backward("),
    ),
    "activation": (
        ("layers.mlp", "mlp_forward", "activate(widened[few], out=activated[few])"),
        ("layers.mlp", "mlp_backward", "dactivated = matmul("),
    ),
    "MLP output": (
        ("layers.mlp", "mlp_forward", 'matmul(activated, narrow["weight"].T'),
        (LAYER, "transformer_layer_backward", "dbranch = residual_branch_backward(dz"),
    ),
    "layer output": (
        (LAYER, "transformer_layer_forward", "z = y + branch"),
        ("layers.layer_stack", "layer_stack_backward", "dy, gradients[name] = layer_backward("),
    ),
    "final norm": (
        ("ops.layer_norm", "layer_norm_forward", "one_kernel(_scale_and_shift"),
        ("ops.pooling", "pooling_backward", "dtokens[:, 0] = dy"),
    ),
    "pooled": (("ops.pooling", "pooling_forward", "y = tokens[:, 0]"), _THROUGH_LINEAR),
    "representation": (_TO_LINEAR, ("ops.tanh", "tanh_backward", "return dy * ")),
    "tanh": (("ops.tanh", "tanh_forward", "y = xp.tanh("), _THROUGH_LINEAR),
    "logits": (
        _TO_LINEAR,
        ("ops.cross_entropy", "cross_entropy_backward", "dlogits = xp.exp(log_probs)"),
    ),
    "probabilities": (
        ("ops.softmax", "softmax_forward", "y /= y.sum("),
        ("ops.cross_entropy", "cross_entropy_backward", "dlogits = xp.exp(log_probs)"),
    ),
    "loss": (
        ("ops.cross_entropy", "cross_entropy_forward", "loss = -(targets * log_probs)"),
        ("ops.cross_entropy", "cross_entropy_backward", "return dlogits * (dloss"),
    ),
    "pixel": (
        ("ops.tubelet_embedding", "cut_tubelets", "boxes = boxes.transpose("),
        ("ops.tubelet_embedding", "tubelet_embedding_backward", "dtubelets, dweight, dbias = linear_backward("),
    ),
}
# In the layer of Model 3 other lines do the same.
IN_MODEL_3: dict[str, tuple[Place, Place]] = {
    "place": (PLACES["place"][0], (FACTORISED, "factorised_self_attention_layer_backward", "dy, axis_gradients = ")),
    "attention residual": (
        (FACTORISED, "factorised_self_attention_layer_forward", "y, axis_probs, caches[axis] = "),
        (FACTORISED, "factorised_self_attention_layer_backward", "dy += dz"),
    ),
    "attention output": (
        PLACES["attention output"][0],
        (FACTORISED, "_axis_attention_backward", "dbranch = residual_branch_backward("),
    ),
    "MLP output": (
        PLACES["MLP output"][0],
        (FACTORISED, "factorised_self_attention_layer_backward", "dbranch = residual_branch_backward("),
    ),
    "layer output": (
        (FACTORISED, "factorised_self_attention_layer_forward", "return y + branch"),
        PLACES["layer output"][1],
    ),
}


@cache
def source_lines(attention_type: str) -> dict[str, Any]:
    """The source of the functions that a network of this kind goes through, and the line of each role in it.

    Returns
    -------
    dict
        ``"functions"``: ``"module.function"`` -> ``{"file", "first", "lines"}``, without the docstring, the numbers of
        whose lines are left out; ``"places"``: role -> ``{"forward": [function, line], "backward": ...}``, where line
        is the number in the file.
    """
    places = PLACES | (IN_MODEL_3 if attention_type == "factorised_self_attention" else {})
    functions: dict[str, Any] = {}
    marks = {}
    for role, pair in places.items():
        marks[role] = {way: _mark(place, functions) for way, place in zip(("forward", "backward"), pair, strict=True)}
    return {"functions": functions, "places": marks}


def _mark(place: Place, functions: dict[str, Any]) -> list[Any]:
    """[function, line] of a place; its function is put among `functions`."""
    module, name, beginning = place
    key = f"{module}.{name}"
    if key not in functions:
        functions[key] = _read(module, name)
    found = [number for number, text in functions[key]["lines"] if text.strip().startswith(beginning)]
    if len(found) != 1:
        raise AssertionError(f"{key} has {len(found)} lines that begin with {beginning!r}")
    return [key, found[0]]


def _read(module: str, name: str) -> dict[str, Any]:
    """The lines of a function, each with its number in the file, without the docstring."""
    function = getattr(importlib.import_module(f"minivivit.{module}"), name)
    lines, first = inspect.getsourcelines(function)
    body = ast.parse(textwrap.dedent("".join(lines))).body[0]
    assert isinstance(body, ast.FunctionDef)
    docstring = body.body[0]
    hidden: range = range(0)
    if isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant):
        assert docstring.end_lineno is not None
        hidden = range(docstring.lineno, docstring.end_lineno + 1)
    kept = [[first + number - 1, text.rstrip("\n")] for number, text in enumerate(lines, 1) if number not in hidden]
    return {"file": f"minivivit/{module.replace('.', '/')}.py", "name": name, "lines": kept}
