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
from minivivit.grading.results import SubmissionResult, best_of
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
    except InputError as error:
        wrong = str(error).replace(f"{submission} ", "what was handed in ", 1)
        found = [SubmissionResult("", problems=[wrong])]
    best = best_of(found)
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
        "output": "\n".join([*best.problems, *_by_hand(assignment)]),
        "output_format": "text",
        "test_output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def _by_hand(assignment: str) -> list[str]:
    points = ASSIGNMENTS[assignment].by_hand
    return [f"not in this score: {points} points for the derivation, graded by hand"] if points else []


if __name__ == "__main__":
    main(sys.argv[1:])
