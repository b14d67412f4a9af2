"""Where an experiment writes, before it has written anything."""

import os
from collections.abc import Iterable
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed


def check_free(path: Path, names: Iterable[str], experiment: str) -> None:
    """Refuse a directory that lacks the figures, `path`, but holds something that `experiment` would overwrite.

    Raises
    ------
    InputError
        When one of `names` is there.
    """
    there = [name for name in names if os.path.lexists(path.parent / name)]
    if there:
        raise InputError(
            f"{path.parent} already holds {listed(there)}, but no {path.name}; {experiment} would write there: "
            "choose another --output, or move that away"
        )
