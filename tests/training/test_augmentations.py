"""Augmentations: against Pillow and colorsys where they have an equal, by hand, by property and by statistics."""

import colorsys

import numpy
import pytest
from PIL import Image, ImageEnhance, ImageOps

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    colour_drop,
    random_colour_jitter,
)
from minivivit.training.regularisation.augmentations.crop import random_crop
from minivivit.training.regularisation.augmentations.enhance import (
    adjust_colour_balance,
    adjust_global_contrast,
    scale_brightness,
    sharpen,
)
from minivivit.training.regularisation.augmentations.flip import horizontal_flip, random_horizontal_flip
from minivivit.training.regularisation.augmentations.geometry import (
    cutout,
    rotate,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)
from minivivit.training.regularisation.augmentations.intensity import (
    autocontrast,
    equalize,
    invert,
    posterize,
    solarize,
    solarize_add,
)
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams, augment_clip
from minivivit.training.regularisation.augmentations.rand_augment import OPERATIONS, VIDEO_OPERATIONS, rand_augment
from minivivit.training.regularisation.augmentations.resize import bilinear_resize, resize_smallest
from minivivit.training.regularisation.augmentations.scale_jitter import random_scale_jitter


def generator(seed=0):
    return numpy.random.default_rng(seed)


def noise(seed=0, shape=(3, 12, 17, 3), low=0, high=256):
    return generator(seed).integers(low, high, size=shape, dtype=numpy.uint8)


def smooth(seed=0):
    """A clip with few grey levels, unevenly used, whose channels have different ranges."""
    clip = generator(seed).normal((60, 120, 200), (10, 25, 30), size=(3, 12, 17, 3))
    return numpy.clip(clip, 0, 255).astype(numpy.uint8)


def flat():
    return numpy.full((2, 6, 5, 3), (10, 128, 255), dtype=numpy.uint8)


CLIPS = [pytest.param(make, id=make.__name__) for make in (noise, smooth, flat)]


def with_pillow(function, clip):
    """Apply a function of a Pillow image to the clip, its frames stacked into one image."""
    frames, height, width, _ = clip.shape
    image = Image.fromarray(clip.reshape(frames * height, width, 3))
    return numpy.asarray(function(image)).reshape(clip.shape)


def each_frame_with_pillow(function, clip):
    return numpy.stack([numpy.asarray(function(Image.fromarray(frame))) for frame in clip])


# ---- intensity and enhancement, to the bit against Pillow ----


@pytest.mark.parametrize("make", CLIPS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(autocontrast, ImageOps.autocontrast), (equalize, ImageOps.equalize), (invert, ImageOps.invert)],
)
def test_without_magnitude_as_pillow(make, ours, theirs):
    numpy.testing.assert_array_equal(ours(make()), with_pillow(theirs, make()))


@pytest.mark.parametrize("seed", range(30))
def test_histogram_operations_as_pillow_on_many_clips(seed):
    rng = generator(seed)
    low, high = sorted(rng.choice(256, 2, replace=False))
    shape = (*rng.integers(1, 40, size=3), 3)
    clip = noise(seed, shape, low, high)
    numpy.testing.assert_array_equal(equalize(clip), with_pillow(ImageOps.equalize, clip))
    numpy.testing.assert_array_equal(autocontrast(clip), with_pillow(ImageOps.autocontrast, clip))
    contrast = with_pillow(lambda image: ImageEnhance.Contrast(image).enhance(0.1), clip)
    numpy.testing.assert_array_equal(adjust_global_contrast(clip, 0.1), contrast)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_as_pillow(bits):
    numpy.testing.assert_array_equal(
        posterize(noise(), bits), with_pillow(lambda i: ImageOps.posterize(i, bits), noise())
    )


@pytest.mark.parametrize("threshold", [0, 1, 100, 128, 255, 256, 384])
def test_solarize_as_pillow(threshold):
    numpy.testing.assert_array_equal(
        solarize(noise(), threshold), with_pillow(lambda i: ImageOps.solarize(i, threshold), noise())
    )


@pytest.mark.parametrize("threshold", [0, 128, 256, 384])
def test_solarize_views_of_clips(threshold):
    """Cut and mirrored, as clips often are: to compare such a view with what uint8 cannot hold crashed NumPy 2.0.0."""
    clip = noise(shape=(16, 64, 80, 3))
    view = clip[:, 1:-1, ::-1]
    numpy.testing.assert_array_equal(solarize(view, threshold), solarize(view.copy(), threshold))
    numpy.testing.assert_array_equal(solarize_add(view, 50, threshold), solarize_add(view.copy(), 50, threshold))


@pytest.mark.parametrize("make", CLIPS)
@pytest.mark.parametrize("factor", [0.0, 0.1, 0.33, 0.7, 1.0, 1.3, 1.9, 2.8, 3.7])
def test_enhancements_as_pillow(make, factor):
    clip = make()
    for ours, theirs in [
        (adjust_colour_balance, ImageEnhance.Color),
        (adjust_global_contrast, ImageEnhance.Contrast),
        (scale_brightness, ImageEnhance.Brightness),
    ]:
        expected = with_pillow(lambda image, theirs=theirs: theirs(image).enhance(factor), clip)
        numpy.testing.assert_array_equal(ours(clip, factor), expected, err_msg=ours.__name__)
    expected = each_frame_with_pillow(lambda image: ImageEnhance.Sharpness(image).enhance(factor), clip)
    numpy.testing.assert_array_equal(sharpen(clip, factor), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 2, 9, 3), (2, 9, 2, 3)])
def test_sharpen_frames_that_are_all_border(shape):
    numpy.testing.assert_array_equal(sharpen(noise(shape=shape), 1.9), noise(shape=shape))


def test_solarize_add_by_hand():
    clip = numpy.array([0, 100, 127, 128, 200, 255], dtype=numpy.uint8).reshape(1, 1, 2, 3)
    assert solarize_add(clip, 110).ravel().tolist() == [110, 210, 237, 128, 200, 255]
    assert solarize_add(clip, 165).ravel().tolist() == [165, 255, 255, 128, 200, 255]
    assert solarize_add(clip, -110).ravel().tolist() == [0, 0, 17, 128, 200, 255]


@pytest.mark.parametrize("make", CLIPS)
@pytest.mark.parametrize(
    "identity",
    [
        lambda clip: posterize(clip, 8),
        lambda clip: solarize(clip, 256),
        lambda clip: solarize_add(clip, 0),
        lambda clip: adjust_colour_balance(clip, 1.0),
        lambda clip: adjust_global_contrast(clip, 1.0),
        lambda clip: scale_brightness(clip, 1.0),
        lambda clip: sharpen(clip, 1.0),
        lambda clip: rotate(clip, 0.0),
        lambda clip: rotate(clip, 360.0),
        lambda clip: shear_x(clip, 0.0),
        lambda clip: shear_y(clip, 0.0),
        lambda clip: translate_x(clip, 0.0),
        lambda clip: translate_y(clip, 0.0),
        lambda clip: cutout(clip, 3, 3, 0),
        lambda clip: invert(invert(clip)),
        lambda clip: horizontal_flip(horizontal_flip(clip)),
        lambda clip: bilinear_resize(clip, *clip.shape[1:3]),
    ],
)
def test_identities(make, identity):
    numpy.testing.assert_array_equal(identity(make()), make())


# ---- geometry ----


def test_translations_by_hand():
    clip = noise()
    moved = translate_x(clip, 4)
    numpy.testing.assert_array_equal(moved[:, :, :-4], clip[:, :, 4:])
    assert (moved[:, :, -4:] == 128).all()
    moved = translate_y(clip, -5, fill=7)
    numpy.testing.assert_array_equal(moved[:, 5:], clip[:, :-5])
    assert (moved[:, :5] == 7).all()
    assert (translate_x(clip, 1000) == 128).all()


def test_rotations_by_right_angles():
    clip = noise(shape=(2, 9, 9, 3))
    numpy.testing.assert_array_equal(rotate(clip, 90), numpy.rot90(clip, 1, axes=(1, 2)))
    numpy.testing.assert_array_equal(rotate(clip, -90), numpy.rot90(clip, -1, axes=(1, 2)))
    oblong = noise()
    numpy.testing.assert_array_equal(rotate(oblong, 180), oblong[:, ::-1, ::-1])


def test_shears_by_hand():
    clip = noise(shape=(2, 4, 6, 3))
    sheared = shear_x(clip, 1.0)  # row y, whose centres lie y + 1/2 below the top, moves by y + 1/2, so by y or y + 1
    for y in range(4):
        numpy.testing.assert_array_equal(sheared[:, y], translate_x(clip, y + 0.5)[:, y])
        assert (sheared[:, y, 6 - y - 1 :] == 128).all() or y == 0
    numpy.testing.assert_array_equal(shear_y(clip, 0.7), shear_x(clip.swapaxes(1, 2), 0.7).swapaxes(1, 2))


def pillow_affine(matrix):
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(128, 128, 128)
    )


@pytest.mark.parametrize("amount", [-0.4472, -0.1314, 0.0707, 0.3137, 0.5917])
def test_geometry_as_pillow(amount):
    """Pillow rounds in 16-bit fixed point: a centre that falls on the line between two pixels may go to the other."""
    clip = noise(shape=(2, 61, 83, 3))
    cases = [
        (shear_x(clip, amount), pillow_affine((1, amount, 0, 0, 1, 0))),
        (shear_y(clip, amount), pillow_affine((1, 0, 0, amount, 1, 0))),
        (translate_x(clip, 61 * amount), pillow_affine((1, 0, 61 * amount, 0, 1, 0))),
        (translate_y(clip, 61 * amount), pillow_affine((1, 0, 0, 0, 1, 61 * amount))),
        (
            rotate(clip, 100 * amount),
            lambda image: image.rotate(100 * amount, Image.Resampling.NEAREST, fillcolor=(128, 128, 128)),
        ),
    ]
    for ours, theirs in cases:
        differ = (ours != each_frame_with_pillow(theirs, clip)).any(axis=-1)
        assert differ.mean() < 0.002


def test_cutout_by_hand():
    clip = noise(low=1)
    result = cutout(clip, 2, 15, 3, fill=0)
    assert (result[:, :5, 12:] == 0).all()
    assert (result == 0).sum() == 3 * 5 * 5 * 3
    numpy.testing.assert_array_equal(result[result > 0], clip[result > 0])
    assert (cutout(clip, 0, 0, 100) == 128).all()


# ---- flip, crop, resize, scale jitter ----


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_flip(dtype):
    clip = noise().astype(dtype)
    flipped = random_horizontal_flip(clip, generator(), prob=1.0)
    numpy.testing.assert_array_equal(flipped, clip[:, :, ::-1])
    numpy.testing.assert_array_equal(random_horizontal_flip(clip, generator(), prob=0.0), clip)
    rng = generator()
    share = numpy.mean([random_horizontal_flip(clip, rng)[0, 0, 0, 0] != clip[0, 0, 0, 0] for _ in range(2000)])
    assert abs(share - 0.5) < 0.05


def test_random_crop_takes_every_place_alike():
    clip = numpy.arange(5 * 6).reshape(1, 5, 6, 1).repeat(3, axis=3).astype(numpy.uint8)
    rng = generator()
    counts = numpy.zeros(30)
    for _ in range(3000):
        crop = random_crop(clip, rng, (3, 4))
        assert crop.shape == (1, 3, 4, 3)
        assert (numpy.diff(crop[0, :, :, 0].astype(int)) == 1).all()
        counts[crop[0, 0, 0, 0]] += 1
    places = [row * 6 + column for row in range(3) for column in range(3)]
    assert counts.sum() == counts[places].sum()
    assert (abs(counts[places] - 3000 / 9) < 5 * (3000 / 9) ** 0.5).all()


def test_random_crop_is_the_same_in_all_frames():
    frame = noise(shape=(1, 12, 17, 3))
    crop = random_crop(frame.repeat(4, axis=0), generator(), 5)
    assert crop.shape == (4, 5, 5, 3)
    assert (crop == crop[:1]).all()


def test_crop_that_does_not_fit():
    for size in (13, (3, 18), 0):
        with pytest.raises(InputError, match="12 x 17"):
            random_crop(noise(), generator(), size)


@pytest.mark.parametrize("size", [(24, 17), (12, 34), (23, 40)])
def test_enlarging_as_pillow(size):
    """Where no low-pass filter is needed Pillow's bilinear resize in float is the same formula."""
    clip = noise().astype(numpy.float32)
    ours = bilinear_resize(clip, *size)
    for frame, channel in [(0, 0), (2, 1)]:
        image = Image.fromarray(clip[frame, :, :, channel])
        theirs = numpy.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
        numpy.testing.assert_allclose(ours[frame, :, :, channel], theirs, rtol=0, atol=1e-3)
    rounded = bilinear_resize(noise(), *size)
    assert rounded.dtype == numpy.uint8
    numpy.testing.assert_array_equal(rounded, numpy.rint(ours))


def test_resize_by_hand():
    row = numpy.array([0.0, 10.0, 40.0, 100.0])
    clip = numpy.broadcast_to(row[None, None, :, None], (1, 2, 4, 3)).copy()
    # centres at 0.167, 1.5, 2.833: no averaging over what lies between
    numpy.testing.assert_allclose(bilinear_resize(clip, 2, 3)[0, 1, :, 2], [10 / 6, 25, 90], rtol=1e-14)
    numpy.testing.assert_allclose(bilinear_resize(clip, 2, 8)[0, 0, :3, 0], [0, 2.5, 7.5], rtol=1e-14)
    assert bilinear_resize(clip, 2, 1)[0, 0, 0, 0] == 25
    with pytest.raises(InputError, match="at least 1 x 1"):
        bilinear_resize(clip, 0, 3)


@pytest.mark.parametrize(
    ("shape", "expected"), [((12, 17), (24, 34)), ((17, 12), (34, 24)), ((48, 50), (24, 25)), ((24, 90), (24, 90))]
)
def test_resize_smallest(shape, expected):
    assert resize_smallest(noise(shape=(1, *shape, 3)), 24).shape[1:3] == expected


def test_scale_jitter():
    clip = noise(shape=(1, 40, 30, 3))
    rng = generator()
    sizes = numpy.array([random_scale_jitter(clip, rng).shape[1:3] for _ in range(500)])
    for side, old in ((0, 40), (1, 30)):
        assert sizes[:, side].min() >= int(0.9 * old)
        assert sizes[:, side].max() <= 1.33 * old
        assert abs(sizes[:, side].mean() - old * 1.115) < 1
    assert abs(numpy.corrcoef(sizes.T)[0, 1]) < 0.15  # height and width are jittered independently
    assert random_scale_jitter(clip, rng, prob_scale_jitter=0.0) is clip
    unchanged = sum(random_scale_jitter(clip, rng, 1.2, 1.3, 0.3) is clip for _ in range(500))
    assert abs(unchanged / 500 - 0.7) < 0.08
    for low, high in ((0, 1), (1.2, 1.1), (1, float("inf"))):
        with pytest.raises(InputError, match="scale factors"):
            random_scale_jitter(clip, rng, low, high)


# ---- colour jitter ----


def colours(count=500):
    """Random colours and special ones: greys, black, white, the corners of the cube, and equal channels."""
    corners = numpy.array(numpy.meshgrid([0, 0.5, 1], [0, 0.5, 1], [0, 0.5, 1])).reshape(3, -1).T
    return numpy.concatenate([generator().random((count, 3)), corners])


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 5.0])
def test_saturation_as_colorsys(factor):
    expected = []
    for colour in colours():
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        expected.append(colorsys.hsv_to_rgb(hue, min(1.0, saturation * factor), value))
    numpy.testing.assert_allclose(adjust_saturation(colours(), factor), expected, atol=1e-14)


@pytest.mark.parametrize("delta", [-0.2, -0.05, 0.0, 0.1, 0.2, 0.5])
def test_hue_as_colorsys(delta):
    expected = []
    for colour in colours():
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        expected.append(colorsys.hsv_to_rgb((hue + delta) % 1.0, saturation, value))
    numpy.testing.assert_allclose(adjust_hue(colours(), delta), expected, atol=1e-14)


def test_saturation_of_colours_below_zero():
    dark = numpy.array([[-0.3, -0.1, 0.0], [-0.3, -0.1, -0.2]])
    numpy.testing.assert_array_equal(adjust_saturation(dark, 1.4), [[0, 0, 0], [-0.1, -0.1, -0.1]])


def test_brightness_and_contrast_by_hand():
    clip = generator().random((2, 3, 4, 3))
    numpy.testing.assert_array_equal(adjust_brightness(clip, 0.1), clip + 0.1)
    result = adjust_contrast(clip, 0.5)
    numpy.testing.assert_allclose(result.mean(axis=(1, 2)), clip.mean(axis=(1, 2)), rtol=1e-13)
    numpy.testing.assert_allclose(result.std(axis=(1, 2)), 0.5 * clip.std(axis=(1, 2)), rtol=1e-13)


def test_colour_drop_by_hand():
    clip = noise() / 255
    grey = clip[..., 0] * 0.2989 + clip[..., 1] * 0.587 + clip[..., 2] * 0.114
    for channel in range(3):
        numpy.testing.assert_allclose(colour_drop(clip)[..., channel], grey, rtol=1e-14)
        assert abs(colour_drop(noise())[..., channel] - 255 * grey).max() < 0.5001


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_colour_jitter_keeps_dtype_and_range(dtype):
    clip = noise() if dtype == "uint8" else (noise() / 255).astype(dtype)
    kept = clip.copy()
    for seed in range(10):
        result = random_colour_jitter(clip, generator(seed), 1.0, 0.5)
        assert result.dtype == dtype
        assert result.shape == clip.shape
        assert 0 <= result.min() <= result.max() <= (255 if dtype == "uint8" else 1)
    numpy.testing.assert_array_equal(clip, kept)


def test_colour_jitter_is_its_parts_in_order():
    clip, rng = noise() / 255, generator(5)
    delta, saturation = rng.uniform(-32 / 255, 32 / 255), rng.uniform(0.6, 1.4)
    contrast, hue = rng.uniform(0.6, 1.4), rng.uniform(-0.2, 0.2)
    expected = adjust_hue(adjust_contrast(adjust_saturation(clip + delta, saturation), contrast), hue)
    result = random_colour_jitter(clip, generator(5), 1.0, 0.0)
    numpy.testing.assert_allclose(result, numpy.clip(expected, 0, 1), atol=1e-14)


def test_colour_jitter_of_uint8_is_that_of_floats_rounded():
    exact = random_colour_jitter(noise() / 255, generator(5), 1.0, 0.0) * 255
    assert abs(random_colour_jitter(noise(), generator(5), 1.0, 0.0) - exact).max() < 0.501


def test_colour_probabilities():
    clip, rng = noise(shape=(1, 2, 2, 3)), generator()
    assert random_colour_jitter(clip, rng, 0.0, 0.0) is clip
    results = [random_colour_jitter(clip, rng, 0.8, 0.1) for _ in range(2000)]
    dropped = [(r[..., 0] == r[..., 1]).all() for r in results]
    assert abs(numpy.mean(dropped) - 0.1) < 0.03
    untouched = [r is clip for r in results]
    assert abs(numpy.mean(untouched) - 0.2 * 0.9) < 0.04
    with pytest.raises(InputError, match="prob_color_drop"):
        random_colour_jitter(clip, rng, 0.8, 1.5)
    with pytest.raises(InputError, match="prob_color_augment"):
        random_colour_jitter(clip, rng, -0.1, 0.5)


# ---- RandAugment ----


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0, 5, 15, 20, 30])
def test_every_operation_treats_all_frames_alike(name, magnitude):
    clip = noise(shape=(1, 30, 40, 3)).repeat(3, axis=0)
    kept = clip.copy()
    result = OPERATIONS[name](clip, magnitude / 10, generator())
    assert result.shape == clip.shape
    assert result.dtype == numpy.uint8
    assert (result == result[:1]).all()
    numpy.testing.assert_array_equal(clip, kept)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Posterize", lambda clip: posterize(clip, 6)),
        ("Solarize", lambda clip: clip),  # the threshold is 384
        ("SolarizeAdd", lambda clip: solarize_add(clip, 165)),
        ("Color", lambda clip: adjust_colour_balance(clip, 2.8)),
        ("Contrast", lambda clip: adjust_global_contrast(clip, 2.8)),
        ("Brightness", lambda clip: scale_brightness(clip, 2.8)),
        ("Sharpness", lambda clip: sharpen(clip, 2.8)),
        ("Identity", lambda clip: clip),
    ],
)
def test_magnitude_15_by_hand(name, expected):
    result = rand_augment(noise(), generator(), 1, 15, [name])
    numpy.testing.assert_array_equal(result, expected(noise()))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("Rotate", lambda clip: rotate(clip, 15), lambda clip: rotate(clip, -15)),
        ("ShearX", lambda clip: shear_x(clip, 0.15), lambda clip: shear_x(clip, -0.15)),
        ("ShearY", lambda clip: shear_y(clip, 0.15), lambda clip: shear_y(clip, -0.15)),
        ("TranslateX", lambda clip: translate_x(clip, 50), lambda clip: translate_x(clip, -50)),
        ("TranslateY", lambda clip: translate_y(clip, 50), lambda clip: translate_y(clip, -50)),
    ],
)
def test_both_directions_are_drawn(name, one, other):
    clip, rng = noise(shape=(1, 64, 80, 3)), generator()
    ones = others = 0
    for _ in range(60):
        result = rand_augment(clip, rng, 1, 5, [name])
        ones += numpy.array_equal(result, one(clip))
        others += numpy.array_equal(result, other(clip))
    assert ones + others == 60
    assert min(ones, others) > 10


def test_random_cutout():
    clip, rng = noise(shape=(2, 90, 100, 3), low=1), generator()
    covered = numpy.zeros((90, 100))
    for _ in range(300):
        black = (rand_augment(clip, rng, 1, 5, ["Cutout"]) == 0).all(axis=-1)
        assert (black[0] == black[1]).all()
        rows, columns = black[0].any(axis=1).sum(), black[0].any(axis=0).sum()
        assert rows * columns == black[0].sum()  # one rectangle, at most 2 x 20 wide, cut at the border
        assert 20 <= rows <= 40
        assert 20 <= columns <= 40
        covered += black[0]
    assert covered.min() > 0


def test_operations_are_drawn_evenly_and_in_layers():
    """With marks that do not commute, in place of operations, the whole sequence can be read off."""
    clip = numpy.zeros((1, 1, 1, 3), dtype=numpy.uint8)
    rng, counts = generator(), numpy.zeros(2)
    for _ in range(1000):
        result = rand_augment(clip, rng, 2, 10, ["Invert", "Identity"])
        counts[int(result[0, 0, 0, 0] == 255)] += 1
    assert abs(counts / 1000 - 0.5).max() < 0.06  # one inversion of two, against none or two
    assert len(VIDEO_OPERATIONS) == len(set(VIDEO_OPERATIONS)) == 12
    assert set(OPERATIONS) - set(VIDEO_OPERATIONS) == {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}


def test_rand_augment_from_a_seed():
    clip = noise()
    results = [rand_augment(clip, generator(seed)) for seed in range(20)]
    again = [rand_augment(clip, generator(seed)) for seed in range(20)]
    for one, other in zip(results, again, strict=True):
        numpy.testing.assert_array_equal(one, other)
    assert len({result.tobytes() for result in results}) > 10
    assert rand_augment(clip, generator(), rand_augment_num_layers=0) is clip


def test_rand_augment_refuses():
    for settings, message in [
        ({"operations": ["Blur"]}, "unknown operation 'Blur'"),
        ({"operations": []}, "no operation"),
        ({"rand_augment_num_layers": -1}, "rand_augment_num_layers"),
        ({"rand_augment_magnitude": -1}, "rand_augment_magnitude"),
        ({"rand_augment_magnitude": float("nan")}, "rand_augment_magnitude"),
    ]:
        with pytest.raises(InputError, match=message):
            rand_augment(noise(), generator(), **settings)
    with pytest.raises(InputError, match="expected uint8"):
        rand_augment(noise().astype("float32"), generator())
    with pytest.raises(InputError, match="bits"):
        posterize(noise(), 9)
    with pytest.raises(InputError, match="pad_size"):
        cutout(noise(), 0, 0, -1)


# ---- the whole ----


EVERYTHING = AugmentationParams(
    crop_size=10, min_resize=12, do_random_flip=True, do_jitter_scale=True, do_rand_augment=True
)


def test_pipeline_defaults_change_nothing():
    numpy.testing.assert_array_equal(augment_clip(noise(), generator(), AugmentationParams()), noise())


@pytest.mark.parametrize(
    "params",
    [EVERYTHING, AugmentationParams(crop_size=(8, 9), do_jitter_scale=True, do_color_augment=True)],
)
def test_pipeline_is_deterministic_and_leaves_its_input(params):
    clip = noise(shape=(3, 20, 25, 3))
    kept = clip.copy()
    results = [augment_clip(clip, generator(seed), params) for seed in range(8)]
    for seed, result in enumerate(results):
        assert result.shape[1:3] == ((10, 10) if params is EVERYTHING else (8, 9))
        assert result.dtype == numpy.uint8
        assert result.flags.c_contiguous
        numpy.testing.assert_array_equal(result, augment_clip(clip, generator(seed), params))
    assert len({result.tobytes() for result in results}) == 8
    numpy.testing.assert_array_equal(clip, kept)


def test_pipeline_keeps_still_clips_still():
    clip = noise(shape=(1, 20, 25, 3)).repeat(4, axis=0)
    colour = AugmentationParams(crop_size=10, do_jitter_scale=True, do_random_flip=True, do_color_augment=True)
    for seed in range(10):
        for params in (EVERYTHING, colour):
            result = augment_clip(clip, generator(seed), params)
            assert (result == result[:1]).all()


def test_pipeline_is_its_parts_in_order():
    clip, rng = noise(shape=(2, 20, 25, 3)), generator(4)
    expected = resize_smallest(clip, 12)
    expected = random_crop(random_scale_jitter(expected, rng), rng, 10)
    expected = rand_augment(random_horizontal_flip(expected, rng), rng, 2, 15)
    numpy.testing.assert_array_equal(augment_clip(clip, generator(4), EVERYTHING), expected)


@pytest.mark.parametrize(
    "clip",
    [
        None,
        numpy.zeros((12, 17, 3), "uint8"),
        numpy.zeros((2, 12, 17, 4), "uint8"),
        numpy.zeros((0, 12, 17, 3), "uint8"),
        numpy.zeros((2, 12, 17, 3), "int64"),
    ],
)
def test_what_is_no_clip(clip):
    with pytest.raises(InputError, match="the clip") as caught:
        augment_clip(clip, generator(), AugmentationParams())
    assert "\n" not in str(caught.value)


def test_wrong_probability():
    with pytest.raises(InputError, match="prob"):
        random_horizontal_flip(noise(), generator(), prob=1.01)
