"""Attention: the explicit form against loops, the blockwise form against the explicit one, masks, dropout, extremes."""

import math
import tracemalloc

import numpy
import pytest
from in_part import one_in
from scipy import special

from minivivit.ops import attention_dropout, blockwise_attention
from minivivit.ops.attention import attention_backward, attention_forward
from minivivit.ops.attention_dropout import MASK_ROWS, attention_dropout_keep, full_attention_dropout_keep
from minivivit.ops.blockwise_attention import blockwise_attention_backward, blockwise_attention_forward


def random_heads(rng, batch=2, heads=3, queries=5, keys=7, size=4, dtype="float64"):
    shapes = ((batch, heads, queries, size), (batch, heads, keys, size), (batch, heads, keys, size))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def test_explicit_attention_against_loops():
    rng = numpy.random.default_rng(0)
    query, key, value = random_heads(rng)
    bias = rng.normal(size=(2, 1, 5, 7))
    output, cache = attention_forward(query, key, value, bias)
    for b, h, i in numpy.ndindex(2, 3, 5):
        scores = [float(query[b, h, i] @ key[b, h, j]) / math.sqrt(4) + bias[b, 0, i, j] for j in range(7)]
        weights = [math.exp(score) for score in scores]
        expected = sum(w * value[b, h, j] for j, w in enumerate(weights)) / sum(weights)
        numpy.testing.assert_allclose(output[b, h, i], expected, rtol=1e-13, atol=1e-14)
        numpy.testing.assert_allclose(cache["scores"][b, h, i], scores, rtol=1e-13, atol=1e-14)
        numpy.testing.assert_allclose(cache["probs"][b, h, i], special.softmax(scores), rtol=1e-13)


def test_attention_by_hand():
    """Scores log 3 and 0: three quarters of the first value, one of the second."""
    query = numpy.array([[[[math.log(3), 0.0, 0.0, 0.0]]]])
    key = numpy.array([[[[2.0, 0, 0, 0], [0, 0, 0, 0]]]])
    value = numpy.array([[[[4.0, 0, 0, 1], [0, 8.0, 0, 1]]]])
    for forward in (attention_forward, blockwise_attention_forward):
        numpy.testing.assert_allclose(forward(query, key, value)[0], [[[[3, 2, 0, 1]]]], rtol=1e-15)


def compare(query, key, value, bias, dropout, rng, tolerance):
    """Output and gradients of the two forms; errors relative to the largest entry, or to 1e-3 of the largest of all."""
    options = {}
    if dropout is not None:
        keep = full_attention_dropout_keep(*dropout, (*query.shape[:3], key.shape[2]))
        options = {"dropout_keep": keep, "dropout_rate": dropout[1]}
    output, cache = attention_forward(query, key, value, bias, **options)
    blockwise_output, blockwise_cache = blockwise_attention_forward(query, key, value, bias, dropout)
    doutput = rng.standard_normal(output.shape).astype(output.dtype)
    explicit = (output, *attention_backward(doutput, cache))
    blockwise = (blockwise_output, *blockwise_attention_backward(doutput, blockwise_cache))
    largest = max(abs(theirs).max() for theirs in explicit)
    for ours, theirs in zip(blockwise, explicit, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == query.dtype
        assert abs(ours - theirs).max() <= tolerance * max(abs(theirs).max(), 1e-3 * largest)


@pytest.mark.parametrize("dropout", [None, (11, 0.25)], ids=["no_dropout", "dropout"])
@pytest.mark.parametrize("bias_shape", [None, (1, 1, 1, 601), (2, 1, 520, 1), (2, 3, 520, 601)])
def test_blockwise_equals_explicit_with_blocks_as_they_are(bias_shape, dropout, monkeypatch):
    """520 queries are three blocks of rows; keys in blocks of 256 are three too."""
    monkeypatch.setattr(blockwise_attention, "BLOCK_KEYS", 256)
    rng = numpy.random.default_rng(1)
    query, key, value = random_heads(rng, queries=520, keys=601)
    bias = None if bias_shape is None else rng.standard_normal(bias_shape)
    compare(query, key, value, bias, dropout, rng, 1e-13)


@pytest.mark.parametrize("seed", range(20))
def test_blockwise_equals_explicit_in_blocks_of_every_size(seed, monkeypatch):
    rng = numpy.random.default_rng(seed)
    rows = int(rng.integers(1, 9))
    for module, name, size in (
        (attention_dropout, "MASK_ROWS", rows),
        (blockwise_attention, "MASK_ROWS", rows),
        (blockwise_attention, "BLOCK_ROWS", rows),
        (blockwise_attention, "BLOCK_KEYS", int(rng.integers(1, 9))),
        (blockwise_attention, "TASK_ENTRIES", int(rng.integers(1, 200))),
    ):
        monkeypatch.setattr(module, name, size)
    batch, heads, queries, keys, size = (int(n) for n in rng.integers(1, 12, size=5))
    query, key, value = random_heads(rng, batch, heads, queries, keys, size)
    bias = rng.standard_normal((1, heads, queries, keys)) if rng.random() < 0.5 else None
    dropout = (seed, 0.3) if rng.random() < 0.5 else None
    compare(query, key, value, bias, dropout, rng, 1e-12)


def test_blockwise_equals_explicit_in_float32():
    rng = numpy.random.default_rng(2)
    compare(*random_heads(rng, queries=300, keys=300, dtype="float32"), None, None, rng, 2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_hidden_key_is_not_seen(dtype):
    """The most negative number as a bias, in the first and in the last block of keys, forward and backward."""
    rng = numpy.random.default_rng(3)
    query, key, value = random_heads(rng, dtype=dtype)
    bias = numpy.zeros((1, 1, 1, 7), dtype=dtype)
    bias[..., [0, 1, 6]] = numpy.finfo(dtype).min
    seen = slice(2, 6)
    expected, _ = attention_forward(query, key[:, :, seen], value[:, :, seen])
    for keys_at_once in (2, 1056):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blockwise_attention, "BLOCK_KEYS", keys_at_once)
            output, cache = blockwise_attention_forward(query, key, value, bias)
            numpy.testing.assert_allclose(output, expected, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)
            _, dkey, dvalue = blockwise_attention_backward(numpy.ones_like(output), cache)
            assert not dkey[:, :, [0, 1, 6]].any()
            assert not dvalue[:, :, [0, 1, 6]].any()
    compare(query, key, value, bias, None, rng, 1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("hidden", [numpy.finfo("float64").min, -numpy.inf])
@pytest.mark.parametrize("keys_at_once", [1, 3, 1056])
def test_rows_that_are_masked_whole(keys_at_once, hidden, monkeypatch):
    """A query from which all keys are hidden weighs them equally: it gets the mean of the values, in both forms."""
    monkeypatch.setattr(blockwise_attention, "BLOCK_KEYS", keys_at_once)
    rng = numpy.random.default_rng(8)
    query, key, value = random_heads(rng)
    bias = numpy.where(rng.random((2, 1, 5, 7)) < 0.4, hidden, rng.standard_normal((2, 1, 5, 7)))
    bias[0, :, [1, 4]] = bias[1, :, 0] = hidden
    given = bias.copy()
    compare(query, key, value, bias, None, rng, 1e-13)
    compare(query, key, value, bias, (3, 0.4), rng, 1e-13)
    mean = value[0].mean(axis=1)
    doutput = numpy.zeros_like(query)
    doutput[0, :, 1] = rng.standard_normal((3, 4))
    for forward, backward in (
        (attention_forward, attention_backward),
        (blockwise_attention_forward, blockwise_attention_backward),
    ):
        output, cache = forward(query, key, value, bias)
        numpy.testing.assert_allclose(output[0, :, 1], mean, rtol=1e-13, atol=1e-15)
        numpy.testing.assert_allclose(output[0, :, 4], mean, rtol=1e-13, atol=1e-15)
        _, _, dvalue = backward(doutput, cache)
        numpy.testing.assert_allclose(dvalue[0], numpy.repeat(doutput[0, :, 1:2] / 7, 7, axis=1), rtol=1e-13)
    numpy.testing.assert_array_equal(bias, given)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bias_of_another_dtype_does_not_change_the_dtype(dtype):
    rng = numpy.random.default_rng(9)
    query, key, value = random_heads(rng, dtype=dtype)
    bias = rng.standard_normal((1, 1, 5, 7)).astype("float64" if dtype == "float32" else "float32")
    compare(query, key, value, bias, None, rng, 1e-5 if dtype == "float32" else 1e-13)
    assert attention_forward(query, key, value, bias)[0].dtype == dtype


def test_a_score_that_overflows_is_not_passed_over(monkeypatch):
    """+inf, or a row of -inf, becomes NaN in both forms; one -inf beside finite scores has probability 0."""
    monkeypatch.setattr(blockwise_attention, "BLOCK_KEYS", 2)
    query = numpy.full((1, 1, 3, 1), 1e30, "float32") * numpy.array([1, -1, 1e-30], "float32")[:, None]
    key = numpy.array([1e30, 1e30, 1e30, 1e30, 0], "float32").reshape(1, 1, 5, 1)
    value = numpy.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    for forward in (attention_forward, blockwise_attention_forward):
        with numpy.errstate(over="ignore", invalid="ignore"):
            output = forward(query, key, value)[0].ravel()
            all_lost = forward(query[:, :, 1:2], key[:, :, :4], value[:, :, :4])[0].ravel()
        numpy.testing.assert_array_equal(output, [numpy.nan, 4, 1.5])
        numpy.testing.assert_array_equal(all_lost, [numpy.nan])


@pytest.mark.parametrize("keys_at_once", [4, 1056])
@pytest.mark.parametrize("scale", one_in(2, [1, 10, 100]))
@pytest.mark.parametrize(("tokens", "size"), one_in(3, [(5, 64), (17, 16), (65, 8), (130, 32)]))
def test_blockwise_gradients_in_float32_are_as_near_to_float64_as_the_explicit_form(
    tokens, size, scale, keys_at_once, monkeypatch
):
    """Also where attention has settled on one key (scale 100), and dP - delta is the difference of two near numbers.

    Both make the same roundings, in another order: medians of their errors over 40 draws differ by far less than 2.
    """
    monkeypatch.setattr(blockwise_attention, "BLOCK_KEYS", keys_at_once)
    errors = {blockwise_attention_forward: [], attention_forward: []}
    backward_of = {blockwise_attention_forward: blockwise_attention_backward, attention_forward: attention_backward}
    rng = numpy.random.default_rng(10)
    for _ in range(40):
        *inputs, doutput = rng.standard_normal((4, 1, 8, tokens, size), dtype="float32")
        inputs[0] *= scale
        _, cache = attention_forward(*(array.astype("float64") for array in inputs))
        exact = attention_backward(doutput.astype("float64"), cache)
        for forward, of_draws in errors.items():
            _, cache = forward(*inputs)
            gradients = backward_of[forward](doutput, cache)
            of_draws.append([abs(a - b).max() for a, b in zip(gradients, exact, strict=True)])
    ours, theirs = (numpy.median(of_draws, axis=0) for of_draws in errors.values())
    assert (ours <= 2 * theirs).all(), ours / theirs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_scores(dtype, monkeypatch):
    """Scores of 1e6 would overflow exp; blocks after the largest score, and before it, add nothing."""
    monkeypatch.setattr(blockwise_attention, "BLOCK_KEYS", 2)
    rng = numpy.random.default_rng(4)
    query, key, value = (1000 * array for array in random_heads(rng, dtype=dtype))
    output, cache = blockwise_attention_forward(query, key, value)
    assert numpy.isfinite(output).all()
    assert numpy.isfinite(cache["maximum"]).all()
    expected, _ = attention_forward(query, key, value)
    numpy.testing.assert_allclose(output, expected, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-3)
    assert all(numpy.isfinite(gradient).all() for gradient in blockwise_attention_backward(output, cache))


def test_the_output_lies_in_memory_as_the_merged_heads():
    query, key, value = random_heads(numpy.random.default_rng(5))
    output, _ = blockwise_attention_forward(query, key, value)
    assert output.transpose(0, 2, 1, 3).flags.c_contiguous


def test_blockwise_attention_never_holds_tokens_by_tokens():
    """3000 tokens: the scores of one head would take 36 MB, those of a block take 2 MB."""
    rng = numpy.random.default_rng(6)
    query, key, value = random_heads(rng, 1, 1, 3000, 3000, 8, "float32")
    tracemalloc.start()
    output, cache = blockwise_attention_forward(query, key, value)
    blockwise_attention_backward(output, cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6


# ---- dropout of the probabilities


def test_dropout_masks_are_a_function_of_their_place():
    keep = attention_dropout_keep(5, 0.3, 1, 2, 3, 20, 30)
    assert keep.shape == (20, 30)
    assert (keep == attention_dropout_keep(5, 0.3, 1, 2, 3, 20, 30)).all()
    for other in ((6, 0.3, 1, 2, 3), (5, 0.3, 0, 2, 3), (5, 0.3, 1, 0, 3), (5, 0.3, 1, 2, 0)):
        assert (keep != attention_dropout_keep(*other, 20, 30)).any()
    full = full_attention_dropout_keep(5, 0.3, (2, 3, 2 * MASK_ROWS + 20, 30))
    assert (full[1, 2, 2 * MASK_ROWS :] == attention_dropout_keep(5, 0.3, 1, 2, 2, 20, 30)).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_masks_keep_their_share_everywhere(rate):
    keep = full_attention_dropout_keep(1, rate, (2, 2, 600, 100))
    deviation = math.sqrt(rate * (1 - rate))
    assert abs(keep.mean() - (1 - rate)) < 5 * deviation / math.sqrt(keep.size)
    for axis in range(4):
        means = keep.mean(axis=tuple(other for other in range(4) if other != axis))
        assert abs(means - (1 - rate)).max() < 5 * deviation / math.sqrt(keep.size / keep.shape[axis])
    # neighbouring blocks and heads are independent
    flat = keep[..., :512, :].reshape(2, 2, 2, 256, 100) - (1 - rate)
    for a, b in ((flat[0], flat[1]), (flat[:, 0], flat[:, 1]), (flat[:, :, 0], flat[:, :, 1])):
        assert abs((a * b).mean()) < 5 * deviation**2 / math.sqrt(a.size)


def test_dropout_keeps_the_mean():
    """Over many seeds the outputs average to the output without dropout."""
    query, key, value = random_heads(numpy.random.default_rng(7))
    plain, _ = blockwise_attention_forward(query, key, value)
    outputs = numpy.stack(
        [blockwise_attention_forward(query, key, value, None, (seed, 0.4))[0] for seed in range(1000)]
    )
    deviation = outputs.std(axis=0) / math.sqrt(len(outputs))
    assert (abs(outputs.mean(axis=0) - plain) < 5 * deviation).all()
