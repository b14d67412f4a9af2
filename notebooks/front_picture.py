"""Draw the picture at the top of the README: a clip on its way through the network, and the gradients on theirs back.

    python notebooks/front_picture.py        writes notebooks/front_picture.png

Every number in it is computed while it is drawn, by the bundled model on the bundled clip.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minivivit import VivitForVideoClassification, VivitImageProcessor, read_video
from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.explore.attention_rollout import attention_rollout
from minivivit.layers.trace import Trace
from minivivit.models.top_classes import class_probabilities, top_classes

BLUE, ORANGE, INK, PALE = "#1f4e79", "#b45f06", "#222222", "#f2f2f2"  # dark and light also without colour


def compute() -> dict:
    """What the picture shows: frames, intermediate values and gradients, by name."""
    directory = bundled_model_directory()
    model = VivitForVideoClassification.from_pretrained(directory, dtype="float64", backend="numpy")
    frames = read_video(bundled_clip())
    pixel_values = VivitImageProcessor.from_pretrained(directory)(frames).pixel_values
    outputs, rollout = attention_rollout(model, pixel_values)
    classes = top_classes(class_probabilities(outputs.logits, model.config)[0], model.config, 4)
    label = int(outputs.logits.argmax())
    values: dict = {}
    _, gradients = model.loss_and_gradients(pixel_values, [label], trace=Trace(values))
    return {
        "config": model.config,
        "frames": frames,
        "rollout": rollout[0],
        "classes": classes,
        "gradients": gradients,
        "tokens": values["vivit.embeddings"][0],
    }


def draw_clip(figure: Figure, area: tuple[float, float, float, float], frames: numpy.ndarray, config) -> None:
    """The frames in two rows, a row for each temporal index, cut into tubelets by a grid."""
    left, bottom, width, height = area
    depth, *patch = config.tubelet_size
    for i, frame in enumerate(frames):
        row, column = divmod(i, depth)
        cell = (left + column * width / depth, bottom + (1 - row) * height / 2, width / depth * 0.94, height / 2 * 0.84)
        axes = figure.add_axes(cell)
        axes.imshow(frame, extent=(0, 32, 32, 0))
        for edge in range(0, 33, patch[0]):
            axes.axhline(edge, color="white", linewidth=0.5)
            axes.axvline(edge, color="white", linewidth=0.5)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"frame {i}", fontsize=7, pad=2, color=INK)


def draw_stage(axes: Axes, x: float, title: str, forward: str, backward: str, shape: str) -> None:
    """A box of the network: what it is, its two functions, and the shape that it makes."""
    axes.add_patch(plt.Rectangle((x, 0.30), 0.172, 0.42, facecolor=PALE, edgecolor=INK, linewidth=1))
    axes.text(x + 0.086, 0.645, title, ha="center", va="center", fontsize=10, weight="bold", color=INK)
    axes.text(x + 0.086, 0.51, forward, ha="center", va="center", fontsize=7.2, family="monospace", color=BLUE)
    axes.text(x + 0.086, 0.385, backward, ha="center", va="center", fontsize=7.2, family="monospace", color=ORANGE)
    axes.text(x + 0.086, 0.235, shape, ha="center", va="center", fontsize=8, color=INK)


def draw_network(figure: Figure, area: tuple[float, float, float, float], computed: dict) -> None:
    """Four boxes from left to right, with the forward pass over them and the backward pass under them."""
    axes = figure.add_axes(area)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    config, (tokens, width) = computed["config"], computed["tokens"].shape
    frames = len(computed["frames"])
    stages = [
        ("clip", "VivitImageProcessor", "dpixel_values", f"{frames} × 3 × 32 × 32"),
        ("tubelets to tokens", "tubelet_embedding_\nforward", "tubelet_embedding_\nbackward", f"{tokens} × {width}"),
        (
            f"{config.num_hidden_layers} × attention, MLP",
            "transformer_layer_\nforward",
            "transformer_layer_\nbackward",
            f"{tokens} × {width}",
        ),
        ("CLS token to logits", "linear_forward", "linear_backward", f"{config.num_labels}"),
        ("loss", "cross_entropy_\nforward", "cross_entropy_\nbackward", "1 number"),
    ]
    for i, stage in enumerate(stages):
        x = 0.004 + i * 0.205
        draw_stage(axes, x, *stage)
        if i:
            style = {"arrowstyle": "-|>", "linewidth": 1.4, "mutation_scale": 11}
            axes.annotate("", (x, 0.56), (x - 0.033, 0.56), arrowprops={**style, "color": BLUE})
            axes.annotate("", (x - 0.033, 0.385), (x, 0.385), arrowprops={**style, "color": ORANGE, "linestyle": "--"})
    axes.text(0.004, 0.81, "forward: every value by name  →", fontsize=9, color=BLUE)
    axes.text(0.996, 0.1, "←  backward: every gradient by hand", fontsize=9, color=ORANGE, ha="right")


def draw_rollout(figure: Figure, area: tuple[float, float, float, float], rollout: numpy.ndarray) -> None:
    """Where the CLS token looks, a map for each temporal index."""
    left, bottom, width, height = area
    for time, heat in enumerate(rollout):
        axes = figure.add_axes((left + time * width / 2, bottom, width / 2 * 0.86, height))
        axes.imshow(heat, cmap="gray", vmin=0, vmax=rollout.max())
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"frames {4 * time} to {4 * time + 3}", fontsize=7.5, color=INK, pad=3)


def draw_classes(figure: Figure, area: tuple[float, float, float, float], classes: list[dict]) -> None:
    """The most probable classes."""
    axes = figure.add_axes(area)
    places = numpy.arange(len(classes))[::-1]
    probabilities = [entry["probability"] for entry in classes]
    axes.barh(places, probabilities, color=BLUE, height=0.55)
    for place, entry in zip(places, classes, strict=True):
        axes.text(0.012, place + 0.47, entry["label"], fontsize=7.5, color=INK, va="center")
        axes.text(1.02, place, f"{entry['probability']:.4f}", fontsize=7.5, color=INK, va="center")
    axes.set(xlim=(0, 1), yticks=[], xticks=[], ylim=(-0.5, len(classes) - 0.2))
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def draw_gradients(figure: Figure, area: tuple[float, float, float, float], computed: dict) -> None:
    """The size of the gradient of each layer's weights."""
    axes = figure.add_axes(area)
    layers = range(computed["config"].num_hidden_layers)
    kinds = {"query": "attention.attention.query", "value": "attention.attention.value", "MLP": "intermediate.dense"}
    for (label, part), marker in zip(kinds.items(), "osv", strict=True):
        names = [f"vivit.encoder.layer.{i}.{part}.weight" for i in layers]
        norms = [float(numpy.linalg.norm(computed["gradients"][name])) for name in names]
        axes.plot([i + 1 for i in layers], norms, marker=marker, color=ORANGE, linewidth=1, markersize=4, label=label)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks([i + 1 for i in layers])
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel("layer", fontsize=7.5, labelpad=1)
    axes.legend(fontsize=6.5, frameon=False, ncol=3, loc="upper center", bbox_to_anchor=(0.5, 1.2), handlelength=1.2)
    axes.spines[["top", "right"]].set_visible(False)


def draw(computed: dict) -> Figure:
    """The whole picture, 12 by 4.7 inches."""
    figure = plt.figure(figsize=(12, 4.7), facecolor="white")
    heading = {"fontsize": 10.5, "weight": "bold", "color": INK, "va": "bottom"}
    draw_network(figure, (0.015, 0.51, 0.97, 0.51), computed)
    for x, text in (
        (0.018, "A clip of 8 frames, cut into tubelets of 4 × 8 × 8"),
        (0.375, "Where the CLS token looks"),
        (0.61, "What the model says"),
        (0.82, "Sizes of its gradients"),
    ):
        figure.text(x, 0.455, text, **heading)
    draw_clip(figure, (0.018, 0.02, 0.32, 0.40), computed["frames"], computed["config"])
    draw_rollout(figure, (0.375, 0.06, 0.215, 0.30), computed["rollout"])
    draw_classes(figure, (0.61, 0.05, 0.135, 0.37), computed["classes"])
    draw_gradients(figure, (0.835, 0.12, 0.15, 0.27), computed)
    return figure


def main() -> None:
    """Write it."""
    figure = draw(compute())
    # no date or version of the writer inside, so that the same picture has the same bytes
    figure.savefig(Path(__file__).with_name("front_picture.png"), dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
