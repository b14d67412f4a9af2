"""Diagrams of boxes and arrows: the four models of the paper, a computation graph, the way of a clip into the model."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

PALE, BLUE, ORANGE = "#f2f2f2", "#0f5fa8", "#b5461c"  # dark and light also without colour
NORM, GAP = 0.34, 0.17  # the height of a layer norm's box, and of the arrows between boxes


def four_models() -> Figure:
    """The four encoders as the paper's figures 1 and 4 to 6 show them, each read from below."""
    figure, panels = plt.subplots(1, 4, figsize=(10.5, 6.6))
    titles = ("Model 1\nspatio-temporal attention", "Model 2\nfactorised encoder")
    titles += ("Model 3\nfactorised self-attention", "Model 4\nfactorised dot-product")
    for axes, title, draw in zip(panels, titles, (_model_1, _model_2, _model_3, _model_4), strict=True):
        axes.set_title(title)
        axes.set(xlim=(-1.75, 1.75), ylim=(-0.45, 7.75))
        axes.axis("off")
        draw(axes)
    return figure


def _model_1(axes: Axes) -> None:
    y = _box(axes, 0, 0, "all tubelets as tokens\n+ positions", height=0.6)
    y = _layers(axes, y, [("attention over\nall tokens",), ("MLP",)], "L layers")
    _classify(axes, y, "CLS token or mean")


def _model_2(axes: Axes) -> None:
    for x, time in ((-1.13, "time 0"), (0, "time 1"), (1.13, "time 2")):
        _box(axes, x, 0, f"tokens of\n{time}", width=1.02, height=0.6)
        _arrow(axes, (x, 0.6), (x, 0.95))
        _box(axes, x, 0.95, "spatial\nencoder\n(attention\n+ MLP,\nL layers)", width=1.02, height=1.6, face=PALE)
        _arrow(axes, (x, 2.55), (x, 2.9))
        _box(axes, x, 2.9, "one token", width=1.02, height=0.4)
        _arrow(axes, (x, 3.3), (x, 3.75))
    axes.text(0, -0.1, "the same weights for every time", ha="center", va="top", fontsize=8.5)
    _box(axes, 0, 3.75, "+ positions in time", width=3.28, height=0.4)
    _arrow(axes, (0, 4.15), (0, 4.45))
    y = _box(axes, 0, 4.45, "temporal encoder\n(attention + MLP, $L_t$ layers)", width=3.28, height=0.8, face=PALE)
    _classify(axes, y, "CLS token or mean")


def _model_3(axes: Axes) -> None:
    y = _box(axes, 0, 0, "all tubelets as tokens\n+ positions", height=0.6)
    over_times, over_places = "attention over the\ntimes of one place", "attention over the\nplaces of one time"
    y = _layers(axes, y, [(over_times,), (over_places,), ("MLP",)])
    _classify(axes, y, "mean of all tokens")


def _model_4(axes: Axes) -> None:
    y = _box(axes, 0, 0, "all tubelets as tokens\n+ positions", height=0.6)
    y = _layers(axes, y, [("half of the\nheads over\nthe times", "half of the\nheads over\nthe places"), ("MLP",)])
    _classify(axes, y, "mean of all tokens")


def _layers(axes: Axes, bottom: float, branches: Sequence[tuple[str, ...]], note: str = "L layers") -> float:
    """One layer: each branch normalises, computes, and is added to what it read. Returns where it ends."""
    y = bottom + GAP
    for operations in branches:
        start = y
        _arrow(axes, (0, start - GAP), (0, y + GAP))
        y = _box(axes, 0, y + GAP, "layer norm", height=NORM)
        _arrow(axes, (0, y), (0, y + GAP))
        lines = max(text.count("\n") + 1 for text in operations)
        width, shift = (2.2, 0.0) if len(operations) == 1 else (1.12, 0.6)
        for i, text in enumerate(operations):
            x = shift * (2 * i - 1) if shift else 0
            end = _box(axes, x, y + GAP, text, width=width, height=0.1 + 0.26 * lines, face=PALE)
        y = end + 2 * GAP
        _arrow(axes, (0, end), (0, y - 0.09))
        axes.plot([0, -1.42, -1.42, -0.09], [start, start, y, y], color="black", linewidth=1, linestyle="-", marker="")
        axes.add_patch(Circle((0, y), 0.09, facecolor="white", edgecolor="black"))
        axes.text(0, y, "+", ha="center", va="center", fontsize=8)
        y += 0.09 + GAP
    frame = FancyBboxPatch((-1.6, bottom + 0.05), 3.2, y - bottom - GAP, boxstyle="round,pad=0,rounding_size=0.1")
    frame.set(facecolor="none", edgecolor="0.5", linestyle="--")
    axes.add_patch(frame)
    axes.text(1.55, bottom + 0.12, note, ha="right", va="bottom", fontsize=8)
    return y - GAP


def _classify(axes: Axes, y: float, pooling: str) -> None:
    """The end of all four: layer norm, pooling, head."""
    _arrow(axes, (0, y), (0, y + 2 * GAP))
    y = _box(axes, 0, y + 2 * GAP, f"layer norm, {pooling}", width=3.0, height=0.4)
    _arrow(axes, (0, y), (0, y + GAP))
    _box(axes, 0, y + GAP, "head: the logits", width=3.0, height=0.4)


def computation_graph(values: dict[str, float], gradients: dict[str, float]) -> Figure:
    """The graph of L = e * e with e = w x + b - t: values forward above the arrows, gradients backward below.

    Parameters
    ----------
    values, gradients : dict
        Of w, x, p (the product), b, y (the sum), t, e and L; t has no gradient.
    """
    figure, axes = plt.subplots(figsize=(10, 3.2))
    axes.set(xlim=(-0.9, 9.4), ylim=(-1.3, 1.7))
    axes.axis("off")
    for name, x in (("w", 0), ("b", 2.6), ("t", 5)):
        _circle(axes, (x, 1.2), f"${name}$")
    _circle(axes, (0, -0.6), "$x$")
    for sign, x in (("×", 1.6), ("+", 4.0), ("−", 6.4), ("×", 8.0)):
        _circle(axes, (x, 0), sign, face=PALE)
    roads = (("w", (0.2, 1.05), (1.42, 0.15)), ("x", (0.22, -0.52), (1.4, -0.1)), ("p", (1.85, 0), (3.75, 0)))
    roads += (("b", (2.8, 1.05), (3.82, 0.18)), ("y", (4.25, 0), (6.15, 0)), ("t", (5.2, 1.05), (6.22, 0.18)))
    for name, start, end in roads:
        _road(axes, start, end, name, values, gradients)
    for bend, name in ((-0.4, "e"), (0.4, None)):  # e goes into the last product twice
        style = {"arrowstyle": "->", "connectionstyle": f"arc3,rad={bend}", "color": BLUE, "linewidth": 1.2}
        y = 0.14 if bend < 0 else -0.14
        axes.annotate("", xy=(7.8, y), xytext=(6.6, y), arrowprops=style)
        if name:
            axes.text(7.2, 0.62, f"$e$ = {values['e']:g}", color=BLUE, ha="center", va="bottom")
    half = f"{gradients['e'] / 2:g}"  # comes back along each of the two
    axes.text(7.2, -0.62, f"$de$ = {half} + {half}", color=ORANGE, ha="center", va="top")
    _road(axes, (8.25, 0), (9.3, 0), "L", values, gradients)
    axes.set_title("Forward from left to right (blue), backward from right to left (orange)")
    return figure


def _road(axes: Axes, start: tuple, end: tuple, name: str, values: dict, gradients: dict) -> None:
    """An arrow with a value above it and a gradient below it."""
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": BLUE, "linewidth": 1.2})
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    aside = 0.45 * (end[1] < start[1]) - 0.3 * (end[1] > start[1])  # of arrows that run down, or up
    axes.text(x + aside, y + 0.1, f"${name}$ = {values[name]:g}", color=BLUE, ha="center", va="bottom")
    if name in gradients:
        axes.text(x - aside, y - 0.1, f"$d{name}$ = {gradients[name]:g}", color=ORANGE, ha="center", va="top")


def whole_way(steps: Sequence[tuple[str, str]]) -> Figure:
    """Boxes from left to right, what each makes below it.

    Parameters
    ----------
    steps : sequence of (what happens, what there is afterwards)
    """
    figure, axes = plt.subplots(figsize=(10.5, 2.1))
    axes.set(xlim=(-0.9, 2 * len(steps) - 1.1), ylim=(-0.75, 1.05))
    axes.axis("off")
    for i, (does, makes) in enumerate(steps):
        _box(axes, 2 * i, 0.1, does, width=1.6, height=0.8, face=PALE if 0 < i < len(steps) - 1 else "white")
        axes.text(2 * i, 0, makes, ha="center", va="top", fontsize=8.5)
        if i:
            _arrow(axes, (2 * i - 1.2, 0.5), (2 * i - 0.8, 0.5))
    axes.set_title("The way of a clip into the model")
    return figure


def _box(
    axes: Axes, x: float, y: float, text: str, width: float = 2.2, height: float = 0.5, face: str = "white"
) -> float:
    """A box with its foot at y and its middle at x. Returns where its top is."""
    corner = (x - width / 2 + 0.04, y + 0.04)
    shape = FancyBboxPatch(corner, width - 0.08, height - 0.08, boxstyle="round,pad=0.04,rounding_size=0.08")
    shape.set(facecolor=face, edgecolor="black")
    axes.add_patch(shape)
    axes.text(x, y + height / 2, text, ha="center", va="center", fontsize=8.5)
    return y + height


def _circle(axes: Axes, place: tuple[float, float], text: str, face: str = "white") -> None:
    axes.plot(*place, marker="o", markersize=24, markerfacecolor=face, markeredgecolor="black", linestyle="")
    axes.text(*place, text, ha="center", va="center", fontsize=12)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "->", "color": "black", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
