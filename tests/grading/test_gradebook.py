"""Through nbgrader with the grader's scores: lay out, generate, hand in, grade, read the gradebook, feedback."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from submissions import ATTENTION, TASKS, notebook

from minivivit.cli import main
from minivivit.grading.graded_notebook import graded_notebook
from minivivit.grading.results import SubmissionResult, TaskResult
from minivivit.grading.tasks import ASSIGNMENTS, seed_of

needs_nbgrader = pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None, reason="needs nbgrader (the extra teaching)"
)
READ_GRADES = """
import json, sys
from nbgrader.api import Gradebook
found = {}
with Gradebook("sqlite:///gradebook.db", "minivivit") as gradebook:
    for submission in gradebook.assignment_submissions(sys.argv[1]):
        notebook = submission.notebooks[0]
        found[submission.student.id] = {
            "grades": {grade.name: grade.score for grade in notebook.grades if grade.auto_score is not None},
            "comments": {comment.name: comment.auto_comment for comment in notebook.comments if comment.auto_comment},
            "by hand": sorted(grade.name for grade in notebook.grades if grade.needs_manual_grade),
            "timestamp": str(submission.timestamp),
        }
print(json.dumps(found))
"""


def run(course: Path, *command: str) -> str:
    """Run a Python command in the course's directory; its standard output."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # nbgrader calls alembic by name
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(course / "none"), "PYTHONWARNINGS": "ignore", "PATH": path}
    done = subprocess.run(
        [sys.executable, *command], cwd=course, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


def changed(change) -> bytes:
    """The solved notebook with its cells changed."""
    book = json.loads(notebook(ATTENTION, {}))
    change(book["cells"])
    return json.dumps(book).encode()


def name_of(cell) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def twice(cells):
    cells += [cell for cell in cells if name_of(cell) in ("softmax", "test_softmax")]


def without_tests(cells):
    cells[:] = [cell for cell in cells if not name_of(cell).startswith("test_")]


HANDED_IN = {
    "right/02_softmax_and_attention.ipynb": notebook(ATTENTION, {}),
    "wrong/02_softmax_and_attention (1).ipynb": notebook(ATTENTION, {"merge_heads": "merge_heads = len"}),
    "wrong/02_softmax_and_attention.ipynb": notebook(ATTENTION, dict.fromkeys(TASKS, "")),  # handed in before
    "twice/02_softmax_and_attention.ipynb": changed(twice),
    "without/02_softmax_and_attention.ipynb": changed(without_tests),
    "ends/02_softmax_and_attention.ipynb": notebook(
        ATTENTION, {"softmax": "import os\ndef softmax(x):\n    os._exit(0)\n"}
    ),
    "broken/02_softmax_and_attention.ipynb": b"{",
}


@pytest.mark.teaching
@needs_nbgrader
def test_points_and_feedback_are_in_the_gradebook(tmp_path, capsys):
    course = tmp_path / "course"
    assert main(["assignments", str(course), "--seed", "3"]) == 0
    run(course, "-m", "nbgrader", "generate_assignment", ATTENTION)
    for name, data in HANDED_IN.items():
        student, _, file = name.partition("/")
        place = course / "submitted" / student / ATTENTION / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (course / "submitted" / "right" / ATTENTION / "timestamp.txt").write_text("2027-01-02 03:04:05 UTC")
    capsys.readouterr()
    assert main(["grade", str(course), "--seed", "9"]) == 0
    said = capsys.readouterr().out
    assert "the test cell of softmax is there 2 times" in said
    assert "is not valid JSON" in said
    assert "2 files were handed in; 02_softmax_and_attention (1).ipynb has the most points and counts" in said
    found = json.loads(run(course, "-c", READ_GRADES, ATTENTION))
    full = {f"test_{task}": worth for task, worth in ASSIGNMENTS[ATTENTION].points.items()}
    assert found.keys() == {"right", "wrong", "twice", "without", "ends"}
    for student in ("right", "twice", "without"):
        assert found[student]["grades"] == full
    assert found["wrong"]["grades"]["test_merge_heads"] == 0
    assert found["ends"]["grades"]["test_softmax"] == 0
    assert [grades["comments"] for grades in found.values()] == [{}] * 5
    assert found["right"]["timestamp"].startswith("2027-01-02 03:04:05")
    run(course, "-m", "nbgrader", "generate_feedback", ATTENTION)
    pages = {page.parts[-3]: page.read_text(encoding="utf-8") for page in (course / "feedback").rglob("*.html")}
    assert pages.keys() == found.keys()
    assert "3 of 3 points" in pages["right"]
    assert "exit code 0" in " ".join(pages["ends"].split())
    assert re.findall(r"\bsoftmax: 0 of", pages["ends"]) == ["softmax: 0 of"]  # said once, under the test cell
    seeds = {str(seed_of(task, 3)) for task in TASKS}
    assert not [page for page in pages.values() if any(seed in page for seed in seeds)]
    assert main(["grade", str(course), "--seed", "9", "--assignment", ATTENTION]) == 0  # again, over what is there


@pytest.mark.teaching
@needs_nbgrader
def test_what_is_not_in_its_place_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)  # the environment is not activated
    course = tmp_path / "course"
    assert main(["assignments", str(course)]) == 0
    assert main(["grade", str(course)]) == 2
    assert "submitted/STUDENT/ASSIGNMENT" in capsys.readouterr().err
    for name in ("anna/homework/a.py", f"anna/{ATTENTION}/a.py"):
        (course / "submitted" / name).parent.mkdir(parents=True)
        (course / "submitted" / name).write_text("def softmax(x):\n    return x\n")
    capsys.readouterr()
    (course / "source" / "project").mkdir()  # the instructor's own
    (course / "submitted" / "anna" / "project").mkdir()
    (course / "submitted" / "anna" / "project" / "mine.py").write_text("")
    assert main(["grade", str(course), "--assignment", ATTENTION]) == 0
    said = capsys.readouterr().out
    assert "anna/homework/a.py: not graded" in said
    assert "nbgrader generate_assignment" in said
    assert "mine.py" not in said


def result_of(book: bytes) -> dict:
    tasks = [TaskResult(task, 1.0, 2, f"{task}: told\n") for task in TASKS]
    text = graded_notebook(notebook(ATTENTION, {}).decode(), book, SubmissionResult("x", ATTENTION, tasks))
    return json.loads(text)


@pytest.mark.parametrize(
    "book",
    [
        notebook(ATTENTION, {}),
        changed(twice),
        changed(without_tests),
        changed(lambda cells: cells.clear()),
        changed(lambda cells: cells.insert(0, {"cell_type": "code", "source": 3, "metadata": 3, "outputs": "x"})),
        changed(lambda cells: [cell["metadata"].clear() for cell in cells]),
        b"",
        b"{",
        b'{"cells": 3}',
    ],
)
def test_every_graded_notebook_has_every_test_cell_once(book):
    found = result_of(book)
    names = [name_of(cell) for cell in found["cells"] if name_of(cell)]
    assert len(set(names)) == len(names)
    assert {f"test_{task}" for task in TASKS} | set(TASKS) <= set(names)
    for cell in found["cells"]:
        if name_of(cell).startswith("test_"):
            assert "HIDDEN TESTS" not in cell["source"]
            assert cell["outputs"][0]["text"].endswith("told\n1 of 2 points\n")
        else:
            assert not cell.get("outputs")


@pytest.mark.teaching
@needs_nbgrader
@pytest.mark.parametrize("book", [notebook(ATTENTION, {}), changed(twice), changed(without_tests), b"{"])
def test_nbformat_finds_graded_notebooks_valid(book):
    import nbformat

    nbformat.validate(result_of(book))
