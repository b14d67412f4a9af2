"""Windows, as far as Linux can play it: what it lacks is taken away, what it refuses is refused.

Taken away: symbolic links (a Windows account has no right to them), fork, ``resource``, ``fcntl``, most signals,
owners, processor affinity. Refused: to open a directory, to rename over what is there, to replace, rename or remove
what somebody has open, be it us, and names that Windows does not take. A name that differs from another one only by
case is that other one; where a program makes both, it has lost a file.
"""

import errno
import io
import multiprocessing
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

POSIX_ONLY = {
    os: (
        "O_DIRECTORY O_NOFOLLOW chown fchown lchown fchmod fork forkpty getegid geteuid getgid getloadavg getuid "
        "killpg mkfifo nice register_at_fork sched_getaffinity sched_setaffinity setsid sync sysconf uname wait3 wait4"
    ),
    signal: "SIGALRM SIGHUP SIGKILL SIGUSR1 SIGUSR2 alarm pause setitimer pthread_kill pthread_sigmask sigwait",
}
POSIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class Lost(AssertionError):
    """Two names that are one on such a system."""


def check_name(path: object) -> None:
    """Refuse a new name as Windows does, and one that it takes for another."""
    if not isinstance(path, str | os.PathLike) or os.fspath(path).startswith(("/dev/", "/proc/")):
        return
    name, folder = os.path.basename(os.fspath(path)), os.path.dirname(os.path.abspath(path))
    if re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', name) or RESERVED.fullmatch(name):
        raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", path)
    if len(os.path.abspath(path)) > 259:
        raise FileNotFoundError(errno.ENOENT, "The filename or extension is too long", path)
    if os.path.isdir(folder):
        others = [other for other in os.listdir(folder) if other != name and other.lower() == name.lower()]
        if others:
            raise Lost(f"{name} and {others} are one file")


def open_files() -> set[str]:
    """What this process has open or mapped."""
    found = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return found | {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count(" ") > 4 and "/" in line}


def check_not_open(path: object) -> None:
    """Refuse to touch a file that somebody has open, or a directory with such a file in it."""
    place = os.path.realpath(os.fspath(path))
    held = [name for name in open_files() if name == place or name.startswith(place + os.sep)]
    if held:
        raise PermissionError(errno.EACCES, "The process cannot access the file: it is being used", held[0])


def _refuse_links(*arguments, **options):
    raise OSError(errno.EPERM, "A required privilege is not held by the client", *arguments[:1])


def play_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the end of the test, this system is Windows in the ways described above."""
    usual = {name: getattr(os, name) for name in ("open", "mkdir", "rename", "replace", "unlink")}

    def open_descriptor(path, flags, *arguments, **options):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        if flags & os.O_CREAT:
            check_name(path)
        return usual["open"](path, flags, *arguments, **options)

    def mkdir(path, *arguments, **options):
        check_name(path)
        usual["mkdir"](path, *arguments, **options)

    def rename(source, target, **options):
        check_name(target)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", target)
        check_not_open(source)
        usual["rename"](source, target, **options)

    def replace(source, target, **options):
        check_name(target)
        if os.path.isdir(target):
            raise PermissionError(errno.EACCES, "Access is denied", target)
        check_not_open(source)
        check_not_open(target)
        usual["replace"](source, target, **options)

    def unlink(path, **options):
        check_not_open(path)
        usual["unlink"](path, **options)

    for name, function in {"mkdir": mkdir, "rename": rename, "replace": replace, "unlink": unlink}.items():
        monkeypatch.setattr(os, name, function)
    monkeypatch.setattr(os, "open", open_descriptor)
    monkeypatch.setattr(os, "remove", unlink)
    monkeypatch.setattr(os, "symlink", _refuse_links)
    monkeypatch.setattr(os, "link", _refuse_links)
    _play_open(monkeypatch)
    _take_away(monkeypatch)


def _play_open(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = io.open

    def open_file(file, mode="r", buffering=-1, encoding=None, errors=None, *others, **options):
        if set(mode) & set("wxa"):
            check_name(file)
        if "b" not in mode and encoding is None and "minivivit" in sys._getframe(1).f_globals.get("__name__", ""):
            encoding, errors = "cp1252", "strict"  # what Windows takes when nothing is said
        return usual(file, mode, buffering, encoding, errors, *others, **options)

    monkeypatch.setattr("builtins.open", open_file)
    monkeypatch.setattr(io, "open", open_file)


def _take_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in POSIX_ONLY.items():
        for name in names.split():
            monkeypatch.delattr(module, name, raising=False)
    for name in POSIX_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # of shutil.rmtree, chosen when it was imported
    usual = multiprocessing.get_context

    def get_context(method=None):
        if method not in (None, "spawn"):
            raise ValueError(f"cannot find context for {method!r}")
        return usual("spawn")

    monkeypatch.setattr(multiprocessing, "get_context", get_context)
