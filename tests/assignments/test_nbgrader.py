"""The whole way through nbgrader itself: lay out, generate, hand in, autograde, read the gradebook.

The first answers of the banks to each task are handed in, and all that do not end; the others are judged in the same
way without nbgrader (test_answers.py). To start few kernels, a student hands in one answer to each task: `wrong-0` the
first wrong one of every task, and so on. What does not end is handed in alone, since what depends on it waits as long.
"""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from assignment_cells import NAMES, Answer, bank, grade_id, points

from minivivit.cli import main

pytestmark = [
    pytest.mark.teaching,
    pytest.mark.skipif(importlib.util.find_spec("nbgrader") is None, reason="needs nbgrader (the extra teaching)"),
]

WRONG, RIGHT = bank("wrong_answers"), bank("correct_answers")
STUDENTS = 6  # of each kind, for an assignment
# nbgrader's limit for a cell is by the clock, which runs on where others compute; the checks' own, 5 seconds a case, is
# not. So nobody is to reach the clock's but who never comes to a check.
CELL_SECONDS, PATIENCE = 30, 3600
ENDLESS_CELL = "endless-cell"

# Runs in a process of its own: what nbgrader and its libraries warn of is not our concern.
READ_GRADES = """
import json, sys
from nbgrader.api import Gradebook
grades = {}
with Gradebook("sqlite:///gradebook.db") as gradebook:
    for submission in gradebook.assignment_submissions(sys.argv[1]):
        found = submission.notebooks[0].grades
        grades[submission.student.id] = {
            grade.name.removeprefix("test_"): grade.score for grade in found if grade.name.startswith("test_")
        }
print(json.dumps(grades))
"""


def run(course: Path, *command: str) -> str:
    """Run a command in the course's directory; its standard output."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # nbgrader calls alembic by name
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(course / "no-config"),
        "PYTHONWARNINGS": "ignore",
        "PATH": path,
    }
    done = subprocess.run(
        command, cwd=course, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


def nbgrader(course: Path, *arguments: str) -> None:
    run(course, sys.executable, "-m", "nbgrader", *arguments)


def packed(answers: Iterable[Answer], kind: str) -> dict[str, dict[str, str]]:
    """Student -> {task: source}: the n-th answer to every task by student n; what does not end alone."""
    students: dict[str, dict[str, str]] = {}
    numbers: dict[str, itertools.count] = {}
    for answer in answers:
        if answer.says == "stopped after":
            students[f"endless-{answer.task.replace('_', '-')}"] = {answer.task: answer.source}
        else:
            number = next(numbers.setdefault(answer.task, itertools.count()))
            if number < STUDENTS:
                students.setdefault(f"{kind}-{number}", {})[answer.task] = answer.source
    return students


def submissions(name: str) -> dict[str, dict[str, str]]:
    """All that is handed in for an assignment: student -> {task: source}, where a task left out is not answered."""
    solved = packed((answer for answer in WRONG if answer.assignment == name), "wrong")
    solved |= packed((answer for answer in RIGHT if answer.assignment == name), "right")
    return solved


def hand_in(course: Path, name: str, student: str, answers: dict[str, str], start: str) -> None:
    """Write a submission: the notebook under `start` ("release" or "source") with some answers put in.

    The last cell, which only shows something, is left to those that stand for the notebook as it is: it takes seconds.
    """
    notebook = json.loads((course / start / name / f"{name}.ipynb").read_text(encoding="utf-8"))
    if answers:
        notebook["cells"] = [cell for cell in notebook["cells"] if cell.get("id") != "look"]
    for cell in notebook["cells"]:
        if grade_id(cell) in answers:
            cell["source"] = answers[grade_id(cell)]
    directory = course / "submitted" / student / name
    directory.mkdir(parents=True)
    (directory / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def grade(course: Path, name: str) -> dict[str, dict[str, float]]:
    """Generate an assignment, hand in everything, autograde: student -> {task: points}."""
    nbgrader(course, "generate_assignment", name)
    hand_in(course, name, "released", {}, "release")
    hand_in(course, name, "solved", {}, "source")
    for student, answers in submissions(name).items():
        hand_in(course, name, student, answers, "source")
    nbgrader(course, "autograde", name, f"--Execute.timeout={PATIENCE}")
    if name == NAMES[0]:  # only nbgrader itself can end it
        hand_in(course, name, ENDLESS_CELL, {"position_embedding": "while True:\n    pass"}, "source")
        nbgrader(course, "autograde", name, f"--student={ENDLESS_CELL}", f"--Execute.timeout={CELL_SECONDS}")
    return json.loads(run(course, sys.executable, "-c", READ_GRADES, name))


@pytest.fixture(scope="module")
def courses(tmp_path_factory) -> dict[str, Path]:
    """A course for each assignment, so that two can be graded at once."""
    found = {name: tmp_path_factory.mktemp("course") / name for name in NAMES}
    for course in found.values():
        assert main(["assignments", str(course)]) == 0
    return found


@pytest.fixture(scope="module")
def grades(courses) -> dict[str, dict[str, dict[str, float]]]:
    """Assignment -> student -> {task: points}."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(NAMES, pool.map(lambda name: grade(courses[name], name), NAMES), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_students_get_neither_solutions_nor_hidden_tests(name, courses, grades):
    (released,) = (courses[name] / "release").rglob("*.*")
    text = released.read_text(encoding="utf-8")
    assert text.count("raise NotImplementedError()") == len(points(name))
    (source,) = (courses[name] / "source" / name).glob("*.ipynb")
    seeds = re.findall(r"checks\.\w+\(\w+, (seed=(?!1\))\d+)\)", source.read_text(encoding="utf-8"))
    assert len(seeds) == len(points(name))
    for secret in ("BEGIN SOLUTION", "HIDDEN TESTS", *seeds):
        assert secret not in text
    assert "Before you hand this in" in text


@pytest.mark.parametrize("name", NAMES)
def test_what_is_handed_out_earns_nothing_and_the_solution_everything(name, grades):
    assert grades[name]["released"] == dict.fromkeys(points(name), 0)
    assert grades[name]["solved"] == points(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_wrong_answer_loses_points_in_its_task(name, grades):
    handed_in = {student: answers for student, answers in submissions(name).items() if not student.startswith("right")}
    assert sum(map(len, handed_in.values())) >= 10
    for student, answers in handed_in.items():
        for task in answers:
            assert grades[name][student][task] < points(name)[task], (student, task)


@pytest.mark.parametrize("name", NAMES)
def test_every_right_answer_earns_all_points(name, grades):
    handed_in = [student for student in submissions(name) if student.startswith("right")]
    assert handed_in
    for student in handed_in:
        assert grades[name][student] == points(name), student


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_end_is_stopped_and_the_rest_is_graded(name, grades, courses):
    endless = {student: task for student, (task, *_) in submissions(name).items() if student.startswith("endless")}
    assert endless
    if name == NAMES[0]:
        endless[ENDLESS_CELL] = "position_embedding"
    for student, task in endless.items():
        assert grades[name][student][task] < points(name)[task]  # finite differences have the small cases right
        first = next(iter(points(name)))
        assert task == first or grades[name][student][first] == points(name)[first]
        if student != ENDLESS_CELL:
            (graded,) = (courses[name] / "autograded" / student).rglob("*.ipynb")
            assert "stopped after" in graded.read_text(encoding="utf-8")


def test_feedback_tells_students_what_was_wrong(courses, grades):
    name = NAMES[0]
    nbgrader(courses[name], "generate_feedback", name, "--student=wrong-0")
    (page,) = (courses[name] / "feedback").rglob("*.html")
    assert "reshape without transpose" in " ".join(page.read_text(encoding="utf-8").split())
