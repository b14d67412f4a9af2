"""Small aligned tables for people to read."""

from collections.abc import Sequence

LONGEST_CELL = 200  # letters


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under the header, the first column to the left, the others to the right, two spaces between."""
    cells = [[_bounded(printable(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for first, *others in cells:
        aligned = [other.rjust(width) for other, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The same in Markdown, line by line."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _bounded(text: str) -> str:
    """`text`, or the beginning of it: a class may have a name of a megabyte."""
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def printable(text: object) -> str:
    """`text` on one line, with control characters spelled out, which a terminal would obey: names come from files."""
    return "".join(letter if letter.isprintable() else _spelled(letter) for letter in str(text)).strip()


def _spelled(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape").decode("ascii")
