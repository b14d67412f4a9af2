"""What a process may still do once it holds a student's code: limits of the system, and a hook on Python's own doings.

The hook is the last fence, and the only one where the system is not Linux: it says in words what is not allowed.
There it stops shortcuts, not burglars: code that takes Python itself apart, or calls what Python tells no hook of, gets
around it, and then still knows nothing of what is expected. Where that matters, grade on Linux, or in a container.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from types import FrameType
from typing import Any

MEMORY = 2 << 30  # bytes of address space
FILE_SIZE = 16 << 20  # bytes of a file
FILES = 64  # open at once
PROCESSES = 16  # threads count too
# Seconds of computing beyond a limit, for code that no exception stops.
GRACE = 2
# Seconds of computing between one word to stop and the next.
AGAIN = 0.25

# What Python says before it does something (https://docs.python.org/3/library/audit_events.html).
_PROCESSES = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.", "os.startfile")
_NETWORK = ("socket.", "urllib.", "ftplib.", "smtplib.", "poplib.", "imaplib.", "http.client.")
_NEW_SOCKET = "socket.__new__"  # which is connected with nothing
_ATTACKS = (
    *("ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function", "os.kill", "signal.pthread_kill", "resource.prlimit"),
    *("sqlite3.", "syslog.", "cpython.PyInterpreterState_New"),  # of the first, a query can open other files
)
# Modules that start programs, or read and write files, and tell no hook.
_MODULES = ("_tkinter", "readline", "_posixshmem", "_xxsubinterpreters", "_interpreters", "_winapi")
_PATHS = ("open", "os.", "shutil.", "glob.", "pathlib.")
_LISTINGS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.chdir", "glob.", "pathlib.")
_HARMLESS = ("os.putenv", "os.unsetenv")
# Where among the arguments of an event paths are, if not at the first place alone; and where descriptors of directories
# that paths are relative to, -1 for none.
_TWO_PATHS = ("os.rename", "os.link", "os.symlink")
_DIRECTORIES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("os.remove", "os.rmdir"), (1,)),
    **dict.fromkeys(("os.mkdir", "os.symlink", "os.chmod"), (2,)),
    **dict.fromkeys(("os.chown", "os.utime"), (3,)),
    **dict.fromkeys(("os.rename", "os.link"), (2, 3)),
}
_NO_DIRECTORY = "dir_fd may not be used while grading"
# Flags of `os.open` by which a file may be changed.
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooSlow(BaseException):
    """Raised in a student's code when its time is over; no ``except Exception`` holds it."""


def limit_resources(processes: bool) -> list[str]:
    """Set the system's limits for this process and its children; the names of those that could not be set.

    `processes` says whether the number of processes is counted for this process alone, and not for its whole user.
    """
    if os.name == "posix":
        import resource

        wanted = {"memory": ("RLIMIT_AS", MEMORY), "size of files": ("RLIMIT_FSIZE", FILE_SIZE)}
        wanted |= {"open files": ("RLIMIT_NOFILE", FILES), "core": ("RLIMIT_CORE", 0)}
        if processes:
            wanted["processes"] = ("RLIMIT_NPROC", PROCESSES)
        failed = [] if processes else ["processes"]
        for name, (limit, value) in wanted.items():
            try:
                resource.setrlimit(getattr(resource, limit), (value, value))
            except (AttributeError, ValueError, OSError):
                failed.append(name)
        return failed
    return ["memory", "files", "processes"]


@contextlib.contextmanager
def limited_time(seconds: float):  # type: ignore[no-untyped-def]
    """Raise `TooSlow` in the body once it has computed for `seconds`, again and again; end the process a little later.

    Where the system cannot do so, only who started this process watches its time.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    _limit_computing(seconds + GRACE)
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_computing(seconds: float) -> None:
    """Let the system end this process when it has computed for `seconds` more."""
    if os.name == "posix":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(usage.ru_utime + usage.ru_stime + seconds) + 1
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def guard(readable: Sequence[str], hidden: Sequence[str], writable: Sequence[str]) -> None:
    """From now on, let Python open and list only files within the given directories, and start no process.

    Where directories lie within each other, the innermost counts: `hidden` are those that may not be read.
    """
    may_write = dict.fromkeys(map(os.path.realpath, writable), True)
    may_read = dict.fromkeys(map(os.path.realpath, hidden), False) | dict.fromkeys(
        map(os.path.realpath, readable), True
    )
    devices = ("/dev/null", "/dev/urandom", "/dev/zero")
    _open_no_other_way()
    sys.addaudithook(_hook(_innermost_first(may_read | may_write), _innermost_first(may_write), devices))


def _open_no_other_way() -> None:
    """Have `os.open` refuse paths that are relative to a directory's descriptor: of that, the hook is not told."""
    original = os.open

    def open_file(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise PermissionError(_NO_DIRECTORY)
        return original(path, flags, mode)

    for name in ("os", "posix", "nt"):
        if name in sys.modules:
            sys.modules[name].open = open_file  # type: ignore[attr-defined]
    os.supports_dir_fd.discard(original)  # where others, as shutil, look whether they may ask for it
    if "shutil" in sys.modules:
        sys.modules["shutil"]._use_fd_functions = False  # type: ignore[attr-defined]


# Directories, and whether what lies in them may be opened; what lies within another comes before it.
_Places = tuple[tuple[str, bool], ...]


def _innermost_first(places: dict[str, bool]) -> _Places:
    return tuple(sorted(places.items(), key=lambda place: -len(place[0])))


def _hook(may_read: _Places, may_write: _Places, devices: tuple[str, ...]) -> Callable:
    realpath, fsdecode, separator, writes = os.path.realpath, os.fsdecode, os.sep, _writes
    paths = (type(Path()), type(PurePath()))

    def lies_in(path: Any, places: _Places) -> bool:
        if isinstance(path, int):
            return True
        try:
            found = realpath(fsdecode(path))
        except Exception:
            return False
        for place, is_open in places:
            if found == place or found.startswith(place + separator):
                return is_open
        return found in devices

    def exactly(path: Any) -> str | bytes:
        """What the system will see, whatever methods a path of the student's own making has."""
        if isinstance(path, str):
            return str.__getitem__(path, slice(None))
        if isinstance(path, bytes):
            return bytes.__getitem__(path, slice(None))
        if type(path) not in paths:
            raise PermissionError(f"a path of type {type(path).__name__[:100]} may not be used while grading")
        return fsdecode(path)

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(_PROCESSES):
            raise PermissionError("no process may be started while grading")
        if event.startswith(_NETWORK) and event != _NEW_SOCKET:
            raise PermissionError("there is no network while grading")
        if event.startswith(_ATTACKS):
            raise PermissionError(f"{event} is not allowed while grading")
        if event == "import" and (arguments[0] in _MODULES or (arguments[1] and lies_in(arguments[1], may_write))):
            raise PermissionError(f"{arguments[0]} may not be imported while grading")  # machine code has a file's name
        if event.startswith(_PATHS) and event not in _HARMLESS and arguments:
            reads = not writes(arguments) if event == "open" else event.startswith(_LISTINGS)
            places = may_read if reads else may_write
            for path in arguments[: 2 if event in _TWO_PATHS else 1]:
                if isinstance(path, str | bytes | os.PathLike) and not lies_in(exactly(path), places):
                    raise PermissionError(f"{fsdecode(path)[:200]!r} may not be opened or changed while grading")
            if any(arguments[index] != -1 for index in _DIRECTORIES.get(event, ()) if index < len(arguments)):
                raise PermissionError(_NO_DIRECTORY)

    return hook


def _writes(arguments: tuple) -> bool:
    """Whether the arguments of the event "open", (path, mode, flags), are for writing."""
    mode = arguments[1]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    flags = arguments[2] if len(arguments) > 2 else 0
    return bool(isinstance(flags, int) and flags & _WRITING)
