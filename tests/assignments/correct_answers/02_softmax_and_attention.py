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
