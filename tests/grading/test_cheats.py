"""Whoever has no answer gets no points: expected values, seeds and the package are out of every cheat's reach."""

import numpy
import pytest
from cheats import ATTACKERS, BORROWERS
from submissions import ROOT, TASKS, packed

from minivivit.grading.examination import examine
from minivivit.grading.tasks import TASKS as CHECKED

CHEATS = BORROWERS | ATTACKERS


@pytest.fixture(scope="module", params=[True, False], ids=["namespaces", "hooks alone"])
def earned(request) -> dict[str, tuple[float, str]]:
    """Points and report of every cheat."""
    found = {}
    for names, data in packed(CHEATS):
        result = examine("02.ipynb", data, seed=7, seclude=request.param)
        tasks = {task.task: task for task in result.tasks}
        assert tasks.keys() == set(TASKS)
        found.update({name: (tasks[task].points, tasks[task].text) for task, name in names.items()})
        for task in (
            "split_heads",
            "merge_heads",
        ):  # who shares a notebook with cheats loses nothing by it
            if task not in names:
                assert tasks[task].points == tasks[task].of
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_earns_nothing(name, earned):
    points, text = earned[name]
    assert points == 0, text
    assert text.count("\n") < 20


def test_there_are_cheats_of_every_kind():
    assert len(CHEATS) >= 24


@pytest.mark.parametrize("name", BORROWERS)
def test_a_borrower_would_have_the_answer_where_the_package_is(name, monkeypatch):
    """Or else the test above tests nothing."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "minivivit"}
    space = {"np": numpy, "sys": sys}
    try:
        exec(BORROWERS[name].replace("THE_TASK", "softmax").replace("THE_PLACE", repr(str(ROOT))), space)
        x = numpy.arange(6.0).reshape(2, 3)
        assert numpy.allclose(space["softmax"](x), CHECKED["softmax"].reference(x))
    finally:
        sys.setprofile(None)
        for name in [name for name in sys.modules if name.partition(".")[0] == "minivivit"]:
            del sys.modules[name]
        sys.modules.update(modules)
