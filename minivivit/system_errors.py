"""The operating system's errors in words: which file, what could not be done with it, why, and what to do about it."""

import errno
import os

# What to do about a file that cannot be written, by the number of the error; about one that cannot be read; and where
# it does not matter what was to be done with it. Windows has not all of these numbers.
NO_ROOM = "make room on its disk, or choose a place on another one"
WRITING = {
    "EACCES": "choose a place that can be written",
    "EPERM": "choose a place that can be written",
    "EROFS": "choose a place that can be written",
    "ENOSPC": NO_ROOM,
    "EDQUOT": NO_ROOM,
    "EFBIG": NO_ROOM,
    "ENOENT": "make its directory first, or choose another place",
    "EISDIR": "it is a directory: choose the name of a file",
    "EEXIST": "choose another name",
    "ENOTEMPTY": "choose another name",
    "EBUSY": "another program uses it: close that one, or choose another name",
}
READING = {
    "EACCES": "expected a file or folder that you may read: change its permissions, or choose another",
    "EPERM": "expected a file or folder that you may read: change its permissions, or choose another",
    "ENOENT": "check that the name is right",
    "EISDIR": "it is a directory: give the name of a file",
}
USING = {
    "ENAMETOOLONG": "choose a shorter name",
    "ENOTDIR": "a part of its path is a file, not a directory: correct the path",
    "ELOOP": "its symbolic links lead in a circle: correct them",
    "EMFILE": "too many files are open: close other programs, or raise the limit (ulimit -n)",
    "ENFILE": "too many files are open: close other programs",
}
ONLY_WRITING = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EEXIST", "ENOTEMPTY")  # of these no reading fails
LONGEST_NAME = 300  # letters of a path: the message has to stay a line


def message_of(error: BaseException) -> str:
    """What is said of an error that a user can mend, or that the system has met."""
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return _of_system(error) if isinstance(error, OSError) else str(error)


def mark_as_writing(error: OSError) -> OSError:
    """Note that it was in writing that the system failed: its errors do not say. The error itself is returned."""
    vars(error)["in_writing"] = True
    return error


def _of_system(error: OSError) -> str:
    if error.errno is None:  # of a library, which has only words
        return str(error)
    number, reason = errno.errorcode.get(error.errno, ""), error.strerror or os.strerror(error.errno)
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return f"the system refused a request ({reason}); check the disk and the memory, and try again"
    if number in USING:
        done, advice = "used", USING[number]
    elif "in_writing" in vars(error) or number in ONLY_WRITING:
        done, advice = "written", WRITING.get(number, "check its disk, or choose another place")
    else:
        done, advice = "read", READING.get(number, "check its disk, or copy the file again")
    return f"{_short(os.fsdecode(error.filename))} cannot be {done} ({reason}); {advice}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:200]}...{name[-80:]}"
