"""Right answers to assignment 5 in other styles (see 01_tubelet_embedding.py for the form)."""

import numpy as np


# %% separate_frames: loops
def separate_frames(tokens, num_times):
    places = tokens.shape[1] // num_times
    return np.array([sample[t * places : (t + 1) * places] for sample in tokens for t in range(num_times)])


# %% separate_frames: split and concatenate
def separate_frames(tokens, num_times):
    return np.stack(np.split(tokens, num_times, axis=1), axis=1).reshape(
        -1, tokens.shape[1] // num_times, tokens.shape[2]
    )


# %% transformer_layer: NumPy alone, a loop over heads
import math

from scipy.special import erf


def transformer_layer(x, params, num_heads, eps):
    def norm(x, p):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * p["weight"] + p["bias"]

    def linear(x, p):
        return x @ p["weight"].T + p["bias"]

    n = norm(x, params["layernorm_before"])
    q, k, v = (linear(n, params["attention"]["attention"][name]) for name in ("query", "key", "value"))
    size, outputs = x.shape[-1] // num_heads, []
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[..., part] @ k[..., part].swapaxes(-1, -2) / math.sqrt(size)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        outputs.append(weights @ v[..., part] / weights.sum(-1, keepdims=True))
    y = x + linear(np.concatenate(outputs, axis=-1), params["attention"]["output"]["dense"])
    wide = linear(norm(y, params["layernorm_after"]), params["intermediate"]["dense"])
    return y + linear(0.5 * wide * (1 + erf(wide / math.sqrt(2))), params["output"]["dense"])


# %% transformer_layer: the given parts, the MLP from its two linear maps
def transformer_layer(x, params, num_heads, eps):
    from minivivit.ops.gelu import gelu_forward
    from minivivit.ops.linear import linear_forward

    normalised, _ = layer_norm_forward(x, *params["layernorm_before"].values(), eps)
    attended, _, _ = multi_head_attention_forward(normalised, params["attention"], num_heads, explicit=True)
    y = np.add(x, attended)
    normalised, _ = layer_norm_forward(y, *params["layernorm_after"].values(), eps)
    wide = linear_forward(normalised, **params["intermediate"]["dense"])[0]
    return y + linear_forward(gelu_forward(wide)[0], **params["output"]["dense"])[0]


# %% encoder: a recursion over the layers
def encoder(tokens, params, num_heads, eps):
    def through(z, layers):
        return through(transformer_layer(z, layers[0], num_heads, eps), layers[1:]) if layers else z

    batch, count, hidden = tokens.shape
    z = np.empty((batch, 1 + count, hidden))
    z[:, 0], z[:, 1:] = params["cls_token"][0], tokens
    z = through(z + params["position_embeddings"], list(params["layer"].values()))
    return layer_norm_forward(z, eps=eps, **params["layernorm"])[0]


# %% encoder: the package's layer, which is allowed here
def encoder(tokens, params, num_heads, eps):
    from minivivit.layers.transformer_layer import transformer_layer_forward

    z = np.insert(tokens, 0, params["cls_token"][0, 0], axis=1) + params["position_embeddings"]
    for number in range(len(params["layer"])):
        layer = params["layer"][str(number)]
        z = transformer_layer_forward(z, layer, num_heads=num_heads, activation="gelu", eps=eps)[0]
    centred = z - z.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return scaled * params["layernorm"]["weight"] + params["layernorm"]["bias"]


# %% factorised_encoder: one time after the other
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    times = np.split(tokens, num_times, axis=1)
    h = np.stack([encoder(time, params["spatial_encoder"], num_heads, eps)[:, 0] for time in times], axis=1)
    return encoder(h, params["temporal_encoder"], num_heads, eps)[:, 0, :]


# %% factorised_encoder: one sample after the other
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    found = []
    for sample in tokens:
        frames = sample.reshape(num_times, -1, sample.shape[-1])
        h = encoder(frames, params["spatial_encoder"], num_heads, eps)[None, :, 0]
        found.append(encoder(h, params["temporal_encoder"], num_heads, eps)[0, 0])
    return np.array(found)


# %% separate_frames: reshape twice
def separate_frames(tokens, num_times):
    return tokens.reshape(len(tokens), num_times, -1, tokens.shape[2]).reshape(
        -1, tokens.shape[1] // num_times, tokens.shape[2]
    )


# %% separate_frames: concatenate of samples
def separate_frames(tokens, num_times):
    return np.concatenate([sample.reshape(num_times, -1, sample.shape[-1]) for sample in tokens])


# %% separate_frames: vstack
def separate_frames(tokens, num_times):
    return np.vstack([np.stack(np.split(sample, num_times)) for sample in tokens])


# %% separate_frames: indices
def separate_frames(tokens, num_times):
    return tokens[
        np.repeat(np.arange(len(tokens)), num_times)[:, None],
        np.tile(np.arange(tokens.shape[1]).reshape(num_times, -1), (len(tokens), 1)),
    ]


# %% transformer_layer: np.add
# change: return y + mlp_forward => return np.add(y, mlp_forward
# change: params, "gelu")[0] => params, "gelu")[0])


# %% transformer_layer: the MLP by keywords
# change: mlp_forward(normalised, params, "gelu")[0] => mlp_forward(x=normalised, params=params, activation="gelu", keep_cache=False)[0]


# %% transformer_layer: explicit attention
# change: params["attention"], num_heads)[0] => params["attention"], num_heads, explicit=True)[0]


# %% transformer_layer: a norm of its own
# change: layer_norm_forward(y, after["weight"], after["bias"], eps)[0] => (y - y.mean(axis=-1, keepdims=True)) / np.sqrt(y.var(axis=-1, keepdims=True) + eps) * after["weight"] + after["bias"]


# %% encoder: layers by number
# change: for layer in params["layer"].values(): => for layer in (params["layer"][str(i)] for i in range(len(params["layer"]))):


# %% encoder: layers sorted by number
# change: for layer in params["layer"].values(): => for layer in (params["layer"][name] for name in sorted(params["layer"], key=int)):


# %% encoder: functools.reduce
# change: for layer in params["layer"].values(): => import functools; z = functools.reduce(lambda a, p: transformer_layer(a, p, num_heads, eps), params["layer"].values(), z)
# change:         z = transformer_layer(z, layer, num_heads, eps) =>     assert z.ndim == 3


# %% encoder: positions of CLS and tokens apart
# change: np.concatenate([first, tokens], axis=1) + params["position_embeddings"] => np.concatenate([first + params["position_embeddings"][:, :1], tokens + params["position_embeddings"][:, 1:]], axis=1)


# %% factorised_encoder: split and stack
# change: frames[:, 0].reshape(batch, num_times, hidden) => np.stack(np.split(frames[:, 0], batch))


# %% factorised_encoder: its own reshape
# change: separate_frames(tokens, num_times) => tokens.reshape(batch * num_times, -1, hidden)


# %% factorised_encoder: take
# change: [:, 0] => .take(0, axis=1)
