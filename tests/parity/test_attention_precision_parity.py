"""Attention in float32: its gradients are about as near to float64 as PyTorch's own."""

import numpy
import pytest

from minivivit.ops import blockwise_attention
from minivivit.ops.attention import attention_backward, attention_forward
from minivivit.ops.blockwise_attention import blockwise_attention_backward, blockwise_attention_forward

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

FORMS = {
    "explicit": (attention_forward, attention_backward),
    "blockwise": (blockwise_attention_forward, blockwise_attention_backward),
}
# tokens, head sizes, heads, draws. Of more heads the largest error varies less from draw to draw.
SIZES = [
    (5, 8, 16, 40),
    (5, 64, 16, 40),
    (17, 16, 16, 40),
    (17, 64, 16, 40),
    (65, 8, 8, 40),
    (65, 32, 8, 40),
    (197, 64, 2, 40),
    (400, 16, 1, 40),
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Two pools that wait for work by spinning would slow each other down."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def by_pytorch(arrays, doutput, dtype):
    """The gradients of softmax(q k / sqrt(d)) v: PyTorch's explicit form, which is nearer than its blockwise one."""
    tensors = [torch.from_numpy(array).to(dtype).requires_grad_() for array in arrays]
    query, key, value = tensors
    output = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1) @ value
    output.backward(torch.from_numpy(doutput).to(dtype))
    return [tensor.grad.numpy() for tensor in tensors]


def products_are_fused():
    """Whether NumPy's products round once a term, as PyTorch's do. Twice as many roundings err sqrt(2) times as far.

    OpenBLAS for a processor without fused multiply-add loses the last digit of (1 + 2**-12)**2, which alone is left.
    """
    x = numpy.float32(1 + 2**-12)
    rows, columns = numpy.array([[-1, x]] * 8), numpy.array([[1 + 2**-11] * 8, [x] * 8], dtype="float32")
    return bool((rows.astype("float32") @ columns).all())


def errors(gradients, exact):
    return [abs(ours - theirs).max() / abs(theirs).max() for ours, theirs in zip(gradients, exact, strict=True)]


def assert_not_twice_as_far(tokens, size, heads, draws, scale, form):
    """The median errors of dquery, dkey and dvalue over the draws."""
    forward, backward = FORMS[form]
    rng = numpy.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(draws):
        *inputs, doutput = rng.standard_normal((4, 1, heads, tokens, size), dtype="float32")
        inputs[0] *= scale
        exact = by_pytorch(inputs, doutput, torch.float64)
        _, cache = forward(*inputs)
        ours.append(errors(backward(doutput, cache), exact))
        theirs.append(errors(by_pytorch(inputs, doutput, torch.float32), exact))
    ratios = numpy.median(ours, axis=0) / numpy.median(theirs, axis=0)
    assert (ratios <= (2 if products_are_fused() else 2 * 2**0.5)).all(), ratios


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1, 10, 100], ids=["plain", "sharp", "saturated"])
@pytest.mark.parametrize(("tokens", "size", "heads", "draws"), SIZES)
def test_gradients_are_never_twice_as_far_from_float64_as_pytorchs(tokens, size, heads, draws, scale, form):
    assert_not_twice_as_far(tokens, size, heads, draws, scale, form)


@pytest.mark.parametrize("scale", [1, 10, 100], ids=["plain", "sharp", "saturated"])
@pytest.mark.parametrize(("tokens", "size"), [(17, 16), (65, 8), (130, 32)])
def test_nor_with_many_blocks_of_keys(tokens, size, scale, monkeypatch):
    monkeypatch.setattr(blockwise_attention, "BLOCK_KEYS", 16)
    assert_not_twice_as_far(tokens, size, 4, 40, scale, "blockwise")


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("scale", [1, 100], ids=["plain", "saturated"])
def test_nor_with_the_tokens_of_the_published_model(scale, size):
    """Three blocks of keys as they are; so many rows are as good as many draws."""
    assert_not_twice_as_far(3137, size, 1, 3, scale, "blockwise")
