"""One at a time in a directory: a lock that a process loses when it ends, however it ends.

The lock is the system's, on an empty file in the directory: ``flock`` where there is ``fcntl``, ``msvcrt.locking`` on
Windows. So nothing is left behind that somebody would have to remove after a crash: a lock file without a process that
holds its lock locks nothing. Where the system or the file system has no locks (some network drives, a browser) the user
is told.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.atomic import make_directory, naming_errors

LOCK_FILE = ".training-lock"
HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)  # what the systems say of another's lock


@contextmanager
def locked(directory: Path) -> Iterator[list[str]]:
    """Keep every other process that asks for it out of a directory, which is made if it is not there.

    At the end the lock file is removed, and so is a directory that was made for it and holds nothing else.

    Yields
    ------
    list of str
        Notes for the user: one where nothing can be locked.

    Raises
    ------
    InputError
        When another process, or another part of this one, is at work in it, or when it is no directory.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise InputError(f"{directory} is not a directory; expected one to write into, or a new name")
    made = [path for path in (directory, *directory.parents) if not path.exists()]  # the innermost first
    make_directory(directory)
    try:
        descriptor, notes = _open_locked(directory)
        try:
            yield notes
        finally:
            _remove(directory / LOCK_FILE, descriptor)
    finally:
        with contextlib.suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _open_locked(directory: Path) -> tuple[int, list[str]]:
    """The descriptor of the lock file, locked, and notes."""
    path = directory / LOCK_FILE
    while True:
        with naming_errors(directory):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor, []
        except FileNotFoundError:
            pass  # who held it has just removed the file, so this lock is of no file that others see: once more
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno in HELD:
                os.close(descriptor)
                raise InputError(
                    f"another training is at work in {directory}; wait for its end, or choose another --output"
                ) from None
            reason = getattr(error, "strerror", None) or str(error)
            note = f"{directory} cannot be locked ({reason}): see to it that no other training writes there"
            return descriptor, [note]
        os.close(descriptor)


def lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed; whether no other process has. Where nothing can be locked, it is so."""
    try:
        _lock(descriptor)
    except ImportError:
        return True
    except OSError as error:
        return error.errno not in HELD
    return True


def _lock(descriptor: int) -> None:
    """Lock the file, or raise OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove(path: Path, descriptor: int) -> None:
    """Remove the lock file, unless somebody has written into it, and give up the lock."""
    ours = os.fstat(descriptor).st_size == 0
    if os.name == "nt":  # an open file cannot be removed there, and one that another has opened meanwhile stays
        os.close(descriptor)
    if ours:
        with contextlib.suppress(OSError):
            path.unlink()
    if os.name != "nt":
        os.close(descriptor)
