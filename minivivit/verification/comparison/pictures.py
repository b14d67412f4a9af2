"""The pictures of a comparison: SVG made by hand, which says what it says in shape and lightness, not in colour."""

import html
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy

from minivivit.verification.comparison.verdict import Comparison, Row

MOST_MARKS = 1500  # tensors that are drawn one by one
NAME_LENGTH = 160
WIDTH, HEIGHT = 1080, 380
MARGIN = {"left": 70, "right": 20, "top": 16, "bottom": 58}
LAYER = re.compile(r"(.*?\blayer\.([0-9]{1,5}))(?:\..*)?")


def shown(text: object, limit: int | None = NAME_LENGTH) -> str:
    """Text for HTML: nothing in it is markup, and what cannot be seen is written out."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(text))
    if limit is not None and len(line) > limit:
        line = f"{line[: limit - 1]}…"
    return html.escape(line.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)


def shown_number(value: float | None) -> str:
    """A number for HTML: three digits, and signs for what is infinite or NaN."""
    return "" if value is None else f"{value:.2e}" if math.isfinite(value) else "∞" if value > 0 else "?"


# --------------------------------------------------------------------------------------------------------------------
# SVG
# --------------------------------------------------------------------------------------------------------------------


def _element(tag: str, content: str = "", **attributes: Any) -> str:
    """An SVG element; its attributes are numbers and texts of ours, and `content` is markup."""
    written = "".join(f' {key.replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items())
    return f"<{tag}{written}>{content}</{tag}>"


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else shown(value, None)


def _picture(width: float, height: float, title: str, content: Iterable[str]) -> str:
    inside = _element("title", shown(title, None)) + "\n" + "\n".join(content) + "\n"
    return _element(
        "svg",
        inside,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
    )


# --------------------------------------------------------------------------------------------------------------------
# The error of each tensor
# --------------------------------------------------------------------------------------------------------------------


def error_picture(comparison: Comparison) -> str:
    """The relative error of each tensor in the order of execution, on a logarithmic scale, with what is allowed.

    A dot is a tensor that agrees, a cross one that does not, a ring one that nothing judges; the line is what is
    allowed, the dashed one the budget as measured. Of very many tensors, each mark is the worst of some neighbours.
    """
    marks = _marks(comparison.rows)
    allowed = [(place, row.allowed) for place, row in enumerate(marks) if row.allowed and row.allowed < 1e300]
    budgets = [(place, value) for place, row in enumerate(marks) if row.budget and 0 < (value := _budget(row)) < 1e300]
    errors = [value for row in marks if 0 < (value := _relative(row)) < 1e300]
    values = [*errors, *(value for _, value in allowed + budgets)]
    if not values:
        return "<p>Every pair is equal to the bit, or cannot be compared: there is nothing to draw.</p>"
    lowest = math.floor(math.log10(max(min(values), 1e-20)))
    highest = max(math.ceil(math.log10(min(max(values), 1e20))), lowest + 1)
    inner = HEIGHT - MARGIN["top"] - MARGIN["bottom"]

    def y(value: float) -> float:
        exponent = min(max(math.log10(value) if value > 0 else -math.inf, lowest), highest)
        return MARGIN["top"] + inner * (highest - exponent) / (highest - lowest)

    def x(place: int) -> float:
        return MARGIN["left"] + (WIDTH - MARGIN["left"] - MARGIN["right"]) * (place + 0.5) / len(marks)

    content = [*_grid(lowest, highest, y), *_layer_labels(marks, x)]
    content += [_curve([(x(i), y(v)) for i, v in allowed], "none"), _curve([(x(i), y(v)) for i, v in budgets], "4 3")]
    content += [_mark(row, x(place), y(_relative(row))) for place, row in enumerate(marks)]
    content += _pointer(comparison.first_divergent, marks, x)
    caption = (
        "Relative error ‖theirs − ours‖ / ‖ours‖ in the order of execution. Dot: agrees; cross: does not; triangle: "
        "suspicious; ring: not judged; at the lower edge: equal. "
    )
    if allowed:
        caption += "Line: what is allowed; dashed: the rounding of our own run. "
    if len(marks) < len(comparison.rows):
        caption += f"Each mark is the worst of up to {math.ceil(len(comparison.rows) / MOST_MARKS)} neighbours."
    first = comparison.first_divergent
    title = "Relative error of each tensor. " + (
        f"{first.name} is the first that differs." if first else "None differs."
    )
    return f"{_picture(WIDTH, HEIGHT, title, content)}\n<p>{caption}</p>"


def _marks(rows: list[Row]) -> list[Row]:
    """The rows, or the worst of each few neighbours; of the equally bad the first."""
    rows = [row for row in rows if row.error is not None]
    step = math.ceil(len(rows) / MOST_MARKS) if rows else 1

    def badness(row: Row) -> tuple[float, bool, float, float]:
        excess = row.excess if row.excess == row.excess else -1.0
        return max(excess, 1.0), row.status == "suspicious", excess, _relative(row)

    return [max(rows[start : start + step], key=badness) for start in range(0, len(rows), step)]


def _relative(row: Row) -> float:
    assert row.error is not None
    return math.inf if row.error.num_nonfinite else row.error.relative_l2


def _budget(row: Row) -> float:
    assert row.budget is not None
    return row.budget["relative_l2"]


def _grid(lowest: int, highest: int, y: Any) -> list[str]:
    """A line at each power of ten, or each few."""
    lines = []
    for exponent in range(lowest, highest + 1, math.ceil((highest - lowest) / 10)):
        place = y(10.0**exponent)
        lines.append(_element("line", x1=MARGIN["left"], x2=WIDTH - MARGIN["right"], y1=place, y2=place, stroke="#ccc"))
        lines.append(_element("text", f"1e{exponent}", x=MARGIN["left"] - 8, y=place + 4, text_anchor="end"))
    return lines


def _layer_labels(rows: list[Row], x: Any) -> list[str]:
    """A short line at the lower edge where a layer begins, with its number where there is room for it."""
    parts, before, last = [], "", -math.inf
    bottom = HEIGHT - MARGIN["bottom"]
    for place, row in enumerate(rows):
        match = LAYER.fullmatch(row.name)
        layer = match[1] if match else ""
        if match and layer != before:
            parts.append(_element("line", x1=x(place), x2=x(place), y1=bottom, y2=bottom + 6, stroke="#111"))
            if x(place) - last > 24:
                parts.append(_element("text", match[2], x=x(place), y=bottom + 20, text_anchor="middle"))
                last = x(place)
        before = layer
    middle = (WIDTH + MARGIN["left"]) / 2
    where = "tensors in the order of execution" + ("; numbers: where a layer begins" if parts else "")
    return [*parts, _element("text", where, x=middle, y=bottom + 42, text_anchor="middle")]


def _pointer(first: Row | None, rows: list[Row], x: Any) -> list[str]:
    """A line at the first tensor that differs, with its name on the side where there is room."""
    if first not in rows:
        return []
    place = x(rows.index(first))
    top, bottom = MARGIN["top"], HEIGHT - MARGIN["bottom"]
    line = _element("line", x1=place, x2=place, y1=top, y2=bottom, stroke="#111", stroke_dasharray="1 3")
    on_left = place > WIDTH / 2
    anchor: dict[str, Any] = {
        "x": place + (-8 if on_left else 8),
        "y": top + 12,
        "text_anchor": "end" if on_left else "start",
    }
    return [line, _element("text", shown(first.name, 80), **anchor)]


def _curve(points: list[tuple[float, float]], dashes: str) -> str:
    if not points:
        return ""
    written = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return _element("polyline", points=written, fill="none", stroke="#555", stroke_width=1, stroke_dasharray=dashes)


def _mark(row: Row, x: float, y: float) -> str:
    title = _element("title", f"{shown(row.name)}: {shown_number(_relative(row))}, {shown(row.status)}")
    if row.status == "diverged":
        path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return _element("path", title, d=path, stroke="#a00", stroke_width=2, fill="none")
    if row.status == "suspicious":
        return _element("path", title, d=f"M{x:.1f} {y - 5:.1f}l5 9h-10z", stroke="#a00", fill="#fff")
    judged = row.status != "unjudged"
    return _element("circle", title, cx=x, cy=y, r=3, fill="#036" if judged else "#fff", stroke="#036")


# --------------------------------------------------------------------------------------------------------------------
# The error of each token
# --------------------------------------------------------------------------------------------------------------------


def token_picture(errors: numpy.ndarray, cls: float | None) -> str:
    """A panel of rows x columns for each time: the darker, the larger the error; the worst token is framed."""
    times, rows, columns = errors.shape
    cell = min(32.0, max(3.0, 115 / max(rows, columns)))
    panel_width, panel_height = max(columns * cell, 40) + 16, rows * cell + 28
    across = max(1, min(times, int(WIDTH // panel_width)))
    largest = float(errors.max()) or 1.0
    worst = tuple(int(i) for i in numpy.unravel_index(int(errors.argmax()), errors.shape))
    content = []
    for time in range(times):
        left, top = time % across * panel_width, time // across * panel_height
        content.append(_element("text", f"time {time}", x=left, y=top + 14))
        content += _panel(errors[time] / largest, time, left, top + 20, cell)
    left = worst[0] % across * panel_width + worst[2] * cell
    top = worst[0] // across * panel_height + 20 + worst[1] * cell
    for stroke, stroke_width in (("#fff", 5), ("#a00", 2)):  # seen on dark and on light
        frame: dict[str, Any] = {"fill": "none", "stroke": stroke, "stroke_width": stroke_width}
        content.append(_element("rect", x=left, y=top, width=cell, height=cell, **frame))
    height = math.ceil(times / across) * panel_height
    content += _scale(largest, height + 10)
    title = (
        f"Root mean square error of each token, {times} times of {rows} rows and {columns} columns; the worst is time "
        f"{worst[0]}, row {worst[1]}, column {worst[2]}"
    )
    beside = f" CLS token: {cls:.2e}." if cls is not None else ""
    return f"{_picture(WIDTH, height + 50, title, content)}\n<p>{title} (framed): {largest:.2e}.{beside}</p>"


def _panel(errors: numpy.ndarray, time: int, left: float, top: float, cell: float) -> list[str]:
    cells = []
    for (row, column), value in numpy.ndenumerate(errors):
        title = _element("title", f"time {time}, row {row}, column {column}: {100 * value:.0f} % of the largest")
        x, y = left + column * cell, top + row * cell
        cells.append(_element("rect", title, x=x, y=y, width=cell, height=cell, fill=_grey(value), stroke="#bbb"))
    return cells


def _grey(value: float) -> str:
    return f"#{round(255 * (1 - 0.9 * value)):02x}" + f"{round(255 * (1 - 0.9 * value)):02x}" * 2


def _scale(largest: float, top: float) -> list[str]:
    """The greys with the numbers that they stand for."""
    parts = []
    for step in range(5):
        parts.append(_element("rect", x=step * 110.0, y=top, width=18, height=18, fill=_grey(step / 4), stroke="#bbb"))
        parts.append(_element("text", f"{largest * step / 4:.1e}", x=step * 110.0 + 24, y=top + 14))
    return parts
