"""The GPU computes what the CPU computes: every model on CuPy against NumPy. Run with  pytest -m gpu."""

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor, VivitModel
from minivivit.backend import _load_cupy, column_dots, matmul, row_dots, to_numpy
from minivivit.config import ACTIVATION_NAMES
from minivivit.layers.trace import Trace
from minivivit.ops import blockwise_attention
from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.clipping import clip_by_global_norm
from minivivit.training.optimisers.sgd import SGD
from minivivit.verification.tensors.source import open_source
from minivivit.verification.tracing.recording import trace_model

CUPY, REASON = _load_cupy()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(CUPY is None, reason=f"needs CuPy and an NVIDIA GPU: {REASON}")]

ATTENTION_TYPES = {
    1: "spatio_temporal",
    2: "factorised_encoder",
    3: "factorised_self_attention",
    4: "factorised_dot_product",
}
SMALL = {
    "image_size": [21, 18],  # neither side is a multiple of the tubelet's
    "num_frames": 9,
    "tubelet_size": [2, 4, 5],
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "num_temporal_layers": 2,
    "num_labels": 5,
}
RANDOM = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "stochastic_droplayer_rate": 0.5}
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
ALL_MODELS = pytest.mark.parametrize("number", ATTENTION_TYPES)
BOTH_DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)


def pair(number=1, cls=VivitForVideoClassification, dtype="float64", **changes):
    """The same model with random parameters on the CPU and on the GPU."""
    config = VivitConfig(**{**SMALL, "attention_type": ATTENTION_TYPES[number], **changes})
    host, device = (cls(config, dtype=dtype, backend=backend) for backend in ("numpy", "cupy"))
    rng = numpy.random.default_rng(0)
    for name, array in host.state_dict().items():
        array[...] = rng.standard_normal(array.shape) * (0.3 if array.ndim == 1 else array[0].size ** -0.5)
        if "layernorm" in name and name.endswith("weight"):
            array += 1
        if name.endswith(("cls_token", "position_embeddings")):
            array[...] = 0.5 * rng.standard_normal(array.shape)
    device.load_state_dict(host.state_dict())
    return host, device


def clip_for(config, size=None, batch=2):
    frames, height, width = size or (config.num_frames, *config.frame_size)
    return numpy.random.default_rng(1).standard_normal((batch, frames, config.num_channels, height, width))


def assert_on_gpu_and_close(ours, theirs, tolerance, floor=0.0):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            assert_on_gpu_and_close(ours[name], theirs[name], tolerance, floor)
    elif isinstance(theirs, tuple | list):
        for one, other in zip(ours, theirs, strict=True):
            assert_on_gpu_and_close(one, other, tolerance, floor)
    else:
        assert isinstance(ours, CUPY.ndarray)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        scale = max(float(numpy.abs(theirs).max()), floor)
        assert float(numpy.abs(to_numpy(ours) - theirs).max()) <= tolerance * scale


def assert_same_outputs(models, pixels, **arguments):
    theirs, ours = (model(pixels, **arguments) for model in models)
    assert list(ours) == list(theirs)
    assert_on_gpu_and_close(ours.to_tuple(), theirs.to_tuple(), TOLERANCE[models[0].dtype.name])


def assert_same_gradients(models, pixels, labels, training=False, **arguments):
    rngs = [numpy.random.default_rng(3) if training else None for _ in models]
    (loss, theirs), (our_loss, ours) = (
        model.loss_and_gradients(pixels, labels, rng=rng, **arguments) for model, rng in zip(models, rngs, strict=True)
    )
    tolerance = TOLERANCE[models[0].dtype.name]
    assert_on_gpu_and_close(our_loss, loss, tolerance)
    floor = 1e-3 * max(float(numpy.abs(gradient).max()) for gradient in theirs.values())
    assert_on_gpu_and_close(ours, theirs, tolerance, floor)


@ALL_MODELS
@BOTH_DTYPES
def test_forward_and_gradients(number, dtype):
    models = pair(number, dtype=dtype)
    pixels = clip_for(models[0].config)
    assert_same_outputs(models, pixels, labels=[0, 4])
    assert_same_outputs(models, pixels, output_attentions=True, output_hidden_states=True)
    assert_same_gradients(models, pixels, [0, 4])
    assert_same_gradients(models, pixels, [0, 4], gradient_checkpointing=True)
    device = models[1]
    assert_on_gpu_and_close(device(CUPY.asarray(pixels)).logits, models[0](pixels).logits, TOLERANCE[dtype])


@ALL_MODELS
@BOTH_DTYPES
def test_training_passes_draw_the_same_masks(number, dtype):
    models = pair(number, dtype=dtype, **RANDOM)
    assert_same_gradients(models, clip_for(models[0].config, batch=3), [0, 4, 2], training=True, label_smoothing=0.1)


@ALL_MODELS
def test_interpolation_frame_sampling_and_poolings(number):
    models = pair(number)
    for size in ((13, 40, 33), (4, 21, 60)):
        pixels = clip_for(models[0].config, size)
        assert_same_outputs(models, pixels, interpolate_pos_encoding=True)
        assert_same_gradients(models, pixels, [0, 4], interpolate_pos_encoding=True)
    sampled = pair(number, temporal_encoding="frame_sampling", num_sampled_frames=4, tubelet_size=[1, 4, 5])
    assert_same_gradients(sampled, clip_for(sampled[0].config), [0, 4])
    for classifier in ("gap", "gmp", "gsp"):
        pooled = pair(number, classifier=classifier, representation_size=6)
        assert_same_gradients(pooled, clip_for(pooled[0].config), [0, 4])


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_activations(activation):
    models = pair(cls=VivitModel, hidden_act=activation, pooler_act=activation)
    pixels = clip_for(models[0].config)
    theirs, ours = (model.gradients(pixels, dpooler_output=numpy.ones((2, 32))) for model in models)
    floor = 1e-3 * max(float(numpy.abs(gradient).max()) for gradient in theirs.values())
    assert_on_gpu_and_close(ours, theirs, TOLERANCE["float64"], floor)


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"num_labels": 1}, [0.5, -1.0]),
        ({}, [[0.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0]]),
        ({"class_splits": [2, 3]}, [[1, 2], [0, 0]]),
    ],
)
def test_losses(changes, labels):
    models = pair(**changes)
    assert_same_gradients(models, clip_for(models[0].config), labels)
    assert_same_gradients(models, clip_for(models[0].config), numpy.asarray(labels))
    theirs, ours = models[0], models[1]
    loss = ours(clip_for(ours.config), labels=CUPY.asarray(labels)).loss
    assert float(loss) == pytest.approx(float(theirs(clip_for(ours.config), labels=labels).loss), rel=1e-10)


@pytest.mark.parametrize("explicit", [False, True])
def test_attention_masks_and_traces(explicit):
    models = pair(cls=VivitModel)
    pixels = clip_for(models[0].config)
    keys = numpy.ones((2, 61))
    keys[0, 3:20] = 0
    bias = numpy.random.default_rng(0).standard_normal((1, 4, 61, 61))
    bias[..., 5] = -numpy.inf
    for mask in (keys, keys.astype(bool)[:, None, None, :], bias):
        assert_same_outputs(models, pixels, attention_mask=mask, output_attentions=explicit)
    theirs, ours = {}, {}
    models[0](pixels, trace=Trace(theirs))
    models[1](pixels, trace=Trace(ours))
    assert_on_gpu_and_close(ours, theirs, TOLERANCE["float64"])


@ALL_MODELS
@BOTH_DTYPES
def test_traces_in_a_directory(number, dtype, tmp_path):
    host, device = pair(number, dtype=dtype)
    for name, model in (("host", host), ("device", device)):
        trace_model(model, clip_for(host.config), tmp_path / name, labels=[0, 4], gradients=True, only="*")
    theirs, ours = open_source(tmp_path / "host"), open_source(tmp_path / "device")
    assert list(ours.shapes.items()) == list(theirs.shapes.items())
    sizes = {name: float(numpy.abs(theirs.read(name)).max()) for name in theirs.shapes}
    floor = 1e-3 * max(size for name, size in sizes.items() if name.startswith("gradient."))
    for name, size in sizes.items():
        scale = max(size, floor if name.startswith("gradient.") else 0.0)
        assert float(numpy.abs(ours.read(name) - theirs.read(name)).max()) <= TOLERANCE[dtype] * scale, name


@ALL_MODELS
@pytest.mark.parametrize("optimiser", [SGD, AdamW])
def test_training_steps(number, optimiser):
    losses = []
    for model in pair(number):
        pixels = clip_for(model.config)
        steps = optimiser(model.state_dict(), weight_decay=0.05)
        for _ in range(5):
            loss, gradients = model.loss_and_gradients(pixels, [0, 4])
            del gradients["pixel_values"]
            clip_by_global_norm(gradients, 1.0)
            steps.step(gradients, 1e-2)
            losses.append(float(loss))
    numpy.testing.assert_allclose(losses[5:], losses[:5], rtol=1e-9)
    assert losses[4] < losses[0]


@ALL_MODELS
def test_state_dicts_files_and_moves(number, tmp_path):
    host, device = pair(number)
    assert_on_gpu_and_close(device.state_dict(), host.state_dict(), 0)
    device.save_pretrained(tmp_path)
    for backend in ("numpy", "cupy"):
        again = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend=backend)
        for name, array in again.state_dict().items():
            numpy.testing.assert_array_equal(to_numpy(array), host.state_dict()[name])
    pixels = clip_for(host.config)
    expected = host(pixels).logits
    assert isinstance(host.to("cupy")(pixels).logits, CUPY.ndarray)
    assert isinstance(host.to("numpy")(pixels).logits, numpy.ndarray)
    numpy.testing.assert_array_equal(host(pixels).logits, expected)
    drawn = [VivitForVideoClassification(host.config, backend=backend, seed=3) for backend in ("numpy", "cupy")]
    assert_on_gpu_and_close(drawn[1].state_dict(), drawn[0].state_dict(), 0)


def test_many_tokens_in_several_blocks():
    """More than 2,048 keys, so that the online softmax rescales."""
    models = pair(num_frames=32, image_size=[48, 60], num_hidden_layers=1, attention_probs_dropout_prob=0.1)
    assert models[0].config.grid_size == (16, 12, 12)
    assert_same_outputs(models, clip_for(models[0].config, batch=1))
    assert_same_gradients(models, clip_for(models[0].config, batch=1), [3], training=True)


@pytest.mark.parametrize("settings", [{}, {"do_normalize": False}, {"offset": False, "size": {"shortest_edge": 40}}])
def test_the_image_processors_float_steps(settings):
    """Rescaling and normalising are single operations in float32: the same on both to a unit in the last place."""
    processor = VivitImageProcessor(**{"crop_size": 32, "size": {"shortest_edge": 36}, **settings})
    video = list(numpy.random.default_rng(0).integers(0, 256, (4, 50, 70, 3), dtype=numpy.uint8))
    theirs = processor(video, return_tensors="np").pixel_values
    ours = processor(video, return_tensors="np", backend="cupy").pixel_values
    assert isinstance(ours, CUPY.ndarray)
    assert ours.dtype == theirs.dtype == "float32"
    numpy.testing.assert_allclose(ours.get(), theirs, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_that_cupy_computes_otherwise(dtype):
    """Stacks whose first matrices are stored by columns are turned; rows and columns are multiplied by one kernel."""
    rng = numpy.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 40, 300)).astype(dtype), rng.standard_normal((2, 3, 40, 7)).astype(dtype)
    on_gpu = [CUPY.asarray(array) for array in (a, b)]
    for number, (first, second) in enumerate([(a, b), (b, a)]):
        turned = matmul(on_gpu[number].swapaxes(-1, -2), on_gpu[1 - number])
        assert_on_gpu_and_close(turned, first.swapaxes(-1, -2) @ second, 1e-13 if dtype == "float64" else 1e-6)
    tolerance = 1e-13 if dtype == "float64" else 2e-6
    assert_on_gpu_and_close(row_dots(on_gpu[0], on_gpu[0]), (a * a).sum(axis=-1), tolerance)
    assert_on_gpu_and_close(column_dots(on_gpu[0][0, 0], on_gpu[0][0, 0]), (a * a)[0, 0].sum(axis=0), tolerance)


def test_layer_norm_of_huge_rows():
    rng = numpy.random.default_rng(0)
    size = numpy.array([1, 1e19, 1e25, 1e37, 1e-3, 3e38])[:, None]
    x = rng.uniform(-1, 1, (6, 40))
    x = (x / abs(x).max(axis=1, keepdims=True) * size).astype("float32")
    weight, bias = rng.standard_normal((2, 40)).astype("float32")
    ours, _ = layer_norm_forward(*(CUPY.asarray(array) for array in (x, weight, bias)), 1e-6)
    exact, _ = layer_norm_forward(*(array.astype("float64") for array in (x, weight, bias)), 1e-6)
    assert ours.dtype == "float32"
    assert abs(ours.get() - exact).max() < 2e-6


@pytest.mark.parametrize("entries", [1 << 16, 1 << 20, 1 << 27])
@pytest.mark.parametrize("dropout", [None, (5, 0.2)])
def test_attention_in_blocks_of_rows(entries, dropout, monkeypatch):
    """600 queries: as many heads and rows at once as the entries are enough for."""
    monkeypatch.setattr(blockwise_attention, "ENTRIES_ON_GPU", entries)
    heads = numpy.random.default_rng(0).standard_normal((4, 2, 3, 600, 8))
    query, key, value, doutput = (CUPY.asarray(part) for part in heads)
    output, cache = blockwise_attention.blockwise_attention_forward(query, key, value, None, dropout)
    expected, host_cache = blockwise_attention.blockwise_attention_forward(*heads[:3], None, dropout)
    assert_on_gpu_and_close(output, expected, 1e-12)
    gradients = blockwise_attention.blockwise_attention_backward(doutput, cache)
    expected = blockwise_attention.blockwise_attention_backward(heads[3], host_cache)
    assert_on_gpu_and_close(gradients, expected, 1e-12)
