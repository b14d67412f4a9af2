"""``minivivit compare``: find the first tensor of a port that differs from ours by more than rounding."""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from minivivit.commands.common.arguments import decimal
from minivivit.commands.common.notes import print_notes
from minivivit.commands.common.text_table import printable, text_table
from minivivit.errors import InputError
from minivivit.files.atomic import write_text
from minivivit.files.tensor_data import listed
from minivivit.progress import progress_bar
from minivivit.verification.comparison.mapping import read_mapping
from minivivit.verification.comparison.page import comparison_page
from minivivit.verification.comparison.verdict import Comparison, Row, compare
from minivivit.verification.tensors.error import PRECISIONS
from minivivit.verification.tensors.layout_sizes import NAMED_SIZES
from minivivit.verification.tensors.layouts import NAMED_LAYOUTS
from minivivit.verification.tensors.source import open_source

NEIGHBOURS = 2  # rows of the table on either side of the first divergent one
WORST = 3
MOST_SUSPICIONS = 4
NAME_LENGTH = 75

DESCRIPTION = """\
Compare a port's tensors with ours, one by one, and name the first in the order of execution that differs by more than
rounding.

OURS is what  minivivit trace  wrote. THEIRS is a trace too, or a .safetensors or .npz file with the port's tensors,
under the same names, or under others with --map or --pair.

What rounding explains is measured, not guessed: our trace holds how far our own run in a lower precision strays from
float64 (minivivit trace ... --budget float16), tensor by tensor."""

LAYOUT_LINES = "\n".join(f"  {name:<18} {meaning}" for name, meaning in NAMED_LAYOUTS.items())

SIZES = ", ".join(NAMED_SIZES)

EXAMPLES = f"""\
The file of --map is a JSON object: our name -> their name, or {{"name": ..., "layout": ..., "optional": ...}}, or null
to leave a tensor out. {{N}}, or another word in braces, stands for a number, the same in both names, and {{N+1}} for
the next. {{P:a|b}} stands for one of the alternatives; in their name and layout {{P}} is the same one, and {{P:x|y}}
the one at its place. What the mapping does not name is paired by equal names, or with --pair order by shape and order.

  {{
    "vivit.encoder.layer.{{N}}": "blocks.{{N}}",
    "vivit.encoder.layer.{{N}}.attention.attention.{{P:query|key|value}}":
      {{"name": "blocks.{{N}}.qkv", "layout": "qkv[{{P:0|1|2}}]"}},
    "pixel_values": {{"name": "clip", "layout": "channels last"}}
  }}

Lines for what theirs lacks are listed, so that one mapping serves recordings of much and of little. Where "optional" is
true nothing is said of them, and where it is false theirs must have it.

A layout says what to do with theirs to get ours: words one after the other, as in
"reshape(batch, tokens, 2, -1) transpose(0, 2, 1, 3) take(1, 0)", or "find". Some are of NumPy, with sizes in numbers or
in these words, joined by +, - and *: {SIZES}. The others say how theirs is laid out:

{LAYOUT_LINES}

Axes of one entry may be missing or too many, and those before the last merged or apart.

examples:
  minivivit compare ours theirs.npz
  minivivit compare ours theirs.safetensors --map names.json --precision bfloat16 --html report.html
  minivivit compare ours theirs.npz --pair order --find-layouts --rtol 1e-3 --atol 1e-5

Exit codes: 0 nothing differs by more than is allowed; 1 something does, or is of another shape, or is missing though
its line in the mapping says "optional": false; 2 something that you can mend, said in one line on standard error; 3
nothing exceeds what is allowed, but something could not be judged; 4 nothing exceeds what is allowed, but something is
suspicious. What theirs lacks otherwise is listed as "only in ours" and not judged.

Where ours is a number and theirs is NaN or infinite, theirs is wrong whatever the precision. Not judged is what has no
budget, or one without bound, since our own run in float16 overflows there too.

Suspicious is, in bfloat16 and float16, what agrees within what a whole run in that precision strays, and is no rounding
of its own step: our float64 operator, given what theirs recorded before it, differs from theirs by more than the
rounding of that operator alone. That finds quantised weights or a lost term of a gradient which the errors of all the
steps before would hide. It needs the tensors around the operator, paired by name, and the weights that ours was traced
with.

Precision is judged tensor by tensor. A tensor that is only stored in bfloat16 is ours rounded, and those after it are
judged as before; where it was computed in bfloat16, those after it are made of it, and judged by that."""


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("ours", metavar="OURS", help="the directory of our trace")
    add("theirs", metavar="THEIRS", help="theirs: a directory, or a .safetensors or .npz file")
    add("--map", metavar="FILE", help="JSON file that says which of theirs is which of ours, see below")
    add(
        "--pair",
        choices=("name", "order"),
        default="name",
        help="pair by name, or by shape and order of execution, where names say nothing (default: name)",
    )
    add("--find-layouts", action="store_true", help="find transposes, merged QKV, heads merged or split, channels last")
    add(
        "--precision",
        choices=PRECISIONS,
        help="in which theirs was computed (default: each tensor by how it, and what it is made of, is stored)",
    )
    add("--rtol", type=decimal, metavar="X", help="judge by abs(d) <= atol + rtol * abs(ours) instead (default: 0)")
    add("--atol", type=decimal, metavar="X", help="the same (default: 0)")
    add("--all", action="store_true", help="list all tensors, not only the first that differs and the worst")
    add("--html", metavar="FILE", help="write a page with pictures of the error by tensor and by token")
    add("--json", action="store_true", help="print one JSON object instead of a table")


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare, and print what was found; returns the exit code."""
    if arguments.html is not None:
        _check_page_place(Path(arguments.html))
    mapping = None if arguments.map is None else read_mapping(arguments.map)
    ours, theirs = open_source(arguments.ours), open_source(arguments.theirs)
    with progress_bar(len(ours.shapes), "comparing", "tensor") as bar:
        comparison = compare(
            ours,
            theirs,
            mapping=mapping,
            by_order=arguments.pair == "order",
            precision=arguments.precision,
            rtol=arguments.rtol,
            atol=arguments.atol,
            find_layouts=arguments.find_layouts,
            on_row=lambda row: bar.update(),
        )
    if arguments.json:
        print(json.dumps(comparison.to_json(), allow_nan=False))
    else:
        _print_comparison(comparison, arguments.all)
        print_notes(comparison.notes)
    if arguments.html is not None:  # last: where the disk is full, what was found has been said
        sys.stdout.flush()  # the page may go to the same place
        write_text(arguments.html, comparison_page(comparison, ours, theirs))
    return comparison.exit_code


def _check_page_place(path: Path) -> None:
    """Refuse, before hours of reading, a page that cannot be written."""
    if path.is_dir():
        raise InputError(f"--html {path} is a directory; expected the name of a file to write")
    if not path.parent.is_dir():
        raise InputError(f"--html {path}: there is no directory {path.parent}; make it first")


def _print_comparison(comparison: Comparison, everything: bool) -> None:
    print(printable(comparison.verdict))
    for hint in comparison.hints:
        print(f"likely cause: {printable(hint)}")
    for suspicion in comparison.suspicions[1:MOST_SUSPICIONS]:
        print(f"also suspicious: {printable(suspicion.sentence)}")
    if comparison.places:
        print(f"where: {'; '.join(place.sentence for place in comparison.places)}")
    chosen = list(range(len(comparison.rows))) if everything else _interesting(comparison)
    layouts = any(row.layout or row.their_name != row.name for row in comparison.rows)
    header = ["tensor", "", "status", "relative", "of allowed", "largest", "ULP", "1 - cosine", "worst at"]
    cells = []
    for place in chosen:
        row = comparison.rows[place]
        theirs = f"{_short(row.their_name)} {row.layout}{' (guess)' if row.guessed else ''}" if layouts else ""
        cells.append([f"{place + 1} {_short(row.name)}", theirs, row.status, *_numbers(row)])
    if layouts:
        header[1] = "theirs"
    else:
        header, cells = _without_second(header), [_without_second(row) for row in cells]
    print(f"\n{text_table(header, cells)}")
    hidden = len(comparison.rows) - len(chosen)
    if hidden:
        print(f"and {hidden:,} more (--all)")
    for whose, names in (("ours", comparison.unpaired_ours), ("theirs", comparison.unpaired_theirs)):
        if names:
            print(f"only in {whose}: {printable(listed(names, 3))}")


def _without_second(row: list[str]) -> list[str]:
    return [row[0], *row[2:]]


def _interesting(comparison: Comparison) -> list[int]:
    """The first divergent or suspicious row with its neighbours, and the worst ones, in the order of execution."""
    rows, first = comparison.rows, comparison.first_divergent
    first = first or next((row for row in rows if row.status == "suspicious"), None)
    chosen = set()
    if first is not None:
        middle = rows.index(first)
        chosen |= set(range(max(0, middle - NEIGHBOURS), min(len(rows), middle + NEIGHBOURS + 1)))

    def badness(place: int) -> tuple[float, float]:
        row = rows[place]
        excess = row.excess if not math.isnan(row.excess) else -1.0
        return excess, row.error.relative_l2 if row.error is not None else math.inf

    return sorted(chosen | set(sorted(range(len(rows)), key=badness, reverse=True)[:WORST]))


def _short(name: str) -> str:
    """A name with its end, which tells more than its beginning."""
    return name if len(name) <= NAME_LENGTH else f"...{name[3 - NAME_LENGTH :]}"


def _numbers(row: Row) -> Iterator[str]:
    """The columns behind the status."""
    error = row.error
    if error is None:
        yield from ("", "", "", "", "", f"ours {row.shape}, theirs {row.their_shape}" if row.their_shape else "")
        return
    yield f"{error.relative_l2:.1e}"
    yield "" if math.isnan(row.excess) else f"{row.excess:.2g}"
    yield f"{error.max_abs:.1e}"
    yield f"{error.max_ulp:.2g}"
    yield f"{1 - error.cosine:.0e}"
    yield "" if error.where is None else str(error.where)
