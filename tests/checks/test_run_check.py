"""How a check measures and counts, on a task of its own."""

from minivivit.checks.case import Case
from minivivit.checks.run_check import FAULTS_SHOWN, Task, run_check


def cases(rng):
    return [Case(f"case of {count}", {"x": rng.standard_normal(count)}) for count in (3, 4, 5, 6)]


def task(outputs: int, reference) -> Task:
    return Task("halve", tuple(f"output_{number}" for number in range(outputs)), reference, cases)


def test_what_is_0_but_for_rounding_is_measured_by_the_rest():
    two = task(2, lambda x: (x / 2, 1e-15 * x))
    assert run_check(two, lambda x: (x / 2, -1e-15 * x))
    assert run_check(two, lambda x: (x / 2, 0 * x + 1e-6)).score == 0.5


def test_a_tree_is_measured_by_its_largest_array():
    tree = task(1, lambda x: {"a": {"weight": 1e3 * x, "bias": 1e-13 * x}})
    assert run_check(tree, lambda x: {"a": {"weight": 1e3 * x, "bias": 0 * x}})
    report = run_check(tree, lambda x: {"a": {"weight": 1e3 * x, "bias": 0 * x + 1e-3}})
    assert report.score == 0
    assert "output_0.a.bias: " in report.text


def test_cases_and_outputs_are_counted():
    report = run_check(task(2, lambda x: (x / 2, x)), lambda x: (x / 2, x if len(x) < 5 else x + 1))
    assert report.score == 6 / 8
    assert report.text.startswith("halve: 2 of 4 cases right (score 0.75)")


def test_what_is_not_written_is_said_of_no_case():
    """Or a reader would look at that case; but who has written a part is told which case comes to the rest."""

    def nothing(x):
        raise NotImplementedError

    def a_part(x):
        if len(x) > 4:
            raise NotImplementedError
        return x / 2

    one = task(1, lambda x: x / 2)
    assert "\n  is not written yet.\n" in run_check(one, nothing).text
    assert "\n  case 3, case of 5: is not written yet.\n" in run_check(one, a_part).text


def test_of_many_faults_each_kind_is_shown_once_before_any_twice():
    def answer(x):
        if len(x) == 6:
            raise KeyError("other")
        return x

    lines = run_check(task(1, lambda x: x / 2), answer).text.splitlines()
    text = " ".join(lines)
    assert sum(line.startswith("  case") for line in lines) == FAULTS_SHOWN
    assert "case 4" in text
    assert "raises KeyError" in text
    assert "... and 1 more" in text


def test_float32_is_measured_more_loosely():
    def half_cases(rng):
        return [Case("x", {"x": rng.standard_normal(5).astype(dtype)}) for dtype in ("float32", "float64")]

    loose = Task("halve", ("y",), lambda x: x / 2, half_cases)
    assert run_check(loose, lambda x: x / 2 * (1 + 1e-6)).score == 0.5
