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


# %% linear_backward: dx of zeros
# says: dx:
# change: return dy @ weight => return 0 * x


# %% linear_backward: dweight with the wrong sign
# says: dweight has the wrong sign
# change: dy_rows.T @ x_rows => -dy_rows.T @ x_rows


# %% linear_backward: dbias a mean
# says: dbias is a mean
# change: dy_rows.sum(axis=0) => dy_rows.mean(axis=0)


# %% linear_backward: dbias over the outputs
# says: dbias:
# change: dy_rows.sum(axis=0) => dy.sum(axis=-1)


# %% linear_backward: dbias not summed
# says: dbias is not summed
# change: dy_rows.sum(axis=0) => dy


# %% linear_backward: the last sample alone
# says: dweight:
# change: dy_rows.T @ x_rows => dy_rows[-1:].T @ x_rows[-1:]


# %% linear_backward: dx with the wrong sign
# says: dx has the wrong sign
# change: return dy @ weight => return -dy @ weight


# %% linear_backward: the batch averaged
# says: dweight is a mean
# change: dy_rows.T @ x_rows => dy_rows.T @ x_rows / len(dy_rows)


# %% softmax_backward: plus for minus
# says: the terms are added
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * (dy + (dy * y).sum(axis=-1, keepdims=True))


# %% softmax_backward: the sum not weighted
# says: the sum is not multiplied by y
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * dy - (dy * y).sum(axis=-1, keepdims=True)


# %% softmax_backward: no y in front
# says: the factor y in front is missing
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => dy - (dy * y).sum(axis=-1, keepdims=True)


# %% softmax_backward: the mean for the sum
# says: the mean stands where
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * (dy - (dy * y).mean(axis=-1, keepdims=True))


# %% softmax_backward: no sum
# says: the term with the row
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * dy


# %% softmax_backward: the first axis
# says: softmax_backward:
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * (dy - (dy * y).sum(axis=0, keepdims=True))


# %% softmax_backward: dy passed on
# says: dx:
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => dy * 1.0


# %% softmax_backward: zeros
# says: it is 0 everywhere
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => 0 * dy


# %% softmax_backward: keepdims forgotten
# says: keep it, with keepdims=True
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * (dy - (dy * y).sum(axis=-1))


# %% softmax_backward: the sum of everything
# says: the whole array
# change: y * (dy - (dy * y).sum(axis=-1, keepdims=True)) => y * (dy - (dy * y).sum())


# %% attention_backward: no scale
# says: left out of the backward pass
# change: softmax_backward(dprobs, probs) * scale => softmax_backward(dprobs, probs)


# %% attention_backward: no scale in the forward pass
# says: when the probabilities are computed again
# change: swapaxes(-1, -2) * scale) => swapaxes(-1, -2))


# %% attention_backward: dquery and dkey exchanged
# says: attention_backward:
# change: return dscores @ key, dscores.swapaxes(-1, -2) @ query, dvalue => return dscores.swapaxes(-1, -2) @ query, dscores @ key, dvalue


# %% attention_backward: the softmax passed by
# says: the way back through the softmax is left out
# change: softmax_backward(dprobs, probs) => dprobs


# %% attention_backward: only dvalue
# says: dquery:
# change: return dscores @ key, dscores.swapaxes(-1, -2) @ query, dvalue => return 0 * query, 0 * key, dvalue


# %% attention_backward: the sign of dkey
# says: dkey:
# change: dscores.swapaxes(-1, -2) @ query => -dscores.swapaxes(-1, -2) @ query


# %% attention_backward: no shift in the softmax
# says: 1e4
# change: probs, _ = softmax_forward(query @ key.swapaxes(-1, -2) * scale) => probs = np.exp(query @ key.swapaxes(-1, -2) * scale); probs = probs / probs.sum(axis=-1, keepdims=True)


# %% multi_head_attention_backward: no bias of the query
# says: the bias of the query is left out
# change: projections[name]["bias"], num_heads) => (name != "query") * projections[name]["bias"], num_heads)


# %% multi_head_attention_backward: dx overwritten
# says: multi_head_attention_backward:
# change: dx += dpart => dx = dpart


# %% multi_head_attention_backward: dx of zeros
# says: dx:
# change: dx += dpart => dx += 0 * dpart


# %% multi_head_attention_backward: dx averaged
# says: the mean of the three parts
# change: dx += dpart => dx += dpart / 3


# %% multi_head_attention_backward: no scale
# says: gradients.output.dense.weight:
# change: / math.sqrt(query.shape[-1]) =>


# %% softmax_backward: finite differences of the logarithms, entry by entry
# says: stopped after
def softmax_backward(dy, y):
    def softmax(x):
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    x, dx = np.log(np.maximum(y, 1e-300)), np.zeros(y.shape)
    for index in np.ndindex(x.shape):
        moved = np.zeros(x.shape)
        moved[index] = 1e-5
        dx[index] = (dy * (softmax(x + moved) - softmax(x - moved))).sum() / 2e-5
    return dx


# %% linear_backward: finite differences of what is linear, entry by entry
# says: stopped after
def linear_backward(dy, x, weight):
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] += 1
        dx[index] = (dy * (moved @ weight.T - x @ weight.T)).sum()
    for index in np.ndindex(weight.shape):
        moved = weight.copy()
        moved[index] += 1
        dweight[index] = (dy * (x @ moved.T - x @ weight.T)).sum()
    return dx, dweight, dy.reshape(-1, dy.shape[-1]).sum(axis=0)


# %% attention_backward: finite differences, entry by entry
# says: stopped after
def attention_backward(doutput, query, key, value):
    def loss(q, k, v):
        return (doutput * (softmax_forward(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))[0] @ v)).sum()

    gradients = []
    given = [query.astype(float), key.astype(float), value.astype(float)]
    for array in given:
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            number = array[index]
            array[index] = number + 1e-5
            high = loss(*given)
            array[index] = number - 1e-5
            gradient[index] = (high - loss(*given)) / 2e-5
            array[index] = number
        gradients.append(gradient)
    return tuple(gradients)


# %% softmax_backward: a difference along dy, since the Jacobian is symmetric
# says: the large case
def of(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def softmax_backward(dy, y):
    x, step = np.log(np.maximum(y, 1e-300).astype(np.float64)), 1e-5 / np.abs(dy).max(axis=-1, keepdims=True)
    return (of(x + step * dy) - of(x - step * dy)) / (2 * step)
