"""A progress bar for work longer than a second, on standard error and only on a terminal."""

import sys
from collections.abc import Iterable, Iterator

import numpy
from tqdm import tqdm


def progress_bar(total: int, description: str, unit: str = "step") -> tqdm:
    """A bar that appears after a second, if standard error is a terminal, and is wiped away at the end."""
    return tqdm(
        total=total,
        desc=description,
        delay=1,
        leave=False,
        file=sys.stderr,
        disable=sys.stderr is None or not sys.stderr.isatty(),
        unit=unit,
    )


def counted(
    batches: Iterable[tuple[list[numpy.ndarray], numpy.ndarray]], bar: tqdm
) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
    """The batches, (clips, labels) each; `bar` moves by a batch's clips when the next one is asked for."""
    for clips, labels in batches:
        yield clips, labels
        bar.update(len(labels))
