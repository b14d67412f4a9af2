"""Notes: what a command did that its user may not expect, said on standard error once it has done it."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from minivivit.commands.common.text_table import printable
from minivivit.progress import is_open


def print_notes(notes: Iterable[str]) -> None:
    """Each note on a line of its own. A command that fails prints none, so that its error stands alone."""
    if not is_open(sys.stderr):
        return
    for note in notes:
        tqdm.write(f"minivivit: note: {printable(note)}", file=sys.stderr)  # above the bar, if there is one


@contextmanager
def held_log() -> Iterator[list[str]]:
    """What the package logs meanwhile, kept in a list of notes instead of being shown at once."""
    logger, handler = logging.getLogger("minivivit"), _Keeper()
    logger.addHandler(handler)
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.messages.append(record.getMessage())
