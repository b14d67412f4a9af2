"""A small ViViT of transformers, and ways to plant mistakes into it; `planted_faults.py` is the list of them.

Each function here returns a `plant(model, inputs)`, which changes a model, or what it is given, in place.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import torch
import transformers
from hugging_face import published_name, reference

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.verification.rounding.precisions import round_to_precision

# Frames as high as they are wide, a square grid and square projections, as in the published checkpoint: that is why so
# many of these bugs raise no error. Heads, head size, hidden size and tokens differ, so that no two scales are equal.
SETTINGS = {
    "image_size": [12, 12],
    "num_frames": 12,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_labels": 12,
}


def healthy_model(dtype: str = "float64") -> Any:
    """The model without a fault: random values in every parameter, the same for every dtype."""
    return reference(transformers.VivitForVideoClassification, transformers.VivitConfig(**SETTINGS), dtype=dtype)


def our_model() -> VivitForVideoClassification:
    """The same model, ours, in float64."""
    model = VivitForVideoClassification(VivitConfig(**SETTINGS), dtype="float64", backend="numpy")
    model.load_state_dict({published_name(name): value.numpy() for name, value in healthy_model().state_dict().items()})
    return model


def inputs(dtype: str = "float64") -> dict[str, Any]:
    """Two clips as the published image processor leaves them, in [-3, 1], and their labels.

    Smooth, as films are: neighbouring pixels and frames resemble each other, so that no bug shows for the noise alone.
    """
    rng = numpy.random.default_rng(0)
    noise = rng.standard_normal((2, 12, 12, 12, 3))
    for axis in (1, 2, 3):
        noise = noise + 0.9 * numpy.roll(noise, 1, axis) + 0.7 * numpy.roll(noise, 2, axis)
    clips = numpy.clip(128 + 25 * noise, 0, 255).astype("uint8")  # (batch, frames, height, width, channels)
    pixels = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 63.75 - 3
    return {"pixel_values": pixels.to(getattr(torch, dtype)), "labels": torch.tensor([3, 7])}


# --------------------------------------------------------------------------------------------------------------------
# How to plant
# --------------------------------------------------------------------------------------------------------------------


def change_pixels(change: Callable[[Any], Any]) -> Callable[[Any, dict], None]:
    """A fault of what comes before the model."""
    return lambda model, inputs: inputs.update(pixel_values=change(inputs["pixel_values"]).contiguous())


def change_weight(name: str, change: Callable[[Any], Any]) -> Callable[[Any, dict], None]:
    """A fault of the conversion: one parameter comes out wrong."""

    def plant(model: Any, inputs: dict) -> None:
        parameter = model.get_parameter(name)
        with torch.no_grad():
            parameter.copy_(change(parameter.clone()))

    return plant


def change_forward(module: Callable[[Any], Any], forward: Callable[..., Any]) -> Callable[[Any, dict], None]:
    """A fault of the code: a module computes something else, in all layers where `module` is of a layer."""

    def plant(model: Any, inputs: dict) -> None:
        found = module(model)
        for one in found if isinstance(found, list) else [found]:
            one.forward = partial(forward, one)

    return plant


def each_layer(part: str) -> Callable[[Any], list]:
    """The module called `part` of every layer."""
    return lambda model: [layer.get_submodule(part) for layer in model.vivit.layers]


def patches(model: Any) -> Any:
    """The tubelet embedding."""
    return model.vivit.embeddings.patch_embeddings


def embeddings(model: Any) -> Any:
    """CLS token, tubelets and their places."""
    return model.vivit.embeddings


def attention_fault(**steps: Callable[..., Any]) -> Callable[[Any, dict], None]:
    """One step of the attention of every layer replaced: split, score, normalise, merge."""
    return change_forward(each_layer("attention"), partial(attention, **steps))


# --------------------------------------------------------------------------------------------------------------------
# Forward passes that are right but for one argument
# --------------------------------------------------------------------------------------------------------------------


def split_heads(x: Any, heads: int) -> Any:
    """(batch, tokens, hidden) -> (batch, heads, tokens, head size)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def merge_heads(x: Any) -> Any:
    """(batch, heads, tokens, head size) -> (batch, tokens, hidden)."""
    return x.transpose(1, 2).flatten(2)


def scaled(query: Any, key: Any) -> Any:
    """The scores."""
    return query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])


def softmax_over_keys(scores: Any) -> Any:
    """The probabilities."""
    return torch.softmax(scores, dim=-1)


def attention(
    module: Any,
    hidden_states: Any,
    *_: Any,
    split: Callable[..., Any] = split_heads,
    score: Callable[..., Any] = scaled,
    normalise: Callable[..., Any] = softmax_over_keys,
    merge: Callable[..., Any] = merge_heads,
    **__: Any,
) -> tuple[Any, Any]:
    """transformers' VivitAttention, with softmax in the model's own dtype."""
    projections = (module.q_proj, module.k_proj, module.v_proj)
    query, key, value = (split(projection(hidden_states), module.num_attention_heads) for projection in projections)
    probs = normalise(score(query, key))
    return module.o_proj(merge(probs @ value)), probs


def causal_scores(query: Any, key: Any) -> Any:
    """The scores of a language model's attention."""
    hidden = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).triu(1)
    return scaled(query, key).masked_fill(hidden, torch.finfo(query.dtype).min)


def scores_with_empty_mask(query: Any, key: Any) -> Any:
    """Nothing is masked, and 0 times infinity is not a number."""
    mask = torch.ones(query.shape[-2], key.shape[-2], dtype=query.dtype)
    return scaled(query, key) + (1 - mask) * float("-inf")


def unbiased_layer_norm(module: Any, x: Any) -> Any:
    """Variance with n - 1."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def rms_norm(module: Any, x: Any) -> Any:
    """No mean subtracted."""
    return x / (x.square().mean(-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def layer_norm_of_scale_plus_one(module: Any, x: Any) -> Any:
    """The scale is taken for an offset from 1."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], 1 + module.weight, module.bias, module.eps)


def set_eps(eps: float) -> Callable[[Any, dict], None]:
    """Another epsilon in every layer norm."""

    def plant(model: Any, inputs: dict) -> None:
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = eps

    return plant


def set_activation(activation: Callable[[Any], Any]) -> Callable[[Any, dict], None]:
    """Another activation in every layer."""
    return change_forward(each_layer("mlp.activation_fn"), lambda module, x: activation(x))


def quick_gelu(x: Any) -> Any:
    """CLIP's GELU."""
    return x * torch.sigmoid(1.702 * x)


def tf32_linear(module: Any, x: Any) -> Any:
    """What tensor cores make of float32: products of factors with ten bits of fraction, summed in float32."""
    factors = [factor.detach().float().numpy() for factor in (x, module.weight)]
    rounded = [torch.from_numpy(round_to_precision(factor, "tf32")).to(x.dtype) for factor in factors]
    return torch.nn.functional.linear(*rounded, module.bias)


def layer_forward(module: Any, x: Any, add: Callable[..., Any]) -> Any:
    """A pre-norm layer; how the attention's branch is added is an argument."""
    normalised = module.layernorm_before(x)
    y = add(x, normalised, module.attention(normalised)[0])
    return y + module.mlp(module.layernorm_after(y))


def layer_fault(add: Callable[..., Any]) -> Callable[[Any, dict], None]:
    """The first sum of every layer replaced: `add` takes x, the normalised x, and the attention's output."""
    return change_forward(
        lambda model: list(model.vivit.layers), lambda module, x, *_, **__: layer_forward(module, x, add)
    )


def post_norm_layer(module: Any, x: Any, *_: Any, **__: Any) -> Any:
    """As in the Transformer of 2017."""
    y = module.layernorm_before(x + module.attention(x)[0])
    return module.layernorm_after(y + module.mlp(y))


def parallel_layer(module: Any, x: Any, *_: Any, **__: Any) -> Any:
    """As in GPT-J and ViT-22B: both branches see the layer's input."""
    return x + module.attention(module.layernorm_before(x))[0] + module.mlp(module.layernorm_after(x))


def embed(module: Any, pixel_values: Any, *_: Any, place: Callable[..., Any], **__: Any) -> Any:
    """The embeddings; how CLS token, tokens and positions come together is an argument."""
    tokens = module.patch_embeddings(pixel_values)
    return place(module.cls_token.expand(len(tokens), -1, -1), tokens, module.position_embeddings)


def embedding_fault(place: Callable[..., Any]) -> Callable[[Any, dict], None]:
    """CLS token, tokens and positions come together in another way."""
    return change_forward(embeddings, lambda module, pixels, *_, **__: embed(module, pixels, place=place))


def patch_fault(arrange: Callable[[Any], Any]) -> Callable[[Any, dict], None]:
    """The convolution's output becomes tokens in another way."""
    return change_forward(patches, lambda module, pixels: arrange(module.projection(pixels.transpose(1, 2))))


def with_columns_before_rows(cls_token: Any, tokens: Any, positions: Any) -> Any:
    """Places of a grid that was stored columns first."""
    grid = positions[:, 1:].unflatten(1, (6, 3, 3)).transpose(2, 3).flatten(1, 3)
    return torch.cat([cls_token, tokens], 1) + torch.cat([positions[:, :1], grid], 1)


def leave_dropout_on(module: Callable[[Any], Any]) -> Callable[[Any, dict], None]:
    """A dropout that is in training mode while the model is not."""

    def plant(model: Any, inputs: dict) -> None:
        torch.manual_seed(0)
        found = module(model)
        for dropout in found if isinstance(found, list) else [found]:
            dropout.p = 0.1
            dropout.train()

    return plant


def read_merged_projections(model: Any, inputs: dict) -> None:
    """Weights of query, key and value stacked head by head, and cut as if they were stacked whole."""
    for layer in model.vivit.layers:
        modules = (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)
        for kind in ("weight", "bias"):
            heads = [getattr(module, kind).detach().unflatten(0, (3, 8)) for module in modules]
            merged = torch.stack(heads, 1).flatten(0, 2)  # (heads * 3 * head size, ...)
            for module, part in zip(modules, merged.chunk(3), strict=True):
                getattr(module, kind).data = part.clone()


def interleave_heads(model: Any, inputs: dict) -> None:
    """Rows of query's weights ordered (head size, heads), as a framework with another head layout has them."""
    for layer in model.vivit.layers:
        for parameter in layer.attention.q_proj.parameters():
            parameter.data = parameter.detach().unflatten(0, (3, 8)).transpose(0, 1).flatten(0, 1).clone()


def swap(first: str, second: str) -> Callable[[Any, dict], None]:
    """Two modules of every layer exchange their parameters."""

    def plant(model: Any, inputs: dict) -> None:
        for layer in model.vivit.layers:
            states = [{**layer.get_submodule(name).state_dict()} for name in (first, second)]
            states = [{kind: value.clone() for kind, value in state.items()} for state in states]
            layer.get_submodule(first).load_state_dict(states[1])
            layer.get_submodule(second).load_state_dict(states[0])

    return plant


def keep_layers(*indices: int) -> Callable[[Any, dict], None]:
    """Only these layers, in this order."""

    def plant(model: Any, inputs: dict) -> None:
        model.vivit.layers = torch.nn.ModuleList([model.vivit.layers[index] for index in indices])

    return plant


def round_weights(model: Any, inputs: dict) -> None:
    """The checkpoint went through bfloat16."""
    for parameter in model.parameters():
        parameter.data = parameter.detach().float().bfloat16().to(parameter.dtype)


def change_loss(loss: Callable[..., Any]) -> Callable[[Any, dict], None]:
    """Another loss."""

    def plant(model: Any, inputs: dict) -> None:
        model.loss_function = lambda labels, logits, config, **_: loss(logits, labels)

    return plant


def pool(reduce: Callable[[Any], Any]) -> Callable[[Any, dict], None]:
    """The classifier sees something else than the CLS token."""

    def plant(model: Any, inputs: dict) -> None:
        seen: dict[str, Any] = {}
        model.vivit.layernorm.register_forward_hook(lambda _, __, output: seen.update(tokens=output))
        model.classifier.register_forward_pre_hook(lambda _, __: (reduce(seen["tokens"]),))

    return plant
