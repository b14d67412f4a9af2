"""Our optimisers and clipping against PyTorch's, over 100 random steps."""

import numpy
import pytest

from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.clipping import clip_by_global_norm
from minivivit.training.optimisers.sgd import SGD
from minivivit.training.regularisation.label_smoothing import one_hot, smooth_labels

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

SHAPES = {"kernel": (8, 3, 2, 4, 4), "matrix": (300, 200), "bias": (300,), "cls_token": (1, 1, 40), "one": (1,)}
STEPS = 100
# Relative to the largest value that a tensor has had so far: one that decays to nothing keeps the rounding errors of
# the time when it was large. In float32, 100 steps of rounding differently.
TOLERANCE = {"float64": 1e-14, "float32": 2e-6}


@pytest.fixture(autouse=True)
def _one_torch_thread():
    """Two thread pools that wait for work by spinning would only slow each other down."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def random_tensors(rng, dtype):
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def torch_parameters(tensors):
    return {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in tensors.items()}


def train_both(ours, theirs, parameters, torch_params, dtype, max_norm=None):
    """Take the same random steps with both, at a learning rate that changes, and compare all parameters after each."""
    rng = numpy.random.default_rng(1)
    scale = {name: numpy.abs(array).max() for name, array in parameters.items()}
    for step in range(STEPS):
        learning_rate = 1e-2 * (1 + numpy.cos(step / 10))
        gradients = random_tensors(rng, dtype)
        gradients["one"][...] *= 1e-9 if step % 2 else 0  # where eps counts
        for name, array in gradients.items():
            torch_params[name].grad = torch.from_numpy(array.copy())
        if max_norm is not None:
            norm = clip_by_global_norm(gradients, max_norm)
            torch_norm = float(torch.nn.utils.clip_grad_norm_(torch_params.values(), max_norm))
            assert norm == pytest.approx(torch_norm, rel=TOLERANCE[dtype])
        theirs.param_groups[0]["lr"] = learning_rate
        ours.step(gradients, learning_rate)
        theirs.step()
        for name, array in parameters.items():
            expected = torch_params[name].detach().numpy()
            scale[name] = max(scale[name], numpy.abs(expected).max())
            assert numpy.abs(array - expected).max() <= TOLERANCE[dtype] * scale[name], (step, name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3},
        {"momentum": 0.0, "weight_decay": 0.3},
    ],
)
def test_sgd(settings, dtype):
    parameters = random_tensors(numpy.random.default_rng(0), dtype)
    torch_params = torch_parameters(parameters)
    theirs = torch.optim.SGD(torch_params.values(), lr=0.1, **settings)
    train_both(SGD(parameters, **settings), theirs, parameters, torch_params, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.0},
        {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05},
        {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.5},
    ],
)
def test_adamw(settings, dtype):
    parameters = random_tensors(numpy.random.default_rng(0), dtype)
    torch_params = torch_parameters(parameters)
    theirs = torch.optim.AdamW(torch_params.values(), lr=0.1, **settings)
    train_both(AdamW(parameters, **settings), theirs, parameters, torch_params, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_adamw_decay_rule_is_a_parameter_group(dtype):
    parameters = random_tensors(numpy.random.default_rng(0), dtype)
    torch_params = torch_parameters(parameters)
    decaying = [torch_params["kernel"], torch_params["matrix"]]
    others = [torch_params["bias"], torch_params["cls_token"], torch_params["one"]]
    theirs = torch.optim.AdamW([{"params": decaying}, {"params": others, "weight_decay": 0.0}], weight_decay=0.3)
    ours = AdamW(parameters, weight_decay=0.3, decay_rule=lambda name, array: name in ("kernel", "matrix"))
    rng = numpy.random.default_rng(1)
    for _ in range(20):
        gradients = random_tensors(rng, dtype)
        for name, array in gradients.items():
            torch_params[name].grad = torch.from_numpy(array)
        ours.step(gradients, 1e-3)
        theirs.step()
    for name, array in parameters.items():
        expected = torch_params[name].detach().numpy()
        numpy.testing.assert_allclose(array, expected, rtol=0, atol=TOLERANCE[dtype] * numpy.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("max_norm", [1.0, 1e6])
def test_clipping_then_sgd(max_norm, dtype):
    parameters = random_tensors(numpy.random.default_rng(0), dtype)
    torch_params = torch_parameters(parameters)
    theirs = torch.optim.SGD(torch_params.values(), lr=0.1, momentum=0.9)
    train_both(SGD(parameters, momentum=0.9), theirs, parameters, torch_params, dtype, max_norm)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_smoothed_labels_give_pytorchs_cross_entropy(label_smoothing):
    rng = numpy.random.default_rng(0)
    logits, labels = rng.standard_normal((6, 5)), rng.integers(5, size=6)
    targets = smooth_labels(one_hot(labels, 5, "float64"), label_smoothing)
    log_probabilities = logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
    theirs = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), label_smoothing=label_smoothing
    )
    assert -(targets * log_probabilities).sum(axis=1).mean() == pytest.approx(float(theirs), rel=1e-14)
