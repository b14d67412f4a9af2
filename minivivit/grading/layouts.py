"""The files of a course: for nbgrader, for Gradescope, and for pytest or GitHub Classroom.

All are made from the assignments' sources, which lie in the repository (`notebooks/assignments`) and in no installed
copy of the package: students install that.
"""

import io
import json
import re
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from minivivit.errors import InputError
from minivivit.grading.student_version import python_version, student_version
from minivivit.grading.tasks import ASSIGNMENTS, seed_of

INSTRUCTORS_PAGE = "INSTRUCTOR.md"
# Of the package, what the grader in a container does without.
LEFT_OUT = ("bundled", "__pycache__")
PROGRAM = 0o755

# The contents of files, by their place in the course.
Files = dict[PurePosixPath, bytes]


def find_sources(given: str | None) -> Path:
    """Where the assignments lie: `given`, or in the clone that the package runs from, or in the current directory.

    Raises
    ------
    InputError
        When they are nowhere.
    """
    places = [Path(given)] if given else [Path(__file__).parents[2], Path.cwd()]
    for place in places:
        for folder in (place, place / "notebooks" / "assignments"):
            if (folder / "course").is_dir() and all((folder / name).is_dir() for name in ASSIGNMENTS):
                return folder
    if given:
        raise InputError(f"{given} holds no assignments; expected a clone of minivivit, or its notebooks/assignments")
    raise InputError(
        "an installed minivivit, which students have too, holds no solutions: run this in a clone of minivivit's "
        "repository, or say where one is with --sources DIR"
    )


def nbgrader_files(sources: Path, seed: int) -> Files:
    """A course for nbgrader: notebooks with solutions and hidden tests, whose seeds come from `seed`.

    The instructors' pages go beside ``source/``, since nbgrader hands out what else is in an assignment's folder.
    """
    course = sources / "course"
    files = {PurePosixPath(name): (course / name).read_bytes() for name in ("README.md", "nbgrader_config.py")}
    files[PurePosixPath("source/header.ipynb")] = (course / "header.ipynb").read_bytes()
    for name in ASSIGNMENTS:
        text = with_seeds((sources / name / f"{name}.ipynb").read_text(encoding="utf-8"), seed)
        files[PurePosixPath("source") / name / f"{name}.ipynb"] = text.encode()
    return files | _pages(sources)


def gradescope_files(sources: Path, seed: int) -> Files:
    """For every assignment, what students get, and the zip file with the autograder that instructors upload."""
    course = sources / "course" / "gradescope"
    files = {PurePosixPath("README.md"): (course / "README.md").read_bytes()}
    for name in ASSIGNMENTS:
        book = student_version(_notebook(sources, name))
        files[PurePosixPath("students") / name / f"{name}.ipynb"] = _spelled(book)
        inner = {PurePosixPath(script): (course / script).read_bytes() for script in ("setup.sh", "run_autograder")}
        inner[PurePosixPath("settings.sh")] = f"ASSIGNMENT={name}\nSEED={seed}\n".encode()
        inner[PurePosixPath("requirements.txt")] = _requirements(sources)
        files[PurePosixPath("autograders") / f"{name}.zip"] = _zipped(inner | _package())
    return files | _pages(sources)


def pytest_files(sources: Path, seed: int) -> Files:
    """For every assignment a folder with a Python file to be filled in and its tests: a template repository."""
    course = sources / "course" / "pytest"
    files = {PurePosixPath("README.md"): (course / "README.md").read_bytes()}
    for name, assignment in ASSIGNMENTS.items():
        folder = PurePosixPath(name)
        files[folder / f"{name}.py"] = python_version(_notebook(sources, name)).encode()
        test = (course / "test_assignment.py").read_text(encoding="utf-8").replace("ASSIGNMENT:", f"{name}:")
        files[folder / f"test_{name[3:]}.py"] = test.replace('"ASSIGNMENT"', f'"{name}"').encode()
        files[folder / "requirements.txt"] = (course / "requirements.txt").read_bytes()
        files[folder / ".github" / "workflows" / "classroom.yml"] = _workflow(
            f"test_{name[3:]}.py", assignment.points
        ).encode()
    return files | _pages(sources)


LAYOUTS: dict[str, Callable[[Path, int], Files]] = {
    "nbgrader": nbgrader_files,
    "gradescope": gradescope_files,
    "pytest": pytest_files,
}


def with_seeds(text: str, seed: int) -> str:
    """A source notebook with the seeds of its hidden tests drawn anew."""
    pattern = r"(checks\.(\w+)\(\w+, seed=)(?!1\))\d+\)"
    return re.sub(pattern, lambda found: f"{found[1]}{seed_of(found[2], seed)})", text)


def _notebook(sources: Path, name: str) -> dict:
    return json.loads((sources / name / f"{name}.ipynb").read_text(encoding="utf-8"))


def _spelled(notebook: dict) -> bytes:
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _pages(sources: Path) -> Files:
    """The instructors' pages."""
    return {
        PurePosixPath("instructors") / f"{name}.md": (sources / name / INSTRUCTORS_PAGE).read_bytes()
        for name in ASSIGNMENTS
    }


def _requirements(sources: Path) -> bytes:
    """What the package needs, from the repository's own file."""
    project = tomllib.loads((sources.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return "".join(f"{line}\n" for line in project["dependencies"]).encode()


def _package() -> Files:
    """The package itself, for a container that can install none of its own."""
    root = Path(__file__).parents[1]
    found = {}
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root.parent)
        if not set(place.parts) & set(LEFT_OUT):
            found[PurePosixPath(place.as_posix())] = path.read_bytes()
    return found


def _zipped(files: Files) -> bytes:
    """A zip file; the same files make the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, data in sorted(files.items()):
            entry = zipfile.ZipInfo(str(place))
            is_program = place.name in ("setup.sh", "run_autograder")
            entry.external_attr = (0o100000 | (PROGRAM if is_program else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()


def _workflow(test: str, points: dict[str, int]) -> str:
    """GitHub Classroom's workflow: a test for each task, which earns its points whole or not at all."""
    lines = [
        "name: Autograding",
        "on: [push, workflow_dispatch]",
        "permissions: {checks: write, actions: read, contents: read}",
        "jobs:",
        "  grade:",
        "    runs-on: ubuntu-latest",
        "    steps:",
        "      - uses: actions/checkout@v4",
        "      - uses: actions/setup-python@v5",
        '        with: {python-version: "3.12"}',
        "      - run: pip install -r requirements.txt",
    ]
    for task, full in points.items():
        lines += [
            f"      - id: {task}",
            "        uses: classroom-resources/autograding-command-grader@v1",
            "        with:",
            f"          test-name: {task}",
            f'          command: python -m pytest "{test}::test_task[{task}]"',
            "          timeout: 10",
            f"          max-score: {full}",
        ]
    lines += ["      - uses: classroom-resources/autograding-grading-reporter@v1", "        env:"]
    lines += [f'          {task.upper()}_RESULTS: "${{{{steps.{task}.outputs.result}}}}"' for task in points]
    return "\n".join([*lines, "        with:", f"          runners: {','.join(points)}"]) + "\n"
