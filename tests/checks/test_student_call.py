"""Whatever a student's function does, a check ends, and says what it was."""

import contextlib
import itertools
import sys
import threading
import time
import types

import numpy
import pytest
import scipy.special

from minivivit import checks
from minivivit.checks import student_call
from minivivit.ops.softmax import softmax_forward

stops = pytest.mark.skipif(not student_call.has_time_limit(), reason="no thread can start here: nothing is stopped")


def right(x):
    """A softmax without fault."""
    powers = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def calls_the_package(x):
    from minivivit.ops.softmax import softmax_forward

    return softmax_forward(x)[0]


def hides_the_package_in_a_helper(x):
    def helper(x):
        try:
            return softmax_forward(x)[0]
        except BaseException:
            return right(x)

    return helper(x)


def hides_the_package_in_a_with(x):
    @contextlib.contextmanager
    def helper():
        yield softmax_forward(x)[0]

    with helper() as answer:
        return answer


def takes_the_watch_away(x):
    sys.setprofile(None)
    return softmax_forward(x)[0]


def puts_the_watch_back(x):
    watch = sys.getprofile()
    try:
        sys.setprofile(None)
    except BaseException:
        sys.setprofile(None)  # an exception in a profile function ends it: nobody looks any more
    y = softmax_forward(x)[0]
    sys.setprofile(watch)
    return y


class ComputesWhenLookedAt:
    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return softmax_forward(self.x)[0]


@pytest.mark.parametrize(
    ("cheat", "named"),
    [
        (calls_the_package, "minivivit.ops.softmax.softmax_forward"),
        (hides_the_package_in_a_helper, "minivivit.ops.softmax.softmax_forward"),
        (hides_the_package_in_a_with, "minivivit.ops.softmax.softmax_forward"),
        (lambda x: softmax_forward(x)[0], "minivivit.ops.softmax.softmax_forward"),
        (softmax_forward, "minivivit.ops.softmax.softmax_forward"),
        (takes_the_watch_away, "sys.setprofile"),
        (puts_the_watch_back, "sys.setprofile"),
        (ComputesWhenLookedAt, "minivivit.ops.softmax.softmax_forward"),
        (lambda x: scipy.special.softmax(x, axis=-1), "scipy.special"),
        (lambda x: checks.attention_checks._softmax(x), "minivivit.checks.attention_checks._softmax"),
    ],
)
def test_who_borrows_the_answer_gets_nothing(cheat, named):
    report = checks.softmax(cheat, seed=3)
    assert report.score == 0
    assert "this case earns nothing" in " ".join(report.text.split())
    assert named in report.text


def test_only_the_case_that_used_what_is_not_allowed_earns_nothing():
    report = checks.softmax(lambda x: softmax_forward(x)[0] if x.dtype == numpy.float32 else right(x), seed=3)
    assert 0.8 < report.score < 1
    assert len(report.faults) == 1


def test_another_framework_is_refused(monkeypatch):
    torch = types.ModuleType("torch")
    exec("def softmax(x):\n    return x", torch.__dict__)
    monkeypatch.setitem(sys.modules, "torch", torch)

    def with_torch(x):
        import torch

        torch.softmax(x)
        return right(x)

    report = checks.softmax(with_torch, seed=3)
    assert report.score == 0
    assert "calls torch.softmax" in report.text


def test_who_imports_and_does_not_call_is_not_refused():
    def imports(x):
        from scipy.special import erf

        import minivivit  # noqa: F401

        erf(0.0)
        return right(x)

    assert checks.softmax(imports, seed=3)


def test_an_import_that_is_new_and_never_used_costs_nothing(monkeypatch):
    """The code of a library runs at its first import, and calls much; the student's function does not."""
    for name in [name for name in sys.modules if name.startswith("scipy.cluster")]:
        monkeypatch.delitem(sys.modules, name)

    def imports(x):
        import scipy.cluster.vq  # noqa: F401
        from scipy import cluster  # noqa: F401

        return right(x)

    report = checks.softmax(imports, seed=3)
    assert report, report.text
    report = checks.softmax(lambda x: (scipy.cluster.vq.whiten(x), right(x))[1], seed=3)
    assert "calls scipy.cluster.vq.whiten" in report.text


def test_a_framework_that_is_imported_and_never_used_costs_nothing(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("def helper():\n    return 1\n\nclass Tensor:\n    one = helper()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    def imports(x):
        import torch  # noqa: F401

        return right(x)

    report = checks.softmax(imports, seed=3)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert report, report.text


def test_who_looks_up_a_public_name_is_not_refused(monkeypatch):
    """The first time, that is a call of the package, and an import; what is called then counts."""

    def looks_up(x):
        import minivivit
        from minivivit import InputError

        assert issubclass(InputError, ValueError)
        assert minivivit.check_gradients
        return right(x)

    for name in ("InputError", "check_gradients"):
        monkeypatch.delitem(vars(sys.modules["minivivit"]), name, raising=False)
    monkeypatch.delitem(sys.modules, "minivivit.verification.gradients.check", raising=False)
    assert checks.softmax(looks_up)


def test_what_a_task_allows_may_be_called():
    def attention_backward(doutput, query, key, value):
        scale = query.shape[-1] ** -0.5
        probs = softmax_forward(query @ key.swapaxes(-1, -2) * scale)[0]
        dprobs = doutput @ value.swapaxes(-1, -2)
        dscores = probs * (dprobs - (dprobs * probs).sum(axis=-1, keepdims=True)) * scale
        return dscores @ key, dscores.swapaxes(-1, -2) @ query, probs.swapaxes(-1, -2) @ doutput

    assert checks.attention_backward(attention_backward, seed=3)


def loops(x):
    while True:
        x = x + 0


def loops_and_holds_on(x):
    while True:
        try:
            x = x + 0
        except Exception:
            continue


def loops_over_far_too_much(x):
    for row in range(10**12):
        x = x + row * 0
    return right(x)


def recurses(x):
    return recurses(x)


def prints(x):
    print("here I am")
    return right(x)


@stops
@pytest.mark.parametrize("endless", [loops, loops_and_holds_on, loops_over_far_too_much])
def test_what_does_not_end_is_stopped_once(endless, capsys):
    before = threading.active_count()
    report = checks.softmax(endless, seed=3, time_limit=0.3)
    assert report.score == 0
    assert "stopped after 0.3 s" in report.text
    assert len(report.faults) == 1
    assert threading.active_count() == before
    assert capsys.readouterr().err == ""


@stops
def test_what_cannot_be_stopped_is_left_behind(monkeypatch):
    monkeypatch.setattr(student_call, "GRACE", 0.1)
    leave = threading.Event()

    def holds_on_to_everything(x):
        while not leave.is_set():
            try:
                time.sleep(0.001)
            except BaseException:
                continue

    assert checks.softmax(holds_on_to_everything, seed=3, time_limit=0.2).score == 0
    leave.set()


@stops
@pytest.mark.parametrize("where", [lambda event: event.wait(), lambda event: event.wait(0.5)], ids=["on", "to the end"])
def test_who_sleeps_makes_nobody_else_slow(monkeypatch, where):
    """In Python 3.11 an exception that waits for one thread holds up all others that are watched."""
    monkeypatch.setattr(student_call, "GRACE", 0.02)
    wake = threading.Event()

    def sleeps(x):
        where(wake)

    assert student_call.call_student(sleeps, [1.0], 0.02).timed_out
    for _ in range(3):
        outcome = student_call.call_student(counts_calls, [1.0], 1.0)
        assert (outcome.timed_out, outcome.returned) == (False, 100)
    wake.set()


@stops
def test_who_sleeps_does_not_hold_up_a_debugger(monkeypatch):
    """Nor coverage: what traces our own thread, too, must get past an exception that waits for another."""
    monkeypatch.setattr(student_call, "GRACE", 0.1)
    wake, before = threading.Event(), sys.gettrace()
    sys.settrace(lambda frame, event, argument: None)
    try:
        outcome = student_call.call_student(lambda x: wake.wait(), [1.0], 0.02)
    finally:
        sys.settrace(before)
    assert outcome.timed_out
    wake.set()


def counts_calls(x):
    return sum(one() for _ in range(100))


def one():
    return 1


@stops
def test_who_was_left_behind_ends_at_the_next_call_of_a_function(monkeypatch):
    monkeypatch.setattr(student_call, "GRACE", 0.02)
    before = set(threading.enumerate())
    wake, went_on = threading.Event(), []

    def sleeps_and_goes_on(x):
        wake.wait()
        while True:
            went_on.append(one())

    assert student_call.call_student(sleeps_and_goes_on, [1.0], 0.02).timed_out
    (behind,) = set(threading.enumerate()) - before
    wake.set()
    behind.join(10)
    assert not behind.is_alive()
    assert len(went_on) < 10


def test_a_busy_machine_makes_no_right_answer_slow(monkeypatch):
    """The clock runs on while others compute, and the process does not."""
    clock = itertools.count(0, 2.0)
    monkeypatch.setattr(student_call, "WAITING", 1000)
    monkeypatch.setattr(student_call.time, "monotonic", lambda: next(clock))

    def takes_its_time(x):
        done.wait(0.2)
        return right(x)

    done = threading.Event()
    assert checks.softmax(takes_its_time, time_limit=0.5)


@stops
def test_a_stopped_function_leaves_no_error_in_its_thread(monkeypatch):
    """A busy machine lets it take its time on the way out, while it is told to stop once more."""

    class SlowOutcome(student_call.Outcome):
        def __setattr__(self, name, value):
            if name == "error" and value is not None:
                for _ in range(200):
                    time.sleep(0.001)
            super().__setattr__(name, value)

    escaped = []
    monkeypatch.setattr(student_call, "Outcome", SlowOutcome)
    monkeypatch.setattr(threading, "excepthook", escaped.append)
    before = threading.active_count()
    assert student_call.call_student(loops, [1.0], 0.1).timed_out
    assert threading.active_count() == before
    assert escaped == []


def test_a_check_works_in_any_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(checks.softmax(loops, seed=3, time_limit=0.2)))
    thread.start()
    thread.join()
    assert found[0].score == 0


@pytest.fixture
def no_threads(monkeypatch):
    """A platform where none can start."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    student_call.has_time_limit.cache_clear()
    yield
    student_call.has_time_limit.cache_clear()


@pytest.mark.usefixtures("no_threads")
def test_where_no_thread_can_start_a_check_does_without_and_says_so():
    before = sys.getprofile()
    report = checks.softmax(right, seed=3)
    assert report
    assert (
        "  (no time limit: no thread can start here, so a loop that does not end must be stopped by hand)\n"
        in report.text
    )
    for wrong in (lambda x: 1 / 0, lambda x: x, calls_the_package, hides_the_package_in_a_helper, puts_the_watch_back):
        report = checks.softmax(wrong, seed=3)
        assert not report
        assert "no time limit" in report.text
    assert sys.getprofile() is before


@pytest.mark.usefixtures("no_threads")
def test_where_no_thread_can_start_an_interruption_ends_the_check():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks.softmax(interrupted, seed=3)


def test_loops_over_every_entry_of_our_small_cases_are_fast_enough():
    def plain(x):
        rows = x.reshape(-1, x.shape[-1])
        y = numpy.zeros_like(rows)
        for i in range(rows.shape[0]):
            largest = max(rows[i])
            total = 0.0
            for j in range(rows.shape[1]):
                y[i, j] = numpy.exp(rows[i, j] - largest)
                total += y[i, j]
            for j in range(rows.shape[1]):
                y[i, j] /= total
        return y.reshape(x.shape)

    assert checks.softmax(plain)


def test_an_error_is_shown_with_the_line_of_the_student():
    def divides(x):
        rows = x.reshape(-1)
        return numpy.concatenate([rows, "text"])

    report = checks.softmax(divides, seed=3)
    assert report.score == 0
    assert 'of divides: "return numpy.concatenate([rows, "text"])"' in " ".join(report.text.split())
    assert "RecursionError" in checks.softmax(recurses, seed=3).text


def test_exits_and_interrupts_of_a_student_end_nothing():
    def leaves(x):
        raise SystemExit(3)

    assert "raises SystemExit: 3" in checks.softmax(leaves, seed=3).text


def test_what_a_function_prints_is_seen_and_costs_nothing(capsys):
    assert checks.softmax(prints, seed=3)
    assert "here I am" in capsys.readouterr().out


def test_warnings_of_a_wrong_answer_stay_quiet(capsys):
    """nbgrader gives no points to a cell that writes to stderr."""

    def overflows(x):
        print("a word", file=sys.stderr)
        return numpy.exp(x) / numpy.exp(x).sum(axis=-1, keepdims=True)

    assert 0 < checks.softmax(overflows, seed=3).score < 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "a word" in out
