"""Clips for who has none at hand: recordings of a stick that turns, drawn by a seeded generator and cut into clips.

    python notebooks/stand_in_clips.py clips

What a camera adds is there: a background and a light of each recording's own, a hand that is never quite in the middle
nor quite even, and noise.
"""

import sys
from pathlib import Path

import numpy
from PIL import Image

from minivivit.training.data.motion.backgrounds import textured_backgrounds

CLASSES = ("clockwise", "counter-clockwise")
# Where each recording was made: the first five show clockwise turns, the others counter-clockwise ones.
PLACES = ("attic", "balcony", "cellar", "garden", "hall", "kitchen", "lounge", "office", "porch", "shed")
CLIPS_EACH = 4
CLIP_FRAMES = 20
HEIGHT, WIDTH = 36, 48
RATE = 15.0  # frames a second
TURNS = (1.35, 1.65)  # a second, whatever the camera does
NOISE = 8.0  # grey levels


def record(
    rng: numpy.random.Generator, label: int, num_frames: int, rate: float = RATE, warmth: float | None = None
) -> numpy.ndarray:
    """One recording: uint8 (frames, height, width, 3).

    Parameters
    ----------
    rng : numpy.random.Generator
        Of everything about it: background, light, stick, speed, noise.
    label : int
        Which of `CLASSES`.
    num_frames : int
    rate : float
        Frames a second.
    warmth : float, optional
        The light: above 0 reddish, below 0 bluish. None: any.
    """
    colour = rng.uniform(70, 185) + rng.uniform(-25, 25, (1, 3))
    background = textured_backgrounds(rng, colour, WIDTH)[0, :, :HEIGHT].transpose(1, 2, 0)
    drawn = rng.normal(0, 0.12)
    light = numpy.exp((drawn if warmth is None else warmth) * numpy.array([1, 0, -1]))
    ink = 235 if colour.mean() < 127 else 20
    seconds = numpy.arange(num_frames) / rate
    turns = rng.uniform(*TURNS) * seconds + 0.02 * numpy.sin(2 * numpy.pi * (seconds + rng.random()))
    angle = 2 * numpy.pi * (rng.random() + (turns if label == 0 else -turns))  # y points down: clockwise is positive
    length, radius = rng.uniform(5.0, 6.3), rng.uniform(1.3, 1.9)
    middle = numpy.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-0.7, 0.7, 2)
    tip_x, tip_y = (length * f(angle)[:, None, None] for f in (numpy.cos, numpy.sin))  # seen from the middle
    x = numpy.arange(WIDTH) + 0.5 - middle[0]
    y = (numpy.arange(HEIGHT) + 0.5 - middle[1])[:, None]
    foot = numpy.clip((x * tip_x + y * tip_y) / length**2, 0, 1)  # the nearest point of the stick, from 0 to 1
    cover = numpy.clip(0.5 + radius - numpy.hypot(x - foot * tip_x, y - foot * tip_y), 0, 1)[..., None]
    frames = (background * (1 - cover) + ink * cover) * light
    return numpy.clip(frames + rng.uniform(-NOISE, NOISE, frames.shape), 0, 255).astype(numpy.uint8)


def cut(recording: numpy.ndarray) -> list[numpy.ndarray]:
    """A recording as clips of `CLIP_FRAMES` frames, one after the other."""
    return list(recording.reshape(-1, CLIP_FRAMES, *recording.shape[1:]))


def write(folder: Path, seed: int) -> None:
    """Write twenty clips of each class as animated PNG: ``clockwise/attic_1.png`` and so on."""
    rng = numpy.random.default_rng(seed)
    for number, place in enumerate(PLACES):
        label = number * len(CLASSES) // len(PLACES)
        (folder / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        for part, clip in enumerate(cut(record(rng, label, CLIPS_EACH * CLIP_FRAMES)), start=1):
            first, *others = map(Image.fromarray, clip)
            path = folder / CLASSES[label] / f"{place}_{part}.png"
            first.save(path, save_all=True, append_images=others, duration=1000 / RATE, loop=0)


if __name__ == "__main__":
    write(Path(sys.argv[1]), seed=1700)
