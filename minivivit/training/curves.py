"""The curves of a training as a picture."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy

from minivivit.files.atomic import atomic_path

CURVES_FILE = "curves.png"


def draw_curves(entries: list[dict[str, Any]], path: str | os.PathLike[str]) -> bool:
    """Draw loss and accuracy over the steps, for training (a running mean) and validation, as a PNG.

    Parameters
    ----------
    entries : list of dict
        The log (`minivivit.training.log.read_log`).
    path : path-like

    Returns
    -------
    bool
        False, and nothing is drawn, where matplotlib is not installed or the log holds no step.
    """
    training = [entry for entry in entries if "loss" in entry]
    validation = [entry for entry in entries if "validation_loss" in entry]
    if not training or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle("Training")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        steps = [entry["step"] for entry in training]
        window = max(1, len(steps) // 100)
        label = f"training, mean of {window} steps" if window > 1 else "training"
        axes.plot(steps, _running_mean([entry[name] for entry in training], window), label=label)
        if validation:
            values = [entry[f"validation_{name}"] for entry in validation]
            axes.plot([entry["step"] for entry in validation], values, marker="o", markersize=3, label="validation")
        axes.set_title(name.capitalize())
        axes.set_xlabel("step")
        axes.set_ylabel("cross-entropy (nats)" if name == "loss" else "fraction of clips named right")
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return True


def _running_mean(values: list[float], window: int) -> numpy.ndarray:
    """The mean of each value and of up to window - 1 before it."""
    sums = numpy.concatenate([[0.0], numpy.cumsum(values)])
    ends = numpy.arange(1, len(sums))
    starts = numpy.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
