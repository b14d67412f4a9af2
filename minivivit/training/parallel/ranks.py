"""The processes that work together: how many there are, which one this is, and what they say to each other.

A rank is one of them, a number from 0. Most of the time there is only one, `ALONE`, to whom all of this is nothing;
what is written for many reads the same for it. `minivivit.training.parallel.started` finds out whether there are more.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from minivivit.backend import Array
from minivivit.errors import InputError

Result = TypeVar("Result")


class Ranks:
    """One process, by itself."""

    rank = 0
    size = 1
    summing = ""  # how sums are made, where that depends on the machine; for the user

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that speaks and writes."""
        return self.rank == 0

    def turns(self, count: int) -> Sequence[int]:
        """Which of so many things are this rank's, where they are dealt out one by one."""
        return range(self.rank, count, self.size)

    def take_device(self, backend: str | None) -> None:
        """Where the backend of this name is a GPU, use this rank's from now on; nothing may be on a GPU before.

        One rank alone has the first GPU.

        Raises
        ------
        InputError
            On all ranks, when one lacks what is asked for, or when some find a GPU and others none.
        """

    def start_sum(self, buffer: Array) -> Callable[[], None]:
        """Begin to replace a buffer by the sum of those of all ranks; returns what waits for the end of it.

        All ranks begin the same sums in the same order. On a GPU it may be the stream that computes which waits, and
        not the caller.
        """
        return lambda: None

    def progress(self) -> None:
        """Let sums that were begun go on: MPI may need to be called for that."""

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sums over the ranks of some numbers."""
        return [float(number) for number in numbers]

    def gathered(self, value: Any) -> list[Any]:
        """What each rank has given, on all of them."""
        return [value]

    def from_first(self, work: Callable[[], Result]) -> Result:
        """What `work` returns on the first rank, which alone calls it; its error is everyone's."""
        return work()

    def together(self, work: Callable[[], Result]) -> Result:
        """What `work` returns on each rank; the error of one is everyone's."""
        return work()

    def run(self, work: Callable[["Ranks"], Result]) -> Result:
        """Call ``work(self)`` and see to it that all ranks end when one does."""
        return work(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank={self.rank}, size={self.size})"

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, ranks are found anew; what is sent there is alone at first."""
        return _alone, ()


ALONE = Ranks()


def _alone() -> Ranks:
    return ALONE


def check_same_arguments(ranks: Ranks, arguments: object) -> None:
    """Refuse ranks that were asked for different things: they were meant to work apart.

    Raises
    ------
    InputError
        On all of them.
    """
    if len(set(ranks.gathered(repr(arguments)))) > 1:
        raise InputError(
            f"the {ranks.size} processes of this mpiexec were given different arguments, but they work together on one "
            "thing; start what is to run apart without mpiexec"
        )


def in_turns(ranks: Ranks, own: Iterator[Result]) -> Iterator[Result]:
    """What each rank has made of its `Ranks.turns`, on all of them, in the order of the whole; none of it is None."""
    while True:
        given = ranks.gathered(ranks.together(lambda: next(own, None)))
        yield from (one for one in given if one is not None)
        if None in given:
            return
