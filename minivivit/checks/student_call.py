"""Call a student's function: for a limited time, and watching whom it calls.

The function runs in a thread of its own, because that works everywhere alike: in a notebook's kernel, in pytest, in
any thread and on any system (an alarm signal works in the main thread alone, and not on Windows). When its time is
over, an exception is raised inside it. That ends every loop of Python code, unless a bare ``except:`` within the loop
swallows it; then, or inside of one long call of NumPy, the thread is left behind and the check goes on without it; the
exception meets it when it next calls a function.
Time is what the process computes, not what a clock shows: a right answer stays right on a busy machine. Where no thread
can start, as in a browser, the function runs in the caller's own and has no time limit, and reports say so.

Which functions it calls is seen by a profile function. The package's own functions are the answers, and those of other
frameworks hold them too: a call to one of them is refused, but for what a task allows. This stops shortcuts, not
burglars: who can run Python beside a checker can always mislead it.
"""

import contextlib
import ctypes
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy

from minivivit.own_time import OwnTime

# Seconds of computing that a student's function may take on one case. The cases are small: loops in plain Python take
# milliseconds.
TIME_LIMIT = 5.0
# ... or this many times what the reference takes, where that is more.
TIMES_REFERENCE = 200
# Seconds of computing that a function which was told to stop has for doing so.
GRACE = 1.0
# A function that waits computes nothing: it is stopped after this many times its seconds (`minivivit.own_time`).
WAITING = 4
# Seconds between a look at the time, or a word to stop, and the next.
PAUSE = 0.02

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
# Python's own code that calls for another: at an import, and at the ends of a `with`.
_GO_BETWEENS = ("<frozen importlib", contextlib.__file__)
# Libraries whose functions written in Python or as builtins are refused. `scipy.special.erf`, a ufunc, is neither.
_FRAMEWORKS = frozenset(("torch", "tensorflow", "jax", "jaxlib", "keras", "flax", "transformers", "cupy", "scipy"))


class TooSlow(BaseException):
    """Raised in a student's function when its time is over; no ``except Exception`` holds it."""


class Refused(BaseException):
    """Raised in a student's function when it calls what it may not."""


@dataclass
class Outcome:
    """How a call went.

    Attributes
    ----------
    returned : object
        What the function returned.
    error : exception or None
        What it raised.
    refused : str
        The function that it called and may not; empty when there was none.
    timed_out : bool
    seconds : float
        The time limit that it had.
    line : str
        Where in the student's code the error was raised, if who made the call knows; see `student_line`.
    ended : str
        How it ended the process that it ran in, in words; empty where it did not.
    """

    returned: Any = None
    error: BaseException | None = None
    refused: str = ""
    timed_out: bool = False
    seconds: float = TIME_LIMIT
    line: str = ""
    ended: str = ""


@cache
def has_time_limit() -> bool:
    """Whether a student's function can be stopped: not where no thread can start, and it runs in the caller's own."""
    thread = threading.Thread(target=int)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def call_student(function: Callable, arguments: Sequence[Any], seconds: float, may_use: Sequence[str] = ()) -> Outcome:
    """Call ``function(*arguments)`` and say how it went; whatever it does, this returns.

    Parameters
    ----------
    function : callable
    arguments : sequence
        It may change them: hand over copies.
    seconds : float
        The time limit, in seconds of computing, where there can be one: see `has_time_limit`.
    may_use : sequence of str
        Functions and modules of the package that it may call, by their full names.
    """
    outcome, watch = Outcome(seconds=seconds), _Watch(may_use)
    left = threading.Event()

    def work() -> None:
        try:
            try:
                with numpy.errstate(all="ignore"):
                    outcome.returned = _watched(function, arguments, watch)
            except BaseException as error:
                outcome.error = error
            left.set()
        except TooSlow:  # said once more while the first was on its way out
            left.set()

    # Warnings are ignored: what a wrong answer warns of, the report says better. What a function writes to stderr goes
    # to stdout: nbgrader gives no points to a cell that writes to stderr.
    with warnings.catch_warnings(), contextlib.redirect_stderr(sys.stdout):
        warnings.simplefilter("ignore")
        if has_time_limit():
            outcome.timed_out = _run_for(seconds, work, left)
            watch.is_over = True
        else:
            work()
            if isinstance(outcome.error, KeyboardInterrupt):  # meant for the check as well
                raise outcome.error
    outcome.refused = watch.called
    return outcome


def _run_for(seconds: float, work: Callable[[], None], left: threading.Event) -> bool:
    """Do `work` in a thread of its own; whether its time was over, and it was stopped."""
    thread = threading.Thread(target=work, name="student", daemon=True)
    thread.start()
    try:
        is_over = _time_limit(seconds, thread)
        while thread.is_alive() and not is_over():
            thread.join(PAUSE)
    finally:  # an interrupt of the check, too, stops the student's function
        timed_out = thread.is_alive()
        _stop(thread, left)
    return timed_out


def _watched(function: Callable, arguments: Sequence[Any], watch: "_Watch") -> Any:
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        return _settled(function(*arguments))
    finally:
        sys.setprofile(before)


def _settled(answer: Any) -> Any:
    """An answer as plain arrays, made while the watch is on: an object may compute only when it is looked at."""
    if isinstance(answer, Mapping):
        return {name: _settled(part) for name, part in answer.items()}
    if isinstance(answer, tuple | list):
        return [_settled(part) for part in answer] if isinstance(answer, list) else tuple(map(_settled, answer))
    return numpy.asarray(answer) if hasattr(answer, "__array__") else answer


def _time_limit(seconds: float, thread: threading.Thread) -> Callable[[], bool]:
    """Whether the time that begins now is over."""
    computed, own = time.process_time(), OwnTime(thread.native_id or 0)
    return lambda: time.process_time() - computed >= seconds or own.seconds() >= WAITING * seconds


def _stop(thread: threading.Thread, left: threading.Event) -> None:
    """Raise `TooSlow` in a thread until it has left the student's function, or the time of grace is over."""
    is_over, pause = _time_limit(GRACE, thread), PAUSE
    while thread.is_alive() and not is_over():
        if left.is_set():
            thread.join(pause)
        else:
            _interrupt(thread.ident or 0, pause)
            pause *= 2  # who is slow to leave, on a busy machine, is not told so at every step


def _interrupt(ident: int, pause: float) -> None:
    """Raise `TooSlow` in a thread, if it comes to Python's code within `pause` seconds.

    That an exception waits for a thread is one flag for all threads, and only a thread in which one is raised lowers
    it. Up to CPython 3.11, while it is up, no thread with a profile function, a debugger or a measurement of coverage
    gets past the first line of a function (``Python/ceval.c``, ``DO_TRACING`` of a ``RESUME``): for as long as the
    other sleeps, or for ever when it has just ended. So the flag is lowered here, by an exception in our own thread,
    and meanwhile no function of Python is called.
    """
    raise_in, too_slow = ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.py_object(TooSlow)
    other, own = ctypes.c_ulong(ident), ctypes.c_ulong(threading.get_ident())
    try:
        raise_in(other, too_slow)
        time.sleep(pause)
    finally:
        raise_in(other, None)
        try:
            raise_in(own, too_slow)
            for _ in range(1000):  # it is raised where a loop goes round
                pass
        except TooSlow:
            pass


class _Watch:
    """A profile function that raises `Refused` in who calls a function that is not allowed, and remembers it.

    In who still calls functions when his time `is_over`, it raises `TooSlow`.
    """

    def __init__(self, may_use: Sequence[str]):
        self.may_use, self.called, self.is_over = tuple(may_use), "", False
        self.importing: FrameType | None = None  # a library's module: what it calls while it is imported, it calls

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.is_over and frame.f_code.co_filename != __file__:
            raise TooSlow
        if self.importing is not None:
            if event == "return" and frame is self.importing:
                self.importing = None
        elif event == "call" and _library(frame) and _is_import(frame):
            self.importing = frame
        elif event == "call" and not _is_foreign(frame.f_back) and _library(frame) and not _is_harmless(frame):
            name = f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"
            if not self._allows(name):
                self._refuse(name)
        elif event == "c_call" and not _is_foreign(frame):
            name = _builtin_name(argument)
            unwatches = argument is sys.setprofile and frame.f_code is not _watched.__code__
            if unwatches or name.partition(".")[0] in _FRAMEWORKS:
                self._refuse(name)

    def _allows(self, name: str) -> bool:
        return any(name == allowed or name.startswith(allowed + ".") for allowed in self.may_use)

    def _refuse(self, name: str) -> None:
        self.called = self.called or name
        raise Refused(name)


def _library(frame: FrameType) -> str:
    """The refused library that a frame's code belongs to; empty when it is none of them."""
    if frame.f_code.co_filename.startswith(_PACKAGE):
        return "minivivit"
    top = frame.f_globals.get("__name__", "").partition(".")[0]
    return top if top in _FRAMEWORKS else ""


def _is_harmless(frame: FrameType) -> bool:
    """Whether a public name is looked up, which imports it, or this file calls a function of its own."""
    if frame.f_code.co_filename == _PACKAGE + "__init__.py":
        return True
    caller = frame.f_back
    return frame.f_code.co_filename == __file__ and caller is not None and caller.f_code.co_filename == __file__


def _is_import(frame: FrameType) -> bool:
    """Whether a frame is that of a module's own code while it is imported, or its lookup of a name not there yet."""
    if frame.f_code.co_qualname == "<module>":
        return frame.f_back is not None and frame.f_back.f_code.co_filename.startswith("<frozen importlib")
    module = sys.modules.get(frame.f_globals.get("__name__", ""))
    return frame.f_code.co_qualname == "__getattr__" and frame.f_code.co_filename == getattr(module, "__file__", None)


def _is_foreign(frame: FrameType | None) -> bool:
    """Whether code runs that is not the student's: a library's, called by what the student may call."""
    while frame is not None and frame.f_code.co_filename.startswith(_GO_BETWEENS):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename != __file__ and bool(_library(frame))


def _builtin_name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    module = getattr(function, "__module__", None)
    if not isinstance(module, str):
        module = getattr(owner if isinstance(owner, type) else type(owner), "__module__", "") or ""
    return f"{module}.{getattr(function, '__name__', '')}"


def student_line(error: BaseException) -> str:
    """Where in the student's own code an error was raised: ``line 3 of softmax: "y = x / 0"``; empty if nowhere."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    outside = [frame for frame in own if not set(Path(frame.filename).parts) & {"site-packages", "dist-packages"}]
    if not outside:
        return ""
    last = outside[-1]
    return f"line {last.lineno} of {last.name}" + (f': "{last.line}"' if last.line else "")
