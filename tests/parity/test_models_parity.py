"""Model 1 live against transformers: config, outputs, gradients, files."""

import dataclasses
import inspect
import json

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification, VivitModel
from minivivit.config import ACTIVATION_NAMES

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hugging_face import (  # noqa: E402
    gradients_of,
    largest_gradient_error,
    published_name,
    random_clip,
    random_settings,
    reference,
    relative_error,
)

SMALL = {
    "image_size": 10,
    "num_frames": 8,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "num_labels": 3,
}


@pytest.fixture(autouse=True)
def _quiet():
    """No progress bars, and one thread: two pools that wait for work by spinning would slow each other down."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def both(tmp_path, settings, ours=VivitForVideoClassification, dtype="float64", attention="sdpa", seed=0):
    """The same model here and there: transformers writes a checkpoint, we read it."""
    cls = getattr(transformers, ours.__name__)
    theirs = reference(cls, transformers.VivitConfig(**settings), seed, dtype, attention)
    theirs.save_pretrained(tmp_path / "theirs")
    return ours.from_pretrained(tmp_path / "theirs", dtype=dtype, backend="numpy"), theirs


def as_torch(array):
    return torch.from_numpy(numpy.asarray(array))


# --------------------------------------------------------------------------------------------------------------------
# Config
# --------------------------------------------------------------------------------------------------------------------


def plain(value):
    """A value as JSON holds it."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("settings", [{}, SMALL, {"pooler_output_size": 5, "num_labels": 7, "image_size": [32, 48]}])
def test_every_field_and_default_of_transformers_config(settings):
    theirs = transformers.VivitConfig(**settings).to_dict()
    ours = VivitConfig(**settings).to_dict()
    fields = [field.name for field in dataclasses.fields(transformers.VivitConfig)]
    assert len(fields) > 20
    # What is not about the model: which transformers wrote it, of which class and dtype, and generation of text.
    foreign = {"transformers_version", "architectures", "dtype", "_name_or_path", "chunk_size_feed_forward"}
    foreign |= {"is_encoder_decoder"}
    assert {name: plain(ours.get(name, "missing")) for name in theirs if name not in foreign} == {
        name: plain(value) for name, value in theirs.items() if name not in foreign
    }


def test_arguments_have_the_order_of_transformers():
    annotations = list(vars(transformers.VivitConfig)["__annotations__"])
    own = list(inspect.signature(VivitConfig).parameters)
    assert own[: len(annotations)] == annotations


@pytest.mark.parametrize("seed", range(3))
def test_configs_open_on_the_other_side(seed, tmp_path):
    settings = {**random_settings(seed), "problem_type": "regression", "hidden_dropout_prob": 0.25}
    theirs = transformers.VivitConfig(**settings, my_key=[1, {"a": None}])
    theirs.save_pretrained(tmp_path / "theirs")
    ours = VivitConfig.from_pretrained(tmp_path / "theirs")
    assert all(plain(ours.to_dict()[name]) == plain(getattr(theirs, name)) for name in settings if name != "num_labels")
    assert ours.num_labels == theirs.num_labels == settings["num_labels"]
    assert ours.other["my_key"] == [1, {"a": None}]
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.VivitConfig.from_pretrained(tmp_path / "ours")
    for name in theirs.to_dict():
        if name not in ("_name_or_path", "transformers_version"):
            assert plain(getattr(again, name, None)) == plain(getattr(theirs, name, None)), name
    assert again.attention_type == "spatio_temporal"


def test_first_values_have_the_same_distributions():
    settings = {**SMALL, "hidden_size": 96, "intermediate_size": 200, "initializer_range": 0.05}
    theirs = transformers.VivitForVideoClassification(transformers.VivitConfig(**settings))
    ours = VivitForVideoClassification(VivitConfig(**settings), backend="numpy").state_dict()
    named = {published_name(name): parameter.detach().numpy() for name, parameter in theirs.named_parameters()}
    assert named.keys() == ours.keys()
    for name, expected in named.items():
        assert ours[name].shape == expected.shape, name
        assert abs(ours[name].mean() - expected.mean()) < 10 * expected.std() / expected.size**0.5 + 1e-12, name
        assert ours[name].std() == pytest.approx(expected.std(), rel=10 / expected.size**0.5), name


# --------------------------------------------------------------------------------------------------------------------
# Outputs and gradients in float64. transformers' eager attention rounds its softmax to float32; sdpa does not.
# --------------------------------------------------------------------------------------------------------------------


def compare_classifiers(ours, theirs, labels, batch=2):
    pixels = random_clip(ours.config, batch)
    torch_pixels = torch.from_numpy(pixels).requires_grad_()
    expected = theirs(torch_pixels, labels=as_torch(labels), output_hidden_states=True)
    expected.loss.backward()
    out = ours(pixels, labels=labels, output_hidden_states=True)
    assert relative_error(out.logits, expected.logits.detach()) < 1e-12
    assert relative_error(out.loss, expected.loss.detach()) < 1e-12
    assert len(out.hidden_states) == len(expected.hidden_states)
    for state, expected_state in zip(out.hidden_states, expected.hidden_states, strict=True):
        assert relative_error(state, expected_state.detach()) < 1e-12
    loss, gradients = ours.loss_and_gradients(pixels, labels)
    assert relative_error(loss, expected.loss.detach()) < 1e-12
    assert largest_gradient_error(gradients, gradients_of(theirs, torch_pixels)) < 1e-10
    with_checkpoints = ours.loss_and_gradients(pixels, labels, gradient_checkpointing=True)[1]
    assert all(numpy.array_equal(with_checkpoints[name], gradients[name]) for name in gradients)


@pytest.mark.parametrize("seed", range(10))
def test_ten_random_configs(seed, tmp_path):
    settings = random_settings(seed)
    batch = 1 + seed % 3
    labels = numpy.random.default_rng(seed).integers(0, settings["num_labels"], batch)
    ours, theirs = both(tmp_path, settings, seed=seed)
    compare_classifiers(ours, theirs, labels, batch)


@pytest.mark.parametrize("seed", range(10))
def test_ten_random_bare_models_with_their_poolers(seed, tmp_path):
    ours, theirs = both(tmp_path, random_settings(seed), VivitModel, seed=seed)
    pixels = random_clip(ours.config)
    torch_pixels = torch.from_numpy(pixels).requires_grad_()
    expected = theirs(torch_pixels)
    out = ours(pixels)
    assert relative_error(out.last_hidden_state, expected.last_hidden_state.detach()) < 1e-12
    assert relative_error(out.pooler_output, expected.pooler_output.detach()) < 1e-12
    rng = numpy.random.default_rng(seed)
    dlast, dpooler = (rng.standard_normal(value.shape) for value in (out.last_hidden_state, out.pooler_output))
    torch.autograd.backward((expected.last_hidden_state, expected.pooler_output), (as_torch(dlast), as_torch(dpooler)))
    gradients = ours.gradients(pixels, dlast_hidden_state=dlast, dpooler_output=dpooler)
    assert largest_gradient_error(gradients, gradients_of(theirs, torch_pixels)) < 1e-10


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_all_activations(activation, tmp_path):
    ours, theirs = both(tmp_path, {**SMALL, "hidden_act": activation})
    compare_classifiers(ours, theirs, numpy.array([0, 2]))


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({}, numpy.array([2, 0])),
        ({"problem_type": "single_label_classification"}, numpy.array([[1], [0]])),
        ({"num_labels": 1}, numpy.array([0.5, -1.5])),
        ({"problem_type": "regression"}, numpy.array([[0.5, 1, 2], [-1, 0, 3]])),
        ({}, numpy.array([[0.0, 1, 1], [1, 0, 0]])),
        ({"problem_type": "multi_label_classification"}, numpy.array([[0.25, 1, 0], [0, 0, 0]])),
    ],
)
def test_all_losses(changes, labels, tmp_path):
    ours, theirs = both(tmp_path, {**SMALL, **changes})
    compare_classifiers(ours, theirs, labels)


def test_accumulated_gradients(tmp_path):
    """Three batches of different sizes, each with its share of the mean, make the gradient of the whole."""
    ours, theirs = both(tmp_path, SMALL)
    pixels, labels = random_clip(ours.config, batch=6), numpy.array([0, 2, 1, 1, 0, 2])
    total = dict.fromkeys(ours.state_dict(), 0.0)
    for part in (slice(0, 3), slice(3, 5), slice(5, 6)):
        share = (part.stop - part.start) / 6
        (share * theirs(torch.from_numpy(pixels[part]), labels=torch.from_numpy(labels[part])).loss).backward()
        gradients = ours.loss_and_gradients(pixels[part], labels[part])[1]
        total = {name: total[name] + share * gradients[name] for name in total}
    expected = {published_name(name): parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    assert largest_gradient_error(total, expected) < 1e-10
    whole = ours.loss_and_gradients(pixels, labels)[1]
    assert largest_gradient_error(total, {name: whole[name] for name in total}) < 1e-12


@pytest.mark.parametrize("form", ["tokens", "integers", "boolean", "bias"])
def test_attention_masks(form, tmp_path):
    ours, theirs = both(tmp_path, SMALL, VivitModel)
    pixels = random_clip(ours.config)
    mask = numpy.ones((2, 17), dtype=bool)
    mask[0, [3, 7, 8]], mask[1, 16] = False, False
    if form == "integers":
        mask = mask.astype("int64")
    if form == "boolean":
        mask = numpy.broadcast_to(mask[:, None, None, :], (2, 1, 17, 17)).copy()
    if form == "bias":
        mask = numpy.random.default_rng(0).standard_normal((2, 1, 17, 17))
    expected = theirs(torch.from_numpy(pixels), attention_mask=torch.from_numpy(mask))
    out = ours(pixels, attention_mask=mask)
    assert relative_error(out.last_hidden_state, expected.last_hidden_state.detach()) < 1e-12
    assert relative_error(out.pooler_output, expected.pooler_output.detach()) < 1e-12
    assert relative_error(ours(pixels).last_hidden_state, expected.last_hidden_state.detach()) > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_attentions_in_float32(seed, tmp_path):
    """Only transformers' eager attention returns them; its softmax is float32."""
    ours, theirs = both(tmp_path, random_settings(seed), dtype="float32", attention="eager", seed=seed)
    pixels = random_clip(ours.config).astype("float32")
    expected = theirs(torch.from_numpy(pixels), output_attentions=True, output_hidden_states=True)
    out = ours(pixels, output_attentions=True, output_hidden_states=True)
    assert len(out.attentions) == len(expected.attentions) == ours.config.num_hidden_layers
    for probs, expected_probs in zip(out.attentions, expected.attentions, strict=True):
        assert probs.shape == expected_probs.shape
        assert numpy.abs(probs - expected_probs.detach().numpy()).max() < 1e-5
    assert relative_error(out.logits, expected.logits.detach()) < 1e-5


def test_the_tuple_and_the_keys_are_those_of_transformers(tmp_path):
    ours, theirs = both(tmp_path, SMALL, dtype="float32", attention="eager")
    pixels, labels = random_clip(ours.config).astype("float32"), numpy.array([0, 1])
    arguments = {"output_attentions": True, "output_hidden_states": True}
    expected = theirs(torch.from_numpy(pixels), labels=torch.from_numpy(labels), **arguments)
    out = ours(pixels, labels=labels, **arguments)
    assert list(out.keys()) == list(expected.keys())
    assert len(out) == len(expected)
    assert [type(value) for value in out[2:]] == [type(value) for value in expected[2:]]
    as_tuple = ours(pixels, labels=labels, return_dict=False)
    expected = theirs(torch.from_numpy(pixels), labels=torch.from_numpy(labels), return_dict=False)
    assert isinstance(expected, tuple)
    assert [value.shape for value in as_tuple] == [tuple(value.shape) for value in expected]


@pytest.mark.parametrize("size", [(4, 9, 11), (4, 3, 2), (7, 5, 6), (2, 5, 6), (6, 12, 4)])
def test_interpolated_position_embeddings_are_pytorchs_slice_by_slice(size):
    """Bicubic over rows and columns within each temporal slice, linear over time at each place; here, in the model.

    transformers' own interpolation takes time and space for one square image and fails here, so only the parts of
    PyTorch that ours is defined by can be compared with.
    """
    settings = {**SMALL, "image_size": [20, 24], "num_hidden_layers": 0}
    model = VivitForVideoClassification(VivitConfig(**settings), dtype="float64", backend="numpy")
    positions = model.state_dict()["vivit.embeddings.position_embeddings"]
    positions[...] = numpy.random.default_rng(0).standard_normal(positions.shape)
    pixels = numpy.zeros((1, 2 * size[0], 3, 4 * size[1], 4 * size[2]))
    out = model(pixels, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states[0]
    slices = (
        torch.from_numpy(positions[0, 1:]).reshape(4, 5, 6, 32).permute(0, 3, 1, 2)
    )  # (times, hidden, rows, columns)
    slices = torch.nn.functional.interpolate(slices, size=size[1:], mode="bicubic", align_corners=False)
    lines = slices.permute(2, 3, 1, 0).reshape(-1, 32, 4)  # (places, hidden, times)
    lines = torch.nn.functional.interpolate(lines, size=size[0], mode="linear", align_corners=False)
    expected = lines.reshape(size[1], size[2], 32, size[0]).permute(3, 0, 1, 2).reshape(1, -1, 32)
    assert relative_error(out[:, 1:], expected) < 1e-13
    assert numpy.array_equal(out[:, :1], positions[:, :1])


# --------------------------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [VivitModel, VivitForVideoClassification])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_directories_open_on_the_other_side_with_identical_weights_and_outputs(ours, dtype, tmp_path):
    model, theirs = both(tmp_path, random_settings(4), ours, dtype)
    named = {published_name(name): parameter.detach().numpy() for name, parameter in theirs.named_parameters()}
    state = model.state_dict()
    assert state.keys() == named.keys()
    assert all(numpy.array_equal(state[name], named[name]) for name in named)
    model.save_pretrained(tmp_path / "ours")
    again, report = type(theirs).from_pretrained(
        tmp_path / "ours", dtype=getattr(torch, dtype), attn_implementation="sdpa", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    for one, other in zip(theirs.named_parameters(), again.named_parameters(), strict=True):
        assert one[0] == other[0]
        assert one[1].dtype == other[1].dtype
        assert torch.equal(one[1], other[1])
        other[1].data = other[1].data.clone()  # where a file's bytes lie decides which of PyTorch's kernels runs
        one[1].data = one[1].data.clone()
    pixels = torch.from_numpy(random_clip(model.config).astype(dtype))
    assert torch.equal(again.eval()(pixels)[0], theirs(pixels)[0])
    assert relative_error(model(pixels.numpy())[0], again(pixels)[0].detach()) < (1e-12 if dtype == "float64" else 1e-5)


def test_models_2_to_4_write_configs_that_transformers_can_read(tmp_path):
    """transformers has no such models; its config keeps the fields that it does not know."""
    settings = {**SMALL, "attention_type": "factorised_encoder", "stochastic_droplayer_rate": 0.1}
    VivitForVideoClassification(VivitConfig(**settings), backend="numpy").save_pretrained(tmp_path)
    config = transformers.VivitConfig.from_pretrained(tmp_path)
    assert config.attention_type == "factorised_encoder"
    assert config.hidden_size == 32
