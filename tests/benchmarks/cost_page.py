"""`notebooks/costs.md` and its pictures, from the figures that `cost_curves.py --write` left.

    python tests/benchmarks/cost_page.py

A test holds the page to the figures, and its counts to what `minivivit.models.counting` counts.
"""

import io
import json
import statistics
import textwrap
from pathlib import Path
from typing import Any

from cost_curves import BATCHES, CURVES, FIGURES, MODELS, POINT, SMALL, THREADS, TORCH, multiply_accumulates

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = (*MODELS, TORCH)
WAYS = ("forward", "forward and backward")
MIB = 2**20
AXES = {"num_frames": "frames", "image_size": "pixels a side", "batch": "clips in a batch"}
# Four colours that can be told apart by who cannot tell red from green, and grey for the other library.
MARKERS = dict(zip(NAMES, "osD^v", strict=True))
COLOURS = dict(zip(NAMES, ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"), strict=True))


def value_of(figures: dict, field: str, value: int, name: str, quantity: str, way: int) -> float:
    """A figure of a curve: quantity is "seconds" or "memory", way 0 forward and 1 with gradients."""
    return figures["curves"][field][str(value)][name][quantity][way]


def growth(figures: dict, field: str, name: str, quantity: str, way: int) -> float:
    """How many times as much at the last point as at the one before."""
    before, last = CURVES[field][-2:]
    return value_of(figures, field, last, name, quantity, way) / value_of(figures, field, before, name, quantity, way)


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def curve_table(figures: dict, field: str, quantity: str) -> str:
    """A row each point; forward and training in a cell."""
    rows = []
    for value in CURVES[field]:
        cells = []
        for name in NAMES:
            both = [value_of(figures, field, value, name, quantity, way) for way in (0, 1)]
            shown = [f"{x * 1000:.0f}" if quantity == "seconds" else f"{x / MIB:.0f}" for x in both]
            cells.append(" / ".join(shown))
        rows.append([str(value), *cells])
    return table([AXES[field], *NAMES], rows)


def counts_table(field: str) -> str:
    """Multiply-accumulates, forward."""
    rows = [
        [str(value), *(f"{multiply_accumulates(name, {**POINT, field: value}) / 1e9:.2f}" for name in MODELS)]
        for value in CURVES[field]
    ]
    return table([AXES[field], *MODELS], rows)


def ratios_to_torch(figures: dict, quantity: str, way: int) -> list[float]:
    """Of Model 1, ours to theirs, at every point of every curve."""
    pairs = []
    for field, values in CURVES.items():
        for value in values:
            if quantity == "seconds":  # medians of the rounds' own ratios
                pairs.append(1 / figures["curves"][field][str(value)][TORCH]["ratios"][way])
            else:
                ours, theirs = (value_of(figures, field, value, name, quantity, way) for name in ("Model 1", TORCH))
                pairs.append(ours / theirs)
    return pairs


def middle_and_ends(values: list[float]) -> str:
    """The middle, and the ends."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def frames_said(figures: dict) -> str:
    """What the last doubling of the frames does."""
    before, last = CURVES["num_frames"][-2:]
    said = []
    for name in MODELS:
        counted = [multiply_accumulates(name, {**POINT, "num_frames": frames}) for frames in (before, last)]
        time, memory = (growth(figures, "num_frames", name, what, 1) for what in ("seconds", "memory"))
        said.append(
            f"{name} takes {time:.1f} times as long and {memory:.1f} times the memory "
            f"(multiply-accumulates: {counted[1] / counted[0]:.1f})"
        )
    return f"From {before} to {last} frames, forward and backward, " + "; ".join(said) + "."


def depth_said(figures: dict) -> str:
    """What a further layer takes, at small and at full depth."""
    seconds = {int(depth): found["seconds"] for depth, found in figures["depth"].items()}
    shallow = [(seconds[4][way] - seconds[1][way]) / 3 * 1000 for way in (0, 1)]
    deep = [(seconds[12][way] - seconds[4][way]) / 8 * 1000 for way in (0, 1)]
    return (
        f"At {POINT['num_frames']} frames of {POINT['image_size']} x {POINT['image_size']}, each further layer of "
        f"Model 1 takes {shallow[0]:.0f} ms forward and {shallow[1]:.0f} ms with gradients between 1 and 4 layers, "
        f"and {deep[0]:.0f} ms and {deep[1]:.0f} ms between 4 and 12."
    )


def longest_table(figures: dict) -> str:
    """Frames, and the peak that they came to where they were tried."""

    def cell(entry: dict) -> str:
        return f"{entry['frames']} ({entry['peak'] / 1e9:.2f} GB)" if "peak" in entry else f"about {entry['line']}"

    rows = [[name, *map(cell, figures["longest"][name])] for name in MODELS]
    return table(["ViViT-B/16x2, 224 x 224", *WAYS], rows)


def tried_said(figures: dict) -> str:
    """How far the line is from what was tried."""
    return "; ".join(
        f"{name}, which was tried, {entries[0]['line']} and {entries[1]['line']}"
        for name, entries in figures["longest"].items()
        if "peak" in entries[0]
    )


def bundled_table(figures: dict) -> str:
    """Time of ours to theirs, with the ends of the rounds."""
    rows = []
    for threads, clock in zip(THREADS, ("one, a processor's time", "two, on the clock"), strict=True):
        for batch in BATCHES:
            theirs = figures["bundled"][str(threads)][str(batch)][TORCH]
            cells = []
            for way in (0, 1):
                low, high = theirs["spread"][way]
                cells.append(f"{1 / theirs['ratios'][way]:.2f} ({1 / high:.2f} to {1 / low:.2f})")
            rows.append([clock, str(batch), *cells])
    return table(["threads", "clips in a batch", *WAYS], rows)


PAGE = """\
# What a clip costs

How time and memory grow with the frames, the size and the number of clips, for the paper's four models, forward and
with gradients; what a machine with 4 GB bears; and what the bundled model takes. Measured on an AMD EPYC (AVX2, no
AVX-512), in float32, **beside other work**, so not on the clock: times are those that a processor spent on one thread.
Read the shapes of the curves and the ratios; how far two threads share the work is not in them.

The curves are of a **small** model, so that all of them take minutes: {layers} layers (Model 2: and one temporal),
{hidden} wide, {heads} heads of {head_size}, MLP {mlp} wide, tubelets of 2 x 16 x 16, 400 classes. Unless a curve says
otherwise a clip has {frames} frames of {size} x {size}, and there is one. {depth} So in depth time is a straight
line, and twelve layers have the curves of two. In width it is none: ViViT-B is six times as wide, which makes
projections and MLP, that grow with the frames, dearer beside attention, that grows with their square.

## Time

![Six curves in logarithmic axes: time against frames, pixels a side and clips in a batch, forward above, with
gradients below; Model 1 rises most steeply, and dashed lines, the counts, lie close to those measured](costs_time.png)

{rounds} rounds in turns; medians in milliseconds of a processor,
forward / forward and backward (those of batches are in
the picture, and with all others in `tests/benchmarks/cost_curves.json`):

{time_frames}

{time_size}

Dashed in the picture are the multiply-accumulates (`minivivit info` counts them), at the price that one has in Model
1 at the middle of the first curve. In 10^9, for one clip forward:

{counts_frames}

{frames_said} Attention of all tokens to all (Model 1) is what bends the curve; Models 2 to 4 let a token see its own
frame or its own place, and stay close to a straight line. Where clips are short a pass is made of small operations,
and their number counts, which no multiply-accumulate shows.

## Memory

![Six curves in logarithmic axes: peak memory against frames, pixels a side and clips in a batch, forward above, with
gradients below; the four models lie close together, transformers' Model 1 above them](costs_memory.png)

The largest resident set above what the process had before its model was made (the libraries), in MiB, forward / forward
and backward:

{memory_frames}

On a processor no model holds an array of tokens x tokens, forward or backward, so that even Model 1's memory is a
straight line in the frames. Forward it hardly depends on the depth: what a layer
has made, the next one may overwrite.

## Beside transformers

Model 1 of both with the same sizes, transformers with PyTorch's scaled dot-product attention (SDPA). Ours / theirs,
the median of all points above (the lowest and the highest):

{beside}

## The longest clip in 4 GB

The most frames with which one pass of ViViT-B/16x2 stays below 4 x 10^9 bytes at its peak, libraries and weights
included:

{longest}

With a peak in brackets, found by trying, to 3 %: a process had that many frames and that peak. "About" is where the
line through the peaks of two shorter clips (32 and 128 frames forward, 8 and 24 with gradients) comes to the limit;
such lines say of {tried_said}. No optimiser was there, whose AdamW keeps two more numbers a parameter, and no
`gradient_checkpointing=True`, which lets longer clips in.

To save hours the matrix products were left out, and zeros written into arrays as large. Model 1 with 8 frames, both
ways, peaks at {dry} MB so, and with the products at {wet} MB. Forward one layer was computed beside the weights of
twelve: with 16 frames that peaks at {one_layer} MB, and twelve layers, with the products, at {twelve_layers} MB.

## The bundled model

Where students live: clips of 8 frames of 32 x 32, hidden size 96, four layers. Time of minivivit / transformers with
the same sizes, medians of {bundled_rounds} rounds in turns (the lowest and the highest):

{bundled}

## Commands

    pip install '.[parity]'
    python tests/benchmarks/cost_curves.py curves
    python tests/benchmarks/cost_curves.py bundled
    python tests/benchmarks/longest_clip.py
    python tests/benchmarks/cost_page.py
"""


def page(figures: dict) -> str:
    """The whole text."""
    how = figures["how"]
    beside = [
        [what, *(middle_and_ends(ratios_to_torch(figures, quantity, way)) for way in (0, 1))]
        for what, quantity in (("time", "seconds"), ("memory above the libraries", "memory"))
    ]
    curves = {
        f"{short}_{key}": curve_table(figures, field, quantity)
        for short, quantity in (("time", "seconds"), ("memory", "memory"))
        for key, field in (("frames", "num_frames"), ("size", "image_size"))
    }
    text = PAGE.format(
        layers=SMALL["num_hidden_layers"],
        hidden=SMALL["hidden_size"],
        heads=SMALL["num_attention_heads"],
        head_size=SMALL["hidden_size"] // SMALL["num_attention_heads"],
        mlp=SMALL["intermediate_size"],
        frames=POINT["num_frames"],
        size=POINT["image_size"],
        depth=depth_said(figures),
        rounds=how["curves"]["rounds"],
        counts_frames=counts_table("num_frames"),
        frames_said=frames_said(figures),
        beside=table(["", *WAYS], beside),
        longest=longest_table(figures),
        tried_said=tried_said(figures),
        dry=f"{figures['checks']['with gradients, without products'] / 1e6:.0f}",
        wet=f"{figures['checks']['with gradients'] / 1e6:.0f}",
        one_layer=f"{figures['checks']['forward, one layer, without products'] / 1e6:.0f}",
        twelve_layers=f"{figures['checks']['forward, twelve layers'] / 1e6:.0f}",
        bundled_rounds=how["bundled"]["rounds"],
        bundled=bundled_table(figures),
        **curves,
    )
    return "\n\n".join(wrapped(paragraph) for paragraph in text.split("\n\n")).rstrip() + "\n"


def wrapped(paragraph: str) -> str:
    """Prose in lines of a hand's breadth; tables, headings and commands as they are."""
    if paragraph.startswith(("|", "#", "    ")):
        return paragraph
    return "\n".join(textwrap.wrap(" ".join(paragraph.split()), 118, break_long_words=False, break_on_hyphens=False))


def picture(figures: dict, quantity: str) -> bytes:
    """Forward above, training below; a column each curve. As PNG in few colours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    figure, axes = pyplot.subplots(2, 3, figsize=(9.6, 5.6), layout="constrained", sharey="row")
    unit = 1 if quantity == "seconds" else MIB
    for way, row in enumerate(axes):
        reference = value_of(figures, "num_frames", POINT["num_frames"], "Model 1", quantity, way)
        price = reference / multiply_accumulates("Model 1", POINT)
        for field, axis in zip(CURVES, row, strict=True):
            for name, colour in COLOURS.items():
                points = [value_of(figures, field, value, name, quantity, way) / unit for value in CURVES[field]]
                axis.plot(CURVES[field], points, f"{MARKERS[name]}-", color=colour, label=name, lw=1.5, ms=3.5)
                if quantity == "seconds" and name in MODELS:
                    counts = [price * multiply_accumulates(name, {**POINT, field: value}) for value in CURVES[field]]
                    axis.plot(CURVES[field], counts, "--", color=colour, linewidth=0.8)
            axis.set(xscale="log", yscale="log", xticks=CURVES[field], xticklabels=CURVES[field], xlabel=AXES[field])
            axis.minorticks_off()
            axis.grid(color="#e8e8e8", linewidth=0.6)
        row[0].set_ylabel(f"{WAYS[way]}, {'seconds' if quantity == 'seconds' else 'MiB'}")
    axes[0, 0].legend(frameon=False, fontsize=8)
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, dpi=100)
    pyplot.close(figure)
    Image.open(buffer).convert("RGB").quantize(32, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def main() -> None:
    """Write them."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    (NOTEBOOKS / "costs.md").write_text(page(figures), encoding="utf-8")
    for quantity, name in (("seconds", "costs_time.png"), ("memory", "costs_memory.png")):
        (NOTEBOOKS / name).write_bytes(picture(figures, quantity))


if __name__ == "__main__":
    main()
