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


def test_a_seed_that_changes_nothing_is_said_to(tmp_path, capsys):
    for number, more in enumerate(([], ["--seed", "1"])):
        assert main(["assignments", str(tmp_path / str(number)), "--for", "pytest", *more]) == 0
        assert ("--seed changes nothing here" in capsys.readouterr().out) == bool(more)


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


def test_python_files_speak_of_files(courses):
    for name in ASSIGNMENTS:
        text = (courses / "pytest" / name / f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"%debug|\bcells? below|\bnotebook|Nothing to write|In the cell", text, re.IGNORECASE)
        for part in ("python -m pytest", "python -i", "report.inputs(3)", "pdb.pm()"):
            assert part in text
        assert text.count("YOUR ANSWER HERE, in lines that begin with #") == bool(ASSIGNMENTS[name].by_hand)


def test_requirements_say_what_is_to_be_completed(courses):
    for name in ASSIGNMENTS:
        text = (courses / "pytest" / name / "requirements.txt").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert lines == ["minivivit @ git+https://github.com/YOUR-NAME/minivivit", "pytest"]
        assert "pip wheel --no-deps ." in text


def test_gradescopes_page_tells_points_and_what_is_graded_by_hand():
    page = (SOURCES / "course" / "gradescope" / "README.md").read_text(encoding="utf-8")
    for name, assignment in ASSIGNMENTS.items():
        assert f"| `{name}` | {sum(assignment.points.values())} | {assignment.by_hand or ''}".rstrip() in page


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


@pytest.mark.thorough
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
    assert results["output_format"] == results["test_output_format"] == "text"


def test_gradescope_shows_why_nothing_was_graded(tmp_path):
    results = gradescope_results(tmp_path, ATTENTION, 1)
    assert results["score"] == 0
    assert "was handed in" in results["output"]
    assert [test["score"] for test in results["tests"]] == [0] * 6
    (tmp_path / "answers.pdf").write_bytes(b"%PDF")
    results = gradescope_results(tmp_path, "03_layer_norm_and_gelu", 1)
    assert "only 'answers.pdf'" in results["output"]
    assert "not in this score: 4 points for the derivation, graded by hand" in results["output"]
    assert str(tmp_path) not in results["output"]


@pytest.mark.thorough
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
    assert done.stdout.count("merge_heads 1/1\n") == 1
    assert "together 1 of 13 points (SEED=5)" in done.stdout
    assert "Captured" not in done.stdout  # everything is said once
    file.write_text(f"{text}\ndef merge_heads(heads)\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "softmax"],
        cwd=tmp_path / "student",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SyntaxError: expected ':'" in done.stdout
    assert 'def merge_heads(heads)"' in done.stdout


def test_scripts_are_in_the_repository_as_they_are_handed_out():
    for script in ("setup.sh", "run_autograder"):
        text = (SOURCES / "course" / "gradescope" / script).read_text(encoding="utf-8")
        assert text.startswith("#!/usr/bin/env bash\n")
        assert "\r" not in text
