"""Pictures of notebook 15: kernels over time, and what a start from an image model brings."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy
from matplotlib.figure import Figure


def kernels_over_time(kernels: dict[str, numpy.ndarray], title: str) -> Figure:
    """A filter of each kernel, a row for each rule and a column for each frame of the tubelet.

    Parameters
    ----------
    kernels : {name: array (frames, height, width, 3)}
        All drawn on one scale: grey is 0.
    """
    frames = len(next(iter(kernels.values())))
    most = max(numpy.abs(kernel).max() for kernel in kernels.values())
    figure, grid = plt.subplots(len(kernels), frames, figsize=(1.3 * frames + 2, 1.25 * len(kernels) + 0.7))
    for line, (name, kernel) in zip(grid, kernels.items(), strict=True):
        for axes, weights in zip(line, kernel, strict=True):
            axes.imshow(0.5 + 0.5 * weights / most)
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for frame, axes in enumerate(grid[0]):
        axes.set_title(f"frame {frame}")
    figure.supxlabel("frame of the tubelet")
    figure.supylabel("rule")
    figure.suptitle(title)
    return figure


def few_and_many(
    panels: dict[str, dict[str, numpy.ndarray]], pools: Sequence[int], chances: Sequence[float], title: str
) -> Figure:
    """Accuracy on new clips over the number of clips that were learnt from; a point for each seed, a line of the means.

    Parameters
    ----------
    panels : {title of the panel: {label of the line: accuracies (pools, seeds)}}
    pools : sequence of int
    chances : sequence of float
        What guessing would reach in each panel, a dotted line.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.6), sharey=True)
    for axes, (name, lines), chance in zip(grid, panels.items(), chances, strict=True):
        for label, values in lines.items():
            (line,) = axes.plot(pools, values.mean(axis=1), label=label)
            for seed in values.T:
                axes.plot(pools, seed, linestyle="", marker=".", color=line.get_color())
        axes.axhline(chance, color="0.5", linestyle=":", marker="")
        axes.set(title=name, xlabel="clips in the pool", xscale="log")
        axes.set_xticks(pools, pools)
        axes.minorticks_off()
    grid[0].set(ylabel="accuracy on new clips", ylim=(0, 1))
    grid[0].legend(fontsize="small", loc="upper left")
    figure.suptitle(title)
    return figure
