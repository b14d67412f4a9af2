"""The built-in motion data: reproducible, legible as motion, and silent in every single frame."""

import hashlib
import itertools
from dataclasses import fields, replace

import numpy
import pytest
from scipy.stats import ks_2samp

from minivivit.backend import num_threads, set_num_threads
from minivivit.errors import InputError
from minivivit.training.data.motion.backgrounds import value_noise
from minivivit.training.data.motion.clips import (
    MOTION_CLASSES,
    SPAN,
    TURN,
    MotionParameters,
    balanced_labels,
    draw_motion_parameters,
    motion_clips,
    motion_paths,
    render_motion,
    shuffle_frames,
)
from minivivit.training.data.motion.shapes import GLYPHS, glyph_coverage

NUM_CLASSES = len(MOTION_CLASSES)


def opposite_in_reverse(parameters: MotionParameters) -> MotionParameters:
    """The same paths, run by the opposite class, with the noise of the last frame first."""
    return replace(parameters, labels=parameters.labels ^ 1, noise=parameters.noise[:, :, ::-1])


def drawn(seed: int, count: int, **options) -> MotionParameters:
    rng = numpy.random.default_rng(seed)
    return draw_motion_parameters(rng, balanced_labels(rng, count), **options)


# --------------------------------------------------------------------------------------------------------------------
# The interface
# --------------------------------------------------------------------------------------------------------------------


def test_a_seed_gives_these_very_bits():
    clips, labels = motion_clips(numpy.random.default_rng(2103), 24)
    digest = hashlib.sha256(clips.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "a6b760aa788b795adddc7fb20b8275cca0d18c57ee707ee92e8d9914e8adf446"


def test_the_bits_do_not_depend_on_threads_and_differ_between_seeds():
    before = num_threads()
    try:
        results = []
        for threads in (1, 3):
            set_num_threads(threads)
            results.append(motion_clips(numpy.random.default_rng(5), 40)[0])
    finally:
        set_num_threads(before)
    assert numpy.array_equal(*results)
    assert not numpy.array_equal(results[0], motion_clips(numpy.random.default_rng(6), 40)[0])


@pytest.mark.parametrize(("num_frames", "size"), [(8, 32), (3, 16), (5, 33), (16, 48), (32, 112)])
def test_shapes_and_dtypes(num_frames, size):
    clips, labels = motion_clips(numpy.random.default_rng(0), 9, num_frames=num_frames, size=size)
    assert clips.shape == (9, num_frames, size, size, 3)
    assert clips.dtype == numpy.uint8
    assert labels.shape == (9,)
    assert labels.dtype == numpy.int64


def test_labels_are_kept_and_counts_are_balanced():
    rng = numpy.random.default_rng(0)
    wanted = [7, 0, 0, 3]
    clips, labels = motion_clips(rng, wanted, num_frames=4, size=16)
    assert labels.tolist() == wanted
    assert len(clips) == 4
    for count in (0, 1, 8, 27):
        numbers = numpy.bincount(balanced_labels(rng, count), minlength=NUM_CLASSES)
        assert numbers.sum() == count
        assert numbers.max() - numbers.min() <= 1
    assert motion_clips(rng, 0)[0].shape == (0, 8, 32, 32, 3)
    leftovers = {int(balanced_labels(rng, 1)[0]) for _ in range(200)}
    assert leftovers == set(range(NUM_CLASSES))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels_or_count": [0, 8]}, "labels run from 0 to 8"),
        ({"labels_or_count": [-1]}, "labels run from -1 to -1"),
        ({"labels_or_count": -3}, "labels_or_count is -3"),
        ({"labels_or_count": 2.5}, "labels_or_count is 2.5"),
        ({"labels_or_count": [[1]]}, "labels_or_count is"),
        ({"labels_or_count": 4, "num_frames": 2}, "num_frames is 2"),
        ({"labels_or_count": 4, "num_frames": 8.0}, "num_frames is 8.0"),
        ({"labels_or_count": 4, "size": 15}, "size is 15"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        motion_clips(numpy.random.default_rng(0), **arguments)
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------------------------
# The motion
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_frames", [3, 8, 13])
def test_one_coordinate_moves_the_way_its_class_says(num_frames):
    parameters = drawn(1, 400, num_frames=num_frames, size=16)
    x, y, angle, radius = motion_paths(parameters)
    rises = {"left": -x, "right": x, "up": -y, "down": y, "clockwise": angle, "counter-clockwise": -angle}
    rises |= {"growing": radius, "shrinking": -radius}
    coordinates = {"x": x, "y": y, "angle": angle, "radius": radius}
    moving_one = ["x", "x", "y", "y", "angle", "angle", "radius", "radius"]
    for label, name in enumerate(MOTION_CLASSES):
        clips = parameters.labels == label
        for coordinate, values in coordinates.items():
            still = numpy.ptp(values[clips], axis=1) == 0
            assert numpy.all(still != (coordinate == moving_one[label]))
        rising = rises[name.split()[-1]][clips]
        steps = numpy.diff(rising, axis=1, append=rising[:, :1])  # around the loop: the last step leads to frame 0
        assert numpy.all((steps > 0).sum(axis=1) == num_frames - 1)
        assert numpy.all((steps < 0).sum(axis=1) == 1)


def test_spans_are_the_documented_ones_and_turns_stay_below_half_a_turn():
    parameters = drawn(2, 4000, size=16)
    x, y, angle, radius = motion_paths(parameters)
    labels = parameters.labels
    width = 1 - 2 * (0.29 + 1 / 32)
    for values, moving in [(x, labels // 2 == 0), (y, labels // 2 == 1)]:
        spans = numpy.ptp(values[moving], axis=1) / 16
        assert spans.min() >= SPAN[0] * width - 1e-12
        assert spans.max() <= SPAN[1] * width + 1e-12
    turns = numpy.degrees(numpy.ptp(angle[labels // 2 == 2], axis=1))
    assert TURN[0] <= turns.min() < TURN[0] + 2
    assert TURN[1] - 2 < turns.max() <= TURN[1] < 180
    ratios = (radius.max(axis=1) / radius.min(axis=1))[labels // 2 == 3]
    assert 1.58 < ratios.min() < 1.61
    assert 1.91 < ratios.max() < 1.934


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_glyph_stays_inside_the_frame(size):
    parameters = drawn(3, 200, num_frames=4, size=size)
    x, y, angle, radius = motion_paths(parameters)
    for centre in (x, y):
        assert numpy.all(centre - radius > size / 33)
        assert numpy.all(centre + radius < size - size / 33)
    coverage = glyph_coverage(parameters.glyph, parameters.mirror, x, y, radius, angle, parameters.softness, size)
    border = numpy.ones((size, size), dtype=bool)
    border[1:-1, 1:-1] = False
    # A border pixel's centre is at least margin - 1/2 outside the glyph's circle, and an edge is at most 2 pixels wide.
    assert coverage[:, :, border].max() < max(0, 0.5 - (size / 32 - 0.5) / 2) + 1e-6
    assert coverage.max(axis=(2, 3)).min() > 0.5


@pytest.mark.parametrize("loop", [True, False])
def test_the_opposite_class_is_the_clip_in_reverse(loop):
    parameters = drawn(4, 64, loop=loop)
    clips, opposite = render_motion(parameters), render_motion(opposite_in_reverse(parameters))
    assert numpy.array_equal(opposite, clips[:, ::-1])
    assert not numpy.array_equal(opposite, clips)


def test_nothing_drawn_depends_on_the_label():
    one, other = (
        draw_motion_parameters(numpy.random.default_rng(0), numpy.full(5, label), num_frames=4, size=16)
        for label in (0, 6)
    )
    for field in fields(MotionParameters):
        if field.name != "labels":
            assert numpy.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


# --------------------------------------------------------------------------------------------------------------------
# No single frame tells the class
# --------------------------------------------------------------------------------------------------------------------


def least_p_value(loop: bool) -> float:
    """The least p-value of Kolmogorov-Smirnov tests, each class against the rest, in 4 coordinates and 8 frames."""
    parameters = drawn(10, 8000, size=16, loop=loop)
    labels = parameters.labels
    paths = motion_paths(parameters)
    paths = (paths[0], paths[1], paths[2] % (2 * numpy.pi), paths[3])
    return min(
        ks_2samp(values[labels == label, frame], values[labels != label, frame], method="asymp").pvalue
        for values in paths
        for frame in range(8)
        for label in range(NUM_CLASSES)
    )


@pytest.mark.thorough
def test_each_frame_has_the_same_place_angle_and_size_in_all_classes():
    assert least_p_value(loop=True) > 0.01 / 256  # Bonferroni: 256 tests
    assert least_p_value(loop=False) < 1e-100  # the test has teeth: without the loop, first frames differ


def frame_features(clips: numpy.ndarray, frame: int) -> numpy.ndarray:
    """What one frame shows: where it differs from its mean colour, on 8 x 8 cells, and how much in all."""
    pixels = clips[:, frame].astype(numpy.float64)
    energy = numpy.abs(pixels - numpy.median(pixels, axis=(1, 2), keepdims=True)).sum(axis=3)
    cells = energy.reshape(len(clips), 8, 4, 8, 4).mean(axis=(2, 4)).reshape(len(clips), 64)
    cells = cells / cells.mean(axis=1, keepdims=True)
    concentration = numpy.sort(cells, axis=1)[:, ::8]
    return numpy.concatenate([cells, concentration, numpy.ones((len(clips), 1))], axis=1)


def probe_accuracy(loop: bool, frame: int) -> float:
    """Ridge regression onto the one-hot labels from one frame: 3,000 clips to learn from, 3,000 to be judged by."""
    clips, labels = motion_clips(numpy.random.default_rng(11), 6000, num_frames=4, loop=loop)
    features = frame_features(clips, frame)
    learn, judge = features[:3000], features[3000:]
    gram = learn.T @ learn + 1e-3 * len(learn) * numpy.eye(learn.shape[1])
    weights = numpy.linalg.solve(gram, learn.T @ numpy.eye(NUM_CLASSES)[labels[:3000]])
    return float(numpy.mean((judge @ weights).argmax(axis=1) == labels[3000:]))


@pytest.mark.thorough
def test_a_linear_probe_of_one_frame_guesses():
    chance, deviation = 1 / 8, (1 / 8 * 7 / 8 / 3000) ** 0.5
    assert abs(probe_accuracy(loop=True, frame=0) - chance) < 3 * deviation
    assert probe_accuracy(loop=False, frame=0) > chance + 15 * deviation  # the probe has teeth


# --------------------------------------------------------------------------------------------------------------------
# The motion is in the pixels, and gone when the frames are shuffled
# --------------------------------------------------------------------------------------------------------------------


def polar_picture(weight: numpy.ndarray, x: float, y: float) -> numpy.ndarray:
    """`weight`, (height, width), read at 72 angles clockwise from the right on 8 circles around (x, y)."""
    angles = numpy.arange(72) * (2 * numpy.pi / 72)
    radii = numpy.arange(1, 9)[:, None]
    columns = numpy.clip(x + radii * numpy.cos(angles) - 0.5, 0, weight.shape[1] - 1).round().astype(int)
    rows = numpy.clip(y + radii * numpy.sin(angles) - 0.5, 0, weight.shape[0] - 1).round().astype(int)
    return weight[rows, columns]


def measured_steps(clip: numpy.ndarray, background: numpy.ndarray) -> numpy.ndarray:
    """Median step of the glyph in x, y, angle and size between frames, in units that make the classes comparable."""
    weight = numpy.abs(clip - background).sum(axis=-1)
    weight = numpy.where(weight > 60, weight, 0)  # (frames, height, width)
    pixel = numpy.arange(clip.shape[1]) + 0.5
    mass = weight.sum(axis=(1, 2))
    x = (weight.sum(axis=1) * pixel).sum(axis=1) / mass
    y = (weight.sum(axis=2) * pixel).sum(axis=1) / mass
    pictures = [polar_picture(w, *centre) for w, *centre in zip(weight, x, y, strict=True)]
    turns = []
    for first, second in itertools.pairwise(pictures):
        spectrum = (numpy.fft.rfft(second) * numpy.fft.rfft(first).conj()).sum(axis=0)
        turns.append((numpy.fft.irfft(spectrum, 72).argmax() + 36) % 72 - 36)
    steps = [numpy.diff(x), numpy.diff(y), numpy.array(turns) * 0.5, numpy.diff(numpy.log(mass)) * 6]
    return numpy.median(steps, axis=1)


def classified_by_measurement(parameters: MotionParameters, clips: numpy.ndarray) -> numpy.ndarray:
    negative_and_positive = numpy.array([[0, 1], [2, 3], [5, 4], [7, 6]])
    labels = []
    for clip, background in zip(clips, parameters.background, strict=True):
        steps = measured_steps(clip.astype(numpy.float64), numpy.clip(background, 0, 255).transpose(1, 2, 0))
        moving = numpy.abs(steps).argmax()
        labels.append(negative_and_positive[moving, int(steps[moving] > 0)])
    return numpy.array(labels)


@pytest.mark.thorough
def test_measuring_the_glyph_tells_the_class_and_shuffled_frames_halve_it():
    parameters = drawn(12, 400)
    clips = render_motion(parameters)
    in_order = numpy.mean(classified_by_measurement(parameters, clips) == parameters.labels)
    assert in_order > 0.98
    shuffled = shuffle_frames(numpy.random.default_rng(0), clips)
    assert numpy.mean(classified_by_measurement(parameters, shuffled) == parameters.labels) < 0.55


def frames_in_canonical_order(clip: numpy.ndarray) -> list[bytes]:
    return sorted(frame.tobytes() for frame in clip)


def test_opposite_classes_show_the_same_frames():
    parameters = drawn(13, 32)
    clips, opposite = render_motion(parameters), render_motion(opposite_in_reverse(parameters))
    for clip, other in zip(clips, opposite, strict=True):
        assert frames_in_canonical_order(clip) == frames_in_canonical_order(other)


def test_shuffling_keeps_each_clips_frames_and_orders_them_uniformly():
    clips, _ = motion_clips(numpy.random.default_rng(14), 16)
    shuffled = shuffle_frames(numpy.random.default_rng(0), clips)
    assert shuffled.dtype == clips.dtype
    for clip, other in zip(clips, shuffled, strict=True):
        assert frames_in_canonical_order(clip) == frames_in_canonical_order(other)
    numbered = numpy.tile(numpy.arange(3), (6000, 1))
    orders, counts = numpy.unique(shuffle_frames(numpy.random.default_rng(1), numbered), axis=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 1000 - 4 * 29  # four standard deviations
    assert counts.max() < 1000 + 4 * 29
    assert numpy.array_equal(numbered, numpy.tile(numpy.arange(3), (6000, 1)))  # a copy, not in place
    with pytest.raises(InputError, match="expected \\(batch, frames"):
        shuffle_frames(numpy.random.default_rng(0), numpy.arange(3))


# --------------------------------------------------------------------------------------------------------------------
# Glyphs and backgrounds
# --------------------------------------------------------------------------------------------------------------------


def all_glyphs(angle: float, mirror: float = 1.0, size: int = 64, radius: float = 24.0) -> numpy.ndarray:
    """Coverage (glyphs, size, size) of every glyph in the middle of the frame."""
    count = len(GLYPHS)
    centre, one = numpy.full((count, 1), size / 2), numpy.ones((count, 1))
    return glyph_coverage(
        numpy.arange(count),
        numpy.full(count, mirror),
        centre,
        centre,
        radius * one,
        angle * one,
        numpy.ones(count),
        size,
    )[:, 0]


def test_glyphs_fill_their_circle_and_no_more():
    coverage = all_glyphs(0.3)
    pixel = numpy.arange(64) + 0.5 - 32
    distance = numpy.hypot(pixel, pixel[:, None])
    for glyph in coverage:
        reach = distance[glyph > 0.5].max()
        assert 22 < reach <= 24.5
        assert glyph[distance < 24].mean() > 0.15


def test_glyphs_look_like_themselves_only_after_a_whole_turn():
    upright = all_glyphs(0.0)
    for degrees in range(20, 341, 10):
        turned = all_glyphs(numpy.radians(degrees))
        overlap = numpy.minimum(upright, turned).sum(axis=(1, 2)) / numpy.maximum(upright, turned).sum(axis=(1, 2))
        assert overlap.max() < 0.85, (degrees, GLYPHS[overlap.argmax()])
    assert numpy.abs(upright - all_glyphs(2 * numpy.pi)).max() < 1e-3


def test_a_quarter_turn_and_a_mirror_image_are_those_of_the_pixel_grid():
    upright = all_glyphs(0.0)
    clockwise = numpy.rot90(upright, k=-1, axes=(1, 2))  # rot90 turns counter-clockwise on the screen for k > 0
    numpy.testing.assert_allclose(all_glyphs(numpy.pi / 2), clockwise, atol=1e-4)
    numpy.testing.assert_allclose(all_glyphs(0.0, mirror=-1.0), upright[:, ::-1], atol=1e-4)


def test_softness_is_the_width_of_the_edge_and_the_drop_is_a_tapered_capsule():
    drop = numpy.array([GLYPHS.index("drop")])
    one = numpy.ones((1, 1))
    for softness in (1.0, 2.0):
        coverage = glyph_coverage(
            drop, numpy.ones(1), 32 * one, 32 * one, 24 * one, 0 * one, numpy.array([softness]), size=64
        )[0, 0]
        # The drop has its ends at -0.4 and 0.9 with radii 0.6 and 0.08, so its box from -1 to 0.98 is centred at -0.01,
        # and the farthest point lies at 0.39 + 0.6 = 0.99, which becomes 1.
        x, y = numpy.meshgrid(numpy.arange(64) + 0.5 - 32, numpy.arange(64) + 0.5 - 32)
        x, y = x / 24 * 0.99, y / 24 * 0.99
        along = numpy.clip((x + 0.39) / 1.3, 0, 1)
        distance = numpy.hypot(x + 0.39 - 1.3 * along, y) - (0.6 - 0.52 * along)
        expected = numpy.clip(0.5 - distance * 24 / 0.99 / softness, 0, 1)
        numpy.testing.assert_allclose(coverage, expected, atol=1e-4)


def test_backgrounds_have_texture_and_are_smooth_but_for_their_grain():
    noise = value_noise(numpy.random.default_rng(0), 200, 64)
    assert abs(noise.mean()) < 1.5
    assert 10 < noise.std(axis=(1, 2, 3)).mean() < 25
    neighbours = numpy.diff(noise, axis=3)
    assert neighbours.std() < 0.7 * noise.std()  # white noise would give 1.41


def test_the_background_is_still_and_only_noise_flickers():
    parameters = drawn(15, 16)
    quiet = render_motion(replace(parameters, noise_amplitude=numpy.zeros(16, dtype=numpy.float32)))
    corner = quiet[:, :, 0, 0]
    assert numpy.array_equal(corner, numpy.broadcast_to(corner[:, :1], corner.shape))
    noisy = render_motion(parameters)
    difference = numpy.abs(noisy.astype(int) - quiet)
    assert numpy.all(difference.max(axis=(1, 2, 3, 4)) <= parameters.noise_amplitude + 1)
    assert difference.mean() > 2
