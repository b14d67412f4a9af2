"""All four models written again in PyTorch, from the paper and its formulas: what random configs are compared with.

Nothing is shared with minivivit but the names of the parameters. Where minivivit rearranges tokens, all of them attend
here and a mask says who sees whom; where it cuts tubelets, here is a convolution; gradients are autograd's.
"""

import math

import torch
from torch.nn import functional

ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_fast": lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x**2))),
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": torch.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


def linear(x, p, name):
    return functional.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def norm(x, p, name, config):
    return functional.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], config.layer_norm_eps)


def attention(x, p, name, config, masks):
    """`masks`: who sees whom, (tokens, tokens) or a bias, one for each head or one for all."""
    heads = config.num_attention_heads
    query, key, value = (
        linear(x, p, f"{name}.attention.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    scores = torch.einsum("bhid,bhjd->bhij", query, key) / math.sqrt(query.shape[-1])
    if masks is not None:
        scores = scores.masked_fill(~masks, -math.inf) if masks.dtype == torch.bool else scores + masks
    context = torch.einsum("bhij,bhjd->bihd", scores.softmax(-1), value)
    return linear(context.flatten(2), p, f"{name}.output.dense")


def layers(x, p, prefix, number, config, masks=None):
    """Pre-norm layers. `masks`: for `attention`; of Model 3, the masks of a layer's two attentions by name."""
    for index in range(number):
        name = f"{prefix}layer.{index}"
        if isinstance(masks, dict):
            for axis, mask in masks.items():
                x = x + attention(
                    norm(x, p, f"{name}.layernorm_{axis}", config), p, f"{name}.{axis}_attention", config, mask
                )
        else:
            x = x + attention(norm(x, p, f"{name}.layernorm_before", config), p, f"{name}.attention", config, masks)
        wide = ACTIVATIONS[config.hidden_act](
            linear(norm(x, p, f"{name}.layernorm_after", config), p, f"{name}.intermediate.dense")
        )
        x = x + linear(wide, p, f"{name}.output.dense")
    return x


def pool(x, method):
    return {"token": lambda: x[:, 0], "gap": lambda: x.mean(1), "gmp": lambda: x.amax(1), "gsp": lambda: x.sum(1)}[
        method
    ]()


def placed(x, p, prefix):
    if f"{prefix}cls_token" in p:
        x = torch.cat([p[f"{prefix}cls_token"].expand(len(x), 1, -1), x], 1)
    return x + p[f"{prefix}position_embeddings"]


def sampled(pixels, config):
    """The frames nearest to the places that part a clip into n + 1 equal pieces (scenic's sample_frames_uniformly)."""
    if config.temporal_encoding != "frame_sampling":
        return pixels
    frames, count = pixels.shape[1], config.num_sampled_frames
    if count >= frames:
        return pixels
    stride = frames / (count + 1)
    return pixels[:, torch.arange(stride, frames, stride, dtype=torch.float64).round().long().clamp(max=frames - 1)]


def vivit(pixels, p, config, bias=None):
    """last_hidden_state of the parameters `p` by name, without the prefix ``vivit.``."""
    projection = "embeddings.patch_embeddings.projection"
    grid = functional.conv3d(
        sampled(pixels, config).transpose(1, 2),
        p[f"{projection}.weight"],
        p[f"{projection}.bias"],
        stride=tuple(config.tubelet_size),
    )
    batch, _, times, *space = grid.shape
    x = grid.flatten(2).transpose(1, 2)  # (batch, tokens, hidden), time slowest
    if config.attention_type == "factorised_encoder":
        frames = placed(x.reshape(batch * times, math.prod(space), -1), p, "spatial_encoder.")
        frames = layers(frames, p, "spatial_encoder.", config.num_hidden_layers, config)
        x = pool(norm(frames, p, "spatial_encoder.layernorm", config), config.classifier).reshape(batch, times, -1)
        if config.spatial_only_baseline:
            return x
        x = layers(placed(x, p, "temporal_encoder."), p, "temporal_encoder.", config.num_temporal_layers, config)
        return norm(x, p, "temporal_encoder.layernorm", config)
    token = torch.arange(times * math.prod(space))
    same_time = token[:, None] // math.prod(space) == token // math.prod(space)
    same_place = token[:, None] % math.prod(space) == token % math.prod(space)
    masks = bias
    if config.attention_type == "factorised_self_attention":
        masks = {"temporal": same_place, "spatial": same_time}
        if config.attention_order == "space_time":
            masks = dict(reversed(masks.items()))
    elif config.attention_type == "factorised_dot_product":
        masks = torch.stack([same_place, same_time]).repeat_interleave(config.num_attention_heads // 2, 0)
    x = layers(placed(x, p, "embeddings."), p, "encoder.", config.num_hidden_layers, config, masks)
    return norm(x, p, "layernorm", config)


def pooling_of(config):
    return "gap" if config.spatial_only_baseline else config.classifier


def pooler(x, p, config):
    return ACTIVATIONS[config.pooler_act](linear(pool(x, pooling_of(config)), p, "pooler.dense"))


def classifier(pixels, parameters, config):
    """logits, of the parameters by their full names."""
    p = {name.removeprefix("vivit."): tensor for name, tensor in parameters.items()}
    x = pool(vivit(pixels, p, config), pooling_of(config))
    if config.representation_size is not None:
        x = torch.tanh(linear(x, p, "pre_logits"))
    return linear(x, p, "classifier")


def loss(logits, labels, config, label_smoothing):
    """By the config's problem type; with class_splits, the mean of the heads' losses."""
    if config.problem_type == "regression":
        return functional.mse_loss(logits, labels.reshape(logits.shape))
    if config.problem_type == "multi_label_classification":
        return functional.binary_cross_entropy_with_logits(logits, labels)
    sizes = config.class_splits or [config.num_labels]
    soft = labels.is_floating_point()
    columns = labels.split(sizes, 1) if soft else labels.reshape(len(logits), -1).unbind(1)
    heads = zip(logits.split(sizes, 1), columns, strict=True)
    return sum(functional.cross_entropy(*head, label_smoothing=label_smoothing) for head in heads) / len(sizes)
