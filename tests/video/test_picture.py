"""The picture of a classified clip."""

import os

import numpy
import pytest
from PIL import Image

from minivivit import InputError
from minivivit.video import picture
from minivivit.video.picture import BAR, attention_picture, check_picture_path, frames_caption, save_picture

CLASSES = [{"label": "one", "probability": 0.75}, {"label": "two", "probability": 0.25}]


def make(times=3, weights=None):
    frames = numpy.full((times, 20, 30, 3), 200, numpy.uint8)
    frames[0] = (250, 0, 0)
    if weights is None:
        weights = numpy.full((times, 2, 3), 1 / (6 * times))
    return attention_picture(frames, captions(times), weights, (2, 8, 8), CLASSES)


def captions(times):
    return [frames_caption([2 * time, 2 * time + 1], 2 * times) for time in range(times)]


def brightness(picture: Image.Image) -> numpy.ndarray:
    return numpy.asarray(picture).astype(float).sum(axis=2)


def test_frames_stand_in_a_row_above_their_attention():
    pixels = numpy.asarray(make())
    assert tuple(pixels[80, 60]) == (250, 0, 0)
    assert tuple(pixels[80, 60 + 174]) == (200, 200, 200)


def test_what_is_looked_at_is_bright_and_the_rest_dark():
    weights = numpy.zeros((3, 2, 3))
    weights[1, 0, 2] = 1.0
    picture = brightness(make(weights=weights))
    left, top, width, height = 16 + 174, 40 + 112 + 6, 168, 112  # the second frame of the lower row
    overlay = picture[top : top + height, left : left + width]
    row, column = numpy.unravel_index(overlay.argmax(), overlay.shape)
    assert row < height * 8 / 20
    assert width * 16 / 30 < column < width * 24 / 30
    assert overlay.max() > 3 * numpy.median(overlay)
    assert picture[top : top + height, 16 : 16 + width].max() < overlay.max() / 3  # of the first frame, nothing


def test_bars_are_as_long_as_the_probabilities():
    pixels = numpy.asarray(make())
    lengths = (pixels == numpy.array(BAR)).all(axis=2).sum(axis=1)
    first, second = sorted({int(length) for length in lengths if length})[::-1]
    assert abs(first / second - 3) < 0.1


def test_a_long_clip_is_shown_in_eight_frames():
    assert make(times=40).width == make(times=8).width > make(times=7).width


def test_weights_may_be_zero_or_one_tubelet():
    frames = numpy.zeros((1, 9, 9, 3), numpy.uint8)
    attention_picture(frames, ["frame 1 of 1"], numpy.ones((1, 1, 1)), (1, 4, 4), CLASSES)


def test_a_tubelet_is_named_by_its_frames():
    assert captions(2) == ["frames 1 to 2 of 4", "frames 3 to 4 of 4"]
    assert frames_caption([4], 32) == "frame 5 of 32"


def test_every_frame_has_its_caption(monkeypatch):
    written = []
    monkeypatch.setattr(picture, "_write", lambda draw, place, text, colour: written.append((place, text)))
    make(times=40)
    shown = [text for place, text in written if text.startswith("frame")]
    assert shown[0] == "frames 1 to 2 of 80"
    assert shown[-1] == "frames 79 to 80 of 80"
    assert len(shown) == 8


def test_the_file_is_a_png_whole_or_not_there(tmp_path):
    path = tmp_path / "a.png"
    save_picture(make(), path)
    with Image.open(path) as image:
        assert image.format == "PNG"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(("name", "message"), [("a.jpg", "PNG"), ("missing/a.png", "not a directory")])
def test_places_that_cannot_be_written_are_refused_beforehand(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        check_picture_path(tmp_path / name)
