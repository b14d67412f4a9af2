"""How the notebooks draw: pictures that say what they show, in words too, and that can be read without colour."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

DOTS_PER_INCH = 110
SMALLEST_TEXT = 8.0  # points
WIDEST = 10.5  # inches; a wider picture is made smaller by the page, and its text with it
MORE_POSITIONS = 3  # of a knob, drawn beforehand for pages without a kernel
# From dark to light, so that lines differ on a grey print too; so do their dashes and their markers.
LINES = ["#000000", "#0f5fa8", "#b5461c", "#3f9a6b", "#d58fb8", "#b8b8b8"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3))]
MARKERS = ["o", "s", "^", "v", "D", "x"]
HATCHES = ["", "///", "...", "\\\\\\", "xx", "++"]

plt.rcParams.update(
    {
        "axes.prop_cycle": cycler(color=LINES) + cycler(linestyle=DASHES) + cycler(marker=MARKERS),
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "figure.dpi": DOTS_PER_INCH,
        "figure.titlesize": "large",
        "image.cmap": "cividis",
        "image.interpolation": "nearest",
        "lines.markersize": 4,
    }
)


# --------------------------------------------------------------------------------------------------------------------
# Showing
# --------------------------------------------------------------------------------------------------------------------


def show(figure: Figure, alt: str) -> None:
    """Show a figure as a picture with alternative text and a caption, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        It needs a title, and each of its axes (unless switched off) a label on both sides.
    alt : str
        What the picture shows, in a sentence or two: the caption, and what someone who cannot see the picture hears.

    Raises
    ------
    ValueError
        When the figure lacks a title or a label, has tiny text, or is too wide, or when `alt` says too little.
    """
    data, metadata = _picture(figure, alt)
    display(data, metadata=metadata, raw=True)
    display(_caption(alt), raw=True)


def knob(draw: Callable[..., Figure], alt: str | Callable[..., str], **choices: Sequence) -> None:
    """Show ``draw(**values)``, with a slider for each of the choices wherever a kernel listens to it.

    The picture is an ordinary output, and so it stays where there is no kernel, on a web page say; a moved slider draws
    it anew. A few other positions are drawn beforehand, below it, each behind a line to click on: for those no kernel
    is needed, and no script either.

    Parameters
    ----------
    draw : function of the choices' names -> Figure
    alt : str or function of the choices' names -> str
        As for `show`.
    **choices : sequence
        The values that each argument can take. The picture starts with the first of each.
    """
    describe = alt if callable(alt) else lambda **values: alt
    positions = _positions(choices)
    sliders = {
        name: ipywidgets.SelectionSlider(options=[(str(value), value) for value in values], description=name)
        for name, values in choices.items()
    }

    def picture() -> tuple[dict, dict]:
        values = {name: slider.value for name, slider in sliders.items()}
        return _picture(draw(**values), describe(**values))

    data, metadata = picture()
    handle = display(data, metadata=metadata, raw=True, display_id=True)
    caption = display(_caption(data["text/plain"]), raw=True, display_id=True)
    folded = [_folded(draw.__name__, _picture(draw(**values), describe(**values))[0], values) for values in positions]
    if folded:
        data = {"text/html": "\n".join(folded), "text/plain": f"{len(folded)} other positions of the knob"}
        display(data, raw=True)

    def draw_anew(change: Any) -> None:
        data, metadata = picture()
        handle.update(data, metadata=metadata, raw=True)
        caption.update(_caption(data["text/plain"]), raw=True)

    for slider in sliders.values():
        slider.observe(draw_anew, names="value")
    display(ipywidgets.VBox(list(sliders.values())))


def _positions(choices: dict[str, Sequence]) -> list[dict]:
    """Other positions than the first: one knob moved at a time, over the whole of its range."""
    start = {name: values[0] for name, values in choices.items()}
    found = []
    for name, values in choices.items():
        others = [value for value in dict.fromkeys(values) if value != values[0]]
        count = min(len(others), max(1, MORE_POSITIONS // len(choices)))
        found += [start | {name: others[int((i + 0.5) * len(others) / count)]} for i in range(count)]
    return found


def _folded(group: str, data: dict, values: dict) -> str:
    """A picture behind a line to click on. Those of one group close each other, in browsers that know how."""
    alt = html.escape(data["text/plain"])
    where = html.escape(", ".join(f"{name} = {value}" for name, value in values.items()))
    return (
        f'<details name="{group}"><summary>{where}</summary><figure>'
        f'<img alt="{alt}" src="data:image/png;base64,{data["image/png"]}"/><figcaption><em>{alt}</em></figcaption>'
        "</figure></details>"
    )


def _caption(alt: str) -> dict:
    """What stands below a picture, as a notebook's output."""
    return {"text/markdown": f"*{alt}*", "text/plain": alt}


def _picture(figure: Figure, alt: str) -> tuple[dict, dict]:
    """A figure as the data and the metadata of a notebook's output; the figure is closed."""
    plt.close(figure)
    _check_words(figure, alt)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    _check_sizes(figure)  # now that all labels of ticks are there
    with Image.open(file) as image:
        image = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)  # halves what the notebook weighs
    file = io.BytesIO()
    image.save(file, format="png", optimize=True)
    data = {"image/png": base64.b64encode(file.getvalue()).decode("ascii"), "text/plain": alt}
    return data, {"image/png": {"alt": alt}}


def _check_words(figure: Figure, alt: str) -> None:
    """Raise where a reader would be left to guess."""
    if len(alt.split()) < 5:
        raise ValueError(f"the alternative text is {alt!r}; say in a sentence what the picture shows")
    shown = [axes for axes in figure.axes if axes.axison and axes.get_visible()]
    colour_bars = [axes for axes in shown if axes.get_label() == "<colorbar>"]
    panels = [axes for axes in shown if axes not in colour_bars]
    if not figure.get_suptitle() and not any(axes.get_title() for axes in figure.axes):
        raise ValueError("the figure has no title: use figure.suptitle or axes.set_title")
    for axes in colour_bars:
        if not (axes.get_xlabel() or axes.get_ylabel()):
            raise ValueError("a colour bar has no label: figure.colorbar(..., label=...)")
    for axes in panels:
        for side, label_of_all in (("x", figure.get_supxlabel()), ("y", figure.get_supylabel())):
            siblings = getattr(axes, f"get_shared_{side}_axes")().get_siblings(axes)
            if not label_of_all and not any(getattr(other, f"get_{side}label")() for other in siblings):
                raise ValueError(f"axes {axes.get_title()!r} have no {side} label: set one, or switch the axes off")


def _check_sizes(figure: Figure) -> None:
    """Raise where a reader would need a lens."""
    if figure.get_figwidth() > WIDEST:
        raise ValueError(f"the figure is {figure.get_figwidth():g} inches wide; pages show {WIDEST:g} at most")
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text.get_fontsize() < SMALLEST_TEXT:
            size = text.get_fontsize()
            raise ValueError(f"{text.get_text()!r} is {size:.1f} points high; {SMALLEST_TEXT:g} is the least")


# --------------------------------------------------------------------------------------------------------------------
# Drawing
# --------------------------------------------------------------------------------------------------------------------


def frames_strip(
    frames: numpy.ndarray, title: str, names: Sequence[str] | None = None, columns: int = 8, size: float = 1.3
) -> Figure:
    """Small pictures side by side.

    Parameters
    ----------
    frames : array, shape (frames, height, width[, 3])
        Bytes, or floats of which the smallest of all is drawn black and the largest white.
    title : str
    names : sequence of str, optional
        What stands above each; without, "frame 0" and on.
    columns : int
        How many in a row.
    size : float
        Width of each in inches.
    """
    names = [f"frame {i}" for i in range(len(frames))] if names is None else names
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    height = size * frames.shape[1] / frames.shape[2] + 0.3
    figure, grid = plt.subplots(rows, columns, figsize=(columns * size, rows * height + 0.4), squeeze=False)
    low, high = frames.min(), frames.max()
    if frames.dtype != numpy.uint8 and frames.ndim == 4:
        frames = (frames - low) / (high - low)
    for axes in grid.flat:
        axes.axis("off")
    for axes, frame, name in zip(grid.flat, frames, names, strict=False):
        axes.imshow(frame, cmap="gray", vmin=low, vmax=high)
        axes.set_title(name, fontsize="small")
    figure.suptitle(title)
    return figure


def heat_map(
    axes: Axes,
    matrix: numpy.ndarray,
    title: str,
    xlabel: str,
    ylabel: str,
    bar: str | None = None,
    numbers: str | None = None,
    **options: Any,
) -> Any:
    """A matrix as a field of greys to yellows, dark being low.

    Parameters
    ----------
    matrix : array, shape (rows, columns)
    title, xlabel, ylabel : str
    bar : str, optional
        The label of a colour bar; without one there is no bar.
    numbers : str, optional
        A format such as ".2f", to write every entry into its cell.
    **options
        Of ``axes.imshow``, such as `vmin` and `vmax`.
    """
    image = axes.imshow(matrix, **{"aspect": "equal", **options})
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True))
    if numbers is not None:
        for (row, column), value in numpy.ndenumerate(matrix):
            ink = "black" if image.norm(value) > 0.55 else "white"
            axes.text(column, row, format(value, numbers), ha="center", va="center", color=ink, fontsize="small")
    if bar is not None:
        axes.figure.colorbar(image, ax=axes, label=bar, shrink=0.8)
    return image


def bars(
    axes: Axes, names: Sequence[str], series: dict[str, Sequence[float]], title: str, xlabel: str, ylabel: str
) -> None:
    """Groups of bars, one group a name, told apart by hatching."""
    places = numpy.arange(len(names))
    width = 0.8 / len(series)
    for i, ((label, values), hatch) in enumerate(zip(series.items(), cycle(HATCHES), strict=False)):
        shift = (i - (len(series) - 1) / 2) * width
        axes.bar(places + shift, values, width, label=label, hatch=hatch, facecolor="white", edgecolor="black")
    axes.set_xticks(places, names)
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if len(series) > 1:
        axes.legend()


def over_frames(
    frames: numpy.ndarray,
    maps: numpy.ndarray,
    title: str,
    unit: str,
    numbers: str | None = None,
    signed: bool = False,
) -> Figure:
    """Frames above, and below each a map of its places, with one colour bar for all.

    Parameters
    ----------
    frames : array, shape (times, height, width, 3)
    maps : array, shape (times, rows, columns)
    title, unit : str
        Of the figure, and of the colour bar.
    numbers : str, optional
        A format, to write every entry into its square.
    signed : bool
        Zero is neutral: white, with the two signs in two colours.
    """
    count = min(len(maps), 6)
    most = float(numpy.abs(maps).max())
    limits = {"vmin": -most, "vmax": most, "cmap": "PuOr_r"} if signed else {"vmin": 0, "vmax": most}
    figure, grid = plt.subplots(2, count, figsize=(min(2.3 * count + 2, 10.5), 4.8), squeeze=False)
    for i in range(count):
        height, width = frames[i].shape[:2]
        grid[0, i].imshow(frames[i])
        grid[0, i].set_title(f"temporal index {i}")
        image = grid[1, i].imshow(maps[i], extent=(0, width, height, 0), **limits)
        rows, columns = maps[i].shape
        for (row, column), value in numpy.ndenumerate(maps[i] if numbers else numpy.empty((0, 0))):
            ink = "white" if signed and abs(value) > 0.7 * most else "black"
            place = ((column + 0.5) * width / columns, (row + 0.5) * height / rows)
            grid[1, i].text(*place, format(value, numbers), ha="center", va="center", color=ink, fontsize="small")
        for axes in grid[:, i]:
            axes.axis("off")
    figure.colorbar(image, ax=grid, label=unit, shrink=0.7)
    figure.suptitle(title)
    return figure
