"""Grade one student's submission in Gradescope's container, and write what Gradescope reads.

``python -m minivivit.grading.gradescope SUBMISSION RESULTS ASSIGNMENT SEED`` is what the autograder's script runs.
"""

import json
import sys
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.atomic import write_text
from minivivit.grading.batch import grade
from minivivit.grading.results import SubmissionResult
from minivivit.grading.tasks import ASSIGNMENTS


def main(argv: list[str]) -> None:
    """Grade, and write the results whatever happens."""
    submission, place, assignment, seed = argv
    write_text(place, json.dumps(gradescope_results(Path(submission), assignment, int(seed)), indent=2) + "\n")


def gradescope_results(submission: Path, assignment: str, seed: int) -> dict[str, Any]:
    """What Gradescope shows: a test for each task, with partial credit and what the check said.

    Of several files the one with the most points counts, and the output says so.
    """
    try:
        found = grade(submission, seed=seed, assignment=assignment)
    except InputError:
        found = [SubmissionResult("", problems=["no notebook (.ipynb) and no Python file (.py) was handed in"])]
    best = max(found, key=lambda result: result.points)
    notes = list(best.problems)
    if len(found) > 1:
        notes.insert(0, f"{len(found)} files were handed in; {best.file} has the most points and counts")
    points = ASSIGNMENTS[assignment].points
    earned = {task.task: task for task in best.tasks}
    tests = []
    for task, full in points.items():
        result = earned.get(task)
        score = result.points if result else 0.0
        text = result.text if result else "not graded: see above"
        status = "passed" if score == full else "failed"
        tests.append({"name": task, "score": score, "max_score": full, "output": text, "status": status})
    return {
        "score": best.points,
        "output": "\n".join(notes),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
