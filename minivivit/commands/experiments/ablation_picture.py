"""The ablations in four charts."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minivivit.commands.experiments.ablation_figures import Figures
from minivivit.files.atomic import atomic_path
from minivivit.training.experiments.ablations import (
    LADDER,
    MODELS,
    POOLS,
    STARTS,
    Trial,
    frame_sizes,
    ladder,
    starts,
    temporal_layers,
)

PICTURE_FILE = "ablations.png"
CHANCE = 12.5  # percent
COLOURS = {"Model 2": "tab:blue", "Model 1": "tab:orange"}
LINES = dict(zip(STARTS, ("-", "--", ":", "-."), strict=True))


def draw_ablations(figures: Figures, path: Path) -> bool:
    """Draw them as a PNG. False, and nothing is drawn, where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    (regularisers, pools), (depths, sizes) = figure.subplots(2, 2)
    for model in MODELS:
        trials = ladder(model)
        _points(regularisers, figures, range(len(trials)), trials, model, color=COLOURS[model])
        seen = [100 * figures.of(trial, "pool_accuracy").mean() for trial in trials]
        regularisers.plot(seen, "x", color=COLOURS[model], label=f"{model}, the pool itself")
    regularisers.set_xticks(range(len(LADDER)), LADDER, rotation=30, ha="right", fontsize=9)
    regularisers.set_title("Regularisers, one after the other")
    for model in MODELS:
        for start in STARTS:
            label = f"{model}, {start.replace('_', ' ')}"
            style = {"color": COLOURS[model], "linestyle": LINES[start]}
            _points(pools, figures, POOLS, starts(model, start), label, **style)
    pools.set_xscale("log")
    pools.set_xticks(POOLS, [f"{pool:,}" for pool in POOLS])
    pools.minorticks_off()
    pools.set_xlabel("clips in the pool")
    pools.set_title("Starts, and the size of the pool")
    counts = [trial.temporal_layers for trial in temporal_layers()]
    _points(depths, figures, counts, temporal_layers(), "Model 2", color=COLOURS["Model 2"])
    depths.set_xticks(counts)
    depths.set_xlabel("temporal layers")
    depths.set_title("Temporal layers")
    sides = [trial.size for trial in frame_sizes()]
    _points(sizes, figures, sides, frame_sizes(), "Model 2", color=COLOURS["Model 2"])
    sizes.set_xticks(sides, [f"{side} x {side}" for side in sides])
    sizes.set_xlabel("pixels of a frame")
    sizes.set_title("Larger frames")
    for axes in (regularisers, pools, depths, sizes):
        axes.axhline(CHANCE, color="grey", linewidth=0.8)
        axes.set_ylim(0, 102)
        axes.set_ylabel("clips named right (%)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    pools.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)  # eight lines hide none
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True


def _points(
    axes: Any, figures: Figures, places: Sequence[int], trials: Sequence[Trial], label: str, **style: Any
) -> None:
    """Means over the seeds, with bars of one deviation."""
    values = [100 * figures.of(trial) for trial in trials]
    bars = [found.std(ddof=1) if len(found) > 1 else 0 for found in values]
    axes.errorbar(
        places, [found.mean() for found in values], bars, marker="o", markersize=4, capsize=2, label=label, **style
    )
