"""What grading found, as data: of a task, of a submission, of a class; and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


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


def as_json(results: Sequence[SubmissionResult], seed: int) -> dict[str, Any]:
    """All of it as plain dicts and lists; the seed draws the same inputs again."""
    rows = [{**asdict(result), "points": result.points, "of": result.of} for result in results]
    return {"format": "minivivit grade 1", "seed": seed, "submissions": rows}


def from_json(row: dict[str, Any]) -> SubmissionResult:
    """One submission of what `as_json` makes."""
    tasks = [TaskResult(**task) for task in row["tasks"]]
    return SubmissionResult(row["file"], row["assignment"], tasks, row["problems"], row["fences"])
