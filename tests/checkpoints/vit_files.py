"""Tiny image models in the files that image models come in."""

import json

import numpy

from minivivit import VivitConfig
from minivivit.checkpoints.names import scenic_parameters
from minivivit.files.weights import write_weights

HIDDEN, HEADS, MLP, LAYERS, PATCH, CLASSES = 8, 2, 12, 2, 4, 5
SIZES = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "intermediate_size": MLP,
    "num_hidden_layers": LAYERS,
    "hidden_act": "gelu_pytorch_tanh",
}

# scenic's names in a block -> those of google-research/vision_transformer
ORIGINAL_NAMES = {
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "LayerNorm_1": "LayerNorm_2",
    "MlpBlock_0": "MlpBlock_3",
    "output_projection": "head",
}


def image_config(image_size=8, classifier="token", **other):
    """An image model as a ViViT of one frame."""
    return VivitConfig(
        image_size=image_size,
        num_frames=1,
        tubelet_size=(1, PATCH, PATCH),
        temporal_encoding="frame_sampling",
        num_sampled_frames=1,
        classifier=classifier,
        **{"num_labels": CLASSES, **SIZES, **other},
    )


def image_tree(config, seed=0):
    """Flat, under scenic's names; the numbers are so short that sums of their products are exact."""
    rng = numpy.random.default_rng(seed)
    return {
        row.name: (rng.integers(-32, 33, row.shape) / 64).astype(numpy.float32)
        for row in scenic_parameters(config).values()
    }


def write_npz(path, tree, prefix="", save=numpy.savez):
    """As google-research/vision_transformer names and keeps it."""
    arrays = {}
    for name, array in tree.items():
        arrays[prefix + "/".join(ORIGINAL_NAMES.get(part, part) for part in name.split("/"))] = array
    save(path, **arrays)
    return path


def big_vision_tree(tree, scan=False):
    """The same as big_vision names it: a path a leaf. Its positions have no row for the CLS token."""
    arrays = {}
    stacks: dict[str, list] = {}
    for name, array in tree.items():
        first, _, rest = name.partition("/")
        if name.endswith("posembed_input/pos_embedding"):
            arrays["pos_embedding"] = array[:, 1:] if "cls" in tree else array
        elif first == "output_projection":
            arrays[f"head/{rest}"] = array
        elif scan and rest.startswith("encoderblock_"):
            stacks.setdefault(rest.partition("/")[2], []).append(array)
        else:
            arrays[name] = array
    assert all(len(layers) == LAYERS for layers in stacks.values())
    return {**arrays, **{f"Transformer/encoderblock/{rest}": numpy.stack(layers) for rest, layers in stacks.items()}}


def write_hugging_face(directory, tree, config, prefix="vit."):
    """As `ViTForImageClassification` (or, with prefix "", `ViTModel` with its pooler) is saved."""
    tensors = {}
    for name, row in scenic_parameters(config).items():
        array = by_hand(tree[row.name], name)
        name = name.replace("vivit.", prefix)
        if name.startswith("pre_logits."):
            name = name.replace("pre_logits", f"{prefix}pooler.dense")
        if name.endswith("projection.weight"):
            array = array[:, :, 0]
        if prefix or not name.startswith("classifier."):
            tensors[name] = numpy.ascontiguousarray(array)
    write_weights(directory, tensors)
    height, width = config.frame_size
    values = {
        "model_type": "vit",
        "image_size": height if height == width else [height, width],
        "patch_size": PATCH,
        "num_channels": 3,
        "hidden_size": HIDDEN,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": HEADS,
        "intermediate_size": MLP,
        "qkv_bias": True,
        "hidden_act": "gelu",
    }
    (directory / "config.json").write_text(json.dumps(values))
    return directory


def by_hand(array, name):
    """Our layout, by hand."""
    if name.endswith("projection.weight"):
        return numpy.einsum("hwcd->dchw", array)[:, :, None]
    if name.endswith(("query.weight", "key.weight", "value.weight")):
        return array.reshape(HIDDEN, HIDDEN).T
    if name.endswith("attention.output.dense.weight"):
        return array.reshape(HIDDEN, HIDDEN).T
    if name.endswith(("query.bias", "key.bias", "value.bias")):
        return array.reshape(HIDDEN)
    return array.T if name.endswith("weight") else array
