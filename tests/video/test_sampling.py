import numpy
import pytest

from minivivit.errors import InputError
from minivivit.video.sampling import centre_frame_indices, sample_frame_indices


class FixedEnd(numpy.random.Generator):
    """A generator whose every draw is the same, and which remembers the bounds it was asked for."""

    def __init__(self, end):
        super().__init__(numpy.random.PCG64(0))
        self.end, self.asked = end, []

    def integers(self, low, high):
        self.asked.append((low, high))
        return self.end


def test_by_hand():
    rng = FixedEnd(end=20)
    indices = sample_frame_indices(clip_len=5, frame_sample_rate=3, seg_len=100, rng=rng)
    # start = 20 - 15 = 5; linspace(5, 20, 5) = 5, 8.75, 12.5, 16.25, 20; clipped to at most 19; floored.
    assert indices.tolist() == [5, 8, 12, 16, 19]
    assert indices.dtype == numpy.int64
    assert rng.asked == [(15, 100)]


def test_draws_every_window_and_nothing_outside():
    rng = numpy.random.default_rng(0)
    starts = {int(sample_frame_indices(4, 2, 12, rng)[0]) for _ in range(300)}
    assert starts == {0, 1, 2, 3}  # end = 8 ... 11: the twelfth frame is never in a window, as in the original


def test_same_seed_same_indices():
    first, again = (sample_frame_indices(32, 2, 1000, numpy.random.default_rng(7)) for _ in range(2))
    assert numpy.array_equal(first, again)


@pytest.mark.parametrize("clip_len", [1, 2, 7, 32])
@pytest.mark.parametrize("rate", [1, 2, 5])
@pytest.mark.parametrize("seg_len", [1, 2, 6, 7, 31, 32, 33, 64, 65, 161, 400])
def test_indices_are_frames_of_the_clip(clip_len, rate, seg_len):
    for indices in (
        sample_frame_indices(clip_len, rate, seg_len, numpy.random.default_rng(clip_len)),
        centre_frame_indices(clip_len, rate, seg_len),
    ):
        assert indices.shape == (clip_len,)
        assert indices.dtype == numpy.int64
        assert indices.min() >= 0
        assert indices.max() < seg_len
        assert (numpy.diff(indices) >= 0).all()


def test_a_short_clip_is_spread_whole():
    rng = FixedEnd(end=-1)
    assert sample_frame_indices(8, 1, 8, rng).tolist() == list(range(8))  # exactly long enough: the original fails here
    assert sample_frame_indices(8, 4, 8, rng).tolist() == list(range(8))
    assert sample_frame_indices(6, 1, 3, rng).tolist() == [0, 0, 1, 1, 2, 2]
    assert sample_frame_indices(4, 10, 1, rng).tolist() == [0, 0, 0, 0]
    # Of 20 frames, five over the whole clip: linspace(0, 20, 5) = 0, 5, 10, 15, 20, clipped to 19.
    assert sample_frame_indices(5, 4, 20, rng).tolist() == [0, 5, 10, 15, 19]
    assert rng.asked == []


def test_centre():
    assert centre_frame_indices(4, 1, 10).tolist() == [3, 4, 5, 6]
    assert centre_frame_indices(5, 3, 100).tolist() == [42, 45, 49, 53, 56]  # 42 + (0, 3.75, 7.5, 11.25, 15)
    assert centre_frame_indices(5, 4, 20).tolist() == [0, 5, 10, 15, 19]
    assert centre_frame_indices(6, 1, 3).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("wrong", [0, -1, 1.5, "4", None, float("nan")])
def test_wrong_numbers_are_named(position, wrong):
    numbers = [8, 2, 100]
    numbers[position] = wrong
    name = ("clip_len", "frame_sample_rate", "seg_len")[position]
    with pytest.raises(InputError, match=f"{name} is .*whole number of at least 1"):
        sample_frame_indices(*numbers, numpy.random.default_rng(0))
    with pytest.raises(InputError, match=f"{name} is .*whole number of at least 1"):
        centre_frame_indices(*numbers)


def test_the_call_of_transformers_documentation_draws_a_new_window_each_time():
    drawn = [sample_frame_indices(clip_len=4, frame_sample_rate=1, seg_len=10**9) for _ in range(3)]
    assert len({tuple(indices) for indices in drawn}) == 3
    assert all(indices[-1] - indices[0] in (3, 4) for indices in drawn)
    state = numpy.random.get_state()[1].tolist()  # noqa: NPY002
    sample_frame_indices(4, 1, 300)
    assert numpy.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert sample_frame_indices(4, 1, 4).tolist() == [0, 1, 2, 3]  # nothing to draw


@pytest.mark.parametrize("rng", [0, numpy.random, numpy.random.RandomState(0)])
def test_only_a_generator_draws(rng):
    with pytest.raises(InputError, match=r"rng is .*expected a numpy.random.Generator"):
        sample_frame_indices(8, 2, 100, rng)
