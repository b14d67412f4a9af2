"""What grading found, as data: of a task, of a submission, of a class; as JSON, and as a table for spreadsheets."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from minivivit.files.tensor_data import listed
from minivivit.grading.tasks import ASSIGNMENTS

COLUMNS = ("student", "assignment", "task", "points", "of", "file")
BY_HAND = "derivation (by hand)"
# The problem of a file that cannot be an answer.
OTHER = "not a notebook (.ipynb), a Python file (.py) or a zip file of them"
# The first place of a file that lies in a zip file, and of one that does not.
IN_ZIP, OUTSIDE = re.compile(r"([^/]*?\.zip)!([^/!]*)", re.IGNORECASE), re.compile(r"([^/]*)")
# What makes a spreadsheet take a cell for a formula; some read the wide signs of East Asian keyboards alike.
FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass
class TaskResult:
    """Of one task.

    Attributes
    ----------
    task : str
    points, of : float
        Earned, and to be had.
    text : str
        What the check found, in the words of `minivivit.checks`.
    """

    task: str
    points: float
    of: int
    text: str


@dataclass
class SubmissionResult:
    """Of one file.

    Attributes
    ----------
    file : str
        Where it lies within what was graded.
    assignment : str
        Empty when it could not be told.
    tasks : list of TaskResult
        In the assignment's order; none when the file could not be read.
    problems : list of str
        What is odd about it: why it could not be read, test cells that are missing, cells that raised.
    fences : dict
        What the student's code was cut off from, see `minivivit.grading.worker_process.Worker`.
    """

    file: str
    assignment: str = ""
    tasks: list[TaskResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    fences: dict[str, bool] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """The sum of the tasks' points."""
        return round(sum(task.points for task in self.tasks), 2)

    @property
    def of(self) -> int:
        """What there was to be earned."""
        return sum(task.of for task in self.tasks)

    @property
    def by_hand(self) -> int:
        """Points of the assignment's derivation, which are given by hand and are in neither of the others."""
        return ASSIGNMENTS[self.assignment].by_hand if self.tasks and self.assignment in ASSIGNMENTS else 0


def best_of(results: Sequence[SubmissionResult]) -> SubmissionResult:
    """Of the files of one student the one with the most points; it gets a note on the others."""
    best = max(results, key=lambda result: (bool(result.tasks), result.points))
    if len(results) > 1:
        lost = [_name(each) for each in results if each is not best and not each.tasks]
        note = f"{len(results)} files were handed in; {_name(best)} has the most points and counts"
        best.problems.insert(0, note + (f"; not graded: {listed(lost)}" if lost else ""))
    return best


def _name(result: SubmissionResult) -> str:
    """A file's name without its folders."""
    return result.file.rpartition("/")[2]


def as_json(results: Sequence[SubmissionResult], seed: int) -> dict[str, Any]:
    """All of it as plain dicts and lists; the seed draws the same inputs again."""
    rows = [
        {**asdict(result), "points": result.points, "of": result.of, "by_hand": result.by_hand} for result in results
    ]
    return {"format": "minivivit grade 1", "seed": seed, "submissions": rows}


def from_json(row: dict[str, Any]) -> SubmissionResult:
    """One submission of what `as_json` makes."""
    tasks = [TaskResult(**task) for task in row["tasks"]]
    return SubmissionResult(row["file"], row["assignment"], tasks, row["problems"], row["fences"])


def as_csv(results: Sequence[SubmissionResult]) -> str:
    """A table with a row for each student and task; what is graded by hand and what could not be has no points.

    A student is the folder or zip file that the file lies in, or else the file. A zip file with answers in several
    places is taken for a class, and the places for its students.
    """
    students = _students(results)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for student, result in zip(students, results, strict=True):
        start, file = [_plain(student), result.assignment], _plain(result.file)
        for task in result.tasks:
            rows.writerow([*start, task.task, f"{task.points:g}", task.of, file])
        if result.by_hand:
            rows.writerow([*start, BY_HAND, "", result.by_hand, file])
        if not result.tasks:
            rows.writerow([*start, "not graded", "", "", file])
    return text.getvalue()


def _students(results: Sequence[SubmissionResult]) -> list[str]:
    """Whose each file is, as `as_csv` says."""
    first = [IN_ZIP.match(result.file) or OUTSIDE.match(result.file) for result in results]
    places: dict[str, set[str]] = {}  # of each zip file, where answers lie in it
    for found, result in zip(first, results, strict=True):
        if found and found.re is IN_ZIP and result.problems != [OTHER]:
            places.setdefault(found[1], set()).add(found[2])
    return [found[1] if found and len(places.get(found[1], ())) == 1 else found[0] if found else "" for found in first]


def _plain(text: str) -> str:
    """A name that no spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULAS) else shown
