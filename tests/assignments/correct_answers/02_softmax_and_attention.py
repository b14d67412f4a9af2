"""Right answers to assignment 2 in other styles (see 01_tubelet_embedding.py for the form)."""

import math

import numpy as np


# %% softmax: loops over every entry
def softmax(x):
    rows = x.reshape(-1, x.shape[-1])
    y = np.zeros(rows.shape)
    for i, row in enumerate(rows):
        largest = max(row)
        total = sum(math.exp(entry - largest) for entry in row)
        for j, entry in enumerate(row):
            y[i, j] = math.exp(entry - largest) / total
    return y.reshape(x.shape)


# %% softmax: through the logarithm
def softmax(x):
    largest = np.amax(x, axis=-1, keepdims=True)
    return np.exp(x - largest - np.log(np.sum(np.exp(x - largest), axis=-1, keepdims=True)))


# %% softmax: float64 within, the dtype of x without
def softmax(x):
    z = x.astype(np.float64)
    z -= z.max(-1)[..., np.newaxis]
    np.exp(z, out=z)
    return (z / z.sum(-1)[..., np.newaxis]).astype(x.dtype)


# %% softmax: apply_along_axis
def softmax(x):
    def of_row(row):
        powers = np.exp(row - row.max())
        return powers / powers.sum()

    return np.apply_along_axis(of_row, -1, x)


# %% attention_scores: einsum
def attention_scores(query, key):
    return np.einsum("bhqd,bhkd->bhqk", query, key) / np.sqrt(query.shape[-1])


# %% attention_scores: the query scaled first
def attention_scores(query, key):
    return np.matmul(query * query.shape[-1] ** -0.5, np.transpose(key, (0, 1, 3, 2)))


# %% attention_scores: loops
def attention_scores(query, key):
    batch, heads, queries, size = query.shape
    scores = np.zeros((batch, heads, queries, key.shape[2]))
    for index in np.ndindex(scores.shape):
        b, h, i, j = index
        for f in range(size):
            scores[index] += query[b, h, i, f] * key[b, h, j, f]
    return scores / math.sqrt(size)


# %% attention: all in one place
def attention(query, key, value):
    scores = np.einsum("bhqd,bhkd->bhqk", query, key) * query.shape[-1] ** -0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqk,bhkd->bhqd", weights, value) / weights.sum(-1)[..., None]


# %% attention: one key after the other, with the online softmax
def attention(query, key, value):
    largest = np.full(query.shape[:-1], -np.inf)
    total, output = np.zeros(query.shape[:-1]), np.zeros(query.shape)
    for j in range(key.shape[2]):
        score = (query * key[:, :, j : j + 1]).sum(axis=-1) / math.sqrt(query.shape[-1])
        new = np.maximum(largest, score)
        shrink, weight = np.exp(largest - new), np.exp(score - new)
        total = total * shrink + weight
        output = output * shrink[..., None] + weight[..., None] * value[:, :, j : j + 1]
        largest = new
    return output / total[..., None]


# %% split_heads: slices
def split_heads(x, num_heads):
    return np.stack(np.split(x, num_heads, axis=-1), axis=1)


# %% split_heads: loops
def split_heads(x, num_heads):
    batch, tokens, hidden = x.shape
    size = hidden // num_heads
    heads = np.zeros((batch, num_heads, tokens, size), x.dtype)
    for head in range(num_heads):
        heads[:, head] = x[:, :, head * size : (head + 1) * size]
    return heads


# %% merge_heads: concatenate
def merge_heads(heads):
    return np.concatenate([heads[:, head] for head in range(heads.shape[1])], axis=-1)


# %% merge_heads: einsum
def merge_heads(heads):
    return np.einsum("bhtd->bthd", heads).reshape(heads.shape[0], heads.shape[2], -1)


# %% multi_head_attention: a loop over heads, with the columns of each
def multi_head_attention(x, params, num_heads):
    size = x.shape[-1] // num_heads
    dense = params["output"]["dense"]
    y = np.zeros(x.shape) + dense["bias"]
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        query, key, value = (
            x @ params["attention"][name]["weight"][part].T + params["attention"][name]["bias"][part]
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(size)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y += weights @ value / weights.sum(-1, keepdims=True) @ dense["weight"][:, part].T
    return y


# %% multi_head_attention: einsum from end to end
def multi_head_attention(x, params, num_heads):
    hidden = x.shape[-1]
    heads = []
    for name in ("query", "key", "value"):
        weight = params["attention"][name]["weight"].reshape(num_heads, -1, hidden)
        bias = params["attention"][name]["bias"].reshape(1, num_heads, 1, -1)
        heads.append(np.einsum("btk,hdk->bhtd", x, weight) + bias)
    scores = np.einsum("bhqd,bhkd->bhqk", heads[0], heads[1]) / np.sqrt(hidden / num_heads)
    scores = scores - scores.max(-1, keepdims=True)
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    merged = np.einsum("bhqk,bhkd->bqhd", probs, heads[2]).reshape(x.shape)
    dense = params["output"]["dense"]
    return np.einsum("btk,jk->btj", merged, dense["weight"]) + dense["bias"]


# %% softmax: np.max with None
# change: x.max(axis=-1, keepdims=True) => np.max(x, axis=-1)[..., None]


# %% softmax: the maximum by reduce
# change: x.max(axis=-1, keepdims=True) => np.maximum.reduce(x, axis=-1, keepdims=True)


# %% softmax: the maximum by sorting
# change: x.max(axis=-1, keepdims=True) => np.sort(x, axis=-1)[..., -1:]


# %% softmax: the maximum by its place
# change: x.max(axis=-1, keepdims=True) => np.take_along_axis(x, x.argmax(axis=-1)[..., None], axis=-1)


# %% softmax: nanmax and expand_dims
# change: x.max(axis=-1, keepdims=True) => np.expand_dims(np.nanmax(x, axis=-1), -1)


# %% softmax: a number a little above the maximum
# change: x.max(axis=-1, keepdims=True) => (x.max(axis=-1, keepdims=True) + 1)


# %% softmax: times the reciprocal
# change: return powers / powers.sum(axis=-1, keepdims=True) => return powers * (1 / powers.sum(axis=-1, keepdims=True))


# %% softmax: the sum by einsum
# change: return powers / powers.sum(axis=-1, keepdims=True) => return powers / np.einsum("...k->...", powers)[..., np.newaxis]


# %% softmax: the sum as a product with ones
# change: return powers / powers.sum(axis=-1, keepdims=True) => return powers / (powers @ np.ones((x.shape[-1], 1), x.dtype))


# %% softmax: np.divide
# change: return powers / powers.sum(axis=-1, keepdims=True) => return np.divide(powers, np.add.reduce(powers, axis=-1, keepdims=True))


# %% softmax: the last of the cumulative sums
# change: return powers / powers.sum(axis=-1, keepdims=True) => return powers / np.cumsum(powers, axis=-1)[..., -1:]


# %% softmax: mean times length
# change: return powers / powers.sum(axis=-1, keepdims=True) => return powers / (powers.mean(axis=-1, keepdims=True) * x.shape[-1])


# %% softmax: logaddexp
def softmax(x):
    return np.exp(x - np.logaddexp.reduce(x, axis=-1, keepdims=True))


# %% softmax: the differences of all pairs
def softmax(x):
    return 1 / np.exp(
        np.minimum(
            np.where(
                np.isneginf(x)[..., :, None], np.inf, x[..., None, :] - np.where(np.isneginf(x), 0, x)[..., :, None]
            ),
            700,
        )
    ).sum(axis=-1)


# %% softmax: rows transposed
def softmax(x):
    z = np.moveaxis(x, -1, 0)
    powers = np.exp(z - z.max(axis=0))
    return np.moveaxis(powers / powers.sum(axis=0), 0, -1)


# %% softmax: a recursion over the axes
def softmax(x):
    if x.ndim > 1:
        return np.array([softmax(part) for part in x])
    powers = np.exp(x - max(x))
    return powers / sum(powers)


# %% softmax: an array of objects
def softmax(x):
    import math

    rows = x.reshape(-1, x.shape[-1]).astype(object)
    y = np.empty(rows.shape, dtype=object)
    for i, row in enumerate(rows):
        largest = max(row)
        total = math.fsum(math.exp(z - largest) for z in row)
        y[i] = [math.exp(z - largest) / total for z in row]
    return y.reshape(x.shape)


# %% softmax: an import that is not used
def softmax(x):
    import scipy.special

    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# %% attention_scores: the key scaled
def attention_scores(query, key):
    return query @ (key / math.sqrt(query.shape[-1])).swapaxes(-1, -2)


# %% attention_scores: both scaled by the fourth root
def attention_scores(query, key):
    return (query / query.shape[-1] ** 0.25) @ (key / query.shape[-1] ** 0.25).swapaxes(-1, -2)


# %% attention_scores: moveaxis and a power
def attention_scores(query, key):
    return query @ np.moveaxis(key, -1, -2) * query.shape[-1] ** -0.5


# %% attention_scores: matmul of the transposed, transposed
def attention_scores(query, key):
    return (key @ query.swapaxes(-1, -2)).swapaxes(-1, -2) / np.sqrt(key.shape[-1])


# %% attention_scores: a sum over a new axis
def attention_scores(query, key):
    return (query[:, :, :, None] * key[:, :, None]).sum(axis=-1) / math.sqrt(query.shape[-1])


# %% attention_scores: np.inner of every head
def attention_scores(query, key):
    return np.array([[np.inner(q, k) for q, k in zip(*pair)] for pair in zip(query, key)]) / math.sqrt(query.shape[-1])


# %% attention_scores: tensordot, sample by sample
def attention_scores(query, key):
    return (
        np.stack([np.stack([np.tensordot(q, k, ([1], [1])) for q, k in zip(qs, ks)]) for qs, ks in zip(query, key)])
        * query.shape[-1] ** -0.5
    )


# %% attention: matmul
def attention(query, key, value):
    return np.matmul(softmax(attention_scores(query, key)), value)


# %% attention: the package's softmax, which is allowed here
def attention(query, key, value):
    from minivivit.ops.softmax import softmax_forward

    return softmax_forward(attention_scores(query, key))[0] @ value


# %% attention: divided at the end
def attention(query, key, value):
    scores = attention_scores(query, key)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights @ value / weights.sum(axis=-1, keepdims=True)


# %% attention: query by query
def attention(query, key, value):
    return np.stack(
        [softmax(attention_scores(query[:, :, i : i + 1], key)) @ value for i in range(query.shape[2])], axis=2
    )[:, :, :, 0]


# %% attention: head by head
def attention(query, key, value):
    output = np.zeros(query.shape, query.dtype)
    for at in np.ndindex(query.shape[:2]):
        scores = query[at] @ key[at].T / np.sqrt(query.shape[-1])
        output[at] = softmax(scores) @ value[at]
    return output


# %% attention: a sum of weighted values
def attention(query, key, value):
    probs = softmax(attention_scores(query, key))
    return sum(probs[..., j, None] * value[:, :, j, None] for j in range(key.shape[2]))


# %% attention: the keys in the other order
def attention(query, key, value):
    return softmax(attention_scores(query, key[:, :, ::-1])) @ value[:, :, ::-1]


# %% split_heads: swapaxes
def split_heads(x, num_heads):
    return x.reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)


# %% split_heads: moveaxis
def split_heads(x, num_heads):
    return np.moveaxis(x.reshape(x.shape[0], x.shape[1], num_heads, x.shape[2] // num_heads), 2, 1)


# %% split_heads: einsum
def split_heads(x, num_heads):
    return np.einsum("bthd->bhtd", x.reshape(*x.shape[:2], num_heads, -1))


# %% split_heads: array_split and a list
def split_heads(x, num_heads):
    return np.array([np.array_split(sample, num_heads, axis=1) for sample in x])


# %% split_heads: indices
def split_heads(x, num_heads):
    return x[:, np.arange(x.shape[1])[None, :, None], np.arange(x.shape[2]).reshape(num_heads, 1, -1)]


# %% merge_heads: swapaxes
def merge_heads(heads):
    return heads.swapaxes(1, 2).reshape(heads.shape[0], heads.shape[2], -1)


# %% merge_heads: hstack of every sample
def merge_heads(heads):
    return np.stack([np.hstack(list(sample)) for sample in heads])


# %% merge_heads: moveaxis
def merge_heads(heads):
    return np.moveaxis(heads, 1, 2).reshape(len(heads), heads.shape[2], heads.shape[1] * heads.shape[3])


# %% merge_heads: split undone by concatenate on axis 2
def merge_heads(heads):
    return np.concatenate(list(np.moveaxis(heads, 1, 0)), axis=2)


# %% merge_heads: loops
def merge_heads(heads):
    return np.array(
        [
            [np.concatenate([heads[b, h, t] for h in range(heads.shape[1])]) for t in range(heads.shape[2])]
            for b in range(len(heads))
        ]
    )


# %% multi_head_attention: einsum for the projections
# change: x @ projection["weight"].T => np.einsum("btk,jk->btj", x, projection["weight"])


# %% multi_head_attention: the bias of the output first
# change: merged @ dense["weight"].T + dense["bias"] => dense["bias"] + np.matmul(merged, np.transpose(dense["weight"]))


# %% multi_head_attention: float64 within
# change: merge_heads(attention(*heads)) => merge_heads(attention(*(head.astype(np.float64) for head in heads)))


# %% multi_head_attention: the package's parts, which are allowed here
# change: merged = merge_heads(attention(*heads)) => from minivivit.layers.multi_head_attention import merge_heads as join; from minivivit.ops.attention import attention_forward; merged = join(attention_forward(*heads)[0])


# %% multi_head_attention: one large projection
def multi_head_attention(x, params, num_heads):
    hidden = x.shape[-1]
    p = params["attention"]
    weight = np.concatenate([p[name]["weight"] for name in ("query", "key", "value")])
    bias = np.concatenate([p[name]["bias"] for name in ("query", "key", "value")])
    parts = np.split(x @ weight.T + bias, 3, axis=-1)
    merged = merge_heads(attention(*(split_heads(part, num_heads) for part in parts)))
    return merged @ params["output"]["dense"]["weight"].T + params["output"]["dense"]["bias"]


# %% multi_head_attention: one sample after the other
def multi_head_attention(x, params, num_heads):
    def project(a, p):
        return a @ p["weight"].T + p["bias"]

    found = []
    for sample in x:
        q, k, v = (
            project(sample, params["attention"][n]).reshape(len(sample), num_heads, -1)
            for n in ("query", "key", "value")
        )
        heads = []
        for h in range(num_heads):
            s = q[:, h] @ k[:, h].T / math.sqrt(q.shape[-1])
            w = np.exp(s - s.max(axis=1, keepdims=True))
            heads.append((w / w.sum(axis=1, keepdims=True)) @ v[:, h])
        found.append(project(np.concatenate(heads, axis=1), params["output"]["dense"]))
    return np.stack(found)


# %% softmax: extended precision, within and without
def softmax(x):
    x = x.astype(np.longdouble)
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# %% softmax: the other byte order
def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(">f8")


# %% softmax: a masked array
def softmax(x):
    x = np.ma.masked_invalid(x)
    powers = np.ma.exp(x - x.max(axis=-1, keepdims=True)).filled(0.0)
    return powers / powers.sum(axis=-1, keepdims=True)


# %% softmax: an object that can be called
class Softmax:
    axis = -1

    def __call__(self, x):
        powers = np.exp(x - x.max(axis=self.axis, keepdims=True))
        return powers / powers.sum(axis=self.axis, keepdims=True)


softmax = Softmax()


# %% softmax: a generator that is sent its own results
def steps(x):
    shifted = yield x.max(axis=-1, keepdims=True)
    powers = yield np.exp(shifted)
    yield powers / powers.sum(axis=-1, keepdims=True)


def softmax(x):
    steps_of_x = steps(x)
    largest = next(steps_of_x)
    return steps_of_x.send(steps_of_x.send(x - largest))


# %% split_heads: strides
def split_heads(x, num_heads):
    batch, tokens, hidden = x.shape
    of_sample, of_token, of_feature = x.strides
    size = hidden // num_heads
    strides = of_sample, size * of_feature, of_token, of_feature
    return np.lib.stride_tricks.as_strided(x, (batch, num_heads, tokens, size), strides)


# %% merge_heads: blocks
def merge_heads(heads):
    return np.stack([np.block([list(sample)]) for sample in heads])
