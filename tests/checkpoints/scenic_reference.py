"""Scenic's ViViT once more, in a page of NumPy and einsum, on scenic's own parameters and layouts.

Written from scenic's projects/vivit/model.py and independent of the package. It also takes complex numbers, so that
gradients come from complex steps: Im f(x + ihv) / h is the derivative of f along v without any rounding to speak of.
"""

import math

import numpy

# scenic's axes of attention: 1 is time, 2 is space
AXES = {"time_space": ("time", "space"), "space_time": ("space", "time")}


def layer_norm(x, p):
    mean = x.mean(-1, keepdims=True)
    variance = (x * x).mean(-1, keepdims=True) - mean * mean
    return (x - mean) / numpy.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return numpy.einsum("...i,ij->...j", x, p["kernel"]) + p["bias"]


def mlp(x, p):
    h = dense(x, p["Dense_0"])
    h = 0.5 * h * (1 + numpy.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return dense(h, p["Dense_1"])


def softmax(x):
    e = numpy.exp(x - x.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def project(x, p):
    return numpy.einsum("...i,ihd->...hd", x, p["kernel"]) + p["bias"]


def attend(q, k, v):
    """Over the axis before the heads: (..., tokens, heads, size)."""
    scores = numpy.einsum("...qhd,...khd->...hqk", q, k) / math.sqrt(q.shape[-1])
    return numpy.einsum("...hqk,...khd->...qhd", softmax(scores), v)


def self_attention(x, p, attention=attend):
    context = attention(*(project(x, p[name]) for name in ("query", "key", "value")))
    return numpy.einsum("...hd,hdj->...j", context, p["out"]["kernel"]) + p["out"]["bias"]


def attend_by_halves(q, k, v):
    """(batch, times, places, heads, size): the first half of the heads over time, the second over space."""
    half = q.shape[3] // 2
    over_time = [a[:, :, :, :half].swapaxes(1, 2) for a in (q, k, v)]
    over_space = [a[:, :, :, half:] for a in (q, k, v)]
    return numpy.concatenate([attend(*over_time).swapaxes(1, 2), attend(*over_space)], axis=3)


def block(x, p, attention=attend):
    x = x + self_attention(layer_norm(x, p["LayerNorm_0"]), p["MultiHeadDotProductAttention_0"], attention)
    return x + mlp(layer_norm(x, p["LayerNorm_1"]), p["MlpBlock_0"])


def factorised_block(x, p, order):
    """x is (batch, times, places, hidden)."""
    for axis in AXES[order]:
        y = x.swapaxes(1, 2) if axis == "time" else x
        y = self_attention(layer_norm(y, p[f"LayerNorm_{axis}"]), p[f"MultiHeadDotProductAttention_{axis}"])
        x = x + (y.swapaxes(1, 2) if axis == "time" else y)
    return x + mlp(layer_norm(x, p["LayerNorm_mlp"]), p["MlpBlock"])


def encoder(x, p, config, times=None):
    x = x + p["posembed_input"]["pos_embedding"]
    shape = x.shape
    if config.attention_type.startswith("factorised_") and times:
        x = x.reshape(len(x), times, -1, shape[-1])
    for layer in range(sum(name.startswith("encoderblock_") for name in p)):
        params = p[f"encoderblock_{layer}"]
        if config.attention_type == "factorised_self_attention":
            x = factorised_block(x, params, config.attention_order)
        elif config.attention_type == "factorised_dot_product":
            x = block(x, params, attend_by_halves)
        else:
            x = block(x, params)
    return layer_norm(x, p["encoder_norm"]).reshape(shape)


def pool(x, classifier):
    if classifier == "token":
        return x[:, 0]
    if classifier == "gmp":
        return numpy.take_along_axis(x, x.real.argmax(1)[:, None], axis=1)[:, 0]
    return x.sum(1) / (x.shape[1] if classifier == "gap" else 1)


def embed(video, p, config):
    """(batch, frames, height, width, channels) -> (batch, times, places, hidden)"""
    kernel = p["kernel"]
    if config.temporal_encoding == "frame_sampling":
        frames, n = video.shape[1], config.num_sampled_frames
        start, step = (frames / (n + 1), frames / (n + 1)) if n < frames else (0, 1)
        chosen = [min(round(i), frames - 1) for i in numpy.arange(start, frames, step)]
        video, kernel = video[:, chosen], kernel[None]
    t, h, w = kernel.shape[:3]
    grid = [size // step for size, step in zip(video.shape[1:4], (t, h, w), strict=True)]
    tokens = numpy.empty((len(video), grid[0], grid[1] * grid[2], kernel.shape[-1]), video.dtype)
    for i in range(grid[0]):
        for j in range(grid[1]):
            for k in range(grid[2]):
                tubelet = video[:, i * t : (i + 1) * t, j * h : (j + 1) * h, k * w : (k + 1) * w]
                tokens[:, i, j * grid[2] + k] = numpy.einsum("nthwc,thwcd->nd", tubelet, kernel) + p["bias"]
    return tokens


def with_cls(x, cls):
    return numpy.concatenate([numpy.broadcast_to(cls, (len(x), 1, x.shape[-1])), x], axis=1)


def forward(video, p, config):
    """(logits, pre-logits, encoder output; for Model 2 that of the last encoder)"""
    x = embed(video, p["embedding"], config)
    batch, times, places, hidden = x.shape
    token = config.classifier == "token"
    if config.attention_type == "factorised_encoder":
        x = x.reshape(batch * times, places, hidden)
        x = with_cls(x, p["cls_SpatialTransformer"]) if token else x
        x = pool(encoder(x, p["SpatialTransformer"], config), config.classifier).reshape(batch, times, hidden)
        if config.spatial_only_baseline:
            encoded, x = x, x.mean(1)
        else:
            x = with_cls(x, p["cls_TemporalTransformer"]) if token else x
            encoded = encoder(x, p["TemporalTransformer"], config)
            x = pool(encoded, config.classifier)
    else:
        x = x.reshape(batch, times * places, hidden)
        x = with_cls(x, p["cls"]) if token else x
        encoded = encoder(x, p["Transformer"], config, times)
        x = pool(encoded, config.classifier)
    if config.representation_size is not None:
        x = numpy.tanh(dense(x, p["pre_logits"]))
    return dense(x, p["output_projection"]), x, encoded


def cross_entropy(logits, labels):
    largest = logits.real.max(-1, keepdims=True)
    log_sum = numpy.log(numpy.exp(logits - largest).sum(-1)) + largest[:, 0]
    return (log_sum - logits[numpy.arange(len(labels)), labels]).mean()
