"""The loop that every check is: draw cases, call the student's function on copies, compare, name the likely cause."""

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from minivivit.checks import student_call
from minivivit.checks.case import Case, changed, copied, in_float64, leaves
from minivivit.checks.comparison import agree, as_numbers, describe, general_cause, size_of
from minivivit.checks.report import Fault, Report

# A known mistake: its cause in words, and a function that makes it, called as the student's.
Mistake = tuple[str, Callable]

# Faults that are printed in full.
FAULTS_SHOWN = 3


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
    """

    name: str
    outputs: tuple[str, ...]
    reference: Callable
    cases: Callable[[numpy.random.Generator], list[Case]]
    mistakes: Sequence[Mistake] = ()
    may_use: tuple[str, ...] = ()
    may_change: tuple[str, ...] = ()
    observe: Callable[[Any, Mapping[str, Any]], tuple] | None = None


def run_check(
    task: Task, student: Callable, *, seed: int | None = None, time_limit: float | None = None, quiet: bool = False
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

    Returns
    -------
    report : Report
        The score is the share of right outputs over all cases; 0 when a call was refused.
    """
    drawn_seed = int(numpy.random.default_rng(seed).integers(2**31)) if seed is None else seed
    if not callable(student):
        fault = Fault(0, "", f"expected the function {task.name} itself, got {type(student).__name__}")
        return _finish(task, 0.0, "no", [fault], "", quiet)
    cases = task.cases(numpy.random.default_rng(drawn_seed))
    right, right_cases, notes = 0, 0, ""
    faults: list[Fault] = []
    for number, case in enumerate(cases, 1):
        verdict = _check_case(task, student, number, case, time_limit)
        faults += verdict.faults
        right += verdict.right
        right_cases += not verdict.faults
        notes = notes or verdict.note
        if verdict.refused:
            right = right_cases = 0
        if verdict.stop:
            break
    total = len(cases) * len(task.outputs)
    if seed is None and faults:
        notes += f"  (the same cases again: seed={drawn_seed})\n"
    return _finish(task, right / total, f"{right_cases} of {len(cases)}", faults, notes, quiet)


@dataclass
class _Verdict:
    """Of one case: how many outputs are right, what is wrong, and whether further cases are worth running."""

    right: int = 0
    faults: Sequence[Fault] = ()
    note: str = ""
    stop: bool = False
    refused: bool = False


def _check_case(task: Task, student: Callable, number: int, case: Case, time_limit: float | None) -> _Verdict:
    start = time.process_time()
    want = _outputs(task, task.reference, case)
    seconds = time.process_time() - start
    limit = time_limit or max(student_call.TIME_LIMIT, student_call.TIMES_REFERENCE * seconds)
    arguments = {name: copied(value) for name, value in case.arguments.items()}
    outcome = student_call.call_student(student, tuple(arguments.values()), limit, task.may_use)

    def fault(what: str, cause: str = "") -> Fault:
        return Fault(number, case.about, what, cause)

    failed = _failed_call(task, outcome, seconds)
    if failed is not None:
        what, cause, stop = failed
        return _Verdict(faults=[fault(what, cause)], stop=stop, refused=bool(outcome.refused))
    touched = _touched(task, case, arguments)
    try:
        returned = task.observe(outcome.returned, arguments) if task.observe else outcome.returned
    except Exception as error:
        return _Verdict(faults=[fault(f"what it leaves behind cannot be read: {error}")])
    answers = returned if len(task.outputs) > 1 else (returned,)
    if not isinstance(answers, tuple | list) or len(answers) != len(task.outputs):
        shape = f"{len(answers)} values" if isinstance(answers, tuple | list) else f"one {type(answers).__name__}"
        if returned is None:
            shape = "None (is the return missing?)"
        return _Verdict(faults=[fault(f"returns {shape}; expected {', '.join(task.outputs)}")])
    if touched:
        cause = "an operation such as -=, *= or x[...] = on an argument; work on a copy, or on a new array"
        return _Verdict(faults=[fault(f"changes its input {', '.join(touched)} in place", cause)])
    verdict = _Verdict(note=_dtype_note(task, case, answers))
    found = _compare_outputs(task, case, answers, want)
    verdict.right = len(task.outputs) - len(found)
    verdict.faults = [fault(what, cause) for what, cause in found]
    return verdict


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
        what = f"calls {outcome.refused}, so that the answer is not its own, and the score is 0. "
        return f"{what}Allowed are NumPy, Python's own library, scipy.special.erf{allowed}", "", True
    if outcome.timed_out:
        what = f"stopped after {outcome.seconds:.3g} s (ours takes {seconds:.2g} s); further cases were not run"
        return what, "a loop that does not end, or far too many steps: use operations on whole arrays", True
    error = outcome.error
    if error is None:
        return None
    if isinstance(error, NotImplementedError):
        return "is not written yet", "", True
    line = student_call.student_line(error)
    message = " ".join(str(error).split()) or "no message"
    return f"raises {type(error).__name__}: {message}" + (f", in {line}" if line else ""), "", False


def _touched(task: Task, case: Case, arguments: Mapping[str, Any]) -> list[str]:
    """Names of the inputs that the student's function changed and may not."""
    return [
        f"{name}.{part}".rstrip(".")
        for name, value in case.arguments.items()
        if name not in task.may_change
        for part in changed(value, arguments[name])
    ]


def _compare_outputs(task: Task, case: Case, answers: Sequence[Any], want: Sequence[Any]) -> list[tuple[str, str]]:
    """(what is wrong, likely cause) for every output that is wrong."""
    wrong, least = {}, _least_scale(want)
    for index, (name, answer, expected) in enumerate(zip(task.outputs, answers, want, strict=True)):
        what = _describe_tree(name, answer, expected, case.dtype, least)
        if what:
            wrong[index] = what
    causes = _known_causes(task, case, answers, want, tuple(wrong))
    return [
        (what, causes.get(index) or general_cause(*_first_wrong(answers[index], want[index], case.dtype, least)))
        for index, what in wrong.items()
    ]


def _least_scale(want: Sequence[Any]) -> float:
    """The least that rounding errors are measured by: an output may be 0 but for rounding, where others are not."""
    arrays = [array for output in want for array in _arrays(output)]
    return 1e-3 * max(map(size_of, arrays))


def _arrays(output: Any) -> list[numpy.ndarray]:
    return list(leaves(output).values()) if isinstance(output, Mapping) else [numpy.asarray(output)]


def _describe_tree(name: str, answer: Any, want: Any, dtype: str, least: float) -> str:
    """What is wrong with an output, which may be a tree of arrays; empty when nothing is."""
    if not isinstance(want, Mapping):
        what = describe(answer, numpy.asarray(want), dtype, max(least, size_of(numpy.asarray(want))))
        return f"{name}: {what}" if what else ""
    if not isinstance(answer, Mapping):
        return f"{name}: is {type(answer).__name__}; expected a dict with {', '.join(want)}"
    expected, found = leaves(want), leaves(answer)
    if expected.keys() != found.keys():
        missing, odd = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        parts = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has", odd)) if names]
        return f"{name}: {' and '.join(parts)}; expected {', '.join(expected)}"
    wrong = _wrong_parts(found, expected, dtype, least)
    if not wrong:
        return ""
    first, *others = wrong
    listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"{name}.{first}: {wrong[first]}" + (f" (wrong, too: {listed})" if others else "")


def _wrong_parts(
    found: Mapping[str, Any], expected: Mapping[str, numpy.ndarray], dtype: str, least: float
) -> dict[str, str]:
    """What is wrong with the arrays of a tree, by name. Some may be 0 but for rounding: their scale is the tree's."""
    scale = max(least, *map(size_of, expected.values()))
    return {part: what for part in expected if (what := describe(found[part], expected[part], dtype, scale))}


def _first_wrong(answer: Any, want: Any, dtype: str, least: float) -> tuple[Any, numpy.ndarray]:
    """The first wrong array of an output, and what was expected there."""
    if not isinstance(want, Mapping):
        return answer, numpy.asarray(want)
    found, expected = leaves(answer) if isinstance(answer, Mapping) else {}, leaves(want)
    if found.keys() == expected.keys():
        for name in _wrong_parts(found, expected, dtype, least):
            return found[name], expected[name]
    return None, numpy.zeros(0)


def _known_causes(
    task: Task, case: Case, answers: Sequence[Any], want: Sequence[Any], wrong: Sequence[int]
) -> dict[int, str]:
    """Cause by output, for the wrong outputs that a known mistake makes just so.

    The best is a mistake that gives all outputs, wrong and right; then one that explains all that are wrong; else each
    has the first that explains it.
    """
    causes: dict[int, str] = {}
    all_explained, least = "", _least_scale(want)
    for cause, mistaken in task.mistakes if wrong else ():
        try:
            made = _outputs(task, mistaken, case)
        except Exception:
            continue  # a mistake that cannot be made with these shapes
        explained = [index for index in wrong if _explains(made[index], answers[index], want[index], case.dtype, least)]
        if len(explained) == len(wrong):
            right = set(range(len(want))) - set(wrong)
            if not any(_describe_tree("", made[index], want[index], case.dtype, least) for index in right):
                return dict.fromkeys(wrong, cause)
            all_explained = all_explained or cause
        causes = dict.fromkeys(explained, cause) | causes
    return dict.fromkeys(wrong, all_explained) if all_explained else causes


def _explains(made: Any, answer: Any, want: Any, dtype: str, least: float) -> bool:
    """Whether a mistake makes an output as wrong as the answer is (in a tree: its first wrong array)."""
    wrong, expected = _first_wrong(answer, want, dtype, least)
    if isinstance(want, Mapping):
        name = next((name for name, array in leaves(want).items() if array is expected), None)
        made = leaves(made).get(name or "")
    return agree(wrong, made, dtype) and not agree(made, expected, dtype)


def _dtype_note(task: Task, case: Case, answers: Sequence[Any]) -> str:
    """A word on an answer in a higher precision than its inputs: right, but not how the package does it."""
    if case.dtype == "float32":
        for name, answer in zip(task.outputs, answers, strict=True):
            array = as_numbers(answer)
            if not isinstance(array, str) and array.dtype == numpy.float64 and array.ndim:
                return f"  note: float32 goes in and {name} comes out in float64; a network would keep the dtype of x\n"
    return ""


def _finish(task: Task, score: float, right: str, faults: Sequence[Fault], notes: str, quiet: bool) -> Report:
    """Write the report, print it unless `quiet`, and return it."""
    if faults:
        lines = [f"{task.name}: {right} cases right (score {score:.2f})"]
        last_cause = ""
        for fault in _shown(faults):
            same = bool(fault.cause) and fault.cause == last_cause
            shown = replace(fault, cause="the same") if same else fault
            lines += textwrap.wrap(str(shown), 110, initial_indent="  ", subsequent_indent="    ")
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
