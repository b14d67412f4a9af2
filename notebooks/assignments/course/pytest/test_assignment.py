"""Tests of ASSIGNMENT: ``python -m pytest``. Your functions run in a process of their own, with new inputs every time.

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
def graded():
    """What every task earned, by its name."""
    (result,) = grade(Path(__file__).with_name(f"{NAME}.py"), seed=SEED, assignment=NAME)
    assert result.tasks, result.problems
    print(*result.problems, sep="\n")
    return {task.task: task for task in result.tasks}


@pytest.mark.parametrize("task", ASSIGNMENTS[NAME].points)
def test_task(task, graded):
    result = graded[task]
    print(f"{result.text}{result.points:g} of {result.of} points (SEED={SEED})")
    assert result.points == result.of, result.text
