"""Resizing as PyTorch does, in integers. (Live against PyTorch: tests/parity/test_video_processor_parity.py.)"""

import numpy
import pytest

from minivivit.backend import num_threads, set_num_threads
from minivivit.errors import InputError
from minivivit.video.resize import BICUBIC, BILINEAR, KERNELS, LANCZOS, NEAREST, resize_planes
from minivivit.video.torch_resize import int16_weights, resize_planes_as_torch, torch_kernel, weight_bits


def images(shape=(3, 23, 31), count=2, dtype=numpy.uint8):
    return list(numpy.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype))


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(1.0, 14), (1.2, 14), (0.9999, 15), (0.6, 15), (0.5, 15), (0.4999, 16), (0.25, 16), (1e-9, 22)],
)
def test_the_largest_weight_says_how_many_bits(largest, bits):
    """The largest number of bits with which the weight, rounded, stays below 2^15; 22 at most."""
    assert weight_bits(largest) == bits
    assert int(0.5 + largest * 2**bits) < 2**15
    assert bits == 22 or int(0.5 + largest * 2 ** (bits + 1)) >= 2**15


def test_weights_by_hand():
    # 3 pixels become 2: weights 5/8 and 3/8, of which the larger is below 2^15 in units of 2^-15 and not of 2^-16.
    first, weights, bits = int16_weights(3, 2, KERNELS[BILINEAR])
    assert (first.tolist(), bits) == ([0, 1], 15)
    assert weights[:, :2].tolist() == [[20480, 12288], [12288, 20480]]


def test_one_pass_by_hand():
    # 2 pixels become 4: weights 1 at the ends, so 14 bits; 1/4 and 3/4 within. 10, 12.5 -> 13, 17.5 -> 18, 20.
    row = numpy.array([[[10, 20]]], numpy.uint8)
    assert resize_planes_as_torch([row], (1, 4)).ravel().tolist() == [10, 13, 18, 20]


@pytest.mark.parametrize("kernel", [BILINEAR, BICUBIC, LANCZOS])
@pytest.mark.parametrize(("in_size", "out_size"), [(300, 7), (45, 31), (31, 45), (7, 300), (2, 3)])
def test_weights_are_16_bit_integers_that_sum_to_one(kernel, in_size, out_size):
    _, weights, bits = int16_weights(in_size, out_size, KERNELS[kernel])
    assert (weights == numpy.rint(weights)).all()
    assert numpy.abs(weights).max() < 2**15
    assert numpy.abs(weights.sum(axis=1) - 2**bits).max() <= weights.shape[1] / 2  # each is rounded by half at most


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("size", [(9, 14), (40, 50), (23, 14), (50, 31)])
@pytest.mark.parametrize("dtype", [numpy.uint8, numpy.float32])
def test_a_window_is_a_part_of_the_whole(resample, size, dtype):
    whole = resize_planes_as_torch(images(dtype=dtype), size, resample)
    assert (whole.shape, whole.dtype) == ((2, 3, *size), dtype)
    window = (slice(3, 7), slice(5, 12))
    part = resize_planes_as_torch(images(dtype=dtype), size, resample, window)
    tolerance = 0 if dtype == numpy.uint8 else 255 * 64 * 2.0**-24  # BLAS may add in another order
    numpy.testing.assert_allclose(part, whole[:, :, 3:7, 5:12], rtol=0, atol=tolerance)


def test_it_is_nearly_pillows():
    """A pass moves a value by one level at most: a weight differs by 2^-16 at most, and there are few of them."""
    ours, pillows = (f(images(), (17, 20)).astype(int) for f in (resize_planes_as_torch, resize_planes))
    assert 0 < (ours != pillows).mean() < 0.05
    assert numpy.abs(ours - pillows).max() == 1


def test_a_fourth_channel_is_like_the_others():
    with_alpha = images((4, 20, 20), 1)
    resized = resize_planes_as_torch(with_alpha, (9, 9))
    colours = resize_planes_as_torch([with_alpha[0][:3]], (9, 9))
    numpy.testing.assert_array_equal(resized[:, :3], colours)


def test_floats_are_not_rounded_and_integers_are():
    floats = resize_planes_as_torch(images(dtype=numpy.float64), (9, 14))
    bytes_ = resize_planes_as_torch(images(), (9, 14))
    assert (floats != numpy.rint(floats)).any()
    assert numpy.abs(floats - bytes_).max() < 1.1  # two roundings of a half each, and the weights' own
    wide = resize_planes_as_torch(images(dtype=numpy.int32), (9, 14))
    assert wide.dtype == numpy.int32
    assert numpy.abs(wide - floats).max() <= 0.5 + 1e-3


def test_neither_threads_nor_strides_matter():
    expected = resize_planes_as_torch(images(count=5), (9, 14))
    before = num_threads()
    try:
        set_num_threads(1)
        numpy.testing.assert_array_equal(resize_planes_as_torch(images(count=5), (9, 14)), expected)
    finally:
        set_num_threads(before)
    views = [numpy.ascontiguousarray(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in images(count=5)]
    numpy.testing.assert_array_equal(resize_planes_as_torch(views, (9, 14)), expected)


@pytest.mark.parametrize("resample", [NEAREST, BILINEAR])
def test_the_same_size_is_a_copy(resample):
    numpy.testing.assert_array_equal(resize_planes_as_torch(images(), (23, 31), resample), images())


@pytest.mark.parametrize(
    ("arrays", "size", "resample", "message"),
    [
        ([], (4, 4), 2, "there are no images"),
        (images((5, 8, 8)), (4, 4), 2, "1 to 4 channels"),
        (images((3, 0, 8)), (4, 4), 2, "none of them 0"),
        ([*images(), *images(dtype=numpy.float32)], (4, 4), 2, "of one dtype and shape"),
        (images(), (0, 4), 2, "at least 1"),
        (images(), (2**19, 2**19), 2, "choose a smaller size"),
        (images(), (4, 4), "box", "resample is 4 .box., which PyTorch has not for tensors"),
        (images(), (4, 4), "hamming", "expected 0 .nearest., 1 .lanczos., 2 .bilinear. or 3 .bicubic."),
        (images(), (4, 4), 9, "resample is 9"),
    ],
)
def test_errors_are_one_clear_line(arrays, size, resample, message):
    with pytest.raises(InputError, match=message) as raised:
        resize_planes_as_torch(arrays, size, resample)
    assert "\n" not in str(raised.value)


def test_kernels_by_number_and_name():
    assert torch_kernel("bicubic") is torch_kernel(3) is KERNELS[BICUBIC]
