"""Tubelet embedding, position embeddings and their interpolation, CLS token, pooling, frame sampling."""

import math

import numpy
import pytest
from scipy import signal

from minivivit.config import uniform_frame_indices
from minivivit.ops.cls_token import cls_token_backward, cls_token_forward
from minivivit.ops.frame_sampling import frame_sampling_backward, frame_sampling_forward
from minivivit.ops.interpolate_position_embeddings import (
    bicubic_interpolation_matrix,
    interpolate_position_embeddings_backward,
    interpolate_position_embeddings_forward,
    linear_interpolation_matrix,
)
from minivivit.ops.pooling import pooling_backward, pooling_forward
from minivivit.ops.position_embedding import position_embedding_backward, position_embedding_forward
from minivivit.ops.tubelet_embedding import (
    cut_tubelets,
    join_tubelets,
    tubelet_embedding_backward,
    tubelet_embedding_forward,
)


@pytest.mark.parametrize("clip", [(4, 6, 4), (5, 7, 5), (2, 3, 2), (3, 5, 9)])
def test_tubelet_embedding_is_a_strided_convolution(clip):
    """scipy's convolution flips its kernel, so a flipped kernel correlates; a stride takes every t-th, h-th, w-th."""
    rng = numpy.random.default_rng(0)
    frames, height, width = clip
    pixels = rng.normal(size=(2, frames, 3, height, width))
    weight, bias = rng.normal(size=(5, 3, 2, 3, 2)), rng.normal(size=5)
    tokens, _ = tubelet_embedding_forward(pixels, weight, bias)
    expected = numpy.empty((2, frames // 2 * (height // 3) * (width // 2), 5))
    for b, d in numpy.ndindex(2, 5):
        video = pixels[b].transpose(1, 0, 2, 3)  # (channels, frames, height, width)
        full = sum(signal.convolve(video[c], weight[d, c, ::-1, ::-1, ::-1], mode="valid") for c in range(3))
        expected[b, :, d] = (full[::2, ::3, ::2] + bias[d]).ravel()
    numpy.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-13)


def test_tokens_count_columns_then_rows_then_times():
    pixels = numpy.zeros((1, 4, 1, 4, 6))
    pixels[0, 3, 0, 1, 5] = 1  # time 1, row 0, column 2 of a grid of 2 x 2 x 3
    tokens, _ = tubelet_embedding_forward(pixels, numpy.ones((1, 1, 2, 2, 2)), numpy.zeros(1))
    assert tokens[0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]


def test_cutting_moves_each_pixel_and_joining_moves_it_back():
    pixels = numpy.arange(2 * 5 * 3 * 7 * 5, dtype=float).reshape(2, 5, 3, 7, 5)
    tubelets = cut_tubelets(pixels, (2, 3, 2))
    assert tubelets.shape == (2, 2, 2, 2, 36)
    # (channel, frame, row, column) within a tubelet, as a convolution's kernel is laid out
    box = tubelets.reshape(2, 2, 2, 2, 3, 2, 3, 2)
    assert box[1, 1, 0, 1, 2, 1, 0, 1] == pixels[1, 3, 2, 0, 3]
    joined = join_tubelets(tubelets, (2, 3, 2), pixels.shape)
    assert (joined[:, :4, :, :6, :4] == pixels[:, :4, :, :6, :4]).all()
    joined[:, :4, :, :6, :4] = 0
    assert not joined.any()


def test_pixels_of_the_remainder_have_no_gradient():
    rng = numpy.random.default_rng(1)
    pixels = rng.normal(size=(1, 5, 1, 4, 5))
    tokens, cache = tubelet_embedding_forward(pixels, rng.normal(size=(2, 1, 2, 2, 2)), numpy.zeros(2))
    dpixels, dweight, dbias = tubelet_embedding_backward(numpy.ones_like(tokens), cache)
    assert dpixels.shape == pixels.shape
    assert not dpixels[:, 4].any()
    assert not dpixels[..., 4].any()
    assert dpixels[:, :4, ..., :4].all()
    assert dweight.shape == (2, 1, 2, 2, 2)
    assert dbias.tolist() == [8, 8]


def test_position_embedding_and_cls_token_by_hand():
    tokens = numpy.arange(12.0).reshape(2, 3, 2)
    y, _ = cls_token_forward(tokens, numpy.array([[[-1.0, -2.0]]]))
    assert y[0].tolist() == [[-1, -2], [0, 1], [2, 3], [4, 5]]
    assert y[1].tolist() == [[-1, -2], [6, 7], [8, 9], [10, 11]]
    dtokens, dcls = cls_token_backward(y, {})
    assert (dtokens == tokens).all()
    assert dcls.tolist() == [[[-2, -4]]]
    positions = numpy.array([[[10.0, 20.0], [30, 40], [50, 60]]])
    z, cache = position_embedding_forward(tokens, positions)
    assert z[1].tolist() == [[16, 27], [38, 49], [60, 71]]
    dtokens, dpositions = position_embedding_backward(z, cache)
    assert (dtokens == z).all()
    assert dpositions.tolist() == [[[26, 48], [70, 92], [114, 136]]]


# ---- interpolation


def test_nothing_changes_to_the_bit():
    grid = numpy.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    y, _ = interpolate_position_embeddings_forward(grid, (2, 3, 4))
    assert y.tobytes() == grid.tobytes()


def cubic(d, a=-0.75):
    d = abs(d)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((d - 5) * d + 8) * d * a - 4 * a if d < 2 else 0.0


def resample(values, new, kernel, radius):
    """Resample a list by its definition, one output at a time."""
    old = len(values)
    result = []
    for i in range(new):
        x = (i + 0.5) * old / new - 0.5
        samples = range(math.floor(x) - radius + 1, math.floor(x) + radius + 1)
        result.append(sum(kernel(x - s) * values[min(max(s, 0), old - 1)] for s in samples))
    return result


@pytest.mark.parametrize(
    "size", [(5, 4, 5), (2, 4, 5), (3, 6, 5), (3, 2, 5), (3, 4, 9), (3, 4, 3), (4, 6, 3), (1, 1, 1)]
)
def test_interpolation_against_its_definition(size):
    grid = numpy.random.default_rng(1).normal(size=(3, 4, 5, 2))
    y, _ = interpolate_position_embeddings_forward(grid, size)
    assert y.shape == (*size, 2)
    linear = numpy.apply_along_axis(resample, 0, grid, size[0], lambda d: max(1 - abs(d), 0), 1)
    rows = numpy.apply_along_axis(resample, 1, linear, size[1], cubic, 2)
    expected = numpy.apply_along_axis(resample, 2, rows, size[2], cubic, 2)
    numpy.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)


def test_interpolation_by_hand():
    """Two frames to four: half-pixel centres, clamped at both ends."""
    grid = numpy.array([0.0, 8.0]).reshape(2, 1, 1, 1)
    y, _ = interpolate_position_embeddings_forward(grid, (4, 1, 1))
    assert y.ravel().tolist() == [0, 2, 6, 8]
    # two columns to one: halfway between, where the kernel weighs 19/32 and -3/32
    y, _ = interpolate_position_embeddings_forward(numpy.array([1.0, 9.0]).reshape(1, 1, 2, 1), (1, 1, 1))
    assert y.item() == pytest.approx(5)
    assert bicubic_interpolation_matrix(4, 2)[0].tolist() == pytest.approx([-3 / 32 + 19 / 32, 19 / 32, -3 / 32, 0])


@pytest.mark.parametrize("old", range(1, 9))
def test_every_row_of_the_matrices_sums_to_one(old):
    for new in range(1, 20):
        for make in (linear_interpolation_matrix, bicubic_interpolation_matrix):
            matrix = make(old, new)
            assert matrix.shape == (new, old)
            numpy.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-14)
            numpy.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-14)  # left and right are alike


def test_time_and_space_stay_apart():
    """What differs only in time stays constant over each frame, and the other way round."""
    rng = numpy.random.default_rng(2)
    by_time = numpy.broadcast_to(rng.normal(size=(3, 1, 1, 2)), (3, 4, 5, 2))
    y, _ = interpolate_position_embeddings_forward(by_time, (3, 7, 6))
    numpy.testing.assert_allclose(y, numpy.broadcast_to(by_time[:, :1, :1], y.shape), rtol=1e-13)
    by_place = numpy.broadcast_to(rng.normal(size=(1, 4, 5, 2)), (3, 4, 5, 2))
    y, _ = interpolate_position_embeddings_forward(by_place, (6, 4, 5))
    numpy.testing.assert_allclose(y, numpy.broadcast_to(by_place[:1], y.shape), rtol=1e-13)


def test_the_backward_pass_of_interpolation_is_the_transpose():
    """<A x, y> = <x, A^T y>"""
    rng = numpy.random.default_rng(3)
    x, dy = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(5, 2, 8, 2))
    y, cache = interpolate_position_embeddings_forward(x, (5, 2, 8))
    dx = interpolate_position_embeddings_backward(dy, cache)
    assert (y * dy).sum() == pytest.approx((x * dx).sum(), rel=1e-12)


# ---- pooling and frame sampling

TOKENS = numpy.array([[[1.0, 8.0], [3.0, 2.0], [3.0, 5.0]]])


@pytest.mark.parametrize(
    ("method", "y", "dtokens"),
    [
        ("token", [1, 8], [[6, 12], [0, 0], [0, 0]]),
        ("gap", [7 / 3, 5], [[2, 4], [2, 4], [2, 4]]),
        ("gsp", [7, 15], [[6, 12], [6, 12], [6, 12]]),
        ("gmp", [3, 8], [[0, 12], [3, 0], [3, 0]]),  # the two that tie for the maximum share the gradient
    ],
)
def test_pooling_by_hand(method, y, dtokens):
    pooled, cache = pooling_forward(TOKENS, method)
    assert pooled.tolist() == [y]
    assert pooling_backward(numpy.array([[6.0, 12.0]]), cache).tolist() == [dtokens]


def test_frame_sampling_by_hand():
    frames = numpy.arange(5.0).reshape(1, 5, 1, 1, 1)
    y, cache = frame_sampling_forward(frames, [1, 3, 3])
    assert y.ravel().tolist() == [1, 3, 3]
    dframes = frame_sampling_backward(numpy.array([1.0, 10, 100]).reshape(1, 3, 1, 1, 1), cache)
    assert dframes.ravel().tolist() == [0, 1, 0, 110, 0]


@pytest.mark.parametrize(
    ("num_frames", "count", "indices"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 9, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 3, [2, 4, 6]),
        (10, 3, [2, 5, 8]),  # 2.5 and 7.5 round to the even neighbour
        (8, 1, [4]),
    ],
)
def test_uniform_frame_indices(num_frames, count, indices):
    assert uniform_frame_indices(num_frames, count) == indices
