"""How much of an evaluation's time is not the model's: ``evaluate --views 4x3`` beside the bare forward passes.

``python tests/benchmarks/evaluate_views.py``: 200 short clips (motions of 16 frames of 48 x 64), written in a temporary
folder, with the bundled model. The bare passes get the same views, prepared beforehand, and have all threads for each.
Both take turns, round by round; what counts is the ratio of the medians.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy
from PIL import Image

from minivivit import VivitForVideoClassification, VivitImageProcessor
from minivivit.bundled import bundled_model_directory
from minivivit.training.data.motion.clips import motion_clips
from minivivit.training.measurement import passes


def write_clips(folder: Path, count: int, kind: str) -> list:
    """(name, path, labels) of clips of 16 frames of 48 x 64."""
    clips, labels = motion_clips(numpy.random.default_rng(0), count, 16, 64)
    clips = clips[:, :, 8:56]
    entries = []
    for number, (clip, label) in enumerate(zip(clips, labels.tolist(), strict=True)):
        path = folder / f"{number}.{kind}"
        if kind == "npy":
            numpy.save(path, clip)
        elif kind == "mp4":
            import av

            with av.open(str(path), "w") as container:
                stream = container.add_stream("mpeg4", rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                for frame in numpy.ascontiguousarray(clip):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode())
        else:
            frames = [Image.fromarray(frame) for frame in clip]
            frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        entries.append((path.name, path, (label,)))
    return entries


def evaluate(model, processor, clips, viewing) -> None:
    """What the command does of a list of clips."""
    assert sum(len(answers) for answers in passes.answer_clips(model, processor, clips, viewing)) == len(clips)


def bare_passes(model, views: numpy.ndarray) -> None:
    """Nothing but the forward passes."""
    size = passes.views_of_a_pass(model.config)
    for start in range(0, len(views), size):
        model.forward(views[start : start + size], return_dict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kind", choices=("npy", "webp", "mp4"), default="mp4")
    arguments = parser.parse_args()
    directory = bundled_model_directory()
    model = VivitForVideoClassification.from_pretrained(directory, backend="numpy")
    processor = VivitImageProcessor.from_pretrained(directory)
    viewing = passes.Viewing(4, 3)
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder), arguments.clips, arguments.kind)
        prepared = [passes._prepared(clip, processor, 8, viewing, 0) for _, clip, _ in clips]
        views = numpy.stack([pixels[c, own] for pixels, places in prepared for own in places for c in range(3)])
        ways = {
            "bare passes": partial(bare_passes, model, views),
            "evaluate": partial(evaluate, model, processor, clips, viewing),
            "reading alone": lambda: [passes._prepared(clip, processor, 8, viewing, 0) for _, clip, _ in clips],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(arguments.rounds + 1):
            for name, way in ways.items():
                start, own = time.perf_counter(), time.process_time()
                way()
                if turn:
                    seconds[name].append(time.perf_counter() - start)
                    print(f"{name}: {seconds[name][-1]:.2f} s, processor {time.process_time() - own:.2f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{arguments.clips} clips ({arguments.kind}), 4x3 views, {os.cpu_count()} processors")
    for name, median in medians.items():
        print(f"{name}: {median:.3f} s, speed {medians['bare passes'] / median:.3f} of the bare passes")


if __name__ == "__main__":
    main()
