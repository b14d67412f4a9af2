"""A picture of a classified clip: its frames, where the model looks, and the most probable classes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageDraw, ImageFont

from minivivit.errors import InputError
from minivivit.files.atomic import atomic_path

MAX_COLUMNS = 8
FRAME_WIDTH = 168
MARGIN, GAP, LINE = 16, 6, 24
LONGEST_LABEL = 200  # letters; the picture is narrower
BACKGROUND, INK, FAINT, BAR = (255, 255, 255), (32, 32, 36), (120, 120, 128), (222, 120, 40)
# Colours of little and of much attention, in steps of equal size: from night through ember to light.
COLOURS = numpy.array([(12, 8, 60), (96, 20, 110), (186, 54, 85), (240, 120, 32), (252, 232, 120)], numpy.float64)


def attention_picture(
    frames: numpy.ndarray,
    captions: Sequence[str],
    weights: numpy.ndarray,
    tubelet_size: Sequence[int],
    classes: Sequence[dict[str, Any]],
) -> Image.Image:
    """Draw frames, the same frames with the attention over them, and a bar for each class.

    Parameters
    ----------
    frames : uint8 array, shape (times, height, width, 3)
        One frame for each temporal index, as the model sees it (resized and cropped).
    captions : sequence of str
        What to write over each of them (`frames_caption`).
    weights : array, shape (times, rows, columns)
        How much each tubelet contributes; those of a clip sum to 1 (`minivivit.explore.attention_rollout`).
    tubelet_size : (frames, height, width)
        A remainder of the frame that no tubelet covers stays dark.
    classes : sequence of dict
        ``{"label", "probability"}``, most probable first (`minivivit.models.top_classes`).

    Returns
    -------
    PIL.Image.Image
        At most `MAX_COLUMNS` temporal indices, spread evenly over the clip. Colours range from none to the largest
        weight in the whole clip, so frames can be compared.
    """
    times, height, width = frames.shape[:3]
    columns = min(times, MAX_COLUMNS)
    chosen = numpy.linspace(0, times - 1, columns).round().astype(int)
    frame_size = (FRAME_WIDTH, max(1, round(FRAME_WIDTH * height / width)))
    top, step = MARGIN + LINE, frame_size[1] + GAP
    bars = top + 2 * step + LINE // 2
    size = (
        max(2 * MARGIN + columns * (FRAME_WIDTH + GAP) - GAP, 560),
        bars + len(classes) * LINE + LINE + MARGIN,
    )
    picture = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for column, time in enumerate(chosen):
        left = MARGIN + column * (FRAME_WIDTH + GAP)
        heat = _heat(weights[time], weights.max(), (height, width), tubelet_size)  # (height, width)
        _write(draw, (left, MARGIN), captions[time], FAINT)
        for row, pixels in enumerate((frames[time], _overlay(frames[time], heat))):
            image = Image.fromarray(pixels).resize(frame_size, Image.Resampling.BICUBIC)
            picture.paste(image, (left, top + row * step))
    _draw_classes(draw, bars, size[0], classes)
    caption = f"lower row: attention rollout; brightest = {weights.max() * weights.size:.1f} times an equal share"
    _write(draw, (MARGIN, size[1] - MARGIN - LINE // 2), caption, FAINT)
    return picture


def frames_caption(indices: Sequence[int], count: int) -> str:
    """Which of the `count` frames that were classified a tubelet holds, counted from 1, in words."""
    first, last = min(indices) + 1, max(indices) + 1
    return f"frame {first} of {count}" if first == last else f"frames {first} to {last} of {count}"


def check_picture_path(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` where `save_picture` could not write: better before the work than after it."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path} does not end in .png; the picture is written as a PNG file")
    if Path(path).is_dir():
        raise InputError(f"{path} is a directory; expected the name of a file to write the picture into")
    if not Path(path).parent.is_dir():
        raise InputError(f"{Path(path).parent} is not a directory; make it first, or write the picture elsewhere")


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write `picture` as a PNG file to `path`, never half of it."""
    check_picture_path(path)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _heat(
    weights: numpy.ndarray, largest: float, frame_size: tuple[int, int], tubelet_size: Sequence[int]
) -> numpy.ndarray:
    """Weights (rows, columns) as a smooth map over the frame, 0 to 1: (height, width)."""
    (rows, columns), (height, width) = weights.shape, frame_size
    covered = (columns * tubelet_size[2], rows * tubelet_size[1])
    image = Image.fromarray((weights / largest).astype(numpy.float32))
    smooth = numpy.asarray(image.resize(covered, Image.Resampling.BILINEAR))
    heat = numpy.zeros((height, width), numpy.float32)
    heat[: covered[1], : covered[0]] = smooth
    return heat


def _overlay(frame: numpy.ndarray, heat: numpy.ndarray) -> numpy.ndarray:
    """The frame in grey, tinted with the colours of `heat`: uint8 (height, width, 3)."""
    grey = frame.mean(axis=2, keepdims=True) / 255  # (height, width, 1)
    position = heat.clip(0, 1) * (len(COLOURS) - 1)
    lower = numpy.minimum(position.astype(int), len(COLOURS) - 2)
    part = (position - lower)[..., None]
    colour = (1 - part) * COLOURS[lower] + part * COLOURS[lower + 1]  # (height, width, 3)
    return (colour * (0.35 + 0.65 * grey)).round().astype(numpy.uint8)


def _draw_classes(draw: ImageDraw.ImageDraw, top: int, width: int, classes: Sequence[dict[str, Any]]) -> None:
    """One line a class: its probability, a bar of that length, its name over the bar's end."""
    left, right = MARGIN + 64, width // 2
    for line, entry in enumerate(classes):
        y = top + line * LINE
        length = round((right - left) * entry["probability"])
        _write(draw, (MARGIN, y + 2), f"{100 * entry['probability']:.1f} %", INK)
        draw.rectangle((left, y, right, y + LINE - 8), fill=(240, 240, 242))
        if length:
            draw.rectangle((left, y, left + length, y + LINE - 8), fill=BAR)
        _write(draw, (right + 12, y + 2), entry["label"][:LONGEST_LABEL], INK)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: tuple[int, int, int]) -> None:
    text = "".join(letter if letter.isprintable() else " " for letter in text)  # labels come from files
    draw.text(place, text, fill=colour, font=ImageFont.load_default(size=13))
