"""Resizing in NumPy against Pillow itself, to the bit."""

import numpy
import PIL
import pytest
from counting import num_calls
from PIL import Image

from minivivit.backend import num_threads, set_num_threads
from minivivit.errors import InputError
from minivivit.video import resize
from minivivit.video.resize import KERNELS, resize_planes, resize_uint8, vertical_pass_first

PILLOW_13 = int(PIL.__version__.split(".")[0]) >= 13
KERNEL_NUMBERS = sorted(KERNELS)


def pillow(image, size, resample):
    """What Pillow makes of an image (height, width, channels)."""
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    result = numpy.asarray(Image.fromarray(squeezed).resize((int(size[1]), int(size[0])), resample))
    return result.reshape(*size, image.shape[-1])


def random_image(rng, shape):
    """Noise, or only black and white, which makes the kernels with negative lobes clip."""
    image = rng.integers(0, 256, shape, dtype=numpy.uint8)
    return image if rng.random() < 0.5 else numpy.where(image > 127, numpy.uint8(255), numpy.uint8(0))


@pytest.mark.parametrize("resample", KERNEL_NUMBERS)
def test_equals_pillow_at_random_sizes(resample):
    rng = numpy.random.default_rng(resample)
    orders = {False: 0, True: 0}
    for largest, count in ((4, 100), (12, 250), (60, 200), (200, 20)):
        for _ in range(count):
            height, width, new_height, new_width = rng.integers(1, largest, 4)
            new_height = height if rng.random() < 0.1 else new_height
            new_width = width if rng.random() < 0.1 else new_width
            vertical_first = vertical_pass_first((height, width), (new_height, new_width))
            if vertical_first and not PILLOW_13:
                continue
            orders[vertical_first] += 1
            image = random_image(rng, (height, width, int(rng.integers(1, 5))))
            expected = pillow(image, (new_height, new_width), resample)
            ours = resize_uint8(image, (new_height, new_width), resample)
            assert numpy.array_equal(ours, expected), (image.shape, new_height, new_width)
    assert orders[False] > 200
    assert orders[True] > 100 or not PILLOW_13


@pytest.mark.parametrize("resample", KERNEL_NUMBERS)
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 1), (7, 5)),
        ((1, 1), (1, 1)),
        ((9, 9), (1, 1)),
        ((1, 500), (1, 3)),
        ((500, 1), (3, 1)),
        ((1500, 2), (2, 1500)),
        ((2, 1500), (1500, 2)),
        ((240, 426), (256, 454)),
        ((720, 405), (455, 256)),
        ((24, 31), (24, 31)),
        ((24, 31), (24, 17)),
        ((24, 31), (40, 31)),
    ],
)
def test_equals_pillow_at_the_edges(shape, size, resample):
    if vertical_pass_first(shape, size) and not PILLOW_13:
        pytest.skip("Pillow before 13 does the horizontal pass first")
    image = random_image(numpy.random.default_rng(0), (*shape, 3))
    numpy.testing.assert_array_equal(resize_uint8(image, size, resample), pillow(image, size, resample))


def test_nearest_is_a_running_sum():
    # The pairs of sizes where the closed form floor((i + 1/2) n / m) picks another pixel than Pillow.
    found = 0
    for in_size in range(1, 120):
        for out_size in range(1, 120):
            closed_form = ((numpy.arange(out_size) + 0.5) * (in_size / out_size)).astype(int)
            ramp = numpy.arange(in_size, dtype=numpy.uint8)[None, :, None]
            if numpy.array_equal(closed_form, resize._nearest_indices(in_size, out_size)):
                continue
            found += 1
            numpy.testing.assert_array_equal(resize_uint8(ramp, (1, out_size), 0), pillow(ramp, (1, out_size), 0))
    assert found > 20


def test_weights_by_hand():
    # Three pixels become two, with the triangle stretched by 3/2: centres 3/4 and 9/4, distances 1/4, 3/4 and 7/4 of
    # the input, weights 1 - d / 1.5 = 5/6, 1/2, 0, divided by their sum.
    first, weights = resize.resampling_weights(3, 2, KERNELS[resize.BILINEAR], slice(0, 2))
    assert first.tolist() == [0, 1]
    expected = numpy.round(numpy.array([[5 / 8, 3 / 8], [3 / 8, 5 / 8]]) * 2**22)
    numpy.testing.assert_array_equal(weights[:, :2], expected)
    # and 2 pixels one: their mean, rounded with its half upwards
    pixels = numpy.array([[[10], [15]]], numpy.uint8)
    assert resize_uint8(pixels, (1, 1), "bilinear").item() == 13


def test_bicubic_has_pillows_parameter():
    # Keys' kernel at 3/2 is a / 8: -1/16 for Pillow's a = -1/2 (and -3/32 for PyTorch's -3/4).
    assert resize.bicubic(numpy.array([0.0, 1.0, 1.5, 2.0])).tolist() == [1.0, 0.0, -0.0625, 0.0]


def test_box_is_open_on_the_left():
    assert resize.box(numpy.array([-0.5, -0.4, 0.5, 0.6])).tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("resample", KERNEL_NUMBERS)
@pytest.mark.parametrize("size", [(50, 90), (13, 200), (40, 17), (12, 60), (40, 60)])
def test_a_window_is_a_part_of_the_whole(resample, size):
    rng = numpy.random.default_rng(1)
    images = [random_image(rng, (channels, 40, 60)) for channels in (4, 4)]
    whole = resize_planes(images, size, resample)
    for rows, columns in ((slice(3, 11), slice(5, 17)), (slice(0, 1), slice(None)), (slice(None), slice(16, 17))):
        part = resize_planes(images, size, resample, (rows, columns))
        numpy.testing.assert_array_equal(part, whole[:, :, rows, columns])


def test_a_clip_is_its_frames_and_threads_do_not_matter():
    clip = random_image(numpy.random.default_rng(2), (5, 33, 47, 3))
    before = num_threads()
    try:
        results = []
        for threads in (1, 3):
            set_num_threads(threads)
            results.append(resize_uint8(clip, (21, 60), "lanczos"))
    finally:
        set_num_threads(before)
    numpy.testing.assert_array_equal(results[0], results[1])
    numpy.testing.assert_array_equal(results[0], [resize_uint8(frame, (21, 60), 1) for frame in clip])
    # views of any strides, the input left as it was
    copy = clip.copy()
    numpy.testing.assert_array_equal(
        resize_uint8(clip[:, ::-1, :, ::-1], (9, 9)), resize_uint8(copy[:, ::-1, :, ::-1].copy(), (9, 9))
    )
    numpy.testing.assert_array_equal(clip, copy)


def test_a_frame_is_as_many_calls_of_numpy_whatever_its_size():
    """No loop over pixels, rows or columns: a clip of 32 frames of 240 x 426 is some ten thousand calls."""

    def work(shape):
        clip = random_image(numpy.random.default_rng(3), shape)
        return num_calls(lambda: resize_uint8(clip, (256, 454)))

    before = num_threads()
    try:
        set_num_threads(1)  # calls are counted in one thread
        frame = work((1, 24, 42, 3))
        assert work((1, 240, 426, 3)) == frame
        assert work((4, 24, 42, 3)) < 8 * frame
    finally:
        set_num_threads(before)


IMAGE = numpy.zeros((4, 5, 3), numpy.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGE, (4, 0)), "at least 1"),
        ((IMAGE, (4, 2.5)), "two whole numbers"),
        ((IMAGE, 4), "two whole numbers"),
        ((IMAGE, (4, 5, 6)), "two whole numbers"),
        ((IMAGE, (10**6, 10**6)), "choose a smaller size"),
        ((IMAGE, (10**9, 1)), "an edge may have"),
        ((IMAGE, (2, 2), 6), "expected one of 0"),
        ((IMAGE, (2, 2), "cubic"), "expected one of 0"),
        ((IMAGE, (2, 2), True), "expected one of 0"),
        ((IMAGE.astype(float), (2, 2)), "uint8"),
        ((IMAGE[0], (2, 2)), "expected a NumPy array"),
        (("image.png", (2, 2)), "expected a NumPy array"),
        ((IMAGE[:0], (2, 2)), "none of them 0"),
        ((numpy.zeros((4, 5, 5), numpy.uint8), (2, 2)), "1 to 4 channels"),
        ((numpy.zeros((0, 4, 5, 3), numpy.uint8), (2, 2)), "no images"),
    ],
)
def test_errors_are_one_clear_line(arguments, message):
    with pytest.raises(InputError, match=message) as raised:
        resize_uint8(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_small_images_that_are_resized_together_are_as_alone(channels):
    """Several at once are as one of more channels, but for those with an alpha channel."""
    images = list(numpy.random.default_rng(0).integers(0, 256, (9, channels, 13, 17), dtype=numpy.uint8))
    together = resize_planes(images, (7, 11))
    for image, resized in zip(images, together, strict=True):
        numpy.testing.assert_array_equal(resize_planes([image], (7, 11))[0], resized)
