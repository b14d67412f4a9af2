"""Every check accepts the reference, and refuses and names every mistake that it knows."""

import inspect
from dataclasses import replace

import numpy
import pytest
from in_part import one_in

from minivivit import checks
from minivivit.checks.case import copied
from minivivit.checks.run_check import Task, run_check
from minivivit.grading.tasks import TASKS

MISTAKES = [(name, number) for name, task in TASKS.items() for number in range(len(task.mistakes))]
COSTLY = ("train", "training_step")  # a training each, on as many cases
ids = [f"{name}-{number}" for name, number in MISTAKES]


def trusted(task: Task) -> Task:
    """The task, for answers that are made with the package."""
    return replace(task, may_use=("minivivit",))


def on_copies(task: Task, function):
    """`function` on copies of what it may not change: the package's optimisers work in place."""
    names = list(task.cases(numpy.random.default_rng(0))[0].arguments)

    def answer(*arguments):
        given = zip(names, arguments, strict=True)
        return function(*(value if name in task.may_change else copied(value) for name, value in given))

    return answer


def test_every_task_has_its_public_check():
    assert set(TASKS) == {name for name in checks.__all__ if name != "Report"}
    for name, task in TASKS.items():
        check = getattr(checks, name)
        assert check.__name__ == name
        signature = inspect.getdoc(check).split("``")[1]
        assert signature.startswith(f"{name}(")
        arguments = signature.partition("(")[2].partition(")")[0].split(", ")
        for case in task.cases(numpy.random.default_rng(0)):
            assert list(case.arguments) == arguments


@pytest.mark.parametrize("name", TASKS)
def test_the_reference_gets_full_marks_whatever_the_seed(name, capsys):
    task = trusted(TASKS[name])
    seeds = range(1 if name in COSTLY else 2)  # tests/assignments/bank.py has many more
    for seed in seeds:
        report = run_check(task, on_copies(task, task.reference), seed=seed)
        assert report, report.text
        assert report == report.score == 1.0
    assert capsys.readouterr().out.count("cases right (score 1.00)") == len(seeds)


@pytest.mark.parametrize(("name", "number"), one_in(4, MISTAKES), ids=ids)
def test_a_known_mistake_is_refused_and_named(name, number):
    task = trusted(TASKS[name])
    cause, mistaken = task.mistakes[number]
    report = run_check(task, on_copies(task, mistaken), seed=number, quiet=True)
    assert not report
    assert report.score < 1
    assert report.text.startswith(f"{name}: ")
    assert cause in {fault.cause for fault in report.faults}, report.text


def test_there_are_ten_cases_or_more_a_task_to_be_drawn():
    """Shapes differ from seed to seed, so that the answer to one example is worth nothing for the next."""
    for name, task in TASKS.items():
        if name in COSTLY:
            continue  # their model is costly, and its numbers differ
        shapes = {tuple(case.about for case in task.cases(numpy.random.default_rng(seed))) for seed in range(20)}
        assert len(shapes) > 10, name


def test_every_mistake_is_worth_its_place():
    for task in TASKS.values():
        assert len(task.mistakes) >= 2
        assert all(cause and not cause.endswith(".") for cause, _ in task.mistakes)


@pytest.mark.parametrize("name", ["gelu", "gelu_backward"])
def test_far_entries_lie_on_both_sides_of_0(name):
    """Far below 0 GELU and its gradient are 0: zeros alone would be right there."""
    for seed in range(50):
        cases = TASKS[name].cases(numpy.random.default_rng(seed))
        (far,) = [case.arguments["x"] for case in cases if "entries near 30 and -30" in case.about]
        assert far.min() < 0 < far.max()
