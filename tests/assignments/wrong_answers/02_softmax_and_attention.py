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
# says: softmax: all 13 cases right (score 1.00) softmax: 0 of 13 cases right
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


# %% softmax: shifted by the least entry
# says: shifted by its least entry
# change: x.max(axis=-1, keepdims=True) => x.min(axis=-1, keepdims=True)


# %% softmax: shifted by the mean
# says: shifted by its mean
# change: x.max(axis=-1, keepdims=True) => x.mean(axis=-1, keepdims=True)


# %% softmax: shifted by the first entry
# says: shifted by its first entry
# change: x.max(axis=-1, keepdims=True) => x[..., :1]


# %% softmax: shifted by the last entry
# says: entries are NaN
# change: x.max(axis=-1, keepdims=True) => x[..., -1:]


# %% softmax: shifted by the median
# says: entries are NaN
# change: x.max(axis=-1, keepdims=True) => np.median(x, axis=-1, keepdims=True)


# %% softmax: shifted by the largest absolute value
# says: entries are NaN
# change: x.max(axis=-1, keepdims=True) => abs(x).max(axis=-1, keepdims=True)


# %% softmax: shifted by a constant
# says: y:
# change: x.max(axis=-1, keepdims=True) => 1e4


# %% softmax: shifted by the maximum along the columns
# says: y:
# change: x.max(axis=-1, keepdims=True) => x.max(axis=0, keepdims=True)


# %% softmax: shifted by half of the maximum
# says: entries are
# change: x.max(axis=-1, keepdims=True) => x.max(axis=-1, keepdims=True) / 2


# %% softmax: the mean for the sum
# says: the mean of a row stands where its sum belongs
# change: powers.sum( => powers.mean(


# %% softmax: divided by the largest
# says: y:
# change: powers.sum( => powers.max(


# %% softmax: a tiny number in the denominator
# says: y:
# change: return powers / powers.sum(axis=-1, keepdims=True) => return powers / (powers.sum(axis=-1, keepdims=True) + 1e-6)


# %% softmax: entries cut off at 50
# says: y:
# change: np.exp(x - x.max => np.exp(np.clip(x, -50, 50) - np.clip(x, -50, 50).max


# %% softmax: 2 to the power of x
# says: 2 is raised to x
# change: np.exp(x => np.exp2(x


# %% softmax: the sign of x turned
# says: the sign of x is turned
# change: np.exp(x - x.max => np.exp(x.min(axis=-1, keepdims=True) - x - 0 * x.max


# %% softmax: the logarithm of it
# says: this is the logarithm
# change: return powers / powers.sum(axis=-1, keepdims=True) => return np.log(powers / powers.sum(axis=-1, keepdims=True))


# %% softmax: in float32
# says: a lower precision
# change: np.exp(x -  => np.exp(x.astype(np.float32) -


# %% softmax: rounded to six places
# says: a lower precision
# change: return powers / powers.sum(axis=-1, keepdims=True) => return (powers / powers.sum(axis=-1, keepdims=True)).round(6)


# %% softmax: NaN made 0
# says: softmax:
# change: np.exp(x - x.max(axis=-1, keepdims=True)) => np.nan_to_num(np.exp(x), posinf=0)


# %% softmax: -inf taken for 0
# says: -inf, as a mask makes them
# change: np.exp(x - x.max => np.exp(np.where(np.isfinite(x), x, 0) - x.max


# %% softmax: the rows sorted
# says: the right numbers in the wrong places
# change: return powers / => return np.sort(powers) /


# %% softmax: 1 for the largest
# says: y:
# change: return powers / powers.sum(axis=-1, keepdims=True) => return (x == x.max(axis=-1, keepdims=True)) * 1.0


# %% softmax: over the second axis
# says: softmax:
# change: axis=-1 => axis=1


# %% softmax: squared
# says: y:
# change: powers = np.exp(x - x.max(axis=-1, keepdims=True)) => powers = np.exp(x - x.max(axis=-1, keepdims=True)) ** 2


# %% attention_scores: multiplied by the root
# says: ; divide
# change: / math.sqrt(query.shape[-1]) => * math.sqrt(query.shape[-1])


# %% attention_scores: the number of keys
# says: the scale is of the number of keys
# change: / math.sqrt(query.shape[-1]) => / math.sqrt(key.shape[-2])


# %% attention_scores: the number of queries
# says: the scale is of the number of queries
# change: / math.sqrt(query.shape[-1]) => / math.sqrt(query.shape[-2])


# %% attention_scores: the root of the root
# says: scores:
# change: / math.sqrt(query.shape[-1]) => / query.shape[-1] ** 0.25


# %% attention_scores: 8, as in the first model
# says: scores:
# change: / math.sqrt(query.shape[-1]) => / 8


# %% attention_scores: rounded down
# says: scores:
# change: / math.sqrt(query.shape[-1]) => // math.sqrt(query.shape[-1])


# %% attention_scores: heads times size
# says: scores:
# change: / math.sqrt(query.shape[-1]) => / math.sqrt(query.shape[-1] * query.shape[1])


# %% attention_scores: already a softmax
# says: the softmax is already applied
# change: return query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) => return softmax(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))


# %% attention_scores: heads taken for tokens
# says: raises ValueError
# change: swapaxes(-1, -2) => swapaxes(1, 2)


# %% attention_scores: one sample and one head taken away
# says: has shape
# change: / math.sqrt(query.shape[-1]) => / math.sqrt(query.shape[-1]) + 0; return scores.squeeze()
# change: return query => scores = query


# %% attention: no softmax
# says: the softmax is left out
# change: softmax(attention_scores(query, key)) @ value => attention_scores(query, key) @ value


# %% attention: the keys mixed
# says: the keys are mixed
# change: softmax(attention_scores(query, key)) @ value => softmax(attention_scores(query, key)) @ key


# %% attention: the probabilities
# says: these are the probabilities
# change: softmax(attention_scores(query, key)) @ value => softmax(attention_scores(query, key))


# %% attention: no shift
# says: the softmax overflows
# change: softmax(attention_scores(query, key)) @ value => np.exp(attention_scores(query, key)) / np.exp(attention_scores(query, key)).sum(axis=-1, keepdims=True) @ value


# %% attention: one maximum for all
# says: one maximum for the whole array
# change: softmax(attention_scores(query, key)) @ value => np.exp(attention_scores(query, key) - attention_scores(query, key).max()) / np.exp(attention_scores(query, key) - attention_scores(query, key).max()).sum(axis=-1, keepdims=True) @ value


# %% attention: shifted by the least score
# says: by a row's least score
# change: softmax(attention_scores(query, key)) @ value => np.exp(attention_scores(query, key) - attention_scores(query, key).min(axis=-1, keepdims=True)) / np.exp(attention_scores(query, key) - attention_scores(query, key).min(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True) @ value


# %% attention: shifted by the mean
# says: by a row's mean
# change: softmax(attention_scores(query, key)) @ value => np.exp(attention_scores(query, key) - attention_scores(query, key).mean(axis=-1, keepdims=True)) / np.exp(attention_scores(query, key) - attention_scores(query, key).mean(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True) @ value


# %% attention: shifted by the first score
# says: by a row's first score
# change: softmax(attention_scores(query, key)) @ value => np.exp(attention_scores(query, key) - attention_scores(query, key)[..., :1]) / np.exp(attention_scores(query, key) - attention_scores(query, key)[..., :1]).sum(axis=-1, keepdims=True) @ value


# %% attention: scaled twice
# says: output:
# change: softmax(attention_scores(query, key)) @ value => softmax(attention_scores(query, key) / math.sqrt(query.shape[-1])) @ value


# %% attention: the query added
# says: output:
# change: softmax(attention_scores(query, key)) @ value => softmax(attention_scores(query, key)) @ value + query


# %% attention: hard attention
# says: output:
# change: softmax(attention_scores(query, key)) @ value => (attention_scores(query, key) == attention_scores(query, key).max(axis=-1, keepdims=True)) @ value


# %% split_heads: heads behind tokens and features
# says: has shape
# change: transpose(0, 2, 1, 3) => transpose(0, 2, 3, 1)


# %% split_heads: heads in front of samples
# says: has shape
# change: transpose(0, 2, 1, 3) => transpose(2, 0, 1, 3)


# %% split_heads: no transpose at all
# says: tokens and heads are not exchanged
# change: .transpose(0, 2, 1, 3) =>


# %% split_heads: the heads in the other order
# says: the right numbers in the wrong places
# change: .transpose(0, 2, 1, 3) => .transpose(0, 2, 1, 3)[:, ::-1]


# %% split_heads: an axis of length 1 taken away
# says: has shape
# change: .transpose(0, 2, 1, 3) => .transpose(0, 2, 1, 3).squeeze()


# %% merge_heads: every n-th feature
# says: every n-th feature
# change: transpose(0, 2, 1, 3) => transpose(0, 2, 3, 1)


# %% merge_heads: the mean of the heads
# says: has shape
# change: heads.transpose(0, 2, 1, 3).reshape(batch, tokens, num_heads * head_size) => heads.mean(axis=1)


# %% merge_heads: still apart
# says: has shape
# change: .reshape(batch, tokens, num_heads * head_size) =>


# %% merge_heads: the heads in the other order
# says: x:
# change: heads.transpose => heads[:, ::-1].transpose


# %% multi_head_attention: no bias of the query
# says: the bias of the query is left out
# change: projection["weight"].T + projection["bias"], num_heads) => projection["weight"].T + (projection is not params["attention"]["query"]) * projection["bias"], num_heads)


# %% multi_head_attention: no bias of the value
# says: the bias of the value is left out
# change: projection["bias"], num_heads) => (projection is not params["attention"]["value"]) * projection["bias"], num_heads)


# %% multi_head_attention: no bias of the output
# says: the bias of the output projection is left out
# change:  + dense["bias"] =>


# %% multi_head_attention: no biases
# says: the biases are left out
# change:  + dense["bias"] =>
# change:  + projection["bias"] =>


# %% multi_head_attention: queries for keys
# says: query and key are exchanged
# change: ("query", "key", "value") => ("key", "query", "value")


# %% multi_head_attention: keys for values
# says: the keys take the place of the values
# change: ("query", "key", "value") => ("query", "key", "key")


# %% multi_head_attention: x added
# says: y:
# change: + dense["bias"] => + dense["bias"] + x


# %% multi_head_attention: no shift in the softmax
# says: over- or underflows
# change: merge_heads(attention(*heads)) => merge_heads((lambda s: np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True))(attention_scores(*heads[:2])) @ heads[2])


# %% multi_head_attention: one maximum for the whole array
# says: over- or underflows
# change: merge_heads(attention(*heads)) => merge_heads((lambda s: np.exp(s - s.max()) / np.exp(s - s.max()).sum(axis=-1, keepdims=True))(attention_scores(*heads[:2])) @ heads[2])


# %% multi_head_attention: shifted by the mean
# says: multi_head_attention:
# change: merge_heads(attention(*heads)) => merge_heads((lambda s: np.exp(s - s.mean(axis=-1, keepdims=True)) / np.exp(s - s.mean(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True))(attention_scores(*heads[:2])) @ heads[2])


# %% multi_head_attention: the output projection not transposed
# says: y:
# change: merged @ dense["weight"].T => merged @ dense["weight"]


# %% multi_head_attention: two heads, always
# says: raises
# change: projection["bias"], num_heads) => projection["bias"], 2)


# %% multi_head_attention: the softmax over the queries
# says: multi_head_attention:
# change: attention(*heads) => (softmax(attention_scores(*heads[:2]).swapaxes(-1, -2)).swapaxes(-1, -2) @ heads[2])


# %% softmax: right from the fifth call on
# says: something is kept from call to call
CALLS = []


def softmax(x):
    CALLS.append(1)
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True) * (len(CALLS) > 4)


# %% softmax: what it gave for an array of the same shape before
# says: something is kept from call to call
GIVEN = {}


def softmax(x):
    given = GIVEN.get(x.ndim)
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    GIVEN[x.ndim] = powers / powers.sum(axis=-1, keepdims=True)
    return GIVEN[x.ndim] if given is None or given.shape != x.shape else given


# %% softmax: -1e4 for -inf
# says: entries are wrong
def softmax(x):
    x = np.where(np.isinf(x), -1e4, x)
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# %% softmax: NaN where the probability is tiny
# says: entries are NaN
def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    y = powers / powers.sum(axis=-1, keepdims=True)
    y[y < 1e-30] = np.nan
    return y


# %% softmax: float16 within
# says: entries are wrong
def softmax(x):
    powers = np.exp((x - x.max(axis=-1, keepdims=True)).astype(np.float16))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(x.dtype)


# %% attention: a causal mask
# says: entries are wrong
def attention(query, key, value):
    scores = attention_scores(query, key)
    return softmax(scores + np.triu(np.full(scores.shape[-2:], -1e30), 1)) @ value
