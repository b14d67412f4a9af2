"""Pictures of notebook 16: which frames and crops a model is shown, and what they cost."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COST_MARKS = (50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 4000)


def windows(indices: numpy.ndarray, num_frames: int, title: str, height: float = 0.42) -> Figure:
    """A row for each view; a filled square for each frame that it takes, an empty one for each that it passes over.

    Parameters
    ----------
    indices : int array, shape (views, frames)
    num_frames : int
        Of the video.
    """
    figure, axes = plt.subplots(figsize=(8, 1.1 + height * len(indices)))
    for row, frames in enumerate(indices):
        axes.scatter(numpy.arange(num_frames), numpy.full(num_frames, row), marker="s", s=70, color="0.88")
        axes.scatter(frames, numpy.full(len(frames), row), marker="s", s=70, color="black")
    axes.set_xticks(range(0, num_frames, max(1, num_frames // 15)))
    axes.set_yticks(range(len(indices)), [f"view {row}" for row in range(len(indices))])
    axes.set(xlabel="frame of the video", ylabel="view", title=title, ylim=(len(indices) - 0.4, -0.6))
    return figure


def crops(frame: numpy.ndarray, lefts: Sequence[int], views: Sequence[numpy.ndarray], title: str) -> Figure:
    """A wide frame with the outlines of its crops, and the crops beside it."""
    ratios = [frame.shape[1] / frame.shape[0], *[1] * len(views)]
    figure, panels = plt.subplots(1, 1 + len(views), figsize=(9, 2.5), width_ratios=ratios)
    side = frame.shape[0]
    panels[0].imshow(frame)
    for left, style in zip(lefts, ("-", "--", ":"), strict=True):
        place = (left - 0.5, -0.5)
        panels[0].add_patch(Rectangle(place, side, side, fill=False, edgecolor="white", linewidth=4, clip_on=False))
        panels[0].add_patch(
            Rectangle(place, side, side, fill=False, edgecolor="black", linewidth=2, linestyle=style, clip_on=False)
        )
    panels[0].set_title("the frame, and the outlines of its crops")
    for panel, view, name in zip(panels[1:], views, ("left", "centre", "right"), strict=True):
        panel.imshow(view)
        panel.set_title(name)
    for panel in panels:
        panel.axis("off")
    figure.suptitle(title)
    return figure


def costs(panels: dict[str, dict[str, Sequence[float]]], ticks: Sequence, xlabel: str, title: str) -> Figure:
    """Lines of multiply-accumulates over something, on a logarithmic axis; a panel for each entry.

    Parameters
    ----------
    panels : {title of the panel: {label of the line: billions of multiply-accumulates}}
    ticks : sequence
        What stands below the points of each line.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.7), sharey=True, squeeze=False)
    for axes, (name, lines) in zip(grid[0], panels.items(), strict=True):
        for label, values in lines.items():
            axes.plot(range(len(values)), values, label=label)
        axes.set(title=name, xlabel=xlabel, yscale="log")
        axes.set_xticks(range(len(ticks)), ticks)
    limits = grid[0, 0].get_ylim()
    marks = [mark for mark in COST_MARKS if limits[0] <= mark <= limits[1]]
    grid[0, 0].set_yticks(marks, [f"{mark:,}" for mark in marks])
    grid[0, 0].minorticks_off()
    grid[0, 0].set_ylabel("billions of multiply-accumulates")
    grid[0, -1].legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize="small")
    figure.suptitle(title)
    return figure


def accuracies(lines: dict[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, title: str) -> Figure:
    """Accuracy over some number, with a bar of one standard error on both sides of each point.

    Parameters
    ----------
    lines : {label: (numbers, accuracies, standard errors)}
    """
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for shift, (label, (x, values, errors)) in enumerate(lines.items()):
        moved = numpy.asarray(x) * 1.02 ** (shift - 1)  # so that bars do not lie on each other
        axes.errorbar(moved, values, yerr=errors, label=label, capsize=3)
    ticks = sorted({number for x, *_ in lines.values() for number in x})
    axes.set(xscale="log", xlabel=xlabel, ylabel="accuracy", title=title)
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize="small")
    return figure
