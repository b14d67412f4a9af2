"""Grade an nbgrader course: points and feedback go into its gradebook, through nbgrader's own interface."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from minivivit.errors import InputError, MissingExtraError
from minivivit.files.atomic import make_directory, write_text
from minivivit.grading.batch import examine_all
from minivivit.grading.graded_notebook import graded_notebook
from minivivit.grading.handed_in import HandedIn, find_handed_in
from minivivit.grading.results import SubmissionResult, best_of
from minivivit.grading.tasks import ASSIGNMENTS, check_assignment


def grade_course(course: Path, *, seed: int, assignment: str | None = None) -> list[SubmissionResult]:
    """Grade what lies at ``submitted/STUDENT/ASSIGNMENT/`` and write it into the gradebook and into ``autograded/``.

    Of several files of a student the one with the most points counts, and a note says so.

    Parameters
    ----------
    course : Path
        The directory that `minivivit assignments` laid out.
    seed : int
        Of all inputs.
    assignment : str, optional
        Only this one.

    Returns
    -------
    results : list of SubmissionResult
        One for each student and assignment; `file` is its place under ``submitted/``.

    Raises
    ------
    InputError
        When nothing is handed in, or there is no such assignment.
    MissingExtraError
        When nbgrader is not installed.
    """
    check_assignment(assignment)
    settings = _settings(course)
    submitted = course / settings.submitted_directory
    if not submitted.is_dir():
        raise InputError(f"{submitted} does not exist; put what was handed in at submitted/STUDENT/ASSIGNMENT/")
    own = {path.name for path in (course / settings.source_directory).glob("*/")} - set(ASSIGNMENTS)
    chosen = _in_their_places(find_handed_in(submitted), assignment, own)
    if not chosen:
        raise InputError(f"{submitted} holds nothing of {assignment or 'an assignment'}")
    best = _best_of_each(zip(chosen, examine_all(chosen, seed=seed), strict=True))
    for file, result in best:
        if result.tasks:
            _record(settings, course, file, result)
    return [result for _, result in best]


def _settings(course: Path) -> Any:
    """nbgrader's settings of the course."""
    try:
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config.loader import PyFileConfigLoader
    except ImportError:
        raise MissingExtraError("nbgrader", "teaching", "writing into a course's gradebook") from None
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = os.path.abspath(course)
    return CourseDirectory(config=config)


def _in_their_places(handed_in: Iterable[HandedIn], assignment: str | None, own: set[str]) -> list[HandedIn]:
    """The files of the assignment that their folder names, or of all; then those that lie somewhere else.

    What lies in a folder of the instructor's `own` assignments is for nbgrader alone.
    """
    found, odd = [], []
    for file in handed_in:
        folder = file.name.partition("/")[2].partition("/")[0]
        if folder in own:
            continue
        if folder not in ASSIGNMENTS:
            wanted = "expected at STUDENT/ASSIGNMENT/, with the assignment's full name"
            odd.append(replace(file, problem=file.problem or wanted))
        elif assignment in (None, folder):
            found.append(replace(file, assignment=folder))
    return [*found, *odd]


def _best_of_each(
    graded: Iterable[tuple[HandedIn, SubmissionResult]],
) -> list[tuple[HandedIn, SubmissionResult]]:
    """Of each student and assignment the file with the most points; whatever lies in no place of theirs, by itself."""
    groups: dict[tuple[str, ...], list[tuple[HandedIn, SubmissionResult]]] = {}
    for file, result in graded:
        student, _, rest = file.name.partition("/")
        folder = rest.partition("/")[0]
        groups.setdefault((student, folder) if folder in ASSIGNMENTS else (file.name,), []).append((file, result))
    best = []
    for group in groups.values():
        counting = best_of([result for _, result in group])
        best += [(file, result) for file, result in group if result is counting]
    return best


def _record(settings: Any, course: Path, file: HandedIn, result: SubmissionResult) -> None:
    """Write the points of one student, and the notebook that feedback is made of; what cannot be is a problem told."""
    from nbgrader.api import Gradebook, InvalidEntry, MissingEntry

    student, name, *_ = file.name.split("/")
    try:
        with warnings.catch_warnings(), _own_programs(), Gradebook(settings.db_url, settings.course_id) as gradebook:
            warnings.simplefilter("ignore")  # what nbgrader's own code makes SQLAlchemy warn of
            gradebook.update_or_create_student(student)
            given = course / settings.submitted_directory / student / name
            timestamp = settings.get_existing_timestamp(str(given))
            also = {"timestamp": timestamp} if timestamp else {}
            gradebook.update_or_create_submission(name, student, **also)
            notebook = gradebook.find_submission_notebook(name, name, student)
            _write_grades(notebook, result)
            gradebook.db.commit()
    except MissingEntry:
        result.problems.append(f"not in the gradebook: run  nbgrader generate_assignment {name}  and grade again")
        return
    except InvalidEntry as error:
        result.problems.append(f"not in the gradebook: {' '.join(str(error).split())[:300]}")
        return
    source = course / settings.source_directory / name / f"{name}.ipynb"
    data = file.read() if _is_notebook(file) else b""
    text = graded_notebook(source.read_text(encoding="utf-8"), data, result)
    place = course / settings.autograded_directory / student / name
    make_directory(place)
    write_text(place / f"{name}.ipynb", text)


@contextlib.contextmanager
def _own_programs() -> Iterator[None]:
    """Let the programs of this Python's environment be found: nbgrader runs alembic by name, activated or not."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _is_notebook(file: HandedIn) -> bool:
    return re.search(r"\.ipynb$", file.name, re.IGNORECASE) is not None


def _write_grades(notebook: Any, result: SubmissionResult) -> None:
    """Set the automatic scores of a submitted notebook; what is graded by hand keeps its score.

    What the checks said is the output of the test cells, which feedback and Formgrader show: no comment repeats it.
    """
    tasks = {task.task: task for task in result.tasks}
    for grade in notebook.grades:
        task = tasks.get(grade.name.removeprefix("test_"))
        if task is not None:
            grade.auto_score = task.points
        grade.needs_manual_grade = task is None and grade.manual_score is None
    for comment in notebook.comments:
        comment.auto_comment = None
