"""Start, ask, limit and end the process that holds a student's code (`minivivit.grading.apart.worker`)."""

import contextlib
import json
import os
import queue
import secrets
import select
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

# Threads that a process may have; NumPy takes one here.
MOST_THREADS = 64

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
        self._is_over = False
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
        try:
            packed = wire.pack({**message, "number": number})
        except wire.WireError as error:
            raise self._over(f"was ended: it cannot be told what to do ({error})") from None
        self._send(packed, end)
        for _ in range(MOST_MESSAGES):
            answer = self._next(end - self.spent)
            if answer["status"] == "ask":
                start = time.process_time()
                value = _packed_loan(lend(answer) if lend else NOTHING_LENT)
                self.spent += time.process_time() - start
                self._send(value, end)
                if self.spent >= end:
                    raise self._over("was ended: what it asked the grader to compute took too long")
            elif _is_text(answer.get("number"), number):  # else it is of a call that is over, or of their own making
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
        self._is_over = True
        for reader in self._readers:
            until = time.monotonic() + 1
            while reader.is_alive() and time.monotonic() < until:
                with contextlib.suppress(queue.Empty):  # who waits for a place in the queue goes on, and ends
                    while True:
                        self._messages.get_nowait()
                reader.join(0.02)
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
                waited = _WaitedFor(self._student)
                can_write = self._can_write is None or self._can_write.poll(100)
                self.spent += waited.seconds()
                if can_write:
                    view = view[self._process.stdin.write(view) or 0 :]
                if view and self.spent >= end:
                    raise self._over("was ended: it did not read in time what it was sent")
        except (OSError, ValueError):  # ValueError: it has been ended, and the pipe is closed
            raise self._over("") from None

    def _next(self, seconds: float) -> dict[str, Any]:
        """The next message of the process, which has `seconds` of its own for it."""
        message: Any = _NOTHING
        before, own, use = self.spent, OwnTime(self._student), _Use(self._student)
        while message is _NOTHING:
            left = before + seconds - self.spent
            with contextlib.suppress(queue.Empty):
                message = self._messages.get(timeout=max(0.0, min(left, 0.1)))
            self.spent = before + max(own.seconds(), use.computed())
            self._check_prints()
            if use.threads > MOST_THREADS:
                raise self._over(f"was ended: it runs more than {MOST_THREADS} threads")
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
            start = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self.spent += time.monotonic() - start  # who closes the connection and goes on is waited for
            why = _how_it_ended(self._process.poll())
        self.end()
        return EndedError(why)

    def _read_messages(self) -> None:
        """Put every message into the queue; at the end None."""
        try:
            while not self._is_over:
                self._messages.put(wire.read(self._take))
        except wire.WireError as error:
            self._messages.put(error)
        except MemoryError:
            self._messages.put(wire.WireError("a message that takes more memory than there is"))
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


class _Use:
    """What a process has computed since this was made, on all of its threads, and how many it has now.

    Where the system does not say so (all but Linux), nothing.
    """

    def __init__(self, process: int):
        self._place = Path(f"/proc/{process}/stat")
        self.threads = 0
        self._start = self._seconds()

    def computed(self) -> float:
        """Seconds; with more threads than processors it has more of them than the clock."""
        return self._seconds() - self._start

    def _seconds(self) -> float:
        try:  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html; the second field, a name, is in brackets
            fields = self._place.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            self.threads = int(fields[17])
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return 0.0


class _WaitedFor:
    """How long a process was waited for since this was made, when neither it nor this thread lacked a processor."""

    def __init__(self, process: int):
        self._start = time.monotonic()
        self._own, self._ours = OwnTime(process), OwnTime(threading.get_native_id())

    def seconds(self) -> float:
        passed = time.monotonic() - self._start
        return max(0.0, self._own.seconds() + self._ours.seconds() - passed)


def _is_text(value: Any, text: str) -> bool:
    """Whether a value off the wire, which may be an array, is this text."""
    return type(value) is str and value == text


def _packed_loan(loan: Mapping[str, Any]) -> bytes:
    """What is lent, or why it cannot be sent."""
    try:
        return wire.pack(loan)
    except (wire.WireError, MemoryError) as error:
        return wire.pack({"error": ["ValueError", f"what was asked for cannot be sent: {error}"], "value": None})


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
    """Remove a directory, whatever a student's code made of it; nothing outside of it is touched.

    What lies in a directory is moved to the top before that is removed, so that nothing lies too deep.
    """
    found = True
    with contextlib.suppress(OSError):
        while found:
            found = False
            for entry in list(os.scandir(directory)):
                with contextlib.suppress(OSError):
                    _take_apart(entry, directory)
                    found = True
        os.rmdir(directory)


def _take_apart(entry: os.DirEntry[str], directory: str) -> None:
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return
    os.chmod(entry.path, 0o700)
    for inner in list(os.scandir(entry.path)):
        os.rename(inner.path, os.path.join(directory, secrets.token_hex(8)))
    os.rmdir(entry.path)
