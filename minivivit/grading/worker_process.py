"""Start, ask, limit and end the process that holds a student's code (`minivivit.grading.apart.worker`)."""

import contextlib
import json
import os
import queue
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy

from minivivit.grading.apart import wire
from minivivit.own_time import OwnTime

# Seconds of its own that a new process has for its beginning.
START = 60.0
# Bytes that a student's code may print while it does one thing, and how many of them are kept.
MOST_PRINTED = 1 << 20
KEPT = 4000
# Of the environment, what a system needs to start a program.
ENVIRONMENT = ("SYSTEMROOT", "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Messages that one call may send, what it asks for among them.
MOST_MESSAGES = 3000

# The answer to who asks for a function of the package outside of a task.
NOTHING_LENT = {"error": ["", "it is not there while grading"], "value": None}

# Gives the process an empty package of our name, with the folder that it needs and no other.
BEGIN = """
import sys, types
settings = __import__("json").loads(sys.argv[1])
for name in ("minivivit", "minivivit.grading", "minivivit.grading.apart"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [settings["apart"]] if name.endswith("apart") else []
sys.path += settings["libraries"]
from minivivit.grading.apart.worker import main
main()
"""


_NOTHING = object()


class EndedError(Exception):
    """The process is no more; the message says how it ended, as the end of "the process ..."."""


class Worker:
    """A process that holds a student's code.

    Parameters
    ----------
    scipy : bool
        Whether the code asks for SciPy, which takes longer to load than all else.
    seclude : bool
        Whether to wall the process off with namespaces where the system has them.
    filtered : bool
        Whether to have the system refuse what the process shall not do (`minivivit.grading.apart.filters`).

    Attributes
    ----------
    done : dict
        What the process is cut off from: see `minivivit.grading.apart.seclusion.seclude`; "limits" are its memory,
        files and processes.
    spent : float
        Seconds of its own (`minivivit.own_time`) in which an answer of it was waited for, and those of computing what
        it asked for.
    """

    def __init__(self, scipy: bool = False, seclude: bool = True, filtered: bool = True):
        self._directory = tempfile.mkdtemp(prefix="minivivit-grade-")
        self._numbers: list[int] = []
        self.spent = 0.0
        self._messages: queue.Queue[Any] = queue.Queue(maxsize=4)
        settings = _settings(self._directory, scipy) | {"seclude": seclude, "filter": filtered}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BEGIN, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=self._directory,
            env=_environment(self._directory),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._can_write = _poll(self._process.stdin, "POLLOUT")
        self._printed = _Printed(self._process.stderr)
        self._student = self._process.pid  # where the student's code will run, by the system's number
        self._readers = [
            threading.Thread(target=work, name="grading", daemon=True)
            for work in (self._read_messages, self._printed.read_on)
        ]
        for reader in self._readers:
            reader.start()
        try:
            ready = self._next(START)
            if ready["status"] == "first":
                self._numbers.append(int(ready["process"]))
                self._student = int(ready["student"])
                ready = self._next(START)
            self.done: dict[str, bool] = {**ready["done"], "limits": not ready["unlimited"]}
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def ask(self, message: Mapping[str, Any], seconds: float, lend: Callable[[Any], Any] | None = None) -> Any:
        """Send a message and return the answer.

        Parameters
        ----------
        message : mapping
        seconds : float
            Of its own, while it computes and while it waits for anything but a processor or the grader, and those of
            computing what it asks for; then the process is ended.
        lend : callable, optional
            Answers what the process asks for meanwhile.

        Raises
        ------
        EndedError
            When there is no answer: the process ended, was too slow or too loud, or sent what is no answer.
        """
        self._printed.start()
        end = self.spent + seconds
        number = secrets.token_hex(8)
        self._send(wire.pack({**message, "number": number}), end)
        for _ in range(MOST_MESSAGES):
            answer = self._next(end - self.spent)
            if answer["status"] == "ask":
                start = time.process_time()
                value = wire.pack(lend(answer) if lend else NOTHING_LENT)
                self.spent += time.process_time() - start
                self._send(value, end)
                if self.spent >= end:
                    raise self._over("was ended: what it asked the grader to compute took too long")
            elif answer.get("number") == number:  # another is of a call that is over, or of the student's own making
                self._printed.catch_up()
                self._check_prints()
                return answer
        raise self._over("was ended: it sent too many messages")

    @property
    def printed(self) -> str:
        """The beginning of what was printed since the last message was sent."""
        return self._printed.kept.decode("utf-8", "replace")

    def end(self) -> None:
        """End the process and all that it started, and remove its directory."""
        for number in (*self._numbers, self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(number, getattr(signal, "SIGKILL", signal.SIGTERM))
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        self._numbers = []
        self._close()
        _remove(self._directory)

    def _close(self) -> None:
        """Close the connections; not those that somebody still holds the other end of, who got away."""
        while not self._messages.empty():  # a reader that waits for a place in the queue goes on
            self._messages.get()
        for reader in self._readers:
            reader.join(1)
        if not any(reader.is_alive() for reader in self._readers):
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()

    # What follows is what reads and writes.

    def _send(self, message: bytes, end: float) -> None:
        """Write a message, which the process is to read before it has `spent` its time, at `end`."""
        assert self._process.stdin is not None
        view = memoryview(message)
        try:
            while view:
                before, own = self.spent, OwnTime(self._student)
                if self._can_write is None or self._can_write.poll(100):
                    view = view[self._process.stdin.write(view) or 0 :]
                    continue
                self.spent = before + own.seconds()  # it had that long, and read nothing
                if self.spent >= end:
                    raise self._over("was ended: it did not read what it was sent")
        except (OSError, ValueError):  # ValueError: it has been ended, and the pipe is closed
            raise self._over("") from None

    def _next(self, seconds: float) -> dict[str, Any]:
        """The next message of the process, which has `seconds` of its own for it."""
        message: Any = _NOTHING
        before, own = self.spent, OwnTime(self._student)
        while message is _NOTHING:
            left = seconds - own.seconds()
            with contextlib.suppress(queue.Empty):
                message = self._messages.get(timeout=max(0.0, min(left, 0.1)))
            self.spent = before + own.seconds()
            self._check_prints()
            if message is _NOTHING and left <= 0:
                raise self._over("was ended: it did not answer in time, and could not be interrupted")
        return self._checked(message)

    def _check_prints(self) -> None:
        if self._printed.count > MOST_PRINTED:
            raise self._over(f"was ended: it printed more than {MOST_PRINTED:,} bytes")

    def _checked(self, message: Any) -> dict[str, Any]:
        """A message if it is one; None came in its place when the process had ended."""
        if isinstance(message, wire.WireError):
            raise self._over(f"was ended: it sent {message}")
        if message is None:
            raise self._over("")
        if not isinstance(message, dict) or not isinstance(message.get("status"), str):
            raise self._over("was ended: it sent what is no answer")
        return message

    def _over(self, why: str) -> EndedError:
        """End the process; the error says `why`, or how it ended by itself."""
        if not why:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            why = _how_it_ended(self._process.poll())
        self.end()
        return EndedError(why)

    def _read_messages(self) -> None:
        """Put every message into the queue; at the end None."""
        try:
            while True:
                self._messages.put(wire.read(self._take))
        except wire.WireError as error:
            self._messages.put(error)
        except (EOFError, OSError, ValueError):
            self._messages.put(None)

    def _take(self, count: int) -> bytes:
        assert self._process.stdout is not None
        parts = bytearray()
        while len(parts) < count:
            part = os.read(self._process.stdout.fileno(), min(count - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


class _Printed:
    """What a student's code prints: how much, and the beginning of it.

    A thread of its own reads it, or the code would wait where a pipe is full. That thread may be late; so who wants to
    know what was printed up to now reads what is in the pipe. Where the system cannot tell whether there is something,
    as on Windows, what the thread has read must do.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.count, self.kept = 0, b""
        self._stream, self._reading = stream, threading.Lock()
        self._poll = _poll(stream, "POLLIN")

    def start(self) -> None:
        """From now on, count anew."""
        self.catch_up()
        with self._reading:
            self.count, self.kept = 0, b""

    def read_on(self) -> None:
        """Read until the other end is closed."""
        part: bytes | None = None
        with contextlib.suppress(OSError, ValueError):
            while part != b"":
                if self._poll is None:
                    part = self._read()
                    continue
                self._poll.poll()
                with self._reading:
                    part = self._read()

    def catch_up(self) -> None:
        """Read what was printed before; where that is too much, no more than shows it."""
        with contextlib.suppress(OSError, ValueError), self._reading:
            while self._poll is not None and self.count <= MOST_PRINTED and self._read():
                pass

    def _read(self) -> bytes | None:
        """Read a part; none at the end, None where there is none at the moment: others may have read it."""
        try:
            part = os.read(self._stream.fileno(), 1 << 16)
        except BlockingIOError:
            return None
        self.count += len(part)
        self.kept += part[: KEPT - len(self.kept)]
        return part


def _poll(stream: IO[bytes], event: str) -> Any:
    """What tells when a pipe can be read or written, which from now on never waits; None where the system has none."""
    if not hasattr(select, "poll"):
        return None
    os.set_blocking(stream.fileno(), False)
    poll = select.poll()
    poll.register(stream, getattr(select, event))
    return poll


def _settings(directory: str, scipy: bool) -> dict[str, Any]:
    """What the process is told at its start: where Python's library and NumPy are, and what lies beside them."""
    import sysconfig

    numpy_place = Path(numpy.__file__).resolve().parent
    libraries = [str(numpy_place.parent)]
    if scipy:
        import scipy as found

        libraries.append(str(Path(found.__file__).resolve().parents[1]))
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(os.__file__).resolve().parent)}
    readable = [os.path.realpath(path) for path in own if path]
    readable += [str(numpy_place), str(numpy_place.with_name("numpy.libs"))]
    hidden = [f"{path}/{name}" for path in readable[: len(own)] for name in ("site-packages", "dist-packages")]
    return {
        "apart": str(Path(wire.__file__).resolve().parent),
        "directory": directory,
        "libraries": libraries,
        "readable": [path for path in readable if os.path.isdir(path)],
        "hidden": [path for path in hidden if os.path.isdir(path)],
        "scipy": scipy,
    }


def _environment(directory: str) -> dict[str, str]:
    """As little as a program needs; one thread for BLAS, and nothing of the user's."""
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {**kept, **dict.fromkeys(THREADS, "1"), "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"}


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "closed its connection to the grader"
    number = -code if code < 0 else code - 128 if code > 128 else 0
    name = next((each.name for each in signal.Signals if each == number), "")
    if name == "SIGXCPU":
        return "was ended: it went on computing after its time, and could not be interrupted"
    if name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"):
        return f"crashed ({name})"
    return f"was ended by the system ({name})" if name else f"ended itself, with exit code {code}"


def _remove(directory: str) -> None:
    """Remove a directory, whatever a student's code made of it; nothing outside of it is touched."""

    def try_again(function: Callable, path: str, error: Any) -> None:
        with contextlib.suppress(OSError):
            for place in (os.path.dirname(path), path):
                is_inside = place == directory or place.startswith(directory + os.sep)
                if is_inside and not os.path.islink(place):
                    os.chmod(place, 0o700)
            function(path)

    if os.path.isdir(directory):
        with contextlib.suppress(OSError, RecursionError):
            shutil.rmtree(directory, onerror=try_again)
