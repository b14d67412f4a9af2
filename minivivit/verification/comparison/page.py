"""A comparison as one page of HTML: the verdict, the error of each tensor, and of each token where it goes wrong.

It needs no script and no other file. Names come from other people's files: what is shown goes through `shown`.
"""

from collections.abc import Sequence
from typing import Any

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.verification.comparison.pictures import error_picture, shown, shown_number, token_picture
from minivivit.verification.comparison.token_errors import pixel_errors, rms_by_position, token_errors
from minivivit.verification.comparison.verdict import Comparison, Row, Source
from minivivit.verification.tensors.source import open_source

MOST_LISTED = 3000
MOST_TOKENS = 20_000

STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 1120px; margin: 2em auto;
  padding: 0 1em; overflow-wrap: anywhere; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #111; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 2px 8px; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top;
  overflow-wrap: normal; }
td { white-space: nowrap; }
td:nth-child(2), td:nth-child(3) { white-space: normal; overflow-wrap: anywhere; }
td:nth-child(2) { min-width: 14em; }
th:nth-child(2), td:nth-child(2), th:nth-child(3), td:nth-child(3) { text-align: left; }
tr.first td { border-top: 2px solid #111; font-weight: bold; }
.table { overflow-x: auto; }
.verdict { font-size: 1.15em; border-left: 6px solid #111; padding-left: 1em; }"""


def comparison_page(comparison: Comparison, ours: Source, theirs: Source) -> str:
    """The page as one string of HTML.

    Parameters
    ----------
    comparison : Comparison
        What `minivivit.verification.comparison.verdict.compare` found.
    ours, theirs : path, dict of arrays, or TensorSource
        What was compared: the tensor that diverges first is read again, for the picture of its tokens.

    Returns
    -------
    str
        UTF-8 text without references to anything outside of it.
    """
    parts = [
        f"<h1>{shown(_path_of(theirs))} against {shown(_path_of(ours))}</h1>",
        f'<p class="verdict">{shown(comparison.verdict, None)}</p>',
        _list("Likely causes", comparison.hints),
        _list("Suspicious", [suspicion.sentence for suspicion in comparison.suspicions]),
        _list("Where it is wrong", [place.sentence for place in comparison.places]),
        _list("Notes", comparison.notes),
        "<h2>Error of each tensor</h2>",
        error_picture(comparison),
    ]
    first = comparison.first_divergent
    if first is not None and first.error is not None:
        parts += [
            f"<h2>Error of each token of {shown(first.name)}</h2>",
            _token_section(comparison, first, ours, theirs),
        ]
    parts += [_table(comparison), _unpaired(comparison)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>minivivit compare</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _path_of(source: Source) -> str:
    return open_source(source).path


def _list(title: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "\n".join(f"<li>{shown(sentence, None)}</li>" for sentence in sentences)
    return f"<h2>{title}</h2>\n<ul>\n{items}\n</ul>"


def _token_section(comparison: Comparison, row: Row, ours: Source, theirs: Source) -> str:
    grid = _grid_of(comparison.config)
    if grid is None:
        return "<p>Our trace does not say of what grid of tubelets the tokens are.</p>"
    if row.name == "pixel_values":
        tokens = pixel_errors(row, comparison, ours, theirs, grid)
    else:
        tokens = token_errors(rms_by_position(row, comparison, ours, theirs), grid)
    if tokens is None or tokens[0].size > MOST_TOKENS:
        return f"<p>A tensor of shape {shown(row.shape)} has no axis of {shown(grid)} tokens.</p>"
    return token_picture(*tokens)


def _grid_of(config: dict[str, Any]) -> tuple[int, int, int] | None:
    """Tubelets in time, rows and columns."""
    try:
        times, rows, columns = VivitConfig.from_dict(config).grid_size if config else (0, 0, 0)
    except InputError:
        return None
    return (times, rows, columns) if times * rows * columns else None


# --------------------------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "", "tensor", "theirs", "status", "relative error", "times what is allowed", "largest error", "relative, largest",
    "ULP, largest", "1 − cosine", "worst at", "ours there", "theirs there",
)  # fmt: skip


def _table(comparison: Comparison) -> str:
    rows, first = comparison.rows, comparison.first_divergent
    start = max(0, rows.index(first) - MOST_LISTED // 2) if first is not None and len(rows) > MOST_LISTED else 0
    listed = rows[start : start + MOST_LISTED]
    lines = [f"<tr>{''.join(f'<th>{name}</th>' for name in COLUMNS)}</tr>"]
    for number, row in enumerate(listed, start + 1):
        cells = "".join(f"<td>{cell}</td>" for cell in _cells(number, row))
        lines.append(f'<tr class="first">{cells}</tr>' if row is first else f"<tr>{cells}</tr>")
    more = f"<p>Of {len(rows):,} pairs {len(listed):,} are listed.</p>" if len(listed) < len(rows) else ""
    body = "\n".join(lines)
    return f'<h2>All pairs, in the order of execution</h2>\n{more}<div class="table"><table>\n{body}\n</table></div>'


def _cells(number: int, row: Row) -> list[str]:
    theirs = "" if row.their_name == row.name else shown(row.their_name)
    if row.layout:
        theirs += f" <i>{shown(row.layout)}</i>"
    if row.error is None:
        shapes = f"{row.shape}, theirs {row.their_shape}" if row.their_shape is not None else ""
        return [str(number), shown(row.name), theirs, f"{shown(row.status)} {shown(shapes)}", *[""] * 9]
    error = row.error
    numbers = (error.relative_l2, row.excess, error.max_abs, error.max_rel, error.max_ulp, 1 - error.cosine)
    there = ("", "", "") if error.where is None else (shown(error.where), f"{error.ours:.6g}", f"{error.theirs:.6g}")
    return [str(number), shown(row.name), theirs, shown(row.status), *map(shown_number, numbers), *there]


def _unpaired(comparison: Comparison) -> str:
    parts = []
    for whose, names in (("ours", comparison.unpaired_ours), ("theirs", comparison.unpaired_theirs)):
        if names:
            first = ", ".join(f"<code>{shown(name)}</code>" for name in names[:100])
            more = f" and {len(names) - 100:,} more" if len(names) > 100 else ""
            parts.append(f"<h2>Only in {whose}: {len(names):,}</h2>\n<p>{first}{more}</p>")
    return "\n".join(parts)
