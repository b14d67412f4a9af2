"""The process that holds a student's code: it runs cells and calls functions, and knows nothing of what is expected.

`minivivit.grading.worker_process` starts it with Python's own library and NumPy alone in sight, and speaks with it
through what were its standard input and output. Those numbers then lead nowhere and to standard error: what the
student's code prints is caught there.
"""

import __future__

import ast
import contextlib
import json
import linecache
import os
import re
import sys
import traceback
import types
import warnings
from collections.abc import Sequence
from typing import Any

import numpy

from minivivit.grading.apart import stand_ins, wire
from minivivit.grading.apart.filters import filter_calls, filter_files
from minivivit.grading.apart.limits import TooSlow, guard, limit_resources, limited_time
from minivivit.grading.apart.seclusion import seclude

LONGEST_TEXT = 300  # letters of an error's message
LONGEST_LINE = 100  # letters of a line of code that is shown
LONGEST_LIST = 20  # errors of a cell that are told
CLOSED = 3  # exit code when the grader has gone
# Modules that are loaded before the files of shared libraries are out of sight.
AT_HAND = ("ctypes", "decimal", "fractions", "random", "statistics", "hashlib", "zlib", "dataclasses", "numpy.random")


class _Channel:
    """Messages to the grader and from it."""

    def __init__(self, inbox: int, outbox: int):
        self.inbox, self.outbox = inbox, outbox

    def take(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = os.read(self.inbox, min(count - len(parts), 1 << 20))
            if not part:
                os._exit(CLOSED)
            parts += part
        return bytes(parts)

    def receive(self) -> Any:
        return wire.read(self.take)

    def send(self, message: bytes) -> None:
        view = memoryview(message)
        while view:
            view = view[os.write(self.outbox, view) :]


def main() -> None:
    """Do what the grader says, until it has gone. The one argument of the command line is JSON."""
    settings = json.loads(sys.argv[1])
    channel = _private_channel()
    if settings["scipy"]:
        import scipy.special  # noqa: F401
    for name in AT_HAND:
        __import__(name)
    done = dict.fromkeys(("network", "files", "processes", "user"), False)
    if settings["seclude"]:

        def announce(number: int) -> None:
            channel.send(wire.pack({"status": "first", "process": number, "student": _number_outside()}))

        done = seclude(settings["readable"], settings["hidden"], settings["directory"], announce)
    else:
        os.chdir(settings["directory"])
    unlimited = limit_resources(processes=done["processes"] or done["user"])
    student = _Student(channel)
    sys.path[:] = [path for path in sys.path if path not in settings["libraries"]]
    if settings["filter"]:
        places = settings["readable"], settings["hidden"], settings["directory"]
        done["files"] = filter_files(*places) or done["files"]
        if filter_calls():
            done |= {"network": True, "processes": True}
            unlimited = [name for name in unlimited if name != "processes"]  # none can be started
    guard(settings["readable"], settings["hidden"], [settings["directory"]])
    channel.send(wire.pack({"status": "ready", "done": done, "unlimited": unlimited}))
    while True:
        message = channel.receive()
        try:
            answer = student.handle(message)
        except TooSlow:
            answer = wire.pack({"status": "slow", "number": message["number"]})
        for stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):  # it may be a student's by now
                stream.flush()  # type: ignore[union-attr]
        channel.send(answer)


def _number_outside() -> int:
    """The number that this process has where /proc comes from, its parents' as long as no other is mounted."""
    try:
        return int(os.readlink("/proc/self"))
    except (OSError, ValueError):
        return 0


def _private_channel() -> _Channel:
    """Standard input and output under other numbers; nothing is read, and prints go to standard error."""
    inbox, outbox = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    os.close(nowhere)
    return _Channel(inbox, outbox)


class _Student:
    """A student's cells and functions."""

    def __init__(self, channel: _Channel):
        self.channel = channel
        self.finder = stand_ins.Finder(self.ask)
        self.space = _empty_main()
        self.lines: dict[str, list[str]] = {}  # of cells and files, by name
        for name in [name for name in sys.modules if name.partition(".")[0] == "minivivit"]:
            del sys.modules[name]
        stand_ins.keep_of_scipy(self.finder)
        sys.modules["tqdm"] = sys.modules["tqdm.auto"] = sys.modules["tqdm.notebook"] = stand_ins.stand_in_for_tqdm()
        sys.meta_path.append(self.finder)  # type: ignore[arg-type]

    def handle(self, message: dict[str, Any]) -> bytes:
        """The answer to a message, which carries its number."""
        if message["do"] == "cell":
            answer = self.run_cell(message["source"], message["name"], message["first"], message["seconds"])
            return wire.pack({**answer, "number": message["number"]})
        return self.call(message["function"], message["arguments"], message["seconds"], message["number"])

    def ask(self, name: str, arguments: tuple, keywords: dict) -> Any:
        """What the grader says to the call of a function that is not here."""
        if name.partition(".")[0] not in ("minivivit", "model"):
            raise stand_ins.NotAllowedError(f"{name} is not there while grading: {stand_ins.ALLOWED}")
        request = {"status": "ask", "name": name, "arguments": list(arguments), "keywords": keywords}
        self.channel.send(wire.pack(request))
        answer = self.channel.receive()
        if answer["error"]:
            kind, text = answer["error"]
            raise {"ValueError": ValueError, "TypeError": TypeError}.get(kind, stand_ins.NotAllowedError)(text)
        return answer["value"]

    def run_cell(self, source: str, name: str, first: int, seconds: float) -> dict[str, Any]:
        """Run a cell statement by statement: one that fails takes no other with it.

        `first` is the number of its first line in what `name` names, which other cells may be parts of, too.
        """
        lines = self._remember(source, name, first)
        errors: list[str] = []
        try:
            statements = [ast.increment_lineno(statement, first - 1) for statement in _parsed(source, name)]
        except SyntaxError as error:
            statements = []
            errors.append(f"{type(error).__name__}: {error.msg}{_place((error.lineno or 0) + first - 1, lines)}")
        except (ValueError, RecursionError, MemoryError) as error:
            statements = []
            errors.append(_said(error))
        flags = 0
        try:
            with limited_time(seconds), warnings.catch_warnings(), numpy.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                for statement in statements:
                    flags |= _future(statement)
                    raised = self._run(statement, name, flags)
                    errors += [raised + _place(statement.lineno, lines)] if raised else []
        except TooSlow:
            errors.append(f"stopped after {seconds:g} s")
        return {"status": "ran", "errors": errors[:LONGEST_LIST]}

    def _remember(self, source: str, name: str, first: int) -> list[str]:
        """Keep the lines of a cell where tracebacks look for them; all that are there of what it is a part of."""
        lines = self.lines.setdefault(name, [])
        lines += ["\n"] * (first - 1 - len(lines)) + [f"{line}\n" for line in source.split("\n")]
        linecache.cache[name] = (1, None, lines, name)
        return lines

    def _run(self, statement: ast.stmt, name: str, flags: int) -> str:
        """Run a statement; the error that it raised, in words."""
        try:
            tree = ast.Module([statement], [])
            exec(compile(tree, name, "exec", flags, dont_inherit=True), self.space)
        except TooSlow:
            raise
        except BaseException as error:
            return _said(error)
        return ""

    def call(self, function: str, arguments: dict[str, Any], seconds: float, number: str) -> bytes:
        """Call a student's function; what it returns is looked at within its time."""

        def pack(**parts: Any) -> bytes:
            return wire.pack({**parts, "number": number})

        called = self.space.get(function)
        if not callable(called):
            return pack(status="missing", type="" if called is None else type(called).__name__)
        values = [self._received(value) for value in arguments.values()]
        self.finder.in_call = True
        try:
            with limited_time(seconds), warnings.catch_warnings(), numpy.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                returned = called(*values)
                left = {name: _sendable(value) for name, value in zip(arguments, values, strict=True)}
                return pack(status="returned", value=returned, arguments=left)
        except TooSlow:
            return pack(status="slow")
        except BaseException as error:
            with limited_time(1):
                return pack(status="raised", **_told(error))
        finally:
            self.finder.in_call = False

    def _received(self, value: Any) -> Any:
        if isinstance(value, wire.Tagged) and value.kind == "generator":
            rng = numpy.random.default_rng(0)
            rng.bit_generator.state = value.value
            return rng
        if isinstance(value, wire.Tagged):
            return stand_ins.Model(value.value["config"], value.value["state"], self.ask)
        return value


def _parsed(source: str, name: str) -> list[ast.stmt]:
    """The statements of a cell, without what only IPython understands: magics, shell commands, questions."""
    try:
        return ast.parse(source, name).body
    except SyntaxError:
        if re.match(r"\s*%%(?!time|capture|prun)", source):
            return []
        lines = (re.sub(r"^(\s*)([%!?].*|[\w.]+\?+\s*)$", r"\1pass", line) for line in source.split("\n"))
        return ast.parse("\n".join(lines), name).body


def _empty_main() -> dict[str, Any]:
    """The names of a new module ``__main__``."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    return vars(module)


def _future(statement: ast.stmt) -> int:
    """The compiler's flags of ``from __future__ import ...``, which hold for all that follows."""
    if not isinstance(statement, ast.ImportFrom) or statement.module != "__future__":
        return 0
    features = [getattr(__future__, alias.name, None) for alias in statement.names]
    return sum(feature.compiler_flag for feature in features if feature is not None)


def _sendable(value: Any) -> Any:
    if isinstance(value, stand_ins.Model):
        return wire.Tagged("model", value.state_dict())
    return wire.Tagged("generator", None) if isinstance(value, numpy.random.Generator) else value


def _place(number: int, lines: Sequence[str]) -> str:
    """A line's number and text, to stand behind an error."""
    text = lines[number - 1].strip()[:LONGEST_LINE] if 0 < number <= len(lines) else ""
    return f', in line {number}: "{text}"' if text else f", in line {number}"


def _said(error: BaseException) -> str:
    """The kind of an error and its message; a message may itself be code."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "no message"
    return f"{type(error).__name__[:100]}: {text[:LONGEST_TEXT]}"


def _told(error: BaseException) -> dict[str, str]:
    """An error as a message's parts: its kind, its text, and where in the student's code it was raised."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__, limit=200) if frame.filename.startswith("<")]
    own = [frame for frame in own if not frame.filename.startswith("<frozen")]
    line = f"line {own[-1].lineno} of {own[-1].name}" + (f': "{own[-1].line}"' if own[-1].line else "") if own else ""
    kind, _, text = _said(error).partition(": ")
    return {"type": kind, "text": text, "line": line[:LONGEST_TEXT]}
