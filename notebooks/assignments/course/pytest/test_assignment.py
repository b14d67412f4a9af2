"""Tests of ASSIGNMENT: ``python -m pytest``.

Your functions run in a process of their own, with new inputs every time.

``SEED=N python -m pytest`` draws the inputs of that number again.
"""

import os
import secrets
from pathlib import Path

import pytest

from minivivit.grading.batch import grade
from minivivit.grading.tasks import ASSIGNMENTS

NAME = "ASSIGNMENT"
SEED = int(os.environ.get("SEED") or secrets.randbelow(10**9))


@pytest.fixture(scope="session")
def graded(request):
    """What every task earned, and what is odd about the file as a whole, such as a SyntaxError; at last the points."""
    (result,) = grade(Path(__file__).with_name(f"{NAME}.py"), seed=SEED, assignment=NAME)
    yield result
    earned = [f"{task.task} {task.points:g}/{task.of}" for task in result.tasks]
    of = sum(ASSIGNMENTS[NAME].points.values())
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print("\n", *earned, f"together {result.points:g} of {of} points (SEED={SEED})", sep="\n")


@pytest.mark.parametrize("task", ASSIGNMENTS[NAME].points)
def test_task(task, graded):
    found = {each.task: each for each in graded.tasks}.get(task)
    earned = f"{found.text}{found.points:g} of {found.of} points (SEED={SEED})" if found else "not graded"
    if found is None or found.points < found.of:
        pytest.fail("\n".join([*graded.problems, earned]), pytrace=False)
