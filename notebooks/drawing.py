"""How the notebooks draw: pictures that say what they show, in words too, and that can be read without colour."""

import base64
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
from matplotlib.ticker import MaxNLocator
from PIL import Image

DOTS_PER_INCH = 80
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
    """Show a figure as a picture with alternative text, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        It needs a title, and each of its axes (unless switched off) a label on both sides.
    alt : str
        What someone who cannot see the picture should know of it, in a sentence or two.

    Raises
    ------
    ValueError
        When the figure lacks a title or a label, or `alt` says too little.
    """
    data, metadata = _picture(figure, alt)
    display(data, metadata=metadata, raw=True)


def knob(draw: Callable[..., Figure], alt: str | Callable[..., str], **choices: Sequence) -> None:
    """Show ``draw(**values)``, with a slider for each of the choices wherever a kernel listens to it.

    The picture is an ordinary output, and so it stays where there is no kernel, on a web page say; a moved slider draws
    it anew.

    Parameters
    ----------
    draw : function of the choices' names -> Figure
    alt : str or function of the choices' names -> str
        As for `show`.
    **choices : sequence
        The values that each argument can take. The picture starts with the first of each.
    """
    describe = alt if callable(alt) else lambda **values: alt
    sliders = {
        name: ipywidgets.SelectionSlider(options=[(str(value), value) for value in values], description=name)
        for name, values in choices.items()
    }

    def picture() -> tuple[dict, dict]:
        values = {name: slider.value for name, slider in sliders.items()}
        return _picture(draw(**values), describe(**values))

    data, metadata = picture()
    handle = display(data, metadata=metadata, raw=True, display_id=True)

    def draw_anew(change: Any) -> None:
        data, metadata = picture()
        handle.update(data, metadata=metadata, raw=True)

    for slider in sliders.values():
        slider.observe(draw_anew, names="value")
    display(ipywidgets.VBox(list(sliders.values())))


def _picture(figure: Figure, alt: str) -> tuple[dict, dict]:
    """A figure as the data and the metadata of a notebook's output; the figure is closed."""
    plt.close(figure)
    _check_words(figure, alt)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
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
            axes.text(column, row, format(value, numbers), ha="center", va="center", color=ink, fontsize="x-small")
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
