"""Every operator against PyTorch in float64: outputs, and gradients against autograd."""

import numpy
import pytest

from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.attention import attention_backward, attention_forward
from minivivit.ops.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from minivivit.ops.blockwise_attention import blockwise_attention_backward, blockwise_attention_forward
from minivivit.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward
from minivivit.ops.interpolate_position_embeddings import (
    interpolate_position_embeddings_backward,
    interpolate_position_embeddings_forward,
)
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
from minivivit.ops.linear import linear_backward, linear_forward
from minivivit.ops.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from minivivit.ops.softmax import softmax_backward, softmax_forward
from minivivit.ops.tubelet_embedding import tubelet_embedding_backward, tubelet_embedding_forward

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

TOLERANCE = 1e-12


@pytest.fixture
def rng():
    return numpy.random.default_rng(0)


def assert_equal(ours, theirs, largest=0.0):
    """To 1e-12 of the largest entry (or of 1e-3 of the largest of all gradients)."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).max() <= TOLERANCE * max(abs(theirs).max(), 1e-3 * largest)


def compare(rng, forward, backward, torch_forward, *inputs):
    """Our forward/backward pair and PyTorch's function with autograd, on float64 arrays."""
    y, cache = forward(*inputs)
    tensors = [torch.from_numpy(array.copy()).requires_grad_() for array in inputs]
    torch_y = torch_forward(*tensors)
    assert_equal(y, torch_y)
    dy = numpy.asarray(rng.standard_normal(y.shape))
    torch_y.backward(torch.from_numpy(dy))
    gradients = backward(dy, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    largest = max(float(tensor.grad.abs().max()) for tensor in tensors)
    for ours, tensor in zip(gradients, tensors, strict=True):
        assert_equal(ours, tensor.grad, largest)


def test_linear(rng):
    inputs = rng.normal(size=(2, 7, 5)), rng.normal(size=(6, 5)), rng.normal(size=6)
    compare(rng, linear_forward, linear_backward, torch.nn.functional.linear, *inputs)


@pytest.mark.parametrize("eps", [1e-12, 1e-6, 0.1])
def test_layer_norm(rng, eps):
    inputs = rng.normal(2, 3, size=(3, 301, 16)), rng.normal(size=16), rng.normal(size=16)
    compare(
        rng,
        lambda x, weight, bias: layer_norm_forward(x, weight, bias, eps),
        layer_norm_backward,
        lambda x, weight, bias: torch.nn.functional.layer_norm(x, (16,), weight, bias, eps),
        *inputs,
    )


def torch_gelu_fast(x):
    return 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))


TORCH_ACTIVATIONS = {
    "gelu": torch.nn.functional.gelu,
    "gelu_fast": torch_gelu_fast,
    "gelu_new": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": torch.nn.functional.relu,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(rng, name):
    x = numpy.concatenate([4 * rng.normal(size=1000), [0.0, -0.0, 30.0, -30.0]])
    compare(rng, *ACTIVATIONS[name], TORCH_ACTIVATIONS[name], x)


def test_softmax(rng):
    compare(rng, softmax_forward, softmax_backward, lambda x: x.softmax(-1), 3 * rng.normal(size=(2, 3, 40)))


@pytest.mark.parametrize("kind", ["explicit", "blockwise"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_attention(rng, kind, with_bias):
    """600 tokens: blockwise, three blocks of queries."""
    bias = rng.normal(size=(2, 1, 600, 600)) if with_bias else None
    torch_bias = torch.from_numpy(bias) if with_bias else None
    pairs = {
        "explicit": (attention_forward, attention_backward),
        "blockwise": (blockwise_attention_forward, blockwise_attention_backward),
    }
    forward, backward = pairs[kind]
    compare(
        rng,
        lambda query, key, value: forward(query, key, value, bias),
        backward,
        lambda query, key, value: torch.nn.functional.scaled_dot_product_attention(query, key, value, torch_bias),
        *(rng.normal(size=(2, 3, 600, 8)) for _ in range(3)),
    )


@pytest.mark.parametrize("clip", [(4, 9, 8), (5, 10, 11), (2, 3, 4)])
def test_tubelet_embedding(rng, clip):
    frames, height, width = clip

    def convolve(pixels, weight, bias):
        y = torch.nn.functional.conv3d(pixels.permute(0, 2, 1, 3, 4), weight, bias, stride=weight.shape[2:])
        return y.flatten(2).transpose(1, 2)

    inputs = rng.normal(size=(2, frames, 3, height, width)), rng.normal(size=(6, 3, 2, 3, 4)), rng.normal(size=6)
    compare(rng, tubelet_embedding_forward, tubelet_embedding_backward, convolve, *inputs)


SPACES = [(14, 14), (30, 30), (20, 9), (7, 7), (5, 33), (28, 14), (1, 1), (13, 15)]


@pytest.mark.parametrize("space", SPACES)
def test_space_slice_by_slice(rng, space):
    """Bicubic over rows and columns of each temporal slice, up and down."""

    def bicubic(grid):
        slices = [
            torch.nn.functional.interpolate(
                grid[time].permute(2, 0, 1)[None], size=space, mode="bicubic", align_corners=False
            )[0].permute(1, 2, 0)
            for time in range(len(grid))
        ]
        return torch.stack(slices)

    compare(
        rng,
        lambda grid: interpolate_position_embeddings_forward(grid, (3, *space)),
        interpolate_position_embeddings_backward,
        bicubic,
        rng.normal(size=(3, 14, 14, 5)),
    )


@pytest.mark.parametrize("times", [1, 3, 4, 7, 8, 16, 23, 40])
def test_time_place_by_place(rng, times):
    def linear(grid):
        series = grid.permute(1, 2, 3, 0).flatten(0, 1)  # (places, hidden, times)
        y = torch.nn.functional.interpolate(series, size=times, mode="linear", align_corners=False)
        return y.unflatten(0, (2, 3)).permute(3, 0, 1, 2)

    compare(
        rng,
        lambda grid: interpolate_position_embeddings_forward(grid, (times, 2, 3)),
        interpolate_position_embeddings_backward,
        linear,
        rng.normal(size=(16, 2, 3, 5)),
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy(rng, label_smoothing, soft):
    labels = rng.dirichlet(numpy.ones(7), size=9) if soft else rng.integers(0, 7, size=9)
    compare(
        rng,
        lambda logits: cross_entropy_forward(logits, labels, label_smoothing),
        cross_entropy_backward,
        lambda logits: torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(labels), label_smoothing=label_smoothing
        ),
        3 * rng.normal(size=(9, 7)),
    )


def test_binary_cross_entropy(rng):
    targets = rng.random((9, 7))
    compare(
        rng,
        lambda logits: binary_cross_entropy_forward(logits, targets),
        binary_cross_entropy_backward,
        lambda logits: torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(targets)),
        5 * rng.normal(size=(9, 7)),
    )


def test_mean_squared_error(rng):
    targets = rng.normal(size=(9, 7))
    compare(
        rng,
        lambda predictions: mean_squared_error_forward(predictions, targets),
        mean_squared_error_backward,
        lambda predictions: torch.nn.functional.mse_loss(predictions, torch.from_numpy(targets)),
        rng.normal(size=(9, 7)),
    )
