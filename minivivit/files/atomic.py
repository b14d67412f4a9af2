"""Files and directories that are never half-written: written beside their place, then renamed into it."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed
from minivivit.system_errors import mark_as_writing


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a temporary file beside `path`; on success, rename it to `path`.

    A rename within one directory is atomic: another process sees the old file or the new one, never a part of one. The
    data reach the disk before the name does, so this also holds across SIGKILL and power loss. When the body raises,
    the temporary file is removed and `path` is as it was.

    Only a regular file is replaced, and the new one has the mode of the old one, and its owner where the system lets us
    give files away. A symbolic link stays, and what it points to is written. Into a device, a pipe or an open file of
    a process (``/dev/stdout``) the finished file is copied.

    Parameters
    ----------
    path : path-like
        Where the finished file shall stand. Its directory must exist.

    Yields
    ------
    pathlib.Path
        Where the body writes (and closes) the file. It is there already, and empty.

    Raises
    ------
    InputError
        When `path` is a directory.
    OSError
        When it cannot be written: no such directory, no permission, no space. The error names `path`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a directory; expected the name of a file to write")
    with naming_errors(path):
        if _is_passage(path):
            with tempfile.TemporaryDirectory(prefix="minivivit-") as folder, naming_errors(path, Path(folder)):
                finished = Path(folder) / "file"
                finished.touch()
                yield finished
                with open(finished, "rb") as source, open(path, "ab") as target:
                    shutil.copyfileobj(source, target)
            return
        place = _end_of_links(path)
        temporary = _beside(place)
        try:
            old = _create_like(temporary, place)
            with naming_errors(path, temporary):
                yield temporary
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
                if old is not None:
                    take_after(temporary, old)
                os.replace(temporary, place)
        finally:
            with contextlib.suppress(OSError):  # what went wrong before matters more
                temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically (see `atomic_path`); its line feeds stay what they are."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


@contextmanager
def atomic_directory(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory; on success, what the body has put there stands in `directory`, otherwise nothing of it.

    A directory that is not there is made beside its place, with its parents, and renamed. One that is there must be
    empty, and is filled from within: it may be a mounted one or the current one, which cannot be replaced.

    Raises
    ------
    InputError
        When `directory` is a file or is not empty, or cannot be made.
    OSError
        When the disk is full, and the like. The error names a file within `directory`.
    """
    directory = Path(os.path.realpath(directory))
    check_free(directory)
    there = directory.is_dir()
    with _parents_made(directory):
        temporary = make_hidden(directory / "new" if there else directory)
        try:
            with naming_errors(directory, temporary):
                yield temporary
                check_free(directory, besides=temporary)  # while the body worked, it may have become something else
                if there:
                    _move_entries(temporary, directory)
                else:
                    temporary.rename(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_free(directory: Path, besides: Path | None = None) -> None:
    """Refuse to fill a place where something is.

    Raises
    ------
    InputError
        When `directory` is a file, or holds something other than `besides`.
    """
    if not directory.is_dir():
        if os.path.lexists(directory):
            raise InputError(f"{directory} is a file; expected a new or an empty directory")
        return
    found = sorted(path.name for path in directory.iterdir() if path != besides)
    if found:
        raise InputError(
            f"{directory} is not empty, it holds {listed(found, 3)}; choose another directory, or empty it yourself"
        )


def make_hidden(directory: Path) -> Path:
    """A new, hidden directory ``.NAME.*.part`` beside `directory`, on the same disk; parents are made.

    Raises
    ------
    InputError
        When that cannot be: the place is read-only, or a file stands where a parent should.
    """
    temporary = _beside(directory)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{directory} cannot be made ({reason}); choose a directory that can be written") from None
    return temporary


def make_directory(directory: str | os.PathLike[str]) -> None:
    """Make a directory and its parents where they are not there.

    Raises
    ------
    OSError
        When that cannot be; it is marked as an error of writing.
    """
    directory = Path(directory)
    with naming_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)


def take_after(new: Path, old: os.stat_result) -> None:
    """Give `new` the owner, if we may, and the mode of what it replaces."""
    if hasattr(os, "chown"):
        for user in (old.st_uid, -1):  # who may not give it to the user may still be of the group
            with contextlib.suppress(OSError):
                os.chown(new, user, old.st_gid)
                break
    os.chmod(new, stat.S_IMODE(old.st_mode))


@contextmanager
def naming_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let the system's errors in the body name `path` where they name no file, as those of a full disk do.

    Where they name `temporary`, or what lies within it, they name what will be in its place. Those that concern `path`
    are marked as errors of writing (`minivivit.system_errors`), which is what the body is there for.
    """
    try:
        yield
    except OSError as error:
        name = os.fspath(path)
        if isinstance(error.filename, str | os.PathLike):
            found = Path(error.filename)
            if temporary is None or not found.is_relative_to(temporary):
                if _is_on_the_way(Path(os.path.abspath(found)), Path(os.path.abspath(path))):
                    mark_as_writing(error)
                raise
            name = os.fspath(path / found.relative_to(temporary))
        if error.errno is None:  # of a library, which has only words
            raise OSError(f"{name} cannot be written: {error}") from error
        named = OSError(error.errno, error.strerror or os.strerror(error.errno), name)
        raise mark_as_writing(named) from error


def _is_on_the_way(found: Path, path: Path) -> bool:
    """Whether one of two absolute paths is the other, or leads to it."""
    return found == path or found in path.parents or path in found.parents


def _beside(path: Path) -> Path:
    """A name beside `path` that nobody has, hidden, and not longer than names may be."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")


def _is_passage(path: Path) -> bool:
    """Whether what is written to `path` goes elsewhere: a device, a pipe, a socket, an open file of a process."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return True
    except OSError:  # nothing there, or nothing behind a link
        return False
    step = os.path.abspath(path)
    while not re.fullmatch("/proc/.*/fd|/dev/fd", os.path.realpath(os.path.dirname(step))):
        if not os.path.islink(step):
            return False
        step = os.path.join(os.path.dirname(step), os.readlink(step))
    return True


def _end_of_links(path: Path) -> Path:
    """Where a symbolic link leads, which need not be there yet."""
    if not path.is_symlink():
        return path
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return place


def _create_like(temporary: Path, place: Path) -> os.stat_result | None:
    """Create the temporary file, readable by none who could not read the old one; what the old one was like, if any."""
    try:
        old = os.stat(place)
    except FileNotFoundError:
        old = None
    if old is not None and not os.access(place, os.W_OK):  # a rename would not ask
        raise mark_as_writing(PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(place)))
    with naming_errors(place, temporary):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if old is None else 0o600))
    return old


@contextmanager
def _parents_made(directory: Path) -> Iterator[None]:
    """Remove the parents of `directory` that the body made, when it fails."""
    missing = [parent for parent in directory.parents if not parent.exists()]  # the innermost first
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for parent in missing:
                parent.rmdir()
        raise


def _move_entries(source: Path, target: Path) -> None:
    """Move what is in `source` into `target`: all, or nothing."""
    moved: list[Path] = []
    try:
        for entry in sorted(source.iterdir()):
            moved.append(target / entry.name)
            entry.rename(moved[-1])
    except BaseException:
        for path in moved:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        raise
