"""Pictures of notebook 14: what regularisers do to clips, layers, labels and curves."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy
from drawing import HATCHES
from matplotlib.figure import Figure


def clips_in_rows(
    clips: dict[str, numpy.ndarray], title: str, frames: Sequence[int], rows: str = "what was done"
) -> Figure:
    """Some frames of several clips of one size, a row for each clip with its name beside it."""
    figure, grid = plt.subplots(len(clips), len(frames), figsize=(1.05 * len(frames) + 2, 1.05 * len(clips) + 0.6))
    for line, (name, clip) in zip(grid, clips.items(), strict=True):
        for axes, frame in zip(line, frames, strict=True):
            axes.imshow(clip[frame])
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, frame in zip(grid[0], frames, strict=True):
        axes.set_title(f"frame {frame}")
    figure.supxlabel("time")
    figure.supylabel(rows)
    figure.suptitle(title)
    return figure


def dropped_layers(kept: numpy.ndarray, rates: Sequence[float], title: str) -> Figure:
    """Which branches stay, a row for each layer and a column for each clip; beside it how often each is dropped.

    Parameters
    ----------
    kept : bool array, shape (layers, clips)
    rates : sequence
        The probability to be dropped, for each layer.
    """
    layers = len(kept)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.45 * layers + 1.3), width_ratios=(3, 1), sharey=True)
    left.imshow(kept, cmap="gray_r", vmin=0, vmax=1.5, aspect="auto")
    left.set_yticks(range(layers))
    left.set(title="one draw (white: dropped)", xlabel="clip of the batch", ylabel="layer")
    right.barh(range(layers), 1 - kept.mean(axis=1), color="0.75", height=0.7, label="in this draw")
    right.plot(rates, range(layers), label="as set")
    right.set(title="share that is dropped", xlabel="share", xlim=(0, 0.8))
    right.legend(loc="upper right", fontsize="small")
    figure.suptitle(title)
    return figure


def loss_over_gap(gaps: numpy.ndarray, losses: dict[str, numpy.ndarray], best: Sequence[float | None]) -> Figure:
    """Cross-entropy over the lead of the true class's logit, a line for each amount of smoothing."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for (label, values), gap in zip(losses.items(), best, strict=True):
        (line,) = axes.plot(gaps, values, label=label, marker="")
        if gap is not None:
            axes.plot(gap, numpy.interp(gap, gaps, values), color=line.get_color(), marker="o", markersize=8)
    axes.set(
        title="Without smoothing the loss always asks for more",
        xlabel="how far the true class's logit lies above the seven others",
        ylabel="cross-entropy",
    )
    axes.legend()
    return figure


def along_a_line(weights: numpy.ndarray, lines: dict[str, numpy.ndarray], title: str, ylabel: str) -> Figure:
    """What models say on the way from one clip to another, and the straight line that mixup asks for."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for label, values in lines.items():
        axes.plot(weights, values, label=label)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", marker="", label="what mixup asks for")
    axes.set(title=title, xlabel=r"weight $\lambda$ of the first clip", ylabel=ylabel, ylim=(-0.02, 1.02))
    axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize="small")
    return figure


def histograms(draws: dict[str, numpy.ndarray], title: str, xlabel: str) -> Figure:
    """How often each value is drawn: a panel for each distribution."""
    figure, panels = plt.subplots(1, len(draws), figsize=(3 * len(draws), 2.7), sharey=True)
    for axes, (name, values) in zip(panels, draws.items(), strict=True):
        weights = numpy.full(len(values), 1 / len(values))
        axes.hist(values, bins=20, range=(0, 1), weights=weights, color="0.75", edgecolor="black")
        axes.set(title=name, xlabel=xlabel)
    panels[0].set_ylabel("share of the draws")
    figure.suptitle(title)
    return figure


def curves(logs: dict[str, dict[str, Sequence[float]]], steps: Sequence[int], title: str) -> Figure:
    """Loss on the pool and on new clips while training, a panel for each way to train."""
    figure, panels = plt.subplots(1, len(logs), figsize=(3.4 * len(logs), 3.3), sharey=True, squeeze=False)
    for axes, (name, log) in zip(panels[0], logs.items(), strict=True):
        for label, values in log.items():
            axes.plot(steps, values, label=label)
        axes.set(title=name, xlabel="step")
    panels[0, 0].set(ylabel="cross-entropy")
    panels[0, 0].set_ylim(bottom=0)
    panels[0, -1].legend(fontsize="small")
    figure.suptitle(title)
    return figure


def gaps(rows: dict[str, tuple[numpy.ndarray, numpy.ndarray]], title: str) -> Figure:
    """Accuracy on the pool and on new clips: bars of the mean over the seeds, and a point for each seed.

    Parameters
    ----------
    rows : {name: (accuracies on the pool, on new clips)}, each with one entry a seed
    """
    figure, axes = plt.subplots(figsize=(8.5, 3.6))
    for index, (label, hatch) in enumerate((("on the pool", HATCHES[0]), ("on new clips", HATCHES[1]))):
        x = numpy.arange(len(rows)) + 0.4 * (index - 0.5)
        means = [values[index].mean() for values in rows.values()]
        axes.bar(x, means, 0.38, label=label, hatch=hatch, facecolor="white", edgecolor="black")
        for place, values in zip(x, rows.values(), strict=True):
            axes.plot(numpy.full(len(values[index]), place), values[index], color="black", linestyle="", marker="o")
    axes.set_xticks(range(len(rows)), list(rows))
    axes.set(title=title, xlabel="trained with", ylabel="accuracy", ylim=(0, 1.05))
    axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
    return figure
