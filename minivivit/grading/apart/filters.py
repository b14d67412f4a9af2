"""Take from a process what it may ask of Linux: files outside of a few directories, other processes, the network.

Both filters need no privilege and no namespace, hold for all that the process starts, and cannot be taken off:
Landlock (https://docs.kernel.org/userspace-api/landlock.html, Linux 5.13) for files, and a list of system calls that
are refused (seccomp, https://docs.kernel.org/userspace-api/seccomp_filter.html). What they leave: the modes and times
of the user's files may be changed, and names be looked up that are known.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator, Sequence

DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")

# Landlock: numbers of its system calls, the same on all machines; rights, of which a newer kernel knows more.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
WRITE_FILE, READ_FILE, READ_DIRECTORY = 1 << 1, 1 << 2, 1 << 3
RIGHTS = (0, (1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1)  # by version; the last is enough for files

# prctl's, and of a filter's program: instructions, answers, and where it finds what was called.
NO_NEW_PRIVILEGES, SET_SECCOMP, BY_PROGRAM = 38, 22, 2
LOAD, IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
CALL, MACHINE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24
THREAD = 0x10000  # clone's flag
OTHER_TABLE = 0x40000000  # from here on, calls of x86-64 under other numbers
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# System calls that are refused: (number on x86_64, on aarch64), 0 where there is none.
REFUSED = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, 0), "vfork": (58, 0),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "sendto": (44, 206), "sendmsg": (46, 211),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semtimedop": (220, 192), "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "sendmmsg": (307, 269),
    "inotify_add_watch": (254, 27), "truncate": (76, 45),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
}  # fmt: skip
# ... and by what their second argument asks for: that a file's readiness be told another process by a signal.
FCNTL, SET_OWNER = (72, 25), (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
IOCTL, SET_GROUP = (16, 29), (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
CLONE, CLONE3, TGKILL, PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)


def filter_calls() -> bool:
    """Refuse this process the system calls above, new processes, and signals and limits of others; whether it is so."""
    machine = os.uname().machine if sys.platform == "linux" else ""
    if machine not in MACHINES or struct.calcsize("P") != 8:  # a program of 32 bits calls by other numbers
        return False
    code = b"".join(struct.pack("HBBI", *line) for line in _program(machine, os.getpid()))
    lines = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("count", ctypes.c_ushort), ("lines", ctypes.c_void_p))

    program = Program(len(code) // 8, ctypes.addressof(lines))
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return library.prctl(SET_SECCOMP, BY_PROGRAM, ctypes.byref(program), 0, 0) == 0


def _program(machine: str, own: int) -> Iterator[tuple[int, int, int, int]]:
    """The filter's lines: instruction, lines to skip if so, if not, operand."""
    refuse, unknown = REFUSE | errno.EPERM, REFUSE | errno.ENOSYS
    column = list(MACHINES).index(machine)
    yield (LOAD, 0, 0, MACHINE)
    yield (IF_EQUAL, 1, 0, MACHINES[machine])
    yield (ANSWER, 0, 0, refuse)
    yield (LOAD, 0, 0, CALL)
    if machine == "x86_64":
        yield (IF_AT_LEAST, 0, 1, OTHER_TABLE)
        yield (ANSWER, 0, 0, refuse)
    for numbers in REFUSED.values():
        if numbers[column]:
            yield (IF_EQUAL, 0, 1, numbers[column])
            yield (ANSWER, 0, 0, refuse)
    yield (IF_EQUAL, 0, 1, CLONE3[column])
    yield (ANSWER, 0, 0, unknown)  # its arguments cannot be seen; the C library then takes the other
    for numbers, test, operand in ((CLONE, IF_ANY_BIT, THREAD), (TGKILL, IF_EQUAL, own), (PRLIMIT, IF_EQUAL, 0)):
        yield (IF_EQUAL, 0, 4, numbers[column])
        yield (LOAD, 0, 0, FIRST_ARGUMENT)
        yield (test, 0, 1, operand)
        yield (ANSWER, 0, 0, ALLOW)
        yield (ANSWER, 0, 0, refuse)
    for numbers, asked in ((FCNTL, SET_OWNER), (IOCTL, SET_GROUP)):
        yield (IF_EQUAL, 0, 2 * len(asked) + 2, numbers[column])
        yield (LOAD, 0, 0, SECOND_ARGUMENT)
        for number in asked:
            yield (IF_EQUAL, 0, 1, number)
            yield (ANSWER, 0, 0, refuse)
        yield (ANSWER, 0, 0, ALLOW)
    yield (ANSWER, 0, 0, ALLOW)


def filter_files(readable: Sequence[str], hidden: Sequence[str], directory: str) -> bool:
    """Leave this process the directories `readable` to read but for those in `hidden`, and one to write.

    Of the first may lie within `hidden` again. The answer is whether it is so.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    rights = RIGHTS[min(version, len(RIGHTS) - 1)]
    wanted = struct.pack("Q", rights)
    rules = library.syscall(CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        reading = READ_FILE | READ_DIRECTORY
        given = dict.fromkeys(_readable_parts(readable, hidden), reading)
        given |= dict.fromkeys(readable, READ_DIRECTORY) | {
            path: reading for path in readable if not _holds(path, hidden)
        }
        given |= dict.fromkeys(DEVICES, READ_FILE | WRITE_FILE) | {directory: rights}
        for path, allowed in given.items():
            _allow(library, rules, path, allowed)
        library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return library.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)) == 0
    except OSError:
        return False
    finally:
        os.close(rules)


def _holds(path: str, hidden: Sequence[str]) -> bool:
    return any(place.startswith(path + os.sep) for place in hidden)


def _readable_parts(readable: Sequence[str], hidden: Sequence[str]) -> Iterator[str]:
    """Of a directory with a hidden one in it, all else: what is allowed cannot be taken back further down."""
    for path in readable:
        if _holds(path, hidden):
            yield from (entry.path for entry in os.scandir(path) if entry.path not in hidden)


def _allow(library: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Add a rule; a file has the rights of files alone, and what is not there needs none."""
    try:
        number = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights &= -1 if os.path.isdir(path) else READ_FILE | WRITE_FILE
        library.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", rights, number), ctypes.c_uint32(0))
    finally:
        os.close(number)
