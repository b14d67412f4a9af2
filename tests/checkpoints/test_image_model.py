"""Starting from an image model: every rule of scenic's, against itself written once more."""

import numpy
import pytest
import scenic_reference as reference
import vit_files
from scenic_goldens import flat, nested, to_pixel_values

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.checkpoints import init_from_image_model, to_scenic
from minivivit.checkpoints.tubelets import TUBELET_INITS, inflate_kernel
from minivivit.layers.trace import Trace

MODEL_1 = {"attention_type": "spatio_temporal"}
MODEL_2 = {"attention_type": "factorised_encoder", "num_temporal_layers": 1}
MODEL_3 = {"attention_type": "factorised_self_attention"}
MODEL_4 = {"attention_type": "factorised_dot_product"}
SPATIAL, TEMPORAL = "MultiHeadDotProductAttention_space", "MultiHeadDotProductAttention_time"


def video_config(image_size=8, num_frames=6, tubelet_frames=2, **other):
    tubelet_size = (tubelet_frames, vit_files.PATCH, vit_files.PATCH)
    sizes = {"num_labels": 3, **vit_files.SIZES, **other}
    return VivitConfig(image_size=image_size, num_frames=num_frames, tubelet_size=tubelet_size, **sizes)


def initialised(config, source, **options):
    """The model as it was drawn and as it is afterwards, each flat under scenic's names."""
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=3)
    for array in model.state_dict().values():  # so that what is left alone can be told from what is 0 or 1
        array += numpy.random.default_rng(array.size).uniform(1, 2, array.shape)
    before = flat(to_scenic(model.state_dict(), config))
    result = init_from_image_model(model, source, **options)
    assert result is model
    return before, flat(to_scenic(model.state_dict(), config)), model


@pytest.fixture
def image():
    return vit_files.image_tree(vit_files.image_config())


# --------------------------------------------------------------------------------------------------------------------
# Tubelets
# --------------------------------------------------------------------------------------------------------------------


def expected_kernel(kernel, frames, method):
    """Frame by frame; rank pooling in Bilen et al.'s first form, the sum of (2i - T - 1) / i from i = t to T."""
    slices = []
    for t in range(1, frames + 1):
        if method == "central_frame":
            factor = 1.0 if t == frames // 2 + 1 else 0.0
        elif method == "filter_inflation":
            factor = 1 / frames
        else:
            factor = sum((2 * i - frames - 1) / i for i in range(t, frames + 1)) / frames
        slices.append(kernel * factor)
    return numpy.stack(slices)


@pytest.mark.parametrize("method", TUBELET_INITS)
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_tubelet_kernels(image, method, frames):
    config = video_config(tubelet_frames=frames, num_frames=4)
    _, after, _ = initialised(config, nested(image), tubelet_init=method)
    expected = expected_kernel(image["embedding/kernel"].astype(float), frames, method)
    numpy.testing.assert_allclose(after["embedding/kernel"], expected, rtol=1e-6, atol=1e-7)
    assert (after["embedding/bias"] == image["embedding/bias"]).all()


def test_rank_pooling_adds_up_to_nothing_but_a_still():
    """Frames that are all alike have no rank: the weights sum to 0 where there are several."""
    kernel = numpy.ones((1, 1, 1, 1))
    for frames in (2, 3, 8):
        inflated = inflate_kernel(kernel, frames, "average_arp")[:, 0, 0, 0, 0]
        assert abs(inflated.sum()) < 1e-12
        assert inflated[-1] > 0 > inflated[0]


def test_inflation_sees_a_still_as_the_image_model_sees_it(image):
    rng = numpy.random.default_rng(0)
    still = numpy.repeat(rng.integers(-16, 17, (1, 1, 3, 8, 8)) / 16, 6, axis=1)
    *_, central = initialised(video_config(), nested(image), tubelet_init="central_frame")
    *_, inflated = initialised(video_config(), nested(image), tubelet_init="filter_inflation")
    numpy.testing.assert_allclose(central(still).logits, inflated(still).logits, rtol=1e-12)


def test_frame_sampling_copies_the_kernel(image):
    config = video_config(tubelet_frames=1, temporal_encoding="frame_sampling", num_sampled_frames=2)
    _, after, _ = initialised(config, nested(image))
    assert (after["embedding/kernel"] == image["embedding/kernel"]).all()


# --------------------------------------------------------------------------------------------------------------------
# A central-frame Model 1 sees exactly the image model's tokens
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tubelet_frames", [1, 2, 3])
def test_tokens_are_those_of_the_image_model(image, tubelet_frames):
    """Bit by bit: weights and pixels are so short that no sum of their products is rounded."""
    video = numpy.random.default_rng(1).integers(-16, 17, (2, 6, 8, 8, 3)) / 16
    *_, model = initialised(video_config(tubelet_frames=tubelet_frames), nested(image))
    trace = {}
    model(to_pixel_values(video), trace=Trace(trace))
    tokens = trace["vivit.embeddings"]  # (batch, 1 + times * places, hidden), positions added
    times = 6 // tubelet_frames
    assert tokens.shape == (2, 1 + times * 4, vit_files.HIDDEN)
    for t in range(times):
        frame = video[:, t * tubelet_frames + tubelet_frames // 2][:, None]
        seen = reference.embed(frame, nested(image)["embedding"], vit_files.image_config())[:, 0]
        seen = seen + image["Transformer/posembed_input/pos_embedding"][:, 1:]
        assert (tokens[:, 1 + 4 * t : 5 + 4 * t] == seen).all()
    cls = image["cls"] + image["Transformer/posembed_input/pos_embedding"][:, :1]
    assert (tokens[:, :1] == cls).all()


@pytest.mark.parametrize("model_config", [MODEL_1, {**MODEL_3, "classifier": "gap"}])
def test_one_tubelet_makes_the_image_model(model_config):
    """With one temporal index the whole video model, its head included, is the image model on the central frame.

    In Model 3 with a temporal attention that is zero: a residual connection.
    """
    classifier = model_config.get("classifier", "token")
    config = vit_files.image_config(classifier=classifier)
    image = vit_files.image_tree(config)
    video = numpy.random.default_rng(2).uniform(-1, 1, (2, 3, 8, 8, 3))
    settings = {**model_config, "num_labels": vit_files.CLASSES}
    *_, model = initialised(
        video_config(num_frames=3, tubelet_frames=3, **settings),
        nested(image),
        temporal_attention="zero",
        restore_classifier=True,
    )
    logits, *_ = reference.forward(video[:, 1:2], nested(image), config)
    numpy.testing.assert_allclose(model(to_pixel_values(video)).logits, logits, rtol=1e-11)


# --------------------------------------------------------------------------------------------------------------------
# Position embeddings
# --------------------------------------------------------------------------------------------------------------------


def expected_resize(positions, old, new):
    """Linear between the four neighbours, corners on corners."""
    grid = positions.reshape(*old, -1)
    resized = numpy.empty((*new, grid.shape[-1]))
    for i in range(new[0]):
        for j in range(new[1]):
            y = i * (old[0] - 1) / (new[0] - 1) if new[0] > 1 else 0.0
            x = j * (old[1] - 1) / (new[1] - 1) if new[1] > 1 else 0.0
            top, left = min(int(y), old[0] - 1), min(int(x), old[1] - 1)
            bottom, right = min(top + 1, old[0] - 1), min(left + 1, old[1] - 1)
            upper = grid[top, left] * (1 - (x - left)) + grid[top, right] * (x - left)
            lower = grid[bottom, left] * (1 - (x - left)) + grid[bottom, right] * (x - left)
            resized[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return resized.reshape(-1, grid.shape[-1])


def positions_of(tree, encoder="Transformer"):
    return tree[f"{encoder}/posembed_input/pos_embedding"]


@pytest.mark.parametrize("model_config", [MODEL_1, MODEL_3, MODEL_4])
def test_tiled_over_time(image, model_config):
    config = video_config(**model_config)
    _, after, _ = initialised(config, nested(image), position_init="tile")
    places = positions_of(image)[0, 1:]
    tiled = numpy.concatenate([places, places, places])
    num_cls = int(config.use_cls_token)
    assert (positions_of(after)[0, num_cls:] == tiled).all()
    if num_cls:
        assert (positions_of(after)[0, 0] == positions_of(image)[0, 0]).all()


@pytest.mark.parametrize("size", [(12, 12), (16, 8), (4, 20)])
def test_resized_over_space_and_tiled_over_time(size):
    image = vit_files.image_tree(vit_files.image_config(12))  # 3 x 3
    rows, columns = size[0] // 4, size[1] // 4
    _, after, _ = initialised(video_config(size), nested(image), position_init="resize_tile")
    places = expected_resize(positions_of(image)[0, 1:], (3, 3), (rows, columns))
    numpy.testing.assert_allclose(positions_of(after)[0, 1:], numpy.tile(places, (3, 1)), rtol=1e-6, atol=1e-7)
    assert (positions_of(after)[0, 0] == positions_of(image)[0, 0]).all()


def test_resized_over_space(image):
    """Model 2's spatial encoder sees one frame; its temporal encoder keeps its own embeddings."""
    before, after, _ = initialised(video_config(20, **MODEL_2), nested(image), position_init="resize")
    places = expected_resize(positions_of(image)[0, 1:], (2, 2), (5, 5))
    ours = positions_of(after, "SpatialTransformer")
    numpy.testing.assert_allclose(ours[0, 1:], places, rtol=1e-6, atol=1e-7)
    assert (ours[0, 0] == positions_of(image)[0, 0]).all()
    assert (positions_of(after, "TemporalTransformer") == positions_of(before, "TemporalTransformer")).all()


@pytest.mark.parametrize("image_classifier", ["token", "gap"])
@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_the_cls_tokens_embedding(image_classifier, classifier):
    """Kept; left out where the video model has none; the video model's own where the image model has none."""
    image = vit_files.image_tree(vit_files.image_config(classifier=image_classifier))
    before, after, _ = initialised(video_config(classifier=classifier), nested(image))
    has_cls = image_classifier == "token"
    places = numpy.tile(positions_of(image)[0, int(has_cls) :], (3, 1))
    ours = positions_of(after)[0]
    if classifier == "token":
        assert (ours[0] == (positions_of(image) if has_cls else positions_of(before))[0, 0]).all()
        assert (after["cls"] == (image if has_cls else before)["cls"]).all()
        ours = ours[1:]
    assert (ours == places).all()


def test_temporal_embeddings_of_a_video_model_are_resampled():
    source_config = video_config(num_frames=8, **MODEL_2)  # 4 temporal indices
    source = vit_files.image_tree(source_config, seed=5)
    config = video_config(num_frames=12, **MODEL_2)
    _, after, _ = initialised(config, nested(source))
    theirs = positions_of(source, "TemporalTransformer")[0]
    expected = numpy.stack(
        [[numpy.interp(t * 3 / 5, numpy.arange(4), theirs[1:, d]) for d in range(vit_files.HIDDEN)] for t in range(6)]
    )
    ours = positions_of(after, "TemporalTransformer")[0]
    numpy.testing.assert_allclose(ours[1:], expected, rtol=1e-6, atol=1e-7)
    assert (ours[0] == theirs[0]).all()
    same = [name for name in source if not name.startswith("output_projection") and "pos_embedding" not in name]
    for name in same:  # everything else, CLS tokens and tubelets included
        assert (after[name] == source[name]).all(), name


# --------------------------------------------------------------------------------------------------------------------
# Blocks
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_config", "encoder"), [(MODEL_1, "Transformer"), (MODEL_2, "SpatialTransformer"), (MODEL_4, "Transformer")]
)
def test_blocks_are_copied(image, model_config, encoder):
    before, after, _ = initialised(video_config(**model_config), nested(image))
    copied = {name.replace("Transformer", encoder, 1): name for name in image if name.startswith("Transformer/")}
    for name, source_name in copied.items():
        if "pos_embedding" not in name:
            assert (after[name] == image[source_name]).all(), name
    left = set(after) - set(copied) - {"embedding/kernel", "embedding/bias", "cls"}
    assert {name.split("/")[0] for name in left} <= {"output_projection", "TemporalTransformer", *before.keys()}
    for name in left:  # the head; Model 2's temporal encoder and, as in scenic, its spatial CLS token
        assert (after[name] == before[name]).all(), name
    if model_config is MODEL_2:
        assert "cls_SpatialTransformer" in left


@pytest.mark.parametrize("order", ["time_space", "space_time"])
@pytest.mark.parametrize("temporal_attention", ["copy", "zero", "random"])
def test_blocks_of_model_3(image, order, temporal_attention):
    config = video_config(**MODEL_3, attention_order=order)
    before, after, _ = initialised(config, nested(image), temporal_attention=temporal_attention)
    for layer in range(vit_files.LAYERS):
        block = f"Transformer/encoderblock_{layer}"
        for name, array in image.items():
            if not name.startswith(block):
                continue
            part, _, rest = name.removeprefix(f"{block}/").partition("/")
            if part == "MultiHeadDotProductAttention_0":
                assert (after[f"{block}/{SPATIAL}/{rest}"] == array).all()
                ours = after[f"{block}/{TEMPORAL}/{rest}"]
                own = before[f"{block}/{TEMPORAL}/{rest}"]
                assert (ours == {"copy": array, "zero": 0.0, "random": own}[temporal_attention]).all()
            else:
                target = {"LayerNorm_0": "LayerNorm_space", "LayerNorm_1": "LayerNorm_mlp", "MlpBlock_0": "MlpBlock"}
                assert (after[f"{block}/{target[part]}/{rest}"] == array).all()
        for leaf in ("scale", "bias"):  # scenic leaves the temporal layer norm alone
            name = f"{block}/LayerNorm_time/{leaf}"
            assert (after[name] == before[name]).all()


@pytest.mark.parametrize("image_has", [4, None])
@pytest.mark.parametrize("video_has", [4, None])
def test_representation_layer(image_has, video_has):
    image = vit_files.image_tree(vit_files.image_config(representation_size=image_has))
    before, after, _ = initialised(video_config(representation_size=video_has), nested(image))
    if video_has:
        expected = image if image_has else before
        assert (after["pre_logits/kernel"] == expected["pre_logits/kernel"]).all()
    assert (after["output_projection/kernel"] == before["output_projection/kernel"]).all()


def test_from_a_model_3_as_it_is():
    """Another video model with tubelets of the same size: nothing to inflate, nothing to split."""
    config = video_config(**MODEL_3)
    source = vit_files.image_tree(config, seed=7)
    _, after, _ = initialised(config, nested(source), temporal_attention="zero", restore_classifier=True)
    for name, array in source.items():
        assert (after[name] == array).all(), name


# --------------------------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed])
def test_npz(tmp_path, image, prefix, save):
    path = vit_files.write_npz(tmp_path / "ViT.npz", image, prefix, save)
    settings = {"num_labels": vit_files.CLASSES}
    _, expected, _ = initialised(video_config(**settings), nested(image), restore_classifier=True)
    _, after, _ = initialised(video_config(**settings), path, restore_classifier=True)
    for name, array in expected.items():
        assert (after[name] == array).all(), name
    assert (after["output_projection/kernel"] == image["output_projection/kernel"]).all()


def test_npz_in_half_precision_and_fortran_order(tmp_path, image):
    halves = {name: numpy.asfortranarray(array.astype(">f2")) for name, array in image.items()}
    bits = image["embedding/bias"].astype(numpy.float32).view(numpy.uint32) >> 16
    halves["embedding/bias"] = bits.astype(numpy.uint16).view("V2")  # as JAX's bfloat16 is saved
    path = vit_files.write_npz(tmp_path / "half.npz", halves)
    _, expected, _ = initialised(video_config(), nested(image))
    _, after, _ = initialised(video_config(), path)
    for name, array in expected.items():
        assert (after[name] == array).all(), name


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification"])
@pytest.mark.parametrize("size", [8, (12, 8)])
def test_hugging_face(tmp_path, kind, size):
    prefix = "vit." if kind == "ViTForImageClassification" else ""
    config = vit_files.image_config(size, representation_size=None if prefix else vit_files.HIDDEN)
    image = vit_files.image_tree(config)
    directory = vit_files.write_hugging_face(tmp_path, image, config, prefix)
    settings = {"num_labels": vit_files.CLASSES, "representation_size": config.representation_size}
    options = {"restore_classifier": bool(prefix), "position_init": "resize_tile"}
    _, after, _ = initialised(video_config((16, 12), **settings), directory, **options)
    places = expected_resize(positions_of(image)[0, 1:], (config.frame_size[0] // 4, 2), (4, 3))
    numpy.testing.assert_allclose(positions_of(after)[0, 1:], numpy.tile(places, (3, 1)), rtol=1e-6, atol=1e-7)
    for name, array in image.items():
        if name not in ("embedding/kernel", "Transformer/posembed_input/pos_embedding") and (
            prefix or not name.startswith("output_projection")
        ):
            assert (after[name] == array).all(), name
    assert (after["embedding/kernel"][1] == image["embedding/kernel"]).all()


def test_a_directory_with_a_vivit(tmp_path):
    config = video_config(**MODEL_2)
    source = VivitForVideoClassification(config, backend="numpy", seed=9)
    source.save_pretrained(tmp_path)
    _, after, _ = initialised(config, tmp_path)
    for name, array in flat(to_scenic(source.state_dict(), config)).items():
        if not name.startswith("output_projection"):
            assert (after[name] == array).all(), name


def test_a_model_is_made_for_a_config(image):
    model = init_from_image_model(video_config(), nested(image), dtype="float64", backend="numpy", seed=4)
    drawn = VivitForVideoClassification(video_config(), dtype="float64", backend="numpy", seed=4)
    assert model.dtype == numpy.float64
    assert (model.state_dict()["classifier.weight"] == drawn.state_dict()["classifier.weight"]).all()
    assert (model.state_dict()["vivit.embeddings.cls_token"] == image["cls"]).all()


# --------------------------------------------------------------------------------------------------------------------
# What does not fit
# --------------------------------------------------------------------------------------------------------------------


def refused(config, source, match, **options):
    model = VivitForVideoClassification(config, backend="numpy")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(InputError, match=match) as error:
        init_from_image_model(model, source, **options)
    assert "\n" not in str(error.value)
    for name, array in model.state_dict().items():
        assert (array == before[name]).all()


def test_another_width(tmp_path, image):
    config = video_config(hidden_size=16)
    refused(config, nested(image), "hidden size 8, but the video model's is 16")
    refused(config, vit_files.write_npz(tmp_path / "ViT.npz", image), "hidden size 8, but the video model's is 16")
    directory = tmp_path / "hf"
    vit_files.write_hugging_face(directory, image, vit_files.image_config())
    refused(config, directory, "hidden size 8, but the video model's is 16")


def test_what_does_not_fit_is_named(image):
    refused(video_config(num_hidden_layers=1), nested(image), "unexpected: Transformer/encoderblock_1/LayerNorm_0/bias")
    refused(video_config(num_hidden_layers=3), nested(image), "missing: Transformer/encoderblock_2/LayerNorm_0/bias")
    refused(video_config(intermediate_size=6), nested(image), r"MlpBlock_0/Dense_0/bias is \(12,\), expected \(6,\)")
    refused(video_config(num_attention_heads=4), nested(image), r"query/kernel is \(8, 2, 4\), expected \(8, 4, 2\)")
    refused(
        VivitConfig(image_size=8, num_frames=4, tubelet_size=(2, 2, 2), num_labels=3, **vit_files.SIZES),
        nested(image),
        r"embedding/kernel is \(4, 4, 3, 8\), expected \(2, 2, 2, 3, 8\)",
    )
    refused(video_config(), nested(image), r"output_projection/kernel is \(8, 5\)", restore_classifier=True)
    refused(video_config(), {"Transformer": {}}, "holds no embedding/kernel")
    broken = {**image, "Transformer/encoder_norm/bias": numpy.full(8, numpy.nan, numpy.float32)}
    refused(video_config(), nested(broken), "encoder_norm/bias' holds nan")


def test_positions_that_cannot_be_adapted(image):
    refused(video_config(12), nested(image), "'tile' repeats .* 2 x 2 .* use 'resize_tile'", position_init="tile")
    refused(video_config(12), nested(image), "use 'resize_tile'", position_init="resize")
    odd = {**image, "Transformer/posembed_input/pos_embedding": numpy.zeros((1, 4, 8), numpy.float32)}
    refused(video_config(), nested(odd), "3 tokens, which is no square grid", position_init="resize_tile")


@pytest.mark.parametrize("name", ["tubelet_init", "position_init", "temporal_attention"])
def test_unknown_rules(image, name):
    refused(video_config(), nested(image), f"{name} is 'best'; expected one of", **{name: "best"})


def test_other_directories(tmp_path):
    refused(video_config(), tmp_path, "config.json does not exist")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused(video_config(), tmp_path, "a model of type 'bert'")
    refused(video_config(), tmp_path / "nothing.npz", "does not exist")
