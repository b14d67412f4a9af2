"""Wrong answers to assignment 4 (see 01_tubelet_embedding.py for the form)."""

import math

import numpy as np


# %% linear_backward: dx with the transposed weight
# says: dx uses W^T
def linear_backward(dy, x, weight):
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ weight.T, dy_rows.T @ x_rows, dy_rows.sum(axis=0)


# %% linear_backward: dweight transposed
# says: dweight is transposed
def linear_backward(dy, x, weight):
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ weight, x_rows.T @ dy_rows, dy_rows.sum(axis=0)


# %% linear_backward: dbias over the first axis only
# says: dbias sums over the first axis only
def linear_backward(dy, x, weight):
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ weight, dy_rows.T @ x_rows, dy.sum(axis=0)


# %% linear_backward: means over the batch
# says: it is their sum
def linear_backward(dy, x, weight):
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ weight, dy_rows.T @ x_rows / len(dy_rows), dy_rows.mean(axis=0)


# %% linear_backward: dweight for every sample
# says: dweight is not summed over the samples
def linear_backward(dy, x, weight):
    axes = tuple(range(dy.ndim - 1))
    return dy @ weight, dy.swapaxes(-1, -2) @ x, dy.sum(axis=axes)


# %% linear_backward: the package's, through a back door
# says: this case earns nothing
def linear_backward(dy, x, weight):
    import importlib

    module = importlib.import_module("minivivit.ops." + "linear")
    return getattr(module, "linear" + "_backward")(dy, dict(x=x, weight=weight, has_bias=True))


# %% softmax_backward: the diagonal of the Jacobian
# says: only the diagonal
def softmax_backward(dy, y):
    return dy * y * (1 - y)


# %% softmax_backward: the sum over dy
# says: over dy * y
def softmax_backward(dy, y):
    return y * (dy - dy.sum(axis=-1, keepdims=True))


# %% softmax_backward: the sum over all
# says: the sum runs over the whole array
def softmax_backward(dy, y):
    return y * (dy - (dy * y).sum())


# %% softmax_backward: softmax once more
# says: the softmax is applied again
def softmax_backward(dy, y):
    probs, _ = np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True), None
    return probs * (dy - (dy * probs).sum(axis=-1, keepdims=True))


# %% softmax_backward: in place
# says: changes its input dy in place
def softmax_backward(dy, y):
    dy -= (dy * y).sum(axis=-1, keepdims=True)
    return dy * y


# %% attention_backward: no scale on the way back
# says: left out of the backward pass
def attention_backward(doutput, query, key, value):
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
    dscores = softmax_backward(doutput @ value.swapaxes(-1, -2), probs)
    return dscores @ key, dscores.swapaxes(-1, -2) @ query, probs.swapaxes(-1, -2) @ doutput


# %% attention_backward: no scale at all
# says: left out, forward and backward
def attention_backward(doutput, query, key, value):
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2))
    dscores = softmax_backward(doutput @ value.swapaxes(-1, -2), probs)
    return dscores @ key, dscores.swapaxes(-1, -2) @ query, probs.swapaxes(-1, -2) @ doutput


# %% attention_backward: the softmax skipped
# says: the way back through the softmax is left out
def attention_backward(doutput, query, key, value):
    scale = 1 / math.sqrt(query.shape[-1])
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) * scale)
    dscores = doutput @ value.swapaxes(-1, -2) * scale
    return dscores @ key, dscores.swapaxes(-1, -2) @ query, probs.swapaxes(-1, -2) @ doutput


# %% attention_backward: dkey without transpose
# says: dkey
def attention_backward(doutput, query, key, value):
    scale = 1 / math.sqrt(query.shape[-1])
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) * scale)
    dscores = softmax_backward(doutput @ value.swapaxes(-1, -2), probs) * scale
    return dscores @ key, dscores @ query, probs.swapaxes(-1, -2) @ doutput


# %% attention_backward: in the order of the equation of dV
# says: dquery:
def attention_backward(doutput, query, key, value):
    scale = 1 / math.sqrt(query.shape[-1])
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) * scale)
    dscores = softmax_backward(doutput @ value.swapaxes(-1, -2), probs) * scale
    return probs.swapaxes(-1, -2) @ doutput, dscores @ key, dscores.swapaxes(-1, -2) @ query


# %% attention_backward: the package's
# says: this case earns nothing
def attention_backward(doutput, query, key, value):
    from minivivit.ops.attention import attention_backward as theirs
    from minivivit.ops.attention import attention_forward

    return theirs(doutput, attention_forward(query, key, value)[1])


# %% attention_backward: entry by entry, and far too often
# says: stopped after
def attention_backward(doutput, query, key, value):
    dquery, dkey, dvalue = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    for index in np.ndindex(query.shape):
        for other in np.ndindex(key.shape):
            for _ in np.ndindex(value.shape):
                dquery[index] += key[other] * 0
    return dquery, dkey, dvalue


# %% multi_head_attention_backward: dx of the last projection only
# says: through the value only
def multi_head_attention_backward(dy, x, params, num_heads):
    projections, dense = params["attention"], params["output"]["dense"]
    heads = {name: split_heads(x @ p["weight"].T + p["bias"], num_heads) for name, p in projections.items()}
    query, key, value = heads["query"], heads["key"], heads["value"]
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
    dmerged, dweight, dbias = linear_backward(dy, merge_heads(probs @ value), dense["weight"])
    gradients = {"attention": {}, "output": {"dense": {"weight": dweight, "bias": dbias}}}
    for name, d in zip(heads, attention_backward(split_heads(dmerged, num_heads), query, key, value), strict=True):
        dx, dweight, dbias = linear_backward(merge_heads(d), x, projections[name]["weight"])
        gradients["attention"][name] = {"weight": dweight, "bias": dbias}
    return dx, gradients


# %% multi_head_attention_backward: past the output projection
# says: the way back through the output projection is left out
def multi_head_attention_backward(dy, x, params, num_heads):
    projections, dense = params["attention"], params["output"]["dense"]
    heads = {name: split_heads(x @ p["weight"].T + p["bias"], num_heads) for name, p in projections.items()}
    query, key, value = heads["query"], heads["key"], heads["value"]
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
    _, dweight, dbias = linear_backward(dy, merge_heads(probs @ value), dense["weight"])
    gradients = {"attention": {}, "output": {"dense": {"weight": dweight, "bias": dbias}}}
    total = 0
    for name, d in zip(heads, attention_backward(split_heads(dy, num_heads), query, key, value), strict=True):
        dx, dweight, dbias = linear_backward(merge_heads(d), x, projections[name]["weight"])
        gradients["attention"][name] = {"weight": dweight, "bias": dbias}
        total = total + dx
    return total, gradients


# %% multi_head_attention_backward: heads merged without transpose
# says: merge: reshape alone mixes tokens and heads
def multi_head_attention_backward(dy, x, params, num_heads):
    projections, dense = params["attention"], params["output"]["dense"]
    heads = {name: split_heads(x @ p["weight"].T + p["bias"], num_heads) for name, p in projections.items()}
    query, key, value = heads["query"], heads["key"], heads["value"]
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
    dmerged, dweight, dbias = linear_backward(dy, (probs @ value).reshape(x.shape), dense["weight"])
    gradients = {"attention": {}, "output": {"dense": {"weight": dweight, "bias": dbias}}}
    total = 0
    for name, d in zip(heads, attention_backward(split_heads(dmerged, num_heads), query, key, value), strict=True):
        dx, dweight, dbias = linear_backward(d.reshape(x.shape), x, projections[name]["weight"])
        gradients["attention"][name] = {"weight": dweight, "bias": dbias}
        total = total + dx
    return total, gradients


# %% multi_head_attention_backward: the gradients in a flat dict
# says: lacks attention.key.bias
def multi_head_attention_backward(dy, x, params, num_heads):
    return np.zeros_like(x), {"query": np.zeros_like(params["attention"]["query"]["weight"])}


# %% multi_head_attention_backward: overwrites the parameters with their gradients
# says: params.output.dense.weight, params.output.dense.bias in place
def multi_head_attention_backward(dy, x, params, num_heads):
    projections, dense = params["attention"], params["output"]["dense"]
    heads = {name: split_heads(x @ p["weight"].T + p["bias"], num_heads) for name, p in projections.items()}
    query, key, value = heads["query"], heads["key"], heads["value"]
    probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
    dmerged, dense["weight"][...], dense["bias"][...] = linear_backward(
        dy, merge_heads(probs @ value), dense["weight"].copy()
    )
    total = 0
    for name, d in zip(heads, attention_backward(split_heads(dmerged, num_heads), query, key, value), strict=True):
        weight = projections[name]["weight"].copy()
        dx, projections[name]["weight"][...], projections[name]["bias"][...] = linear_backward(
            merge_heads(d), x, weight
        )
        total = total + dx
    return total, params
