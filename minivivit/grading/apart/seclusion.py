"""Wall a process off, where the system has namespaces (Linux): no network, only Python's files, no other processes.

What is done, in order: new namespaces; a process that is the first of its own process namespace, whose end ends all
others in it; a file system that holds Python's library, NumPy and an empty directory, and nothing else; no privileges.
A superuser becomes another user, which holds without namespaces too. Every step may fail,
for want of the system's permission: then the process goes on without it, and says so.

`unshare`, `mount` and `pivot_root` are the C library's; Python has none of them before 3.12.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence

NEW_USER, NEW_MOUNTS, NEW_NETWORK, NEW_PROCESSES, NEW_IPC = 0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000
READ_ONLY, NO_SETUID, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE = 0x1, 0x2, 0x4, 0x20, 0x1000, 0x4000, 0x40000
NO_PROGRAMS, NO_ACCESS_TIMES, NO_DIRECTORY_TIMES, RELATIVE_TIMES = 0x8, 0x400, 0x800, 0x200000
DETACH = 2
SET_DEATH_SIGNAL, NO_NEW_PRIVILEGES, KILL = 1, 38, 9
# System calls that the C library has no function for.
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")
DIRECTORY_SIZE = "size=64m,nr_inodes=4096,mode=777"
# A user that owns nothing: the superuser's workers become one of these.
FIRST_USER, USERS = 60000, 5000


class SecludedError(OSError):
    """A step that the system does not permit."""


def seclude(
    readable: Sequence[str], hidden: Sequence[str], directory: str, announce: Callable[[int], None]
) -> dict[str, bool]:
    """Wall this process off as far as the system permits; return in the process that shall go on.

    Where there are process namespaces this forks twice. The process that was called waits for the end and passes it on.

    Parameters
    ----------
    readable : sequence of str
        Directories that stay in sight, to read.
    hidden : sequence of str
        Directories within those that do not; of the first may lie within them again.
    directory : str
        Becomes the current one; an empty one in memory takes its place where that is possible.
    announce : callable (int) -> None
        Told the number of the process whose death ends all others.

    Returns
    -------
    done : dict
        For "network", "files", "processes" and "user", whether the process is cut off from it.
    """
    done = dict.fromkeys(("network", "files", "processes", "user"), False)
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if library is not None and hasattr(os, "fork"):
        _die_with_parent(library)
        done["network"] = _try(lambda: _unshare(library))
        if done["network"]:
            announce(_become_second_process(library))
            done["processes"] = True
            done["files"] = _try(lambda: _hide_files(library, readable, hidden, directory))
    os.chdir(directory)
    if hasattr(os, "geteuid") and hasattr(os, "chown") and os.geteuid() == 0:
        done["user"] = _try(lambda: _become_nobody(directory))
    if library is not None:
        _give_up_privileges(library)
    return done


def _try(step: Callable[[], object]) -> bool:
    try:
        step()
    except (OSError, AttributeError, KeyError):
        return False
    return True


def _call(function: Callable, *arguments: object) -> None:
    if function(*arguments) != 0:
        raise SecludedError(ctypes.get_errno(), "not permitted")


def _unshare(library: ctypes.CDLL) -> None:
    spaces = NEW_MOUNTS | NEW_NETWORK | NEW_PROCESSES | NEW_IPC
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call(library.unshare, spaces)
        return
    _call(library.unshare, spaces | NEW_USER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _become_second_process(library: ctypes.CDLL) -> int:
    """Fork twice: the first waits outside; the second waits within, and all die with it; the third returns.

    What is returned is the number that the second has outside.
    """
    told, tells = os.pipe()
    outside = os.fork()
    if outside:
        os.write(tells, outside.to_bytes(4, "big"))
        _leave_as(outside)
    number = int.from_bytes(os.read(told, 4), "big")
    os.close(told)
    os.close(tells)
    _die_with_parent(library)
    inner = os.fork()
    if inner:
        _leave_as(inner)
    return number


def _leave_as(child: int) -> None:
    """Wait for a child, holding nothing open, and end as it did: 128 and the signal's number where one ended it."""
    os.closerange(0, 64)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _hide_files(library: ctypes.CDLL, readable: Sequence[str], hidden: Sequence[str], directory: str) -> None:
    """Make a root that holds what may be seen, and let go of the old one."""
    pivot_root = PIVOT_ROOT[os.uname().machine]

    def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        _call(library.mount, *(os.fsencode(text) for text in (source, target, kind)), flags, options.encode())

    mount("none", "/", "none", RECURSIVE | PRIVATE)
    mount("tmpfs", directory, "tmpfs", NO_SETUID | NO_DEVICES, "mode=755")
    root = os.path.join(directory, "root")
    os.mkdir(root)
    mount("tmpfs", root, "tmpfs", NO_SETUID, "size=4m,mode=755")
    for path in sorted({*readable, *hidden, *DEVICES}):  # what lies within another comes after it
        if not os.path.exists(path):
            continue
        place = root + path
        if path in hidden:
            mount("tmpfs", place, "tmpfs", NO_SETUID | NO_DEVICES, "size=4m,mode=755")
            continue
        _make_place(place, os.path.isdir(path))
        mount(path, place, "none", BIND)
        if path not in DEVICES:
            mount("none", place, "none", BIND | REMOUNT | READ_ONLY | _flags_of(path))
    os.makedirs(root + directory, exist_ok=True)
    mount("tmpfs", root + directory, "tmpfs", NO_SETUID | NO_DEVICES, DIRECTORY_SIZE)
    os.chdir(root)
    _call(library.syscall, pivot_root, b".", b".")
    _call(library.umount2, b".", DETACH)
    os.chdir("/")


def _make_place(place: str, is_directory: bool) -> None:
    """Something empty to mount on."""
    if is_directory:
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))


def _flags_of(path: str) -> int:
    """The flags of the file system that `path` lies in: who is not its owner may not mount it without them."""
    found = os.statvfs(path).f_flag
    kept = found & (NO_SETUID | NO_DEVICES | NO_PROGRAMS | NO_ACCESS_TIMES | NO_DIRECTORY_TIMES)
    return kept | (RELATIVE_TIMES if found & 4096 else 0) | NO_SETUID


def _become_nobody(directory: str) -> None:
    number = FIRST_USER + int.from_bytes(os.urandom(4), "big") % USERS  # its process's number is the same in all
    os.chown(directory, number, number)
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)


def _die_with_parent(library: ctypes.CDLL) -> None:
    """Let the system end this process when the one that started it ends, however that was; a new user forgets it."""
    library.prctl(SET_DEATH_SIGNAL, KILL, 0, 0, 0)


def _give_up_privileges(library: ctypes.CDLL) -> None:
    """No capability, and none to come."""
    _die_with_parent(library)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    library.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))
    library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
