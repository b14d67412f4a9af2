"""A progress bar for work longer than a second, on standard error and only on a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

import numpy
from tqdm import tqdm


class Bar(tqdm):
    """tqdm's bar, without the thread that tqdm starts beside its first bar and leaves running in the user's process."""

    monitor_interval = 0


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone reads along: not where the stream is closed, or missing as under ``pythonw``."""
    return stream is not None and not stream.closed and stream.isatty()


def say(bar: tqdm, line: str) -> None:
    """Print a line on standard output, above the bar; nothing where there is no standard output."""
    if sys.stdout is not None and not sys.stdout.closed:
        bar.write(line, file=sys.stdout)
        sys.stdout.flush()


def progress_bar(total: int, description: str, unit: str = "step") -> tqdm:
    """A bar that appears after a second, if standard error is a terminal, and is wiped away at the end."""
    return Bar(
        total=total,
        desc=description,
        delay=1,
        leave=False,
        file=sys.stderr,
        disable=not is_terminal(sys.stderr),
        unit=unit,
    )


def counted(
    batches: Iterable[tuple[list[numpy.ndarray], numpy.ndarray]], bar: tqdm
) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
    """The batches, (clips, labels) each; `bar` moves by a batch's clips when the next one is asked for."""
    for clips, labels in batches:
        yield clips, labels
        bar.update(len(labels))
