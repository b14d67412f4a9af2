"""The loop that every check is: draw cases, call the student's function on copies, compare, name the likely cause."""

import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from minivivit.checks import student_call
from minivivit.checks.case import Case, changed, copied, in_float64, leaves
from minivivit.checks.causes import Compared, Mistake, cause_of_error, causes_of, is_zero, least_scale, wrong_parts
from minivivit.checks.comparison import as_numbers, describe, scale_of
from minivivit.checks.hints import SAME, checked_hints
from minivivit.checks.report import Fault, Report

# Faults that are printed in full.
FAULTS_SHOWN = 3
NOT_WRITTEN = "is not written yet"


@dataclass(frozen=True)
class Task:
    """What a check knows of its task.

    Attributes
    ----------
    name : str
        Of the check, and of the function that students write.
    outputs : tuple of str
        Names of what it returns, in order.
    reference : callable
        Called as the student's function; computes in float64.
    cases : callable (numpy.random.Generator) -> list of Case
    mistakes : sequence of (cause, callable)
    may_use : tuple of str
        What of the package the student's function may call, by full name.
    may_change : tuple of str
        Names of the arguments that it may change.
    observe : callable (returned, arguments) -> tuple, optional
        The outputs, where they are not just what was returned.
    weights : tuple of int
        What each output is worth, in parts of the points; the same for all when empty.
    """

    name: str
    outputs: tuple[str, ...]
    reference: Callable
    cases: Callable[[numpy.random.Generator], list[Case]]
    mistakes: Sequence[Mistake] = ()
    may_use: tuple[str, ...] = ()
    may_change: tuple[str, ...] = ()
    observe: Callable[[Any, Mapping[str, Any]], tuple] | None = None
    weights: tuple[int, ...] = ()


def run_check(
    task: Task,
    student: Callable,
    *,
    seed: int | None = None,
    time_limit: float | None = None,
    quiet: bool = False,
    hints: int = 2,
) -> Report:
    """Check a student's function.

    Parameters
    ----------
    task : Task
    student : callable
        Called with positional arguments, on copies.
    seed : int, optional
        Of the cases' shapes and numbers. None draws other cases each time.
    time_limit : float, optional
        Seconds of computing that a case may take; `minivivit.checks.student_call.TIME_LIMIT` (or 200 times what the
        reference takes) when None.
    quiet : bool
        Do not print the report.
    hints : {0, 1, 2}
        What is printed: what is wrong; where to look, too; the likely cause, too.

    Returns
    -------
    report : Report
        The score is the share of right outputs over all cases, each with its weight. What is expected to be 0
        everywhere earns nothing, and costs when it is wrong.

    Raises
    ------
    InputError
        For another number of hints.
    """
    hints = checked_hints(hints)
    drawn_seed = int(numpy.random.default_rng(seed).integers(2**31)) if seed is None else seed
    if not callable(student):
        fault = Fault(0, "", f"expected the function {task.name} itself, got {type(student).__name__}")
        return _finish(task, 0.0, "no", [fault], "", quiet, hints)
    cases = task.cases(numpy.random.default_rng(drawn_seed))
    verdicts: list[Verdict] = []
    for number, case in enumerate(cases, 1):
        want, seconds = expected_outputs(task, case)
        called = _call(task, student, case, time_limit or limit_for(seconds))
        verdicts.append(judge(task, number, case, called, want, seconds))
        if verdicts[-1].stop:
            break
    return conclude(task, verdicts, cases, quiet, again=drawn_seed if seed is None else None, hints=hints)


def expected_outputs(task: Task, case: Case) -> tuple[tuple[Any, ...], float]:
    """What a case should give, and the seconds of computing that it took."""
    start = time.process_time()
    want = _outputs(task, task.reference, case)
    return want, time.process_time() - start


def limit_for(seconds: float) -> float:
    """Seconds of computing that a case may take, where the reference takes `seconds`."""
    return max(student_call.TIME_LIMIT, student_call.TIMES_REFERENCE * seconds)


@dataclass
class Called:
    """A call of the student's function, here or elsewhere.

    Attributes
    ----------
    outcome : student_call.Outcome
    arguments : dict
        As the function left them.
    """

    outcome: student_call.Outcome
    arguments: Mapping[str, Any]


def _call(task: Task, student: Callable, case: Case, limit: float) -> Called:
    arguments = {name: copied(value) for name, value in case.arguments.items()}
    return Called(student_call.call_student(student, tuple(arguments.values()), limit, task.may_use), arguments)


@dataclass
class Verdict:
    """Of one case: what came back, what is wrong, and whether further cases are worth running.

    Attributes
    ----------
    number : int
        Of the case, counted from 1.
    case : Case
    failed, cause : str
        What went wrong with the case as a whole, and why; without it `compared` has the outputs, one by one.
    note : str
        A word on what is right but not as it should be.
    stop : bool
    refused : bool
        Nothing that the function answers to any case counts.
    error : exception or None
        What the function raised.
    returned : tuple
        Of what the function returned, one; empty when nothing came back.
    compared : list of Compared
        One, or none.
    """

    number: int
    case: Case
    failed: str = ""
    cause: str = ""
    note: str = ""
    stop: bool = False
    refused: bool = False
    error: BaseException | None = None
    returned: tuple[Any, ...] = ()
    compared: list[Compared] = field(default_factory=list)

    @property
    def wrong(self) -> dict[int, str]:
        """What is wrong, by the number of the output."""
        return self.compared[0].wrong if self.compared else {}


def judge(task: Task, number: int, case: Case, called: Called, want: Sequence[Any], seconds: float) -> Verdict:
    """What is right and wrong in the answer to a case.

    Parameters
    ----------
    task : Task
    number : int
        Of the case, counted from 1.
    case : Case
    called : Called
    want, seconds
        As `expected_outputs` gives them.
    """

    outcome, arguments = called.outcome, called.arguments
    verdict = Verdict(number, case, error=outcome.error, refused=bool(outcome.ended))
    failed = _failed_call(task, outcome, seconds)
    if failed is not None:
        verdict.failed, verdict.cause, verdict.stop = failed
        return verdict
    verdict.returned = (outcome.returned,)
    touched = _touched(task, case, arguments)
    try:
        returned = task.observe(outcome.returned, arguments) if task.observe else outcome.returned
    except Exception as error:
        verdict.failed = f"what it leaves behind cannot be read: {error}"
        return verdict
    answers = returned if len(task.outputs) > 1 else (returned,)
    if not isinstance(answers, tuple | list) or len(answers) != len(task.outputs):
        shape = f"{len(answers)} values" if isinstance(answers, tuple | list) else f"one {type(answers).__name__}"
        if returned is None:
            shape = "None (is the return missing?)"
        verdict.failed = f"returns {shape}; expected {', '.join(task.outputs)}"
    elif touched:
        verdict.failed = f"changes its input {', '.join(touched)} in place"
        verdict.cause = "an operation such as -=, *= or x[...] = on an argument; work on a copy, or on a new array"
    else:
        wrong = _compare_outputs(task, case, answers, want)
        verdict.compared.append(Compared(number, case, answers, want, wrong))
        verdict.note = _dtype_note(task, case, answers)
    return verdict


def conclude(
    task: Task,
    verdicts: Sequence[Verdict],
    cases: Sequence[Case],
    quiet: bool = False,
    *,
    again: int | None = None,
    hints: int = 2,
) -> Report:
    """The report of the verdicts on `cases`, of which the last may not have been run.

    `again` is the seed to tell students, where they gave none; `hints` how much is told, see `run_check`.
    """
    faults = _faults(task, verdicts)
    refused = any(verdict.refused for verdict in verdicts)
    right = 0 if refused else sum(not verdict.failed and not verdict.wrong for verdict in verdicts)
    notes = next((verdict.note for verdict in verdicts if verdict.note), "")
    if again is not None and faults:
        notes += f"  (the same cases again: seed={again})\n"
    score = 0.0 if refused else _score(task, cases, verdicts)
    report = _finish(task, score, f"{right} of {len(cases)}", faults, notes, quiet, hints)
    return _with_what_was_seen(report, cases, verdicts)


def _faults(task: Task, verdicts: Sequence[Verdict]) -> list[Fault]:
    """All that is wrong, each with its likely cause: what explains every case is known when all have been seen."""
    compared = [one for verdict in verdicts for one in verdict.compared]
    causes = causes_of(task.mistakes, lambda function, case: _outputs(task, function, case), compared)
    faults = []
    for verdict in verdicts:
        number, about = verdict.number, verdict.case.about
        if verdict is verdicts[0] and verdict.failed == NOT_WRITTEN:  # whatever the case: there is nothing yet
            number = 0
        if verdict.failed:
            faults.append(Fault(number, about, verdict.failed, verdict.cause))
        faults += [Fault(number, about, what, causes[number, index]) for index, what in verdict.wrong.items()]
    return faults


def _score(task: Task, cases: Sequence[Case], verdicts: Sequence[Verdict]) -> float:
    """The share of right outputs; zeros that are rightly zeros are not counted, or nothing would earn something."""
    weights = task.weights or (1,) * len(task.outputs)
    total = sum(case.weight for case in cases) * sum(weights)
    earned = 0
    for verdict in verdicts:
        for one in verdict.compared:
            right = [weights[index] for index in range(len(weights)) if index not in one.wrong]
            idle = sum(weights[i] for i in range(len(weights)) if i not in one.wrong and is_zero(one.want[i]))
            earned += verdict.case.weight * (sum(right) - idle)
            total -= verdict.case.weight * idle
    return earned / total


def _with_what_was_seen(report: Report, cases: Sequence[Case], verdicts: Sequence[Verdict]) -> Report:
    """The report with inputs and answers to be asked for, and the first error: `%debug` of a notebook opens there."""
    error = next((verdict.error for verdict in verdicts if isinstance(verdict.error, Exception)), None)
    if error is not None and hasattr(sys, "ps1"):  # somebody is at the keyboard
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    answers = {verdict.number: verdict.returned[0] for verdict in verdicts if verdict.returned}
    return Report(report.score, report.name, report.faults, report.text, cases=cases, answers=answers, error=error)


def _outputs(task: Task, function: Callable, case: Case) -> tuple[Any, ...]:
    """What the reference, or a known mistake, makes of a case, in float64."""
    arguments = {name: copied(value, in_float64) for name, value in case.arguments.items()}
    with numpy.errstate(all="ignore"):
        returned = function(*arguments.values())
    if task.observe:
        returned = task.observe(returned, arguments)
    return tuple(returned) if len(task.outputs) > 1 else (returned,)


def _failed_call(task: Task, outcome: student_call.Outcome, seconds: float) -> tuple[str, str, bool] | None:
    """What went wrong with the call itself, its cause, and whether to stop; None when it returned."""
    if outcome.refused:
        allowed = f", and of minivivit {', '.join(task.may_use)}" if task.may_use else ""
        what = f"calls {outcome.refused}, which is not allowed here: this case earns nothing. "
        return f"{what}Allowed are NumPy, Python's own library, erf, erfc and ndtr of scipy.special{allowed}", "", False
    if outcome.timed_out:
        what = f"stopped after {outcome.seconds:.3g} s (ours takes {seconds:.2g} s); further cases were not run"
        return what, "a loop that does not end, or far too many steps: use operations on whole arrays", True
    if outcome.ended:
        return outcome.ended, "", True
    error = outcome.error
    if error is None:
        return None
    if isinstance(error, NotImplementedError):
        return NOT_WRITTEN, "", True
    line = outcome.line or student_call.student_line(error)
    message = " ".join(str(error).split()) or "no message"
    what = f"raises {type(error).__name__}: {message}" + (f", in {line}" if line else "")
    return what, cause_of_error(error), False


def _touched(task: Task, case: Case, arguments: Mapping[str, Any]) -> list[str]:
    """Names of the inputs that the student's function changed and may not."""
    return [
        f"{name}.{part}".rstrip(".")
        for name, value in case.arguments.items()
        if name not in task.may_change
        for part in changed(value, arguments[name])
    ]


def _compare_outputs(task: Task, case: Case, answers: Sequence[Any], want: Sequence[Any]) -> dict[int, str]:
    """What is wrong, by the number of the output."""
    wrong, least = {}, least_scale(want)
    for index, (name, answer, expected) in enumerate(zip(task.outputs, answers, want, strict=True)):
        what = _describe_tree(name, answer, expected, case.dtype, least)
        if what:
            wrong[index] = what
    return wrong


def _describe_tree(name: str, answer: Any, want: Any, dtype: str, least: float) -> str:
    """What is wrong with an output, which may be a tree of arrays; empty when nothing is."""
    if not isinstance(want, Mapping):
        what = describe(answer, numpy.asarray(want), dtype, max(least, scale_of(numpy.asarray(want))))
        return f"{name}: {what}" if what else ""
    if not isinstance(answer, Mapping):
        return f"{name}: is {type(answer).__name__}; expected a dict with {', '.join(want)}"
    expected, found = leaves(want), leaves(answer)
    if expected.keys() != found.keys():
        missing, odd = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        parts = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has", odd)) if names]
        return f"{name}: {' and '.join(parts)}; expected {', '.join(expected)}"
    wrong = wrong_parts(found, expected, dtype, least)
    if not wrong:
        return ""
    first, *others = wrong
    listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"{name}.{first}: {wrong[first]}" + (f" (wrong, too: {listed})" if others else "")


def _dtype_note(task: Task, case: Case, answers: Sequence[Any]) -> str:
    """A word on an answer in a higher precision than its inputs: right, but not how the package does it."""
    if case.dtype == "float32":
        for name, answer in zip(task.outputs, answers, strict=True):
            array = as_numbers(answer)
            if not isinstance(array, str) and array.dtype == numpy.float64 and array.ndim:
                return f"  note: float32 goes in and {name} comes out in float64; a network would keep the dtype of x\n"
    return ""


def _finish(
    task: Task, score: float, right: str, faults: Sequence[Fault], notes: str, quiet: bool, hints: int
) -> Report:
    """Write the report, print it unless `quiet`, and return it."""
    if faults:
        lines = [f"{task.name}: {right} cases right (score {score:.2f})"]
        last_cause = ""
        for fault in _shown(faults):
            same = bool(fault.cause) and fault.cause == last_cause
            shown = replace(fault, cause=SAME) if same else fault
            lines += textwrap.wrap(shown.told(hints), 110, initial_indent="  ", subsequent_indent="    ")
            last_cause = fault.cause
        if len(faults) > FAULTS_SHOWN:
            lines.append(f"  ... and {len(faults) - FAULTS_SHOWN} more")
    else:
        lines = [f"{task.name}: all {right.partition(' ')[0]} cases right (score {score:.2f})"]
    if not student_call.has_time_limit():
        said = "no time limit: no thread can start here, so a loop that does not end must be stopped by hand"
        notes = f"  ({said})\n{notes}"
    text = "\n".join(lines) + "\n" + notes
    if not quiet:
        print(text, end="")
    return Report(score, task.name, tuple(faults), text)


def _shown(faults: Sequence[Fault]) -> list[Fault]:
    """The faults to print, in order: one of each kind before several of one."""
    kinds = [fault.cause or fault.what.partition(":")[0] for fault in faults]
    order = sorted(range(len(faults)), key=lambda index: (kinds[index] in kinds[:index], index))
    return [faults[index] for index in sorted(order[:FAULTS_SHOWN])]
