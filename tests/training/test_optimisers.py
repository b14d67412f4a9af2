"""SGD and AdamW: values by hand, in place, state to the bit, and what they refuse."""

import numpy
import pytest

from minivivit import backend
from minivivit.errors import InputError
from minivivit.training.optimisers import blocks
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.blocks import for_each_block, split_into_blocks
from minivivit.training.optimisers.decay import decays
from minivivit.training.optimisers.sgd import SGD

OPTIMISERS = [
    pytest.param(lambda p: SGD(p, momentum=0.9, weight_decay=0.1), id="sgd"),
    pytest.param(lambda p: SGD(p, momentum=0.9, nesterov=True), id="nesterov"),
    pytest.param(lambda p: SGD(p, momentum=0.0), id="plain"),
    pytest.param(lambda p: AdamW(p, weight_decay=0.1), id="adamw"),
]
SHAPES = {"layer.weight": (70, 50), "layer.bias": (70,), "cls_token": (1, 1, 50)}


def random_tensors(seed, dtype="float64"):
    rng = numpy.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


# ---- values by hand ----


def test_sgd_by_hand():
    p = {"w": numpy.array([1.0])}
    sgd = SGD(p, momentum=0.6, weight_decay=0.1)
    sgd.step({"w": numpy.array([2.0])}, 0.1)  # g = 2 + 0.1 = 2.1, b = 2.1, p = 1 - 0.21
    assert p["w"][0] == pytest.approx(0.79, rel=1e-15)
    sgd.step({"w": numpy.array([1.0])}, 0.2)  # g = 1 + 0.079, b = 1.26 + 1.079 = 2.339, p = 0.79 - 0.4678
    assert p["w"][0] == pytest.approx(0.3222, rel=1e-14)


def test_nesterov_by_hand():
    p = {"w": numpy.array([1.0])}
    sgd = SGD(p, momentum=0.5, nesterov=True)
    sgd.step({"w": numpy.array([2.0])}, 0.1)  # b = 2, p = 1 - 0.1 (2 + 0.5 * 2)
    assert p["w"][0] == pytest.approx(0.7, rel=1e-15)
    sgd.step({"w": numpy.array([1.0])}, 0.1)  # b = 1 + 1 = 2, p = 0.7 - 0.1 (1 + 0.5 * 2)
    assert p["w"][0] == pytest.approx(0.5, rel=1e-15)


def test_adamw_by_hand():
    p = {"w": numpy.array([1.0])}
    adamw = AdamW(p, betas=(0.5, 0.75), eps=1.0, weight_decay=0.1)
    adamw.step({"w": numpy.array([2.0])}, 0.5)
    # shrink to 0.95; m = 1, corrected 2; v = 1, corrected 4; p = 0.95 - 0.5 * 2 / (2 + 1)
    assert p["w"][0] == pytest.approx(0.95 - 1 / 3, rel=1e-15)
    adamw.step({"w": numpy.array([0.0])}, 0.5)
    # m = 0.5, corrected by 0.75; v = 0.75, corrected by 7/16
    expected = (0.95 - 1 / 3) * 0.95 - 0.5 * (0.5 / 0.75) / ((0.75 / 0.4375) ** 0.5 + 1)
    assert p["w"][0] == pytest.approx(expected, rel=1e-15)


def test_first_adamw_step_has_the_length_of_the_learning_rate_whatever_the_gradient():
    p = {"w": numpy.zeros(3)}
    AdamW(p, weight_decay=0.0).step({"w": numpy.array([1e-3, -7.0, 1e4])}, 0.1)
    numpy.testing.assert_allclose(p["w"], [-0.1, 0.1, -0.1], rtol=1e-4)


# ---- in place, read-only gradients, blocks ----


@pytest.mark.parametrize("make", OPTIMISERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_updates_the_live_arrays_and_only_reads_the_gradients(make, dtype):
    parameters, gradients = random_tensors(0, dtype), random_tensors(1, dtype)
    arrays, before = dict(parameters), {name: array.copy() for name, array in parameters.items()}
    kept = {name: array.copy() for name, array in gradients.items()}
    for array in gradients.values():
        array.flags.writeable = False
    make(parameters).step(gradients, 1e-2)
    for name, array in arrays.items():
        assert parameters[name] is array
        assert array.dtype == dtype
        assert not numpy.array_equal(array, before[name])
        numpy.testing.assert_array_equal(gradients[name], kept[name])


@pytest.mark.parametrize("make", OPTIMISERS)
def test_bits_depend_neither_on_blocks_nor_on_threads_nor_on_strides(make, monkeypatch):
    results = []
    for block_elements, threads, order in [(10**9, 1, "C"), (64, 1, "C"), (130, 3, "C"), (64, 2, "F")]:
        monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", block_elements)
        monkeypatch.setattr(backend, "_num_threads", threads)
        parameters = {name: numpy.array(array, order=order) for name, array in random_tensors(0).items()}
        optimiser = make(parameters)
        for seed in range(1, 4):
            optimiser.step(random_tensors(seed), 1e-2)
        results.append(parameters)
    for other in results[1:]:
        for name, array in results[0].items():
            numpy.testing.assert_array_equal(array, other[name])


def test_blocks_cover_every_element_once_and_are_views(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 100)
    array, other = numpy.zeros((37, 3, 7)), numpy.ones((37, 3, 7))
    pieces = split_into_blocks(array, other)
    assert len(pieces) == 10  # four rows of 21 elements each, and the last
    assert max(piece.size for piece, _ in pieces) <= 100

    def add(piece, amount):
        piece += amount

    for_each_block(add, pieces)
    numpy.testing.assert_array_equal(array, other)


def test_sgd_without_momentum_keeps_no_state():
    assert SGD(random_tensors(0), momentum=0.0).state_dict() == {}


# ---- which parameters decay ----


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("vivit.encoder.layer.0.attention.attention.query.weight", (8, 8), True),
        ("vivit.encoder.layer.0.attention.attention.query.bias", (8,), False),
        ("vivit.embeddings.patch_embeddings.projection.weight", (8, 3, 2, 4, 4), True),
        ("vivit.embeddings.patch_embeddings.projection.bias", (8,), False),
        ("vivit.embeddings.cls_token", (1, 1, 8), False),
        ("vivit.embeddings.position_embeddings", (1, 17, 8), False),
        ("vivit.temporal_encoder.cls_token", (1, 1, 8), False),
        ("vivit.temporal_encoder.position_embeddings", (1, 5, 8), False),
        ("cls_token", (1, 1, 8), False),
        ("vivit.encoder.layer.0.layernorm_before.weight", (8,), False),
        ("vivit.layernorm.bias", (8,), False),
        ("classifier.weight", (5, 8), True),
        ("classifier.bias", (5,), False),
    ],
)
def test_decays(name, shape, expected):
    assert decays(name, numpy.zeros(shape)) is expected


@pytest.mark.parametrize("optimiser", [SGD, AdamW])
@pytest.mark.parametrize(("rule", "shrunk"), [(decays, {"layer.weight"}), (None, set(SHAPES))])
def test_the_rule_says_what_shrinks(optimiser, rule, shrunk):
    parameters = random_tensors(0)
    before = {name: array.copy() for name, array in parameters.items()}
    zeros = {name: numpy.zeros_like(array) for name, array in parameters.items()}
    optimiser(parameters, weight_decay=0.5, decay_rule=rule).step(zeros, 0.1)
    for name, array in parameters.items():
        factor = 0.95 if name in shrunk else 1.0
        numpy.testing.assert_allclose(array, factor * before[name], rtol=1e-14)


# ---- state ----


@pytest.mark.parametrize("make", OPTIMISERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_through_safetensors_continues_to_the_bit(make, dtype):
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed (pip install '.[test]')")
    parameters = random_tensors(0, dtype)
    optimiser = make(parameters)
    for seed in range(1, 4):
        optimiser.step(random_tensors(seed, dtype), 1e-2)
    saved_parameters = {name: array.copy() for name, array in parameters.items()}
    saved_state = library.load(library.save(dict(optimiser.state_dict())))
    resumed = make(saved_parameters)
    resumed.load_state_dict(saved_state)
    for seed in range(4, 7):
        optimiser.step(random_tensors(seed, dtype), 1e-2)
        resumed.step(random_tensors(seed, dtype), 1e-2)
    for name, array in parameters.items():
        numpy.testing.assert_array_equal(array, saved_parameters[name])


def test_loaded_state_is_a_copy():
    optimiser, other = AdamW(random_tensors(0)), AdamW(random_tensors(0))
    optimiser.step(random_tensors(1), 1e-2)
    other.load_state_dict(optimiser.state_dict())
    kept = other.exp_avg["cls_token"].copy()
    optimiser.step(random_tensors(2), 1e-2)
    numpy.testing.assert_array_equal(other.exp_avg["cls_token"], kept)


def test_adamw_state_names():
    state = AdamW({"w": numpy.zeros(2)}).state_dict()
    assert set(state) == {"exp_avg.w", "exp_avg_sq.w", "step"}
    assert state["step"].dtype == numpy.int64
    assert state["step"].shape == ()
    assert set(SGD({"w": numpy.zeros(2)}).state_dict()) == {"momentum_buffer.w"}


# ---- what is refused ----


def without(tensors, name):
    return {key: array for key, array in tensors.items() if key != name}


@pytest.mark.parametrize("make", OPTIMISERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: without(g, "cls_token"), "lack 'cls_token'"),
        (lambda g: {**g, "pixel_values": numpy.zeros(3)}, "hold 'pixel_values'"),
        (lambda g: {**g, "layer.bias": numpy.zeros(3)}, r"'layer.bias' as float64 \(3,\)"),
        (lambda g: {**g, "layer.bias": g["layer.bias"].astype("float32")}, "'layer.bias' as float32"),
    ],
)
def test_wrong_gradients_change_nothing(make, change, message):
    parameters = random_tensors(0)
    optimiser = make(parameters)
    with pytest.raises(InputError, match=message) as caught:
        optimiser.step(change(random_tensors(1)), 1e-2)
    assert "\n" not in str(caught.value)
    for name, array in random_tensors(0).items():
        numpy.testing.assert_array_equal(parameters[name], array)
    fresh = random_tensors(0)
    other = make(fresh)
    optimiser.step(random_tensors(2), 1e-2)
    other.step(random_tensors(2), 1e-2)
    numpy.testing.assert_array_equal(parameters["layer.weight"], fresh["layer.weight"])  # nor was a step counted


@pytest.mark.parametrize("make", OPTIMISERS)
@pytest.mark.parametrize("learning_rate", [-1e-3, float("nan"), float("inf"), None])
def test_wrong_learning_rate(make, learning_rate):
    with pytest.raises(InputError, match="learning_rate"):
        make(random_tensors(0)).step(random_tensors(1), learning_rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, momentum=1.0), "momentum"),
        (lambda p: SGD(p, momentum=-0.1), "momentum"),
        (lambda p: SGD(p, weight_decay=-1), "weight_decay"),
        (lambda p: AdamW(p, betas=(1.0, 0.9)), "beta1"),
        (lambda p: AdamW(p, betas=(0.9, float("nan"))), "beta2"),
        (lambda p: AdamW(p, betas=(0.9,)), "betas"),
        (lambda p: AdamW(p, eps=-1e-8), "eps"),
        (lambda p: AdamW(p, weight_decay="0.1"), "weight_decay"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(InputError, match=message):
        make(random_tensors(0))


def test_wrong_states():
    adamw, sgd = AdamW(random_tensors(0)), SGD(random_tensors(0))
    with pytest.raises(InputError, match="lack"):
        adamw.load_state_dict(sgd.state_dict())
    with pytest.raises(InputError, match="lack"):
        sgd.load_state_dict(adamw.state_dict())
    with pytest.raises(InputError, match="is it the state of SGD"):
        sgd.load_state_dict({**sgd.state_dict(), "more": numpy.zeros(1)})
    with pytest.raises(InputError, match=r"'exp_avg.cls_token' as float64"):
        adamw.load_state_dict({**adamw.state_dict(), "exp_avg.cls_token": numpy.zeros(1)})
    with pytest.raises(InputError, match="step -1"):
        adamw.load_state_dict({**adamw.state_dict(), "step": numpy.array(-1)})
