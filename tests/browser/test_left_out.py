"""Where no thread or process can start, a test that asks for one is left out, and the package is told."""

import contextlib
import threading

import pytest
from left_out import or_left_out

from minivivit.backend import parallel_blocks
from minivivit.checks.student_call import has_time_limit


def refuse(*arguments):
    raise RuntimeError("can't start new thread")


start = or_left_out(refuse, "a thread")


def test_a_test_that_starts_one_is_left_out_and_says_why():
    with pytest.raises(pytest.skip.Exception, match=r"needs a thread.*can't start new thread"):
        start()
    with pytest.raises(pytest.skip.Exception), contextlib.ExitStack() as stack:
        stack.callback(start)  # called by Python's library


def test_the_package_gets_the_error_and_does_without(monkeypatch):
    monkeypatch.setattr("minivivit.backend._num_threads", 3)
    monkeypatch.setattr("minivivit.backend._thread_pools", {})
    monkeypatch.setattr(threading.Thread, "start", start)
    assert not has_time_limit.__wrapped__()
    done = []
    parallel_blocks([lambda number=number: done.append(number) for number in range(5)])
    assert done == list(range(5))
