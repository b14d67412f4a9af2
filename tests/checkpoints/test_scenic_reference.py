"""Against the reference in NumPy and einsum: combinations of settings that no golden has."""

import itertools

import numpy
import pytest
import scenic_reference as reference
from scenic_goldens import NAMES, Golden, flat, nested, to_pixel_values

from minivivit import InputError, VivitConfig
from minivivit.checkpoints import load_scenic, to_scenic
from minivivit.checkpoints.names import scenic_parameters
from minivivit.layers.trace import Trace

STEP = 1e-100

# attention_type with what else that model can be, and its poolings
MODELS = [
    ({"attention_type": "spatio_temporal"}, ("token", "gap", "gmp", "gsp")),
    ({"attention_type": "factorised_encoder", "num_temporal_layers": 1}, ("token", "gap", "gmp", "gsp")),
    ({"attention_type": "factorised_encoder", "spatial_only_baseline": True}, ("token", "gap", "gmp", "gsp")),
    ({"attention_type": "factorised_self_attention", "attention_order": "time_space"}, ("gap", "gmp", "gsp")),
    ({"attention_type": "factorised_self_attention", "attention_order": "space_time"}, ("gap", "gmp", "gsp")),
    ({"attention_type": "factorised_dot_product"}, ("gap", "gmp", "gsp")),
]
# tubelets that leave remainders on every axis; square ones; frames of which sampling takes fewer, more, or all
ENCODINGS = [
    {"image_size": (11, 7), "num_frames": 7, "tubelet_size": (2, 3, 2)},
    {"image_size": 6, "num_frames": 3, "tubelet_size": (1, 3, 3)},
    {"image_size": (6, 9), "num_frames": 7, "num_sampled_frames": 3, "tubelet_size": (1, 3, 4)},
    {"image_size": (4, 6), "num_frames": 3, "num_sampled_frames": 5, "tubelet_size": (1, 2, 3)},
]
CASES = [
    {**model, "classifier": classifier, **encoding}
    for model, classifiers in MODELS
    for classifier, encoding in itertools.product(classifiers, ENCODINGS)
]


def make(case, seed):
    """A config, scenic's parameters in float64, and a video."""
    rng = numpy.random.default_rng(seed)
    config = VivitConfig(
        **case,
        temporal_encoding="frame_sampling" if "num_sampled_frames" in case else "tubelet",
        representation_size=(None, 5)[seed % 2],
        num_channels=1 + seed % 3,
        hidden_size=8,
        num_attention_heads=(2, 4)[seed % 2],
        num_hidden_layers=1 + seed % 2,
        intermediate_size=6,
        num_labels=3,
        hidden_act="gelu_pytorch_tanh",
    )
    flat_tree = {
        row.name: 0.4 * rng.standard_normal(row.shape) + (row.path[-1] == "scale")
        for row in scenic_parameters(config).values()
    }
    height, width = config.frame_size
    video = rng.uniform(-1, 1, (2, config.num_frames, height, width, config.num_channels))
    return config, flat_tree, video


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_scenic(name):
    golden = Golden(name)
    video = golden.arrays["video"].astype(float)
    logits, pre_logits, encoded = reference.forward(video, nested(as_float64(golden.part("param"))), golden.config)
    numpy.testing.assert_allclose(logits, golden.arrays["logits"], rtol=1e-12)
    numpy.testing.assert_allclose(pre_logits, golden.arrays["pre_logits"], rtol=1e-12, atol=1e-13)
    if "encoded" in golden.arrays:
        numpy.testing.assert_allclose(encoded, golden.arrays["encoded"], rtol=1e-12, atol=1e-13)


def as_float64(arrays):
    return {name: array.astype(numpy.float64) for name, array in arrays.items()}


@pytest.mark.parametrize("index", range(len(CASES)))
def test_forward_and_gradients(index):
    config, flat_tree, video = make(CASES[index], index)
    logits, pre_logits, encoded = reference.forward(video, nested(flat_tree), config)
    labels = logits.argmin(1)  # a wrong guess, so that loss and gradients are not lost in rounding
    model = load_scenic(nested(flat_tree), config, dtype="float64", backend="numpy")
    trace = {}
    output = model(to_pixel_values(video), labels, trace=Trace(trace))
    numpy.testing.assert_allclose(output.logits, logits, rtol=1e-12, atol=1e-13)
    numpy.testing.assert_allclose(trace["pre_logits"], pre_logits, rtol=1e-12, atol=1e-13)
    numpy.testing.assert_allclose(
        model.vivit(to_pixel_values(video)).last_hidden_state, encoded, rtol=1e-12, atol=1e-12
    )
    numpy.testing.assert_allclose(output.loss, reference.cross_entropy(logits, labels), rtol=1e-12)

    _, gradients = model.loss_and_gradients(to_pixel_values(video), labels)
    ours = flat(to_scenic(gradients, config))
    check_directional_derivatives(ours, flat_tree, video, labels, config, seed=index)


def check_directional_derivatives(gradients, flat_tree, video, labels, config, seed):
    """Along one random direction of every parameter, and of the video."""
    rng = numpy.random.default_rng(seed)
    largest = max(numpy.abs(gradient).max() for gradient in gradients.values())
    values = {**flat_tree, "video": video}
    assert gradients.keys() == values.keys()
    for name, value in values.items():
        direction = rng.choice([-1.0, 1.0], value.shape)
        moved = {**values, name: value + 1j * STEP * direction}
        logits, _, _ = reference.forward(moved.pop("video").astype(complex), nested(moved), config)
        theirs = reference.cross_entropy(logits, labels).imag / STEP
        ours = (gradients[name] * direction).sum()
        assert abs(ours - theirs) < 1e-11 * max(numpy.abs(gradients[name]).sum(), 1e-3 * largest), name


def test_scenic_straddles_frames_where_the_height_has_a_remainder():
    case = {"image_size": (7, 6), "num_frames": 5, "num_sampled_frames": 2, "tubelet_size": (1, 3, 3)}
    config, flat_tree, _ = make({**case, "attention_type": "spatio_temporal"}, 0)
    with pytest.raises(InputError, match="straddle frames"):
        load_scenic(flat_tree, config)
