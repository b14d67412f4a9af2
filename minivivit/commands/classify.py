"""``minivivit classify``: name the classes of a clip."""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import BACKENDS, DTYPES, to_numpy
from minivivit.commands.common.arguments import positive, views
from minivivit.commands.common.chosen import read_chosen
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable, text_table
from minivivit.config import VivitConfig, uniform_frame_indices
from minivivit.errors import InputError
from minivivit.explore.attention_rollout import attention_rollout
from minivivit.layers.trace import Trace
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import needs_interpolation
from minivivit.models.multi_view import AVERAGES, average_views
from minivivit.models.top_classes import class_probabilities, top_classes
from minivivit.progress import NameListener, num_attentions, num_layers, progress_bar, step_when_done
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.picture import attention_picture, check_picture_path, frames_caption, save_picture
from minivivit.video.reading import count_frames, read_video
from minivivit.video.resize import MAX_VALUES
from minivivit.video.sampling import centre_frame_indices
from minivivit.video.views import spatial_views, temporal_views

# The paper's: "clips of 32 frames with a stride of 2" (section 4.1).
DEFAULT_STRIDE = 2

DESCRIPTION = """\
Name the classes of a clip.

CLIP is an MP4, MOV, MKV, WebM, AVI, MPEG, TS, WMV, FLV or OGG file (these need  pip install 'minivivit[video]'), an
animated GIF, PNG or WebP, a multi-page TIFF, a folder of images, or a .npy file of uint8 (frames, height, width, 3).
Left out, it is a sample that ships with minivivit, and so is the model.

Which frames the model sees: as many as its config says (or --frames), about every second one (or every --stride-th),
from the middle of the clip; no draw is made, so the same clip gives the same answer. A clip too short for that is
spread over whole, its frames repeated where there are too few.

With --views the model sees more of the video, and its answers are averaged: --views 4x3, the paper's, shows it 4
clips, spread evenly from the first frame to the last, each cropped three times: at the left, centre and right (or the
top, middle and bottom). A video shorter than a clip is then repeated from its start. One clip is the one described
above, and one crop is the centre. Every view takes as long as one clip without --views."""

EXAMPLES = """\
examples:
  minivivit classify
  minivivit classify dog.gif --save-picture dog.png
  minivivit classify cooking.mp4 --model vivit-b-16x2-kinetics400 --top-k 3
  minivivit classify cooking.mp4 --model vivit-b-16x2-kinetics400 --views 4x3
  minivivit classify cooking.mp4 --model vivit-b-16x2-kinetics400 --json | jq .predictions"""


def add_classify_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("clip", nargs="?", metavar="CLIP", help="the clip (default: the bundled sample)")
    add("--model", metavar="DIR", help="directory of a model, as Hugging Face lays it out (default: the bundled model)")
    add("--top-k", type=positive, default=5, metavar="K", help="how many classes to name (default: 5)")
    add(
        "--frames", type=positive, metavar="N", help="how many frames to show the model (default: what it was made for)"
    )
    add("--stride", type=positive, default=DEFAULT_STRIDE, metavar="S", help="show every S-th frame (default: 2)")
    add(
        "--views",
        type=views,
        metavar="TxS",
        help="average over T clips (in time) of S crops (1 or 3) each, such as 4x3",
    )
    add("--average", choices=AVERAGES, default=AVERAGES[0], help="what of the views to average (default: logits)")
    add("--dtype", choices=DTYPES, default="float32", help="what to compute in (default: float32)")
    add("--backend", choices=BACKENDS, default="auto", help="NumPy on the CPU or CuPy on a GPU (default: auto)")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add(
        "--save-picture",
        metavar="FILE",
        help="write the frames (of the middle view), where the model looks, and the classes as a PNG file",
    )


def run_classify(arguments: argparse.Namespace) -> None:
    """Classify the clip that `arguments` name, and print the result."""
    if arguments.save_picture is not None:
        check_picture_path(arguments.save_picture)
    directory, clip, config, processor, notes = read_chosen(arguments)
    clip_len = arguments.frames or config.num_frames
    check_clip_len(clip_len, processor, config)

    num_clips, num_crops = arguments.views or (1, 1)
    num_views = num_clips * num_crops
    pictured = num_clips // 2 * num_crops + num_crops // 2 if arguments.save_picture is not None else None
    steps = 3 + num_views * num_layers(config) + (num_attentions(config) if pictured is not None else 0)
    with progress_bar(steps, "classify") as bar:
        num_frames = count_frames(clip)
        bar.update()
        indices = _clip_indices(num_clips, clip_len, arguments.stride, num_frames)
        shown, places = numpy.unique(indices, return_inverse=True)
        frames, places = read_video(clip, shown), places.reshape(indices.shape)  # (num_clips, frames of a clip)
        bar.update()
        with held_log() as messages:
            model = VivitForVideoClassification.from_pretrained(
                directory, dtype=arguments.dtype, backend=arguments.backend
            )
        notes.extend(messages)
        bar.update()
        views = _views(frames, places, processor, num_crops)
        logits, weights = _forward_views(model, views, num_views, bar, pictured, notes)
    averaged = average_views(numpy.stack(logits), config, arguments.average)
    probabilities = class_probabilities(averaged, config) if arguments.average == "logits" else averaged
    classes = top_classes(probabilities, config, arguments.top_k)
    if weights is not None:
        middle = frames[places[num_clips // 2]]
        tubelets = _tubelet_frames(len(middle), config)
        seen = _seen_frames(middle[tubelets[:, tubelets.shape[1] // 2]], processor)
        captions = [frames_caption(indices.tolist(), len(middle)) for indices in tubelets]
        picture = attention_picture(seen, captions, weights, config.tubelet_size, classes)
        save_picture(picture, arguments.save_picture)
    print_notes(notes)
    _print_result(arguments, clip, directory, num_frames, indices, classes)


def check_clip_len(clip_len: int, processor: ClipProcessor, config: VivitConfig) -> None:
    """Refuse more frames than memory can be meant to hold, before any is taken."""
    size = processor.crop_size if processor.do_center_crop else processor.size if processor.do_resize else {}
    height, width = (size.get(name, size.get("shortest_edge", 1)) for name in ("height", "width"))
    values = clip_len * config.num_channels * height * width
    if values > MAX_VALUES:
        raise InputError(
            f"{clip_len:,} frames make {values:,} values or more, and {MAX_VALUES:,} is the most: choose fewer --frames"
        )


def _clip_indices(num_clips: int, clip_len: int, stride: int, num_frames: int) -> numpy.ndarray:
    """Indices of the frames of each clip: (num_clips, clip_len). One alone is placed as if there were no --views."""
    if num_clips == 1:
        return centre_frame_indices(clip_len, stride, num_frames)[None]
    return temporal_views(num_clips, clip_len, stride, num_frames)


def _views(
    frames: numpy.ndarray, places: numpy.ndarray, processor: ClipProcessor, num_crops: int
) -> Iterator[numpy.ndarray]:
    """Pixel values (1, frames, channels, height, width) of one view after the other, clip by clip."""
    for clip in places:
        for crop in spatial_views(frames[clip], processor, num_crops):
            yield crop[None]


def _forward_views(
    model: VivitForVideoClassification,
    pixel_values: Iterator[numpy.ndarray],
    num_views: int,
    bar: Any,
    pictured: int | None,
    notes: list[str],
) -> tuple[list[numpy.ndarray], numpy.ndarray | None]:
    """Logits (num_labels,) of each view, and the attention rollout (times, rows, columns) of view `pictured`.

    Views of another size than the model's add a note to `notes`.
    """
    first = next(pixel_values)  # all views are of one size
    interpolate = needs_interpolation(first.shape, model.config)
    if interpolate:
        notes.append(interpolation_note(first.shape, model.config))
    logits, rollout = [], None
    for number, view in enumerate(itertools.chain([first], pixel_values)):
        if num_views > 1:
            bar.set_postfix_str(f"view {number + 1} of {num_views}")
        of_view, weights = _forward(model, view, interpolate, bar, number == pictured)
        logits.append(of_view)
        rollout = weights if weights is not None else rollout
    return logits, rollout


def _forward(
    model: VivitForVideoClassification, pixel_values: numpy.ndarray, interpolate: bool, bar: Any, roll_out: bool
) -> tuple[numpy.ndarray, numpy.ndarray | None]:
    """Logits (num_labels,), and the attention rollout (times, rows, columns) if asked for."""
    listener = None if bar.disable else step_when_done(bar)
    with numpy.errstate(all="ignore"):  # an overflow shows in the logits, which are checked
        if roll_out:
            outputs, weights = attention_rollout(
                model, pixel_values, interpolate_pos_encoding=interpolate, on_record=listener
            )
            return to_numpy(outputs.logits)[0], weights[0]
        trace = None if listener is None else Trace(NameListener(listener))
        outputs = model.forward(pixel_values, interpolate_pos_encoding=interpolate, return_dict=True, trace=trace)
    return to_numpy(outputs.logits)[0], None


def interpolation_note(shape: tuple[int, ...], config: VivitConfig) -> str:
    """What to tell the user of a clip (1, frames, channels, height, width) that is of another size than the model."""
    return (
        f"the model was made for {config.num_frames} frames of {config.frame_size[0]} x {config.frame_size[1]} "
        f"and sees {shape[1]} of {shape[3]} x {shape[4]}: its position embeddings are interpolated"
    )


def _tubelet_frames(count: int, config: VivitConfig) -> numpy.ndarray:
    """Which of `count` frames go into the tubelets of each temporal index: (times, frames of a tubelet)."""
    chosen = numpy.arange(count)
    if config.temporal_encoding == "frame_sampling":
        chosen = numpy.array(uniform_frame_indices(count, config.num_sampled_frames or count))
    depth = config.tubelet_size[0]
    return chosen[: len(chosen) // depth * depth].reshape(-1, depth)


def _seen_frames(frames: numpy.ndarray, processor: ClipProcessor) -> numpy.ndarray:
    """The frames as the model sees them, resized and cropped: uint8 (times, height, width, 3)."""
    return processor.pixel_values(frames, data_format="channels_last", **processor.without_arithmetic)[0]


def _print_result(
    arguments: argparse.Namespace,
    clip: Path,
    directory: Path,
    num_frames: int,
    indices: numpy.ndarray,
    classes: list[dict],
) -> None:
    """The answer as one JSON object or as a table; `indices` (clips, frames of a clip)."""
    num_clips, num_crops = arguments.views or (1, 1)
    if arguments.json:
        result = {"clip": str(clip), "model": str(directory), "frames": indices[0].tolist(), "predictions": classes}
        if arguments.views is not None:
            result |= {"frames": indices.tolist(), "views": [num_clips, num_crops], "average": arguments.average}
        print(json.dumps(result, allow_nan=False))
        return
    each = f"{num_clips * num_crops} views ({num_clips} x {num_crops}), each " if num_clips * num_crops > 1 else ""
    clip_len = indices.shape[1]
    repeated = f"{num_frames} {'frames' if num_frames > 1 else 'frame'}, repeated to {clip_len}"
    seen = repeated if clip_len > num_frames else f"{clip_len} of {num_frames} frames"
    print(f"{printable(clip.name)}: {each}{seen}, from {indices.min()} to {indices.max()}")
    rows = [(entry["label"], f"{entry['probability']:.4f}") for entry in classes]
    print(text_table(("label", "probability"), rows))
