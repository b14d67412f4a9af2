"""Many clips in one process: does its memory grow, does a file stay open, does it become slower?

    python tests/benchmarks/load.py                      a thousand through evaluate, ten thousand through the processor
    python tests/benchmarks/load.py --clips 3000 --processed 1000

Clips are animated WebP, GIF, .npy and folders of PNG. Memory is what the process has in RAM (VmRSS, Linux), as a
straight line through what is found after each batch; the first tenth, which warms up, is left out. Speed is in seconds
of the processor, which other work on the machine hardly changes.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image

from minivivit.backend import set_num_threads
from minivivit.bundled import bundled_model_directory
from minivivit.cli import main
from minivivit.commands import evaluate
from minivivit.config import VivitConfig
from minivivit.training.data.motion.clips import MOTION_CLASSES, motion_clips
from minivivit.training.parallel.ranks import in_turns
from minivivit.video.default_processor import load_processor

MOST_GROWTH = 1.0  # MB a thousand clips
MOST_SLOWDOWN = 1.05
FEWEST_BATCHES = 8  # by which speed is judged; `evaluate` has 64 clips in one


def resident() -> float:
    """Megabytes of this process in RAM."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


def open_files() -> int:
    """How many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


def slope(clips: list[int], megabytes: list[float]) -> float:
    """Megabytes a thousand clips, by least squares, without the first tenth, and the first two batches at least."""
    first = max(3, len(clips) // 10)
    return 1000 * float(numpy.polyfit(clips[first:], megabytes[first:], 1)[0])


def write_clips(folder: Path, count: int) -> None:
    """`count` clips of the eight motions in the formats that need no extra."""
    rng = numpy.random.default_rng(0)
    for first in range(0, count, 64):
        clips, labels = motion_clips(rng, min(64, count - first))
        for index, (clip, label) in enumerate(zip(clips, labels, strict=True), start=first):
            place = folder / MOTION_CLASSES[label]
            place.mkdir(exist_ok=True)
            frames = [Image.fromarray(frame) for frame in clip]
            kind = index % 4
            if kind < 2:
                name = place / f"{index:05}.{('webp', 'gif')[kind]}"
                frames[0].save(name, save_all=True, append_images=frames[1:], **({} if kind else {"lossless": True}))
            elif kind == 2:
                numpy.save(place / f"{index:05}.npy", clip)
            else:
                (place / f"{index:05}").mkdir()
                for number, frame in enumerate(frames):
                    frame.save(place / f"{index:05}" / f"{number}.png")


class Watch:
    """What is noted while clips go by."""

    def __init__(self) -> None:
        self.clips, self.megabytes, self.seconds = [0], [resident()], [time.process_time()]

    def note(self, count: int) -> None:
        """So many more clips have gone by."""
        self.clips.append(self.clips[-1] + count)
        self.megabytes.append(resident())
        self.seconds.append(time.process_time())

    def passing(self, ranks, blocks):
        """In place of `minivivit.training.parallel.ranks.in_turns`, through which all answers go."""
        for answers in in_turns(ranks, blocks):
            yield answers
            self.note(len(answers))

    def result(self) -> dict:
        """Growth, and the time of a clip at the end to that at the beginning, by a straight line through all."""
        # Neither the first batches, which warm up, nor the last, whose clips were read ahead, on others' time.
        times = (numpy.diff(self.seconds) / numpy.diff(self.clips))[2:-2]
        if len(times) < FEWEST_BATCHES:
            raise SystemExit(f"too few clips to tell: {len(times) + 4} batches; give {FEWEST_BATCHES + 4} at least")
        line = numpy.polynomial.Polynomial.fit(range(len(times)), times, 1)
        slower = float(line(len(times) - 1) / line(0))
        growth = slope(self.clips, self.megabytes)
        return {"clips": self.clips[-1], "growth": growth, "slower": slower, "resident": self.megabytes[-1]}


def through_evaluate(folder: Path) -> dict:
    """All clips of a folder, through the command."""
    watch = Watch()
    evaluate.in_turns = watch.passing
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert main(["evaluate", "--data", str(folder), "--json", "--stride", "1"]) == 0
    finally:
        evaluate.in_turns = in_turns
    return {**watch.result(), "accuracy": json.loads(said.getvalue())["accuracy"]}


def through_the_processor(count: int) -> dict:
    """Clips of 48 x 64, one by one, resized and cropped to the bundled model's size."""
    directory = bundled_model_directory()
    processor, _ = load_processor(directory, VivitConfig.from_pretrained(directory))
    clip = numpy.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=numpy.uint8)
    watch = Watch()
    for _ in range(0, count, 10):
        for _ in range(10):
            processor([*clip], return_tensors="np")
        watch.note(10)
    return watch.result()


def run() -> int:
    """Print what was found, and return 1 where it is more than it may be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--processed", type=int, default=10000)
    arguments = parser.parse_args()
    set_num_threads(1)  # so that seconds of the processor are those of the work
    with tempfile.TemporaryDirectory() as directory:
        write_clips(Path(directory), arguments.clips)
        gc.collect()
        before, results = open_files(), {}
        results["evaluate"] = through_evaluate(Path(directory))
        results["processor"] = through_the_processor(arguments.processed)
        left = open_files() - before
    passed = left == 0
    for name, found in results.items():
        passed &= found["growth"] <= MOST_GROWTH and found["slower"] <= MOST_SLOWDOWN
        print(
            f"{name}: {found['clips']:,} clips; memory grows by {found['growth']:+.2f} MB a thousand (at most "
            f"{MOST_GROWTH:.0f}) and is {found['resident']:.0f} MB at the end; a clip takes at the end "
            f"{found['slower']:.3f} times what it takes at the beginning (at most {MOST_SLOWDOWN})"
        )
    print(f"files left open: {left}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(run())
