"""Image models as big_vision keeps them: top-level positions, stacks of layers, and what lies around the weights."""

import logging
import sys

import numpy
import pytest
import scenic_reference as reference
import vit_files
from scenic_goldens import flat, nested, to_pixel_values

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.checkpoints import init_from_image_model, to_scenic
from minivivit.checkpoints.big_vision import MOST_LAYERS

CLIP = numpy.random.default_rng(2).uniform(-1, 1, (2, 3, 8, 8, 3))


def one_tubelet(classifier, source, **options):
    """A video model that sees the central of three frames: the image model."""
    config = VivitConfig(
        image_size=8, num_frames=3, tubelet_size=(3, 4, 4), num_labels=vit_files.CLASSES, classifier=classifier,
        **vit_files.SIZES,
    )  # fmt: skip
    options = {"restore_classifier": True, **options}
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    for array in model.state_dict().values():  # what is not replaced shows in the logits
        array += numpy.random.default_rng(array.size).uniform(1, 2, array.shape)
    return init_from_image_model(model, source, **options)


def image(classifier):
    """A tree under scenic's names, and the logits of the image model that big_vision makes of it."""
    config = vit_files.image_config(classifier=classifier)
    tree = vit_files.image_tree(config)
    positions = "Transformer/posembed_input/pos_embedding"
    added = {**tree, positions: tree[positions].copy()}
    if "cls" in tree:
        added[positions][:, 0] = 0  # the CLS token is put in front after the positions are added
    logits, *_ = reference.forward(CLIP[:, 1:2], nested(added), config)
    return tree, logits


def same_logits(model, logits):
    numpy.testing.assert_allclose(model(to_pixel_values(CLIP)).logits, logits, rtol=1e-11)


@pytest.mark.parametrize("classifier", ["token", "gap"])
@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("prefix", ["", "params/", "params/img/", "target/", "opt/target/", "img/"])
def test_the_image_model(tmp_path, classifier, scan, prefix, caplog):
    tree, logits = image(classifier)
    arrays = {prefix + name: array for name, array in vit_files.big_vision_tree(tree, scan).items()}
    around = {
        "opt/0/count": numpy.array(7),
        "opt/0/mu/embedding/kernel": tree["embedding/kernel"] * 0,
        "params/txt/Embed_0/embedding": numpy.ones((3, 2)),
        "params/t": numpy.ones(1),
    }
    around = {
        name: array for name, array in around.items() if prefix.startswith("params/img") or name.startswith("opt")
    }
    numpy.savez(tmp_path / "model.npz", **arrays, **around)
    with caplog.at_level(logging.WARNING, logger="minivivit"):
        same_logits(one_tubelet(classifier, tmp_path / "model.npz"), logits)
        same_logits(one_tubelet(classifier, nested({**arrays, **around})), logits)  # what big_vision's load gives
    assert not caplog.records


def test_positions_that_have_a_row_for_the_cls_token_keep_it(tmp_path):
    """Before big_vision added them first: in the encoder, or at the top with one more than a square."""
    config = vit_files.image_config()
    tree = vit_files.image_tree(config)
    logits, *_ = reference.forward(CLIP[:, 1:2], nested(tree), config)
    arrays = vit_files.big_vision_tree(tree)
    whole = tree["Transformer/posembed_input/pos_embedding"]
    del arrays["pos_embedding"]
    for place in ("pos_embedding", "Transformer/pos_embedding"):
        numpy.savez(tmp_path / "model.npz", **arrays, **{place: whole})
        same_logits(one_tubelet("token", tmp_path / "model.npz"), logits)


def test_what_is_no_weight_is_left_out_unread_and_said(tmp_path, caplog):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    tree, logits = image("token")
    path = tmp_path / "model.npz"
    extra = {"step": numpy.array(7), "extra": numpy.array([Hostile()], dtype=object), "done": numpy.array(True)}
    numpy.savez(path, **vit_files.big_vision_tree(tree), **extra)
    with caplog.at_level(logging.WARNING, logger="minivivit"):
        same_logits(one_tubelet("token", path), logits)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: left out 'done', 'extra', 'step': no weights"
    ]
    caplog.clear()
    one_tubelet("token", nested({**tree, "step": numpy.array(7)}))
    assert "left out 'step': no weights" in caplog.text
    caplog.clear()
    vit_files.write_npz(path, {**tree, "step": numpy.array(7)})  # vision_transformer's names
    one_tubelet("token", path)
    assert "left out 'step': no weights" in caplog.text
    assert not (tmp_path / "canary").exists()


def test_an_attention_pooling_head_has_no_place(tmp_path):
    tree, _ = image("gap")
    arrays = vit_files.big_vision_tree(tree, scan=True)
    arrays |= {"MAPHead_0/probe": numpy.ones((1, 1, 8)), "MAPHead_0/LayerNorm_0/scale": numpy.ones(8)}
    numpy.savez(tmp_path / "model.npz", **arrays)
    model = one_tubelet("gap", tmp_path / "model.npz", restore_classifier=False)
    found = flat(to_scenic(model.state_dict(), model.config))
    name = "Transformer/encoderblock_1/MlpBlock_0/Dense_1/kernel"
    numpy.testing.assert_array_equal(found[name], tree[name])
    with pytest.raises(InputError, match="2 unexpected: MAPHead_0/"):
        one_tubelet("gap", tmp_path / "model.npz")


SCALE, BIAS = (f"Transformer/encoderblock/LayerNorm_0/{leaf}" for leaf in ("scale", "bias"))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda tree: tree.update({SCALE: tree[SCALE][:1]}), "stacks its layers, but not all alike"),
        (lambda tree: tree.update({SCALE: numpy.array(1.0)}), "stacks its layers, but not all alike"),
        (lambda tree: tree.update({SCALE: tree[SCALE][0]}), "stacks its layers, but not all alike"),
        (lambda tree: tree.update({SCALE: tree[SCALE][:, :3]}), "of another shape: .*LayerNorm_0/scale is"),
        (lambda tree: tree.pop(BIAS), "2 missing: Transformer/encoderblock_0/LayerNorm_0/bias, Transformer/encoderb"),
        (lambda tree: tree.pop("pos_embedding"), "1 missing: Transformer/posembed_input/pos_embedding"),
        (lambda tree: tree.update({"pos_embedding": numpy.ones(3)}), "pos_embedding is"),
        (lambda tree: tree.update({"pos_embedding": numpy.ones((1, 7, 8))}), "7 tokens, which is no square grid"),
        (lambda tree: tree.update({"Transformer/pos_embedding": numpy.ones((1, 4, 8))}), "twice, under two names"),
        (lambda tree: tree.update({SCALE.replace("block/", "block_1/"): numpy.ones(8)}), "twice, under two names"),
        (lambda tree: tree.update({"head/kernel": numpy.ones((8, 5), object)}), "'head/kernel' has dtype object"),
        (lambda tree: tree.update({"head/kernel": numpy.ones((8, 5), numpy.int64)}), "'head/kernel' has dtype int64"),
        (lambda tree: tree.update({"cls": numpy.full((1, 1, 8), numpy.nan)}), "'cls' holds nan"),
    ],
)
def test_hostile(tmp_path, spoil, match):
    tree = vit_files.big_vision_tree(image("token")[0], scan=True)
    spoil(tree)
    numpy.savez(tmp_path / "model.npz", **tree)
    with pytest.raises(InputError, match=match) as caught:
        one_tubelet("token", tmp_path / "model.npz")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.skipif(sys.maxsize < 2**32, reason="NumPy counts no further than 32 bits here")
def test_a_stack_of_a_thousand_million_layers(tmp_path):
    """Without an element it takes no byte, and must not take memory."""
    tree = vit_files.big_vision_tree(image("token")[0], scan=True)
    for name in [name for name in tree if name.startswith("Transformer/encoderblock/")]:
        tree[name] = numpy.zeros((10**9, 0))
    numpy.savez(tmp_path / "model.npz", **tree)
    with pytest.raises(InputError, match=f"1 to {MOST_LAYERS} layers"):
        one_tubelet("token", tmp_path / "model.npz")
