"""The course: what the notebooks hold, what the command lays out, and that it all travels in the package."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from assignment_cells import NAMES, SOURCES, grade_id, points, read_notebook

from minivivit import checks
from minivivit.cli import main
from minivivit.grading import layouts
from minivivit.grading.tasks import ASSIGNMENTS

ROOT = SOURCES.parents[1]


def by_hand(name: str) -> int:
    """Points of an assignment that are given by hand."""
    cells = [cell for cell in read_notebook(name)["cells"] if grade_id(cell).startswith("derivation_")]
    return sum(cell["metadata"]["nbgrader"]["points"] for cell in cells)


def code_cells(name: str) -> list[dict]:
    return [cell for cell in read_notebook(name)["cells"] if cell["cell_type"] == "code"]


# --------------------------------------------------------------------------------------------------------------------
# The notebooks
# --------------------------------------------------------------------------------------------------------------------


def test_there_are_six_and_every_check_belongs_to_one():
    assert len(NAMES) >= 6
    tasks = [task for name in NAMES for task in points(name)]
    assert sorted(tasks) == sorted(name for name in checks.__all__ if name != "Report")


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_a_solution_and_a_test_that_nbgrader_knows(name):
    found = {grade_id(cell): cell for cell in code_cells(name) if grade_id(cell)}
    assert len(points(name)) >= 4
    seeds = []
    for task, worth in points(name).items():
        solution, test = found[task], found[f"test_{task}"]
        flags = {"grade": False, "solution": True, "locked": False, "task": False, "schema_version": 3}
        assert flags.items() <= solution["metadata"]["nbgrader"].items()
        flags = {"grade": True, "solution": False, "locked": True, "task": False, "schema_version": 3}
        assert flags.items() <= test["metadata"]["nbgrader"].items()
        assert worth > 0
        source = "".join(solution["source"])
        assert source.startswith(f"def {task}(")
        assert re.search(
            r'^    """.+"""\n    ### BEGIN SOLUTION\n(    .*\n)+    ### END SOLUTION$', source, re.MULTILINE
        )
        expected = (
            "from minivivit import checks\n\n"
            rf"report = checks\.{task}\({task}, seed=1\)\n"
            "### BEGIN HIDDEN TESTS\n"
            rf"report = min\(report, checks\.{task}\({task}, seed=(\d+)\)\)\n"
            "### END HIDDEN TESTS\n"
            rf"report\.points\({worth}\)"
        )
        match = re.fullmatch(expected, "".join(test["source"]))
        assert match, task
        seeds.append(match[1])
    assert len(set(seeds)) == len(seeds)
    assert "1" not in seeds


def test_the_grader_knows_the_same_tasks_points_and_imports():
    assert list(ASSIGNMENTS) == NAMES
    for name in NAMES:
        assert ASSIGNMENTS[name].points == points(name)
        assert ASSIGNMENTS[name].by_hand == by_hand(name)
        (imports,) = (cell for cell in code_cells(name) if grade_id(cell) == "imports")
        assert ASSIGNMENTS[name].given == "".join(imports["source"])


def test_backward_assignments_ask_for_a_derivation_that_is_graded_by_hand():
    for name in NAMES:
        cells = [cell for cell in read_notebook(name)["cells"] if grade_id(cell).startswith("derivation_")]
        assert bool(cells) == any("backward" in task for task in points(name))
        for cell in cells:
            flags = {"grade": True, "solution": True, "locked": False, "task": False, "schema_version": 3}
            assert flags.items() <= cell["metadata"]["nbgrader"].items()
            assert cell["cell_type"] == "markdown"
            source = "".join(cell["source"])
            assert source.startswith("### BEGIN SOLUTION\n")  # taken out when the assignment is given out
            assert source.endswith("\n### END SOLUTION")
            texts = "\n".join("".join(other["source"]) for other in read_notebook(name)["cells"])
            worth = by_hand(name)
            assert f"({worth} points, graded by hand)" in texts
            page = (SOURCES / name / layouts.INSTRUCTORS_PAGE).read_text(encoding="utf-8")
            rubric = page.partition(f"**The derivation, {worth} points by hand.**")[2].partition("\n**")[0]
            assert sum(map(int, re.findall(r"^- (\d) points?: ", rubric, re.MULTILINE))) == worth


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_say_what_may_come_and_what_may_not_be_used(name):
    text = "".join(read_notebook(name)["cells"][0]["source"])
    assert "**What may come.**" in text
    assert "Not allowed are other functions of\n  SciPy" in text
    assert ("finite differences do not" in text) == any("backward" in task for task in points(name))


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_clean(name):
    notebook = read_notebook(name)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for cell in code_cells(name):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("name", NAMES)
def test_texts_say_what_is_asked(name):
    texts = ["".join(cell["source"]) for cell in read_notebook(name)["cells"] if cell["cell_type"] == "markdown"]
    whole = "\n".join(texts)
    stated = [re.findall(r"\d+", line) for line in re.findall(r"^## Task.*\((.*) points?\)$", whole, re.MULTILINE)]
    assert [int(number) for numbers in stated for number in numbers] == list(points(name).values())
    assert "$" in whole
    assert "**How this works.**" in texts[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_students_look_at_in_the_end_runs(name, capsys):
    space: dict = {}
    for cell in code_cells(name):
        if not grade_id(cell).startswith("test_"):
            exec("".join(cell["source"]), space)
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_instructors_have_a_page_with_goals_time_points_and_mistakes(name):
    page = (SOURCES / name / layouts.INSTRUCTORS_PAGE).read_text(encoding="utf-8")
    for heading in ("**Learning goals.**", "**Expected time.**", "**Common mistakes**"):
        assert heading in page
    stated: dict[str, int] = {}
    for tasks, worth in re.findall(r"^\| (`.*`) \| ([\d +]+) \|", page, re.MULTILINE):
        stated |= zip(re.findall(r"\w+", tasks), map(int, worth.split(" + ")), strict=True)
    assert stated == points(name)
    overview = (SOURCES / "course" / "README.md").read_text(encoding="utf-8")
    total = f"{sum(points(name).values())} + {by_hand(name)}" if by_hand(name) else f"{sum(points(name).values())}"
    assert f"| `{name}` | {total} |" in overview


# --------------------------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------------------------


def contents(course: Path) -> dict[str, bytes]:
    return {str(path.relative_to(course)): path.read_bytes() for path in course.rglob("*") if path.is_file()}


def hidden_seeds(text: str) -> list[str]:
    return re.findall(r"checks\.\w+\(\w+, seed=(?!1\))(\d+)\)", text)


def test_a_course_is_laid_out_with_seeds_of_its_own(tmp_path, capsys):
    course = tmp_path / "new" / "my course"
    course.parent.mkdir()
    assert main(["assignments", str(course)]) == 0
    expected = {"README.md", "nbgrader_config.py", "source/header.ipynb"}
    for name in NAMES:
        expected |= {f"source/{name}/{name}.ipynb", f"instructors/{name}.md"}
        copy = (course / "source" / name / f"{name}.ipynb").read_text(encoding="utf-8")
        own = (SOURCES / name / f"{name}.ipynb").read_text(encoding="utf-8")
        seeds = hidden_seeds(copy)
        assert len(set(seeds)) == len(points(name))
        assert not set(seeds) & set(hidden_seeds(own))
        assert re.sub(r"seed=\d+", "", copy) == re.sub(r"seed=\d+", "", own)
    assert contents(course).keys() == expected
    said = capsys.readouterr().out
    assert f"cd '{course}' && nbgrader generate_assignment {NAMES[0]}" in said
    assert "pip install '.[teaching]'" in said  # minivivit is on no package index
    (seed,) = re.findall(r"--seed (\d+)", said)
    assert main(["assignments", str(tmp_path / "again"), "--seed", seed]) == 0
    assert contents(tmp_path / "again") == contents(course)
    assert main(["assignments", str(tmp_path / "other"), "--seed", str(int(seed) + 1)]) == 0
    assert contents(tmp_path / "other") != contents(course)


def test_an_empty_directory_will_do_and_a_full_one_will_not(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["assignments", str(tmp_path / "empty")]) == 0
    before = sorted(tmp_path.rglob("*"))
    file = tmp_path / "empty" / "README.md"
    for taken, wrong in (
        (tmp_path / "empty", "is not empty, it holds 'README.md'"),
        (file, "is a file; expected a new or"),
    ):
        assert main(["assignments", str(taken)]) == 2
        assert wrong in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_installed_package_has_no_assignments_and_says_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(layouts, "__file__", str(tmp_path / "minivivit" / "grading" / "layouts.py"))
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--sources", "course"]):
        assert main(["assignments", "course", *more]) == 2
        assert "clone of minivivit" in capsys.readouterr().err
        assert not (tmp_path / "course").exists()
    assert main(["assignments", "course", "--sources", str(ROOT)]) == 0
    monkeypatch.chdir(ROOT)
    assert main(["assignments", str(tmp_path / "from a clone")]) == 0


# --------------------------------------------------------------------------------------------------------------------
# The package
# --------------------------------------------------------------------------------------------------------------------


def test_every_package_is_listed_and_the_assignments_stay_in_the_repository():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "minivivit").rglob("__init__.py")}
    assert set(settings["packages"]) == there
    assert settings.keys() == {"packages", "package-data"}
    data = ["py.typed", "bundled/**", "explore/page/*", "site/assets/*", "training/recipes/*.json"]
    assert settings["package-data"] == {"minivivit": data}
    for path in (ROOT / "minivivit").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not {seed for name in NAMES for seed in hidden_seeds(json.dumps(read_notebook(name))) if seed in text}
