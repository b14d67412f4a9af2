"""Read what a student handed in, a notebook or a Python file, as steps: cells to run and tasks to test, in order."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from minivivit.errors import InputError
from minivivit.files.json_file import parse_json_object
from minivivit.files.tensor_data import quoted
from minivivit.grading.tasks import ASSIGNMENTS, Assignment

LARGEST = 64 << 20  # bytes; pictures in a notebook's outputs take most of it
LONGEST_CODE = 1 << 20  # letters of all cells
MOST_CELLS = 1000


@dataclass(frozen=True)
class Cell:
    """Code of a student's; `name` is what error messages call it, `first` the number of its first line there."""

    name: str
    source: str
    first: int = 1


@dataclass(frozen=True)
class Test:
    """Here the function of a task is tested."""

    task: str


@dataclass
class Submission:
    """What a student handed in.

    Attributes
    ----------
    assignment : Assignment
    steps : list of Cell or Test
        Every task is tested once.
    problems : list of str
        What is odd about it, such as test cells that are missing.
    looks_like : str
        Another assignment that it is an answer to, and not to this one; else empty.
    """

    assignment: Assignment
    steps: list[Cell | Test]
    problems: list[str] = field(default_factory=list)
    looks_like: str = ""

    @property
    def asks_for_scipy(self) -> bool:
        """Whether the code names SciPy."""
        return "scipy" in self.assignment.given or any(
            "scipy" in step.source for step in self.steps if isinstance(step, Cell)
        )


def read_submission(name: str, data: bytes, assignment: str | None = None) -> Submission:
    """The steps of a file.

    Parameters
    ----------
    name : str
        Of the file; ``.ipynb`` and ``.py`` are told apart by it, and an assignment that the content leaves open is.
    data : bytes
    assignment : str, optional
        Its name; by default the one whose tasks the file holds most of.

    Raises
    ------
    InputError
        When the file is no notebook, or too large, or of no assignment.
    """
    if len(data) > LARGEST:
        raise InputError(f"the file has {len(data):,} bytes; at most {LARGEST:,} are read")
    parts = _notebook_cells(name, data) if name.lower().endswith(".ipynb") else _python_cells(data)
    if sum(len(part.cell.source) for part in parts) > LONGEST_CODE or len(parts) > MOST_CELLS:
        raise InputError(f"more than {LONGEST_CODE:,} letters of code, or {MOST_CELLS} cells; is this an assignment?")
    if assignment is None:
        return _in_steps(_recognised(name, parts), parts)
    submission = _in_steps(ASSIGNMENTS[assignment], parts)
    submission.looks_like = _another(assignment, parts)
    return submission


# --------------------------------------------------------------------------------------------------------------------
# Cells
# --------------------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A cell with code, and nbgrader's name of it, which is empty where there is none."""

    grade_id: str
    cell: Cell


def _notebook_cells(name: str, data: bytes) -> list[_Part]:
    """Every cell with code; cells are counted with those of text between them, as one sees them."""
    notebook = parse_json_object(data.removeprefix(b"\xef\xbb\xbf"), "the notebook")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise InputError("this is no notebook: it has no list of cells (one of format 4 was expected)")
    found = []
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, Mapping) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            parts = source if isinstance(source, list) else [source]
            if not all(isinstance(part, str) for part in parts):
                raise InputError("this is no notebook: the source of a cell is no text")
            found.append(_Part(_grade_id(cell), Cell(f"<cell {number} of {len(cells)}>", "".join(parts))))
    return found


def _grade_id(cell: Mapping[str, Any]) -> str:
    metadata = cell.get("metadata")
    settings = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = settings.get("grade_id") if isinstance(settings, Mapping) else None
    return name if isinstance(name, str) else ""


def _python_cells(data: bytes) -> list[_Part]:
    """The parts of a Python file between lines that begin with ``# %%``, as editors and nbconvert part them."""
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8 text; save it as such") from None
    parts, first = [], 1
    for source in re.split(r"^# (?:%%|In\[).*\n", text, flags=re.MULTILINE):
        if source.strip():
            parts.append(_Part("", Cell("<the file>", source, first)))
        first += source.count("\n") + 1
    return parts


# --------------------------------------------------------------------------------------------------------------------
# Steps
# --------------------------------------------------------------------------------------------------------------------


def _recognised(name: str, parts: list[_Part]) -> Assignment:
    """The assignment with most tasks in the file; the file's name decides where several have as many."""
    there = _named(parts) | _defined(parts)
    counts = {key: len(there & set(found.points)) for key, found in ASSIGNMENTS.items()}
    most = max(counts.values())
    best = [key for key, count in counts.items() if count == most > 0]
    named = [key for key in best or counts if re.search(rf"(?<!\d){key[:2]}(?!\d)|{key[3:]}", name)]
    if len(best) == 1 or len(named) == 1:
        return ASSIGNMENTS[best[0] if len(best) == 1 else named[0]]
    raise InputError("which assignment is it? It holds none of the functions that one asks for; say --assignment NAME")


def _named(parts: list[_Part]) -> set[str]:
    """What nbgrader calls the cells."""
    return {part.grade_id.removeprefix("test_") for part in parts}


def _defined(parts: list[_Part]) -> set[str]:
    """Names that the code gives to functions, or to anything at its top."""
    text = "\n".join(part.cell.source for part in parts)
    return {first or second for first, second in re.findall(r"^def +(\w+)|^(\w+) *=[^=]", text, re.MULTILINE)}


def _another(assignment: str, parts: list[_Part]) -> str:
    """The assignment that a file answers instead of the one that was expected; empty when it seems to be that one.

    nbgrader's names of cells tell for sure: beside those of another assignment a helper may be named like a task.
    """
    for there in (_named(parts), _named(parts) | _defined(parts)):
        counts = {name: len(there & set(other.points)) for name, other in ASSIGNMENTS.items()}
        most = max(counts, key=lambda name: counts[name])
        if counts[most] > 0:
            return most if counts[assignment] == 0 else ""
    return ""


def _in_steps(assignment: Assignment, parts: list[_Part]) -> Submission:
    """Cells and tests in order: a task is tested where its test cell is, the last of several, or at the end."""
    tests = {f"test_{task}": task for task in assignment.points}
    counts = Counter(part.grade_id for part in parts if part.grade_id in tests)
    submission = Submission(assignment, [Cell("<given>", assignment.given)])
    seen: Counter[str] = Counter()
    for grade_id, cell in parts:
        seen[grade_id] += 1
        if grade_id in tests:
            if seen[grade_id] == counts[grade_id]:
                submission.steps.append(Test(tests[grade_id]))
        elif cell.source.strip():
            name = f"{cell.name[:-1]}, {grade_id}>" if grade_id in assignment.points else cell.name
            submission.steps.append(replace(cell, name=name))
    missing = [task for name, task in tests.items() if not counts[name]]
    submission.steps += [Test(task) for task in missing]
    while isinstance(submission.steps[-1], Cell):  # what only looks at the answers
        submission.steps.pop()
    if counts:  # of nbgrader: not a Python file, nor a notebook that was written anew
        submission.problems += _problems(tests, counts)
    return submission


def _problems(tests: Mapping[str, str], counts: Mapping[str, int]) -> list[str]:
    """What is wrong with the test cells of a notebook that has some."""
    problems = [
        f"the test cell of {task} is there {counts[name]} times; the last counts"
        for name, task in tests.items()
        if counts[name] > 1
    ]
    missing = [quoted(task) for name, task in tests.items() if not counts[name]]
    if missing:
        problems.append(f"the test cell of {', '.join(missing)} is missing; what the whole notebook makes is tested")
    return problems
