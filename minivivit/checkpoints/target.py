"""Where a conversion writes: nothing is half-made, and nothing is overwritten unasked."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory, make_hidden, naming_errors
from minivivit.files.tensor_data import listed

# Without it nobody takes the directory for a model.
LAST = "config.json"


@contextmanager
def conversion_target(directory: str | os.PathLike[str], overwrite: bool) -> Iterator[Path]:
    """Give an empty directory beside `directory`; on success, what it then holds is what `directory` holds.

    When the body raises, what it wrote is removed, and `directory` is as it was. (Killed, it may leave a hidden
    directory ``.NAME.*.part``, which may be deleted.)

    Parameters
    ----------
    directory : path-like
        Parents are made.
    overwrite : bool
        Write into a directory that is not empty too. Its files of the same names are replaced, others stay.

    Raises
    ------
    InputError
        When `directory` is a file; and without `overwrite` when it is not empty.
    """
    check_target(directory, overwrite)
    directory = Path(os.path.realpath(directory))
    if not directory.is_dir() or not any(directory.iterdir()):
        with atomic_directory(directory) as temporary:
            yield temporary
        return
    temporary = make_hidden(directory)
    try:
        with naming_errors(directory, temporary):
            yield temporary
            for path in sorted(temporary.iterdir(), key=lambda path: (path.name == LAST, path.name)):
                os.replace(path, directory / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(directory: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse a file, and without `overwrite` a directory that is not empty."""
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; expected a directory to write into")
    found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    if found and not overwrite:
        raise InputError(
            f"{directory} is not empty, it holds {listed(found, 3)}; choose another directory, or pass --overwrite to "
            "replace what has the same name"
        )
