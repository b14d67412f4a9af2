"""``minivivit explore``: lay a network open, on one clip, in one page."""

import argparse
from pathlib import Path

import numpy

from minivivit.backend import BACKENDS, DTYPES
from minivivit.commands.classify import DEFAULT_STRIDE, check_clip_len, interpolation_note
from minivivit.commands.common.arguments import natural
from minivivit.commands.common.chosen import read_chosen
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable
from minivivit.errors import InputError
from minivivit.explore.page import explore_page
from minivivit.explore.recording import record_network
from minivivit.files.atomic import write_text
from minivivit.files.tensor_data import quoted
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import needs_interpolation
from minivivit.progress import LAYER, num_layers, progress_bar
from minivivit.video.reading import read_central_frames

DESCRIPTION = """\
Write a page in which a network can be walked through: one clip goes through it forward and backward, and every value
and gradient can be looked at, from the attention over the clip's frames down to a single number as a sum of products.

CLIP is what  minivivit classify  takes, prepared as there. The page is one file that needs no network and no other
file; any browser of the last years opens it. A small model is in it whole (the bundled one: under 3 MB); of a large one
a sample is (ViViT-B: under 12 MB), and the page says what was kept.

Gradients are of the loss for the most probable class, or for --label."""

EXAMPLES = """\
examples:
  minivivit explore --output explore.html
  minivivit explore dog.gif --output dog.html
  minivivit explore cooking.mp4 --model vivit-b-16x2-kinetics400 --dtype float32 --output cooking.html
  minivivit explore --label 5 --output wrong.html          the gradients of another class than the right one"""


def add_explore_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("clip", nargs="?", metavar="CLIP", help="the clip (default: the bundled sample)")
    add("--model", metavar="DIR", help="directory of a model, as Hugging Face lays it out (default: the bundled model)")
    add("--output", metavar="FILE", required=True, help="the page to write, a name that ends in .html")
    add("--label", type=natural, metavar="N", help="index of the class, for the loss (default: the most probable)")
    add("--dtype", choices=DTYPES, default="float64", help="what to compute in (default: float64)")
    add("--backend", choices=BACKENDS, default="auto", help="NumPy on the CPU or CuPy on a GPU (default: auto)")


def run_explore(arguments: argparse.Namespace) -> None:
    """Record the clip that `arguments` name, and write the page."""
    output = _checked_place(arguments.output)
    directory, clip, config, processor, notes = read_chosen(arguments)
    check_clip_len(config.num_frames, processor, config)
    with progress_bar(3 + 2 * num_layers(config), "explore") as bar:
        frames = read_central_frames(clip, config.num_frames, DEFAULT_STRIDE)
        pixel_values = processor.pixel_values(frames)
        seen = processor.pixel_values(frames, data_format="channels_last", **processor.without_arithmetic)[0]
        bar.update()
        with held_log() as messages:
            model = VivitForVideoClassification.from_pretrained(
                directory, dtype=arguments.dtype, backend=arguments.backend
            )
        notes.extend(messages)
        bar.update()
        interpolate = needs_interpolation(pixel_values.shape, config)
        if interpolate:
            notes.append(interpolation_note(pixel_values.shape, config))

        def listen(name: str) -> None:
            if LAYER.fullmatch(name.removeprefix("gradient.")):
                bar.update()

        with numpy.errstate(all="ignore"):  # an overflow shows in the logits, which are checked
            recording = record_network(
                model,
                pixel_values,
                label=arguments.label,
                interpolate_pos_encoding=interpolate,
                on_record=None if bar.disable else listen,
            )
        about = {"clip": clip.name, "model": "the bundled model" if arguments.model is None else directory.name}
        page = explore_page(recording, seen, about | {"notes": notes})
        write_text(output, page)
        bar.update()
    print_notes(notes)
    how = "whole" if recording.kept.whole else "a sample of it"
    label = printable(config.id2label[recording.label])[:200]
    print(f"{printable(clip.name)}: {label} {recording.probabilities[recording.label]:.4f}, the network {how}")
    print(f"written to {printable(output)}: {len(page.encode()) / 1e6:.2f} MB; open it in a browser")


def _checked_place(name: str) -> Path:
    """Refuse, before anything is computed, a place where no page can be written."""
    output = Path(name)
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output {quoted(name)} is no page; expected a name that ends in .html")
    if output.is_dir():
        raise InputError(f"{output} is a directory; expected the name of a page to write")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent} is not a directory; make it first, or write the page elsewhere")
    return output
