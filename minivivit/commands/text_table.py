"""Small aligned tables for people to read."""

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under the header, the first column to the left, the others to the right, two spaces between."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for first, *others in cells:
        aligned = [other.rjust(width) for other, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
    return "\n".join(lines)


def printable(text: str) -> str:
    """`text` on one line and without control characters, which a terminal would obey: names come from files."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
