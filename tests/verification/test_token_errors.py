"""Where in the clip a tensor goes wrong."""

import numpy
import pytest

from minivivit.verification.comparison.token_errors import pixel_errors, rms_by_position, token_errors
from minivivit.verification.comparison.verdict import compare

GRID = (3, 2, 4)
RNG = numpy.random.default_rng(0)
CLIP = RNG.random((2, *GRID))  # an error for each token of two clips
EXPECTED = numpy.sqrt((CLIP**2).mean(axis=0))


def test_errors_by_position_are_root_mean_squares():
    ours, theirs = RNG.standard_normal((2, 2, 700, 1000))  # two blocks
    theirs[1, 5, 7], theirs[0, 0, :] = numpy.nan, ours[0, 0]
    comparison = compare({"x": ours}, {"x": theirs}, atol=0.0)
    found = rms_by_position(comparison.rows[0], comparison, {"x": ours}, {"x": theirs})
    difference = numpy.nan_to_num(theirs - ours)
    numpy.testing.assert_allclose(found, numpy.sqrt((difference**2).mean(axis=-1)), rtol=1e-12)
    assert found[0, 0] == 0


def test_tokens_of_the_clip():
    tokens, cls = token_errors(CLIP.reshape(2, 24), GRID)
    numpy.testing.assert_allclose(tokens, EXPECTED)
    assert cls is None
    with_cls = numpy.concatenate([numpy.full((2, 1), 7.0), CLIP.reshape(2, 24)], axis=1)
    tokens, cls = token_errors(with_cls, GRID)
    numpy.testing.assert_allclose(tokens, EXPECTED)
    assert cls == pytest.approx(7)
    by_head = numpy.broadcast_to(with_cls[:, None], (2, 5, 25))  # (batch, heads, queries) of attention scores
    numpy.testing.assert_allclose(token_errors(by_head, GRID)[0], EXPECTED)


def test_tokens_of_a_frame_and_of_a_time():
    frames = CLIP.reshape(2 * 3, 8)  # Model 2's spatial encoder: times in the batch
    numpy.testing.assert_allclose(token_errors(frames, GRID)[0], EXPECTED)
    numpy.testing.assert_allclose(token_errors(CLIP.reshape(2, 3, 8), GRID)[0], EXPECTED)
    places = CLIP.transpose(0, 2, 3, 1).reshape(2 * 8, 3)  # Model 3's temporal attention: places in the batch
    numpy.testing.assert_allclose(token_errors(places, GRID)[0], EXPECTED)
    times = CLIP[:, :, 0, 0]  # Model 2's temporal encoder
    numpy.testing.assert_allclose(token_errors(times, GRID)[0].ravel(), numpy.sqrt((times**2).mean(axis=0)))


def test_what_has_no_tokens_gives_none():
    for shape in [(), (24,), (2, 11), (0, 24)]:
        assert token_errors(numpy.ones(shape), GRID) is None


def test_pixels_are_gathered_by_tubelet():
    ours = numpy.zeros((1, 7, 3, 5, 8))  # 7 frames and 5 rows: the last of each is of no tubelet
    theirs = ours.copy()
    theirs[0, 2:4, :, 2:4, 6:8] = 2.0
    theirs[0, 6], theirs[0, :, :, 4] = 9.0, numpy.inf
    comparison = compare({"pixel_values": ours}, {"pixel_values": theirs}, atol=0.0)
    arguments = (comparison.rows[0], comparison, {"pixel_values": ours}, {"pixel_values": theirs})
    tokens, cls = pixel_errors(*arguments, GRID)
    expected = numpy.zeros(GRID)
    expected[1, 1, 3] = 2.0
    numpy.testing.assert_array_equal(tokens, expected)
    assert cls is None
    assert pixel_errors(*arguments, (8, 2, 4)) is None
