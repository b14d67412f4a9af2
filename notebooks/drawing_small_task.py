"""Pictures of notebook 17: what was measured, and how far it can be trusted."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def intervals(rows: list[tuple[str, float, float, float]], chance: float, title: str) -> Figure:
    """A row for each accuracy: a point, and a bar from the least to the greatest value that goes with what was counted.

    Parameters
    ----------
    rows : list of (name, accuracy, low, high)
    chance : float
        What guessing reaches: a dotted line.
    """
    figure, axes = plt.subplots(figsize=(7.5, 1.2 + 0.36 * len(rows)))
    for place, (_, value, low, high) in enumerate(rows):
        axes.plot([low, high], [place, place], color="0.6", linestyle="-", linewidth=5, marker="")
        axes.plot(value, place, color="black", marker="o", markersize=6)
    axes.axvline(chance, color="black", linestyle=":", marker="")
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy", ylabel="measured", title=title)
    return figure
