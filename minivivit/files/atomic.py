"""Files that are never half-written: written beside their place, then renamed into it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a temporary file beside `path`; on success, rename it to `path`.

    A rename within one directory is atomic: another process sees the old file or the new one, never a part of one. The
    data reach the disk before the name does, so this also holds across SIGKILL and power loss. When the body raises,
    the temporary file is removed and `path` is as it was.

    Parameters
    ----------
    path : path-like
        Where the finished file shall stand. Its directory must exist.

    Yields
    ------
    pathlib.Path
        Where the body writes (and closes) the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
