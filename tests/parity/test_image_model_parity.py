"""Starting from an image model that transformers saved: the video model sees a still image as that model does."""

import sys
from pathlib import Path

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoints"))
from minivivit import VivitConfig  # noqa: E402
from minivivit.checkpoints import init_from_image_model  # noqa: E402
from minivivit.layers.trace import Trace  # noqa: E402

pytestmark = pytest.mark.parity

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "hidden_act": "gelu",
}


def image_model(cls, seed=0):
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_labels=3, layer_norm_eps=1e-6, **SIZES)
    torch.manual_seed(seed)
    model = cls(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def video_model(directory, num_frames=3, **options):
    config = VivitConfig(
        image_size=8, num_frames=num_frames, tubelet_size=(3, 4, 4), num_labels=3, layer_norm_eps=1e-6, **SIZES
    )
    return init_from_image_model(config, directory, dtype="float64", backend="numpy", **options)


def test_classifier(tmp_path):
    """One tubelet, of which the central frame counts: the logits are the image model's."""
    theirs = image_model(transformers.ViTForImageClassification)
    theirs.save_pretrained(tmp_path)
    ours = video_model(tmp_path, restore_classifier=True)
    video = numpy.random.default_rng(0).standard_normal((2, 3, 3, 8, 8))
    with torch.no_grad():
        expected = theirs.double()(torch.from_numpy(video[:, 1])).logits.numpy()
    numpy.testing.assert_allclose(ours(video).logits, expected, rtol=1e-11)


@pytest.mark.parametrize("add_pooling_layer", [True, False])
def test_bare_model(tmp_path, add_pooling_layer):
    """Its tokens, frame by frame, and its position embeddings at every time."""
    theirs = image_model(lambda config: transformers.ViTModel(config, add_pooling_layer=add_pooling_layer), seed=1)
    theirs.save_pretrained(tmp_path)
    ours = video_model(tmp_path, num_frames=6)
    video = numpy.random.default_rng(1).standard_normal((2, 6, 3, 8, 8))
    trace: dict[str, numpy.ndarray] = {}
    ours(video, trace=Trace(trace))
    tokens = trace["vivit.embeddings"]
    for time, frame in enumerate((1, 4)):
        with torch.no_grad():
            seen = theirs.double().embeddings(torch.from_numpy(video[:, frame])).numpy()
        numpy.testing.assert_allclose(tokens[:, 1 + 4 * time : 5 + 4 * time], seen[:, 1:], rtol=1e-12, atol=1e-14)
        numpy.testing.assert_allclose(tokens[:, :1], seen[:, :1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("prefix", ["", "params/img/"])
def test_big_vision(tmp_path, scan, prefix):
    """A checkpoint of big_vision's, made of transformers' model by hand; there the CLS token has no position."""
    theirs = image_model(transformers.ViTForImageClassification)
    with torch.no_grad():
        theirs.vit.embeddings.position_embeddings[:, 0] = 0
    numpy.savez(
        tmp_path / "model.npz", **{prefix + name: value for name, value in big_vision_tree(theirs, scan).items()}
    )
    ours = video_model(tmp_path / "model.npz", restore_classifier=True)
    video = numpy.random.default_rng(0).standard_normal((2, 3, 3, 8, 8))
    with torch.no_grad():
        expected = theirs.double()(torch.from_numpy(video[:, 1])).logits.numpy()
    numpy.testing.assert_allclose(ours(video).logits, expected, rtol=1e-11)


def big_vision_tree(model, scan):
    """Of a transformers ViT: dense layers are (in, out), with the heads as axes of their own."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    heads = SIZES["num_attention_heads"]

    def norm(name):
        return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    def dense(name):
        return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}

    def projection(name):
        return {"kernel": dense(name)["kernel"].reshape(16, heads, 4), "bias": state[f"{name}.bias"].reshape(heads, 4)}

    def block(layer):
        prefix = f"vit.layers.{layer}"
        attention = {part: projection(f"{prefix}.attention.{part[0]}_proj") for part in ("query", "key", "value")}
        out = dense(f"{prefix}.attention.o_proj")
        parts = {f"MultiHeadDotProductAttention_0/{part}": leaves for part, leaves in attention.items()}
        parts |= {
            "MultiHeadDotProductAttention_0/out": {**out, "kernel": out["kernel"].reshape(heads, 4, 16)},
            "LayerNorm_0": norm(f"{prefix}.layernorm_before"),
            "LayerNorm_1": norm(f"{prefix}.layernorm_after"),
            "MlpBlock_0/Dense_0": dense(f"{prefix}.mlp.fc1"),
            "MlpBlock_0/Dense_1": dense(f"{prefix}.mlp.fc2"),
        }
        return {f"{part}/{leaf}": array for part, leaves in parts.items() for leaf, array in leaves.items()}

    blocks = [block(layer) for layer in range(SIZES["num_hidden_layers"])]
    tree = {
        "pos_embedding": state["vit.embeddings.position_embeddings"][:, 1:],
        "cls": state["vit.embeddings.cls_token"],
        "embedding/kernel": state["vit.embeddings.patch_embeddings.projection.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["vit.embeddings.patch_embeddings.projection.bias"],
        **{f"Transformer/encoder_norm/{leaf}": array for leaf, array in norm("vit.layernorm").items()},
        **{f"head/{leaf}": array for leaf, array in dense("classifier").items()},
    }
    if scan:
        stacks = {name: numpy.stack([leaves[name] for leaves in blocks]) for name in blocks[0]}
        return {**tree, **{f"Transformer/encoderblock/{name}": array for name, array in stacks.items()}}
    return tree | {
        f"Transformer/encoderblock_{layer}/{name}": array
        for layer, leaves in enumerate(blocks)
        for name, array in leaves.items()
    }
