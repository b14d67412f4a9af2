"""Examine one submission: run its cells apart, send inputs, and, when the answers are there, judge them.

Cells run and tasks are tested in the order of the notebook. Where something ends the process, a new one takes its
place and runs the cells before it again, without those that ended it: a task costs no other.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy

from minivivit.checks import student_call
from minivivit.checks.case import Case
from minivivit.checks.run_check import Called, Task, Verdict, conclude, expected_outputs, judge
from minivivit.errors import InputError
from minivivit.grading.lending import Lender, received, sendable
from minivivit.grading.results import SubmissionResult, TaskResult
from minivivit.grading.submission import Cell, Submission, Test, read_submission
from minivivit.grading.tasks import TASKS, seed_of
from minivivit.grading.worker_process import EndedError, Worker

# Seconds of computing that a cell may take.
CELL_SECONDS = 10.0
# Seconds of its own for all of a submission; what is not done then is not done. A right one takes about two.
MOST_SECONDS = 120.0
# Cases of a task that may be too slow, before the others are not run.
SLOW_CASES = 2
PROBLEMS_SHOWN = 20
# What a check has a word for.
ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (NotImplementedError, TypeError, ValueError, KeyError, NameError, IndexError)
}
LONGEST_TEXT = 400  # letters of an error's message
LONGEST_PRINT = 500  # letters of what a function printed, in its report


def examine(
    name: str, data: bytes, *, seed: int, assignment: str | None = None, seclude: bool = True
) -> SubmissionResult:
    """Grade a file; whatever is in it, this returns.

    Parameters
    ----------
    name : str
        Of the file.
    data : bytes
    seed : int
        Of all inputs.
    assignment : str, optional
        Its name, where the file's content shall not decide.
    seclude : bool
        Whether to use the system's namespaces and filters where there are any, and not Python's hooks alone.
    """
    try:
        submission = read_submission(name, data, assignment)
    except InputError as error:
        return SubmissionResult(name, assignment or "", problems=[str(error)])
    if submission.looks_like:
        return _of_another(name, submission)
    result = SubmissionResult(name, submission.assignment.name, problems=list(submission.problems))
    found: dict[str, TaskResult] = {}
    with _Room(submission, result, seclude) as room:
        for number, step in enumerate(submission.steps):
            if isinstance(step, Cell):
                room.run(number, step)
            else:
                found[step.task] = _test(room, number, step, seed, submission.assignment.points[step.task])
    result.tasks = [found[task] for task in submission.assignment.points]
    if len(result.problems) > PROBLEMS_SHOWN:
        result.problems[PROBLEMS_SHOWN:] = [f"and {len(result.problems) - PROBLEMS_SHOWN} more"]
    return result


def _of_another(name: str, submission: Submission) -> SubmissionResult:
    """The result of an answer to another assignment: no points, and one line that says why."""
    assignment = submission.assignment
    told = f"this looks like {submission.looks_like}, and not like {assignment.name}: none of its tasks is there"
    tasks = [TaskResult(task, 0.0, full, f"{task}: not there\n") for task, full in assignment.points.items()]
    return SubmissionResult(name, assignment.name, tasks, [told])


class _Room:
    """The process that holds the submission's code, and another when that has ended."""

    def __init__(self, submission: Submission, result: SubmissionResult, seclude: bool):
        self.submission, self.result, self.seclude = submission, result, seclude
        self.spent = 0.0  # seconds that ended processes took
        self.worker: Worker | None = None
        self.ran = 0  # of the steps, those that the process has behind it
        self.deadly: set[int] = set()

    def __enter__(self) -> "_Room":
        return self

    def __exit__(self, *error: object) -> None:
        if self.worker is not None:
            self.worker.end()

    def ask(self, message: Mapping[str, Any], seconds: float, lender: Lender | None = None) -> Any:
        """The answer of the process, within `seconds` of computing; raises EndedError."""
        assert self.worker is not None
        left = MOST_SECONDS - self.spent - self.worker.spent
        if left <= 0:
            raise self.ended("was not asked: the whole submission had its time")
        try:
            return self.worker.ask(message, min(left, student_call.WAITING * seconds), lender)
        except EndedError:
            self.spent += self.worker.spent
            self.worker = None
            raise

    def ended(self, why: str) -> EndedError:
        """End the process; the error says why."""
        if self.worker is not None:
            self.worker.end()
            self.spent += self.worker.spent
        self.worker = None
        return EndedError(why)

    def run(self, number: int, cell: Cell) -> None:
        """Run a cell, and note what it raised or that it ended the process."""
        try:
            self._prepare(number)
            answer = self.ask(_cell_message(cell), CELL_SECONDS)
            self.ran = number + 1
            found = answer.get("errors")
            errors = [" ".join(str(error).split()) for error in (found if type(found) is list else [])[:PROBLEMS_SHOWN]]
        except EndedError as error:
            self.deadly.add(number)
            errors = [f"the process {error}"]
        self.result.problems += [f"{cell.name.strip('<>')}: {error[:LONGEST_TEXT]}" for error in errors]

    def _prepare(self, number: int) -> None:
        """Have a process that has run all cells before a step."""
        if self.worker is None:
            if self.spent >= MOST_SECONDS:
                raise self.ended("was not started: the whole submission had its time")
            self.worker, self.ran = Worker(self.submission.asks_for_scipy, self.seclude, self.seclude), 0
            self.result.fences = self.worker.done
        for index in range(self.ran, number):
            step = self.submission.steps[index]
            if isinstance(step, Cell) and index not in self.deadly:
                self.ask(_cell_message(step), CELL_SECONDS)
        self.ran = number

    def call(self, number: int, task: Task, case: Case) -> Called | str:
        """The answer to a case; in words what is the matter, where there is no function."""
        lender = Lender(task, case)
        message = {
            "do": "call",
            "function": task.name,
            "arguments": {name: sendable(value) for name, value in case.arguments.items()},
            "seconds": student_call.TIME_LIMIT,
        }
        try:
            self._prepare(number)
            answer = self.ask(message, student_call.TIME_LIMIT, lender)
        except EndedError as error:
            return Called(student_call.Outcome(ended=f"the process {error}. The whole task earns nothing"), {})
        if answer["status"] == "missing":
            kind = " ".join(str(answer.get("type")).split())[:100]
            return f"is a {kind}; expected a function" if kind else "there is no function of this name"
        return _called(answer, case)


def _cell_message(cell: Cell) -> dict[str, Any]:
    return {
        "do": "cell",
        "source": cell.source,
        "name": cell.name,
        "first": cell.first,
        "seconds": CELL_SECONDS,
    }


def _called(answer: Mapping[str, Any], case: Case) -> Called:
    """An answer in the words of `minivivit.checks`; it may hold anything."""
    if answer["status"] == "slow":
        return Called(student_call.Outcome(timed_out=True, seconds=student_call.TIME_LIMIT), {})
    if answer["status"] == "raised":
        kind, text, line = (str(answer.get(key, ""))[:LONGEST_TEXT] for key in ("type", "text", "line"))
        return Called(student_call.Outcome(error=_told(kind, text), line=line), {})
    left = answer.get("arguments")
    try:
        arguments = received(case, left if isinstance(left, dict) else {})
    except ValueError as error:
        return Called(student_call.Outcome(error=ValueError(str(error))), {})
    return Called(student_call.Outcome(returned=answer.get("value")), arguments)


def _told(kind: str, text: str) -> Exception:
    """An error of that kind, one of `ERRORS` or made for it, whose text is `text` and no more."""
    base: type[Exception] = ERRORS.get(kind, Exception)
    name = kind if kind in ERRORS or kind.isidentifier() else "Error"
    made: Exception = type(name, (base,), {"__str__": lambda self: text})(text)
    return made


def _test(room: _Room, number: int, step: Test, seed: int, full: int) -> TaskResult:
    """Test a task: first all answers, in an order of their own; then what was expected."""
    task = TASKS[step.task]
    rng = numpy.random.default_rng(seed_of(task.name, seed))
    cases = task.cases(rng)
    answers: dict[int, Called] = {}
    printed = ""
    for index in _order(len(cases), rng, answers):
        called = room.call(number, task, cases[index])
        if isinstance(called, str):
            return TaskResult(task.name, 0.0, full, f"{task.name}: {called}\n")
        answers[index] = called
        if room.worker is not None and not printed:
            printed = room.worker.printed.strip()
    try:
        verdicts = [_judged(task, cases, index, answers[index]) for index in sorted(answers)]
        report = conclude(task, verdicts, cases, quiet=True)
    except (Exception, MemoryError) as error:  # an answer may be anything, and a task costs no other
        kind = type(error).__name__
        return TaskResult(task.name, 0.0, full, f"{task.name}: the answers could not be judged ({kind})\n")
    return TaskResult(task.name, report.points(full), full, report.text + _heard(printed))


def _heard(printed: str) -> str:
    """What a function printed, told so that no line of it could be one of the report."""
    lines = printed[:LONGEST_PRINT].splitlines()
    return "".join(["  it printed:\n", *(f"    | {line}\n" for line in lines)]) if lines else ""


def _order(count: int, rng: numpy.random.Generator, answers: Mapping[int, Called]) -> Iterator[int]:
    """The cases' numbers, shuffled, until the answers say that more are not worth asking."""
    for index in rng.permutation(count):
        yield int(index)
        outcomes = [called.outcome for called in answers.values()]
        if any(outcome.ended or isinstance(outcome.error, NotImplementedError) for outcome in outcomes):
            return
        if sum(outcome.timed_out for outcome in outcomes) >= SLOW_CASES:
            return


def _judged(task: Task, cases: list[Case], index: int, called: Called) -> Verdict:
    want, seconds = expected_outputs(task, cases[index])
    return judge(task, index + 1, cases[index], called, want, seconds)
