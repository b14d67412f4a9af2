"""How a process learns that it is not alone."""

import sys

import pytest

from minivivit.errors import InputError, MissingExtraError
from minivivit.training.parallel import mpi, started
from minivivit.training.parallel.ranks import ALONE, Ranks, check_same_arguments


@pytest.fixture(autouse=True)
def _by_itself(monkeypatch):
    for name in started.SIZES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("size", [None, "1", "", "many"])
def test_most_of_the_time_it_is(monkeypatch, size):
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # which is not looked for
    if size is not None:
        monkeypatch.setenv("PMI_SIZE", size)
    assert started.find_ranks() is ALONE


@pytest.mark.parametrize("name", started.SIZES)
def test_without_mpi4py_the_user_is_told_what_to_install(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'minivivit\[mpi\]'"):
        started.find_ranks()


def test_an_mpi_that_does_not_see_the_others_is_named(monkeypatch):
    """Each would train by itself, into the same directory."""
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setattr(mpi, "MpiRanks", Ranks)
    with pytest.raises(InputError, match="mpiexec has started 4 processes, but mpi4py sees 1"):
        started.find_ranks()


def test_ranks_that_were_asked_for_different_things_are_refused():
    class Two(Ranks):
        size = 2

        def gathered(self, value):
            return [value, "another"]

    with pytest.raises(InputError, match="the 2 processes of this mpiexec were given different arguments"):
        check_same_arguments(Two(), ["train"])
    check_same_arguments(ALONE, ["train"])
