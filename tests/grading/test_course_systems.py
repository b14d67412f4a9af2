"""The folders for Gradescope and for pytest, run as those systems run them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from submissions import ATTENTION, ROOT, SOURCES, notebook

from minivivit.cli import main
from minivivit.grading.gradescope import gradescope_results
from minivivit.grading.tasks import ASSIGNMENTS

SECRETS = re.compile(r"BEGIN SOLUTION|HIDDEN TESTS|seed=58")


@pytest.fixture(scope="module")
def courses(tmp_path_factory):
    """A course for each system."""
    place = tmp_path_factory.mktemp("courses")
    for system in ("gradescope", "pytest"):
        assert main(["assignments", str(place / system), "--for", system, "--seed", "11"]) == 0
    return place


def test_students_get_neither_solutions_nor_seeds(courses):
    for system, kind in (("gradescope/students", "ipynb"), ("pytest", "py")):
        for name, assignment in ASSIGNMENTS.items():
            (file,) = (courses / system / name).glob(f"{name}.{kind}")
            text = file.read_text(encoding="utf-8")
            assert not SECRETS.search(text)
            assert text.count("raise NotImplementedError()") == len(assignment.points)
            for task in assignment.points:
                assert f"def {task}(" in text


def test_python_files_hold_what_is_asked_and_nothing_else(courses):
    for name, assignment in ASSIGNMENTS.items():
        tree = ast.parse((courses / "pytest" / name / f"{name}.py").read_text(encoding="utf-8"))
        assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == list(assignment.points)
        workflow = (courses / "pytest" / name / ".github" / "workflows" / "classroom.yml").read_text()
        assert [int(found) for found in re.findall(r"max-score: (\d+)", workflow)] == list(assignment.points.values())
        for test in re.findall(r'python -m pytest "(\w+\.py)::', workflow):
            assert (courses / "pytest" / name / test).is_file()


def run_as_gradescope(autograder, zip_file, files):
    """What Gradescope does with an uploaded zip file and a submission; the results."""
    with zipfile.ZipFile(zip_file) as archive:
        archive.extractall(autograder / "source")
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes["run_autograder"] == modes["setup.sh"] == 0o755
    shutil.copy(autograder / "source" / "run_autograder", autograder / "run_autograder")
    (autograder / "run_autograder").chmod(0o755)
    (autograder / "submission").mkdir()
    for name, data in files.items():
        (autograder / "submission" / name).write_bytes(data)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"AUTOGRADER": str(autograder), "AUTOGRADER_PYTHON": sys.executable}
    done = subprocess.run(
        ["./run_autograder"], cwd=autograder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((autograder / "results" / "results.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(os.name != "posix", reason="Gradescope's containers run Linux")
def test_gradescopes_zip_file_grades_as_gradescope_runs_it(courses, tmp_path):
    wrong = notebook(
        ATTENTION, {"softmax": "def softmax(x):\n    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)\n"}
    )
    zip_file = courses / "gradescope" / "autograders" / f"{ATTENTION}.zip"
    results = run_as_gradescope(tmp_path, zip_file, {"02 softmax (3).ipynb": wrong})
    tests = {test["name"]: test for test in results["tests"]}
    assert {name: test["max_score"] for name, test in tests.items()} == ASSIGNMENTS[ATTENTION].points
    assert 0 < tests["softmax"]["score"] < 3
    assert "subtract the row's maximum" in " ".join(tests["softmax"]["output"].split())
    assert tests["merge_heads"] | {"output": ""} == {
        "name": "merge_heads",
        "score": 1,
        "max_score": 1,
        "output": "",
        "status": "passed",
    }
    assert results["score"] == pytest.approx(sum(test["score"] for test in results["tests"]))


def test_gradescope_shows_why_nothing_was_graded(tmp_path):
    results = gradescope_results(tmp_path, ATTENTION, 1)
    assert results["score"] == 0
    assert "was handed in" in results["output"]
    assert [test["score"] for test in results["tests"]] == [0] * 6


def test_a_classroom_repository_tests_itself(courses, tmp_path):
    name = ATTENTION
    shutil.copytree(courses / "pytest" / name, tmp_path / "student")
    file = tmp_path / "student" / f"{name}.py"
    text = file.read_text(encoding="utf-8")
    answer = "def merge_heads(heads):\n    return np.concatenate(list(heads.swapaxes(0, 1)), axis=-1)\n"
    file.write_text(text + "\n\n" + answer, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "student",
        env=os.environ | {"PYTHONPATH": str(ROOT), "SEED": "5"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "5 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "is not written yet" in done.stdout
    assert "SEED=5" in done.stdout


def test_scripts_are_in_the_repository_as_they_are_handed_out():
    for script in ("setup.sh", "run_autograder"):
        text = (SOURCES / "course" / "gradescope" / script).read_text(encoding="utf-8")
        assert text.startswith("#!/usr/bin/env bash\n")
        assert "\r" not in text
