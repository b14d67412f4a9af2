"""Right answers to assignment 4 in other styles (see 01_tubelet_embedding.py for the form)."""

import math

import numpy as np


# %% linear_backward: loops over rows
def linear_backward(dy, x, weight):
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(weight))
    for index in np.ndindex(x.shape[:-1]):
        for j in range(len(weight)):
            for k in range(x.shape[-1]):
                dx[index + (k,)] += dy[index + (j,)] * weight[j, k]
                dweight[j, k] += dy[index + (j,)] * x[index + (k,)]
            dbias[j] += dy[index + (j,)]
    return dx, dweight, dbias


# %% linear_backward: einsum
def linear_backward(dy, x, weight):
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return (
        np.einsum("...j,jk->...k", dy, weight),
        np.einsum("ij,ik->jk", dy_rows, x_rows),
        np.einsum("ij->j", dy_rows),
    )


# %% linear_backward: tensordot, a list
def linear_backward(dy, x, weight):
    axes = list(range(dy.ndim - 1))
    return [np.tensordot(dy, weight, 1), np.tensordot(dy, x, (axes, axes)), dy.sum(tuple(axes))]


# %% softmax_backward: the Jacobian of every row
def softmax_backward(dy, y):
    dx = np.zeros_like(y)
    for index in np.ndindex(y.shape[:-1]):
        row = y[index]
        dx[index] = (np.diag(row) - np.outer(row, row)) @ dy[index]
    return dx


# %% softmax_backward: einsum, float64
def softmax_backward(dy, y):
    dy, y = dy.astype(float), y.astype(float)
    return y * dy - np.einsum("...j,...j,...k->...k", dy, y, y)


# %% attention_backward: einsum
def attention_backward(doutput, query, key, value):
    scale = query.shape[-1] ** -0.5
    scores = np.einsum("bhqd,bhkd->bhqk", query, key) * scale
    probs = np.exp(scores - scores.max(-1, keepdims=True))
    probs = probs / probs.sum(-1, keepdims=True)
    dprobs = np.einsum("bhqd,bhkd->bhqk", doutput, value)
    dscores = probs * (dprobs - np.einsum("bhqk,bhqk->bhq", probs, dprobs)[..., None])
    dquery = np.einsum("bhqk,bhkd->bhqd", dscores, key) * scale
    dkey = np.einsum("bhqk,bhqd->bhkd", dscores, query) * scale
    return dquery, dkey, np.einsum("bhqk,bhqd->bhkd", probs, doutput)


# %% attention_backward: a loop over samples and heads, with the softmax's sum taken from the output
def attention_backward(doutput, query, key, value):
    dquery, dkey, dvalue = np.empty_like(query), np.empty_like(key), np.empty_like(value)
    for at in np.ndindex(query.shape[:2]):
        probs = softmax_forward(query[at] @ key[at].T / math.sqrt(query.shape[-1]))[0]
        delta = (doutput[at] * (probs @ value[at])).sum(axis=-1, keepdims=True)
        dscores = probs * (doutput[at] @ value[at].T - delta) / math.sqrt(query.shape[-1])
        dquery[at], dkey[at], dvalue[at] = dscores @ key[at], dscores.T @ query[at], probs.T @ doutput[at]
    return dquery, dkey, dvalue


# %% multi_head_attention_backward: a loop over heads, without split and merge
def multi_head_attention_backward(dy, x, params, num_heads):
    batch, tokens, hidden = x.shape
    size, dense = hidden // num_heads, params["output"]["dense"]
    zeros = {
        name: {part: np.zeros(array.shape) for part, array in p.items()} for name, p in params["attention"].items()
    }
    dx, merged = np.zeros(x.shape), np.zeros(x.shape)
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        q, k, v = (
            x @ params["attention"][name]["weight"][part].T + params["attention"][name]["bias"][part]
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(size)
        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        merged[:, :, part] = probs @ v
        doutput = dy @ dense["weight"][:, part]
        dprobs = doutput @ v.transpose(0, 2, 1)
        dscores = probs * (dprobs - (probs * dprobs).sum(-1, keepdims=True)) / math.sqrt(size)
        parts = {
            "query": dscores @ k,
            "key": dscores.transpose(0, 2, 1) @ q,
            "value": probs.transpose(0, 2, 1) @ doutput,
        }
        for name, d in parts.items():
            zeros[name]["weight"][part] = np.einsum("btj,btk->jk", d, x)
            zeros[name]["bias"][part] = d.sum(axis=(0, 1))
            dx += d @ params["attention"][name]["weight"][part]
    output = {"weight": np.einsum("btj,btk->jk", dy, merged), "bias": dy.sum(axis=(0, 1))}
    return dx, {"attention": zeros, "output": {"dense": output}}


# %% multi_head_attention_backward: the same parts, with the given functions, in float64
def multi_head_attention_backward(dy, x, params, num_heads):
    dy, x = dy.astype(np.float64), x.astype(np.float64)
    names, dense = ["query", "key", "value"], params["output"]["dense"]
    heads = [
        split_heads(x @ params["attention"][n]["weight"].T + params["attention"][n]["bias"], num_heads) for n in names
    ]
    probs = softmax_forward(heads[0] @ heads[1].swapaxes(2, 3) / np.sqrt(heads[0].shape[-1]))[0]
    dmerged, dw, db = linear_backward(dy, merge_heads(probs @ heads[2]), dense["weight"])
    back = attention_backward(split_heads(dmerged, num_heads), *heads)
    back = [linear_backward(merge_heads(d), x, params["attention"][n]["weight"]) for n, d in zip(names, back)]
    attention = {n: {"weight": b[1], "bias": b[2]} for n, b in zip(names, back)}
    return sum(b[0] for b in back), {"output": {"dense": {"bias": db, "weight": dw}}, "attention": attention}


# %% linear_backward: matmul
# change: dy @ weight => np.matmul(dy, weight)


# %% linear_backward: dweight by einsum
# change: dy_rows.T @ x_rows => np.einsum("ij,ik->jk", dy_rows, x_rows)


# %% linear_backward: dbias by a product with ones
# change: dy_rows.sum(axis=0) => np.ones(len(dy_rows), dy.dtype) @ dy_rows


# %% linear_backward: dweight as outer products
# change: dy_rows.T @ x_rows => sum(np.outer(d, row) for d, row in zip(dy_rows, x_rows))


# %% linear_backward: dweight transposed twice
# change: dy_rows.T @ x_rows => (x_rows.T @ dy_rows).T


# %% linear_backward: dbias over all axes but one
# change: dy_rows.sum(axis=0) => dy.sum(axis=tuple(range(dy.ndim - 1)))


# %% linear_backward: dx row by row
# change: return dy @ weight => return np.array([d @ weight for d in dy_rows]).reshape(x.shape)


# %% softmax_backward: the product first
def softmax_backward(dy, y):
    return dy * y - y * (dy * y).sum(axis=-1, keepdims=True)


# %% softmax_backward: einsum of both
def softmax_backward(dy, y):
    return y * (dy - np.einsum("...k,...k->...", dy, y)[..., None])


# %% softmax_backward: the Jacobians of all rows
def softmax_backward(dy, y):
    return ((np.eye(y.shape[-1]) * y[..., None, :] - y[..., :, None] * y[..., None, :]) @ dy[..., None])[..., 0]


# %% softmax_backward: matmul of rows
def softmax_backward(dy, y):
    return y * (dy - (dy[..., None, :] @ y[..., :, None])[..., 0])


# %% softmax_backward: centred by the weighted mean
def softmax_backward(dy, y):
    return y * (dy - np.add.reduce(y * dy, axis=-1, keepdims=True) / y.sum(axis=-1, keepdims=True))


# %% softmax_backward: apply to rows
def softmax_backward(dy, y):
    return np.array([p * (d - d @ p) for d, p in zip(dy.reshape(-1, y.shape[-1]), y.reshape(-1, y.shape[-1]))]).reshape(
        y.shape
    )


# %% attention_backward: the scale at the end
# change: softmax_backward(dprobs, probs) * scale => softmax_backward(dprobs, probs)
# change: return dscores @ key, dscores.swapaxes(-1, -2) @ query, dvalue => return scale * (dscores @ key), scale * (dscores.swapaxes(-1, -2) @ query), dvalue


# %% attention_backward: dkey by einsum
# change: dscores.swapaxes(-1, -2) @ query => np.einsum("bhqk,bhqd->bhkd", dscores, query)


# %% attention_backward: the softmax written out
# change: softmax_backward(dprobs, probs) => probs * (dprobs - (dprobs * probs).sum(axis=-1, keepdims=True))


# %% attention_backward: the sum from the output
# change: softmax_backward(dprobs, probs) => probs * (dprobs - (doutput * (probs @ value)).sum(axis=-1, keepdims=True))


# %% attention_backward: the package's softmax, backward
# change: dscores = softmax_backward(dprobs, probs) => from minivivit.ops.softmax import softmax_backward as given; dscores = given(dprobs, {"y": probs})


# %% attention_backward: matmul
# change: doutput @ value.swapaxes(-1, -2) => np.matmul(doutput, np.swapaxes(value, 2, 3))


# %% multi_head_attention_backward: dx as one sum
# change: dx += dpart => dx = dx + dpart


# %% multi_head_attention_backward: the package's linear map, backward
# change: dmerged, dweight, dbias = linear_backward(dy, merge_heads(probs @ value), dense["weight"]) => from minivivit.ops.linear import linear_backward as given; dmerged, dweight, dbias = given(dy, {"x": merge_heads(probs @ value), "weight": dense["weight"], "has_bias": True})


# %% multi_head_attention_backward: the package's attention, there and back
# change: dheads = attention_backward(split_heads(dmerged, num_heads), query, key, value) => from minivivit.ops.attention import attention_backward as given, attention_forward; dheads = given(split_heads(dmerged, num_heads), attention_forward(query, key, value)[1])


# %% multi_head_attention_backward: a tree filled in another order
# change: gradients = {"attention": {}, "output": {"dense": {"weight": dweight, "bias": dbias}}} => gradients = {"output": {"dense": {"bias": dbias, "weight": dweight}}, "attention": {}}


# %% softmax_backward: extended precision
def softmax_backward(dy, y):
    dy, y = dy.astype(np.longdouble), y.astype(np.longdouble)
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
