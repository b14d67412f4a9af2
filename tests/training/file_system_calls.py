"""Every call to the file system that changes something, one by one: to look at the disk between two, or to fail one.

What a process leaves when it is killed between two calls is what the disk holds between them: the system keeps what
was written, and forgets the locks. So a photograph of a directory at each call is what a kill there would leave, and
one run shows them all. To see each call, Python's own files are taken, written in Python (`_pyio`), which go through
`os`.
"""

import _pyio
import builtins
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHANGING = (
    *("chmod", "chown", "fsync", "ftruncate", "link", "mkdir", "open", "remove", "rename", "replace", "rmdir"),
    *("symlink", "truncate", "unlink", "write"),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.part$")

# What a directory holds: the path of each entry within it, and the digest of a file's content, whose bytes are in
# CONTENTS. Two entries with temporary names may have one and the same path here.
Photograph = tuple[tuple[str, str], ...]
CONTENTS: dict[str, bytes] = {}


def photograph(directory: Path) -> Photograph:
    """What `directory` holds, whatever the random part of temporary names; of one that is not there, nothing."""
    entries = []
    waiting = [("", os.fspath(directory))] if directory.is_dir() else []
    while waiting:
        name, path = waiting.pop()
        entries.append((name, ""))
        for entry in os.scandir(path):
            inner = f"{name}/{TEMPORARY.sub('.0000.part', entry.name)}"
            if entry.is_dir(follow_symlinks=False):
                waiting.append((inner, entry.path))
            else:
                entries.append((inner, _digest(entry.path)))
    return tuple(sorted(entries))


def _digest(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    content = os.read(descriptor, os.fstat(descriptor).st_size)
    os.close(descriptor)
    digest = hashlib.blake2b(content).hexdigest()
    CONTENTS.setdefault(digest, content)
    return digest


def develop(shot: Photograph, directory: Path) -> None:
    """Make `directory` hold what was photographed."""
    shutil.rmtree(directory, ignore_errors=True)
    for number, (name, digest) in enumerate(shot):  # sorted, so that a directory comes before what is in it
        path = Path(f"{directory}{name.replace('.0000.part', f'.{number:08x}.part')}")
        if digest:
            path.write_bytes(CONTENTS[digest])
        else:
            path.mkdir()


@contextmanager
def watched(look: Callable[[str, tuple], None]) -> Iterator[None]:
    """Call ``look(name, arguments)`` before each call that changes something, and in the midst of each write.

    What `look` raises, the call raises.
    """
    real = {name: getattr(os, name) for name in CHANGING}
    busy = False

    def watch(name: str) -> Callable:
        def call(*arguments, **options):
            nonlocal busy
            only_reads = name == "open" and not arguments[1] & WRITING
            if busy or only_reads:
                return real[name](*arguments, **options)
            busy = True  # what `look` does is not watched
            try:
                look(name, arguments)
                if name == "write" and len(arguments[1]) > 1:
                    half = len(arguments[1]) // 2
                    written = real[name](arguments[0], arguments[1][:half])
                    look(name, arguments)
                    return written + real[name](arguments[0], arguments[1][half:])
                if name != "fsync":  # what the disk does when the power fails is not looked at here, and takes its time
                    return real[name](*arguments, **options)
            finally:
                busy = False

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGING:
            patch.setattr(os, name, watch(name))
        patch.setattr(builtins, "open", _pyio.open)
        patch.setattr(io, "open", _pyio.open)
        yield
