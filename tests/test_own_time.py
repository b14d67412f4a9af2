"""A thread's own time: what others had of the processors is no time of its own."""

import time

from minivivit import own_time
from minivivit.own_time import OwnTime


def test_waiting_for_a_processor_is_not_counted(tmp_path, monkeypatch):
    clock, place = [100.0], tmp_path / "schedstat"
    place.write_text("7000000000 2000000000 30\n")  # computed, waited: nanoseconds
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(own_time, "Path", lambda text: place)
    own = OwnTime(1)
    clock[0] += 7
    assert own.seconds() == 7  # asleep
    place.write_text("7000000000 6500000000 31\n")
    assert own.seconds() == 2.5
    for unreadable in ("", "0 x 1", "7000000000 1000000000 3"):
        place.write_text(unreadable)
        assert own.seconds() == 7


def test_of_a_thread_that_is_not_there_the_clock_counts(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    own = OwnTime(0)
    clock[0] += 3
    assert own.seconds() == 3
