"""Wrong answers to assignment 2 (see 01_tubelet_embedding.py for the form)."""

import math

import numpy as np


# %% softmax: no shift
# says: subtract the row's maximum before exp
def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


# %% softmax: shifted by the maximum of the whole array
# says: subtract each row's own
def softmax(x):
    powers = np.exp(x - np.max(x))
    return powers / powers.sum(axis=-1, keepdims=True)


# %% softmax: over the first axis
# says: over the first axis
def softmax(x):
    powers = np.exp(x - x.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


# %% softmax: normalised over the whole array
# says: the sum runs over the whole array
def softmax(x):
    powers = np.exp(x - x.max())
    return powers / np.sum(powers)


# %% softmax: keepdims forgotten
# says: raises ValueError
def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1)


# %% softmax: in place
# says: changes its input x in place
def softmax(x):
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


# %% softmax: scipy's
# says: this case earns nothing
def softmax(x):
    from scipy.special import softmax as their_softmax

    return their_softmax(x, axis=-1)


# %% softmax: the package's
# says: calls minivivit.ops.softmax.softmax_forward
def softmax(x):
    import minivivit.ops.softmax

    return minivivit.ops.softmax.softmax_forward(x)[0]


# %% softmax: entries cut off at 700 so that exp does not overflow
# says: with entries near 1e4
def softmax(x):
    powers = np.exp(np.clip(x, -700, 700))
    return powers / powers.sum(axis=-1, keepdims=True)


# %% softmax: a bisection that takes minutes
# says: stopped after
def softmax(x):
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        for _ in range(10**7):
            y[index] += np.exp(x[index] - x.max()) / 10**7
    return y / y.sum(axis=-1, keepdims=True)


# %% softmax: the visible test by heart
# says: softmax: all 7 cases right (score 1.00) softmax: 0 of 7 cases right
from minivivit.checks.attention_checks import _softmax_cases
from minivivit.ops.softmax import softmax_forward

VISIBLE = [case.arguments["x"] for case in _softmax_cases(np.random.default_rng(1))]
KNOWN = {x.tobytes(): softmax_forward(x)[0] for x in VISIBLE}


def softmax(x):
    return KNOWN.get(x.tobytes(), x)


# %% attention_scores: the scale left out
# says: the scale 1 / sqrt(head_size) is left out
def attention_scores(query, key):
    return query @ key.swapaxes(-1, -2)


# %% attention_scores: divided by d
# says: not by its square root
def attention_scores(query, key):
    return query @ key.swapaxes(-1, -2) / query.shape[-1]


# %% attention_scores: keys by queries
# says: it is the other way round
def attention_scores(query, key):
    return key @ query.swapaxes(-1, -2) / math.sqrt(query.shape[-1])


# %% attention_scores: all axes transposed
# says: raises ValueError
def attention_scores(query, key):
    return query @ key.T / math.sqrt(query.shape[-1])


# %% attention: the softmax over the queries
# says: each query's row of keys sums to 1
def attention(query, key, value):
    scores = attention_scores(query, key)
    return softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2) @ value


# %% attention: scaled after the softmax
# says: it belongs before
def attention(query, key, value):
    return softmax(query @ key.swapaxes(-1, -2)) @ value / math.sqrt(query.shape[-1])


# %% attention: returns the probabilities too
# says: is a tuple
def attention(query, key, value):
    probs = softmax(attention_scores(query, key))
    return probs @ value, probs


# %% split_heads: no transpose
# says: reshape alone mixes tokens and heads
def split_heads(x, num_heads):
    batch, tokens, hidden = x.shape
    return x.reshape(batch, num_heads, tokens, hidden // num_heads)


# %% split_heads: every n-th feature
# says: every n-th feature
def split_heads(x, num_heads):
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, hidden // num_heads, num_heads).transpose(0, 3, 1, 2)


# %% merge_heads: no transpose
# says: reshape alone mixes tokens and heads
def merge_heads(heads):
    batch, num_heads, tokens, head_size = heads.shape
    return heads.reshape(batch, tokens, num_heads * head_size)


# %% multi_head_attention: weights not transposed
# says: the weights are not transposed
def multi_head_attention(x, params, num_heads):
    heads = []
    for name in ("query", "key", "value"):
        projection = params["attention"][name]
        heads.append(split_heads(x @ projection["weight"] + projection["bias"], num_heads))
    dense = params["output"]["dense"]
    return merge_heads(attention(*heads)) @ dense["weight"] + dense["bias"]


# %% multi_head_attention: no output projection
# says: the output projection is left out
def multi_head_attention(x, params, num_heads):
    heads = []
    for name in ("query", "key", "value"):
        projection = params["attention"][name]
        heads.append(split_heads(x @ projection["weight"].T + projection["bias"], num_heads))
    return merge_heads(attention(*heads))


# %% multi_head_attention: one head
# says: there is one head
def multi_head_attention(x, params, num_heads):
    query, key, value = (
        x @ params["attention"][name]["weight"].T + params["attention"][name]["bias"]
        for name in ("query", "key", "value")
    )
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    dense = params["output"]["dense"]
    return softmax(scores) @ value @ dense["weight"].T + dense["bias"]


# %% multi_head_attention: scaled by hidden
# says: the scale is of hidden
def multi_head_attention(x, params, num_heads):
    query, key, value = (
        split_heads(x @ params["attention"][name]["weight"].T + params["attention"][name]["bias"], num_heads)
        for name in ("query", "key", "value")
    )
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(x.shape[-1])
    dense = params["output"]["dense"]
    return merge_heads(softmax(scores) @ value) @ dense["weight"].T + dense["bias"]


# %% multi_head_attention: heads reshaped, never transposed, there and back
# says: split and merge
def multi_head_attention(x, params, num_heads):
    batch, tokens, hidden = x.shape
    query, key, value = (
        (x @ params["attention"][name]["weight"].T + params["attention"][name]["bias"]).reshape(
            batch, num_heads, tokens, hidden // num_heads
        )
        for name in ("query", "key", "value")
    )
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(hidden // num_heads)
    dense = params["output"]["dense"]
    return (softmax(scores) @ value).reshape(batch, tokens, hidden) @ dense["weight"].T + dense["bias"]
