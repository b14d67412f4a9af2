"""Ranks over MPI: the only file that imports mpi4py.

Everything that is said between processes is one of MPI's collectives, which all ranks call in the same order; or NCCL's
one, the sum of what is on GPUs (`minivivit.training.parallel.devices`). An error that all ranks have is said by the
first, once. One that a rank has alone, while the others wait for it in a collective, is said by that rank, which then
ends all of them (``MPI_Abort``). A rank that is killed can say nothing: ``mpiexec`` notices, ends the others and says
so.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy

from minivivit.backend import (
    Array,
    array_namespace,
    get_namespace,
    nccl_communicator,
    num_processors,
    set_num_threads,
    to_numpy,
    use_gpu,
)
from minivivit.errors import InputError, MissingExtraError
from minivivit.system_errors import message_of
from minivivit.training.parallel.devices import (
    NcclSum,
    Place,
    check_one_library,
    find_place,
    gpu_numbers,
    obstacle_to_nccl,
)
from minivivit.training.parallel.ranks import Ranks

Result = TypeVar("Result")

# How long, in seconds, a rank with an error waits for the others to have it too before it ends them.
PATIENCE = 5.0
LONGEST_PAUSE = 0.001  # seconds between two looks at what a rank waits for
# What a user can mend, or the system has said: one line.
EXPECTED = (InputError, MissingExtraError, OSError, MemoryError)


def _load_mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError:
        raise MissingExtraError("mpi4py", "mpi", "working in several processes under mpiexec") from None
    except RuntimeError as error:  # "cannot load MPI library"
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"mpi4py finds no MPI library ({reason}); run  pip install mpich , or install that of the system"
        ) from None
    return MPI


class MpiRanks(Ranks):
    """The processes that ``mpiexec`` has started."""

    def __init__(self) -> None:
        self._mpi = _load_mpi()
        self._world = self._mpi.COMM_WORLD
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        if self._mpi.Query_thread() < self._mpi.THREAD_SERIALIZED:
            raise InputError("this MPI library does not let threads call it (MPI_THREAD_SERIALIZED); use another one")
        self._errors = self._world.Dup()  # where only errors are talked about
        self._begun: list[Any] = []
        self._nccl: NcclSum | None = None
        self._share_processors()

    def _share_processors(self) -> None:
        """Give each rank its part of the processors, where neither the user nor the launcher has dealt them out."""
        if os.environ.get("MINIVIVIT_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
            return
        here = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)  # those on this machine
        mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        sharing = here.allgather(mine).count(mine)
        here.Free()
        set_num_threads(max(1, num_processors() // sharing))

    def take_device(self, backend: str | None) -> None:
        """See `Ranks`, and `minivivit.training.parallel.devices` for which GPU, and how sums are then made."""
        machine = self._mpi.Get_processor_name()

        def place() -> Place:
            try:
                return find_place(backend, machine)
            except InputError as error:
                raise InputError(f"process {self.rank} of {self.size}, on {machine}: {error}") from None

        places = self.gathered(self.together(place))
        check_one_library(places)
        if not places[self.rank].gpus:
            return
        xp = get_namespace(backend)
        use_gpu(xp, gpu_numbers(places)[self.rank])
        obstacle = obstacle_to_nccl(places)
        self._nccl = None if obstacle else NcclSum(xp, partial(nccl_communicator, self.rank, self.size))
        self.summing = f"by MPI, over the host, for {obstacle}" if obstacle else "by NCCL, each process on its own GPU"

    # ------------------------------------------------------------------------------------------------ numbers

    def start_sum(self, buffer: Array) -> Callable[[], None]:
        """See `Ranks`: by NCCL where `take_device` has chosen it, else ``MPI_Iallreduce``, of a GPU's on the host."""
        xp = array_namespace(buffer)
        if self._nccl is not None and xp is not numpy:
            return self._nccl.start(buffer)
        on_host = to_numpy(buffer)
        request = self._world.Iallreduce(self._mpi.IN_PLACE, on_host, op=self._mpi.SUM)
        self._begun.append(request)

        def wait() -> None:
            _wait(request)
            if xp is not numpy:
                buffer[...] = xp.asarray(on_host)

        return wait

    def progress(self) -> None:
        """See `Ranks`."""
        self._begun = [request for request in self._begun if not request.Test()]

    def total(self, numbers: Sequence[float]) -> list[float]:
        """See `Ranks`."""
        array = numpy.array(numbers, dtype=numpy.float64)
        self._meet()
        self._world.Allreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM)
        return [float(number) for number in array]

    def gathered(self, value: Any) -> list[Any]:
        """See `Ranks`."""
        self._meet()
        return self._world.allgather(value)

    def _meet(self) -> None:
        """Wait until all ranks are here: MPI's blocking collectives keep a processor busy for as long."""
        _wait(self._world.Ibarrier())

    # ------------------------------------------------------------------------------------------------ errors

    def from_first(self, work: Callable[[], Result]) -> Result:
        """See `Ranks`."""
        if self.is_first:
            try:
                result = work()
            except EXPECTED as error:
                self._meet()
                self._world.bcast((None, message_of(error)))
                raise
            self._meet()
            self._world.bcast((result, None))
            return result
        self._meet()
        result, message = self._world.bcast(None)
        if message is not None:
            raise InputError(message)
        return result

    def together(self, work: Callable[[], Result]) -> Result:
        """See `Ranks`: the message that counts is that of the lowest rank with an error."""
        result, failed = None, None
        try:
            result = work()
        except EXPECTED as error:
            failed = error
        self._meet()
        worst = self._world.allreduce(self.size if failed is None else self.rank, op=self._mpi.MIN)
        if worst < self.size:
            message = self._world.bcast(None if failed is None else message_of(failed), root=worst)
            raise InputError(message) from failed
        return result  # type: ignore[return-value]

    def run(self, work: Callable[[Ranks], Any]) -> Any:
        """See `Ranks`. Only the first rank has streams to write to, unless another ends in an error of its own."""
        with _silent() if not self.is_first else contextlib.nullcontext():
            try:
                return work(self)
            except BaseException as error:
                failure = error
        if not self._all_fail():
            self._end_all(failure)
        if self.is_first:
            raise failure
        return _exit_code(failure)

    def _all_fail(self) -> bool:
        """Whether all ranks come here within some seconds: then each can end by itself, and the first one speaks."""
        all_there, until = self._errors.Ibarrier(), time.monotonic() + PATIENCE
        while not all_there.Test():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _end_all(self, error: BaseException) -> None:
        """Say the error of this rank, and end them all."""
        with contextlib.suppress(OSError):
            if isinstance(error, EXPECTED):
                told = InputError(f"process {self.rank} of {self.size}: {message_of(error)}")  # of printable letters
                print(f"minivivit: error: {str(told)[:2000]}", file=sys.stderr, flush=True)
            elif isinstance(error, KeyboardInterrupt):
                print("minivivit: interrupted", file=sys.stderr, flush=True)
            else:
                traceback.print_exception(error)
                sys.stderr.flush()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would say it once more, in its own words
        self._world.Abort(_exit_code(error))
        os._exit(_exit_code(error))


def _wait(request: Any) -> None:
    """Wait for what was begun, asleep between looks: of more ranks than processors another needs this one's."""
    pause = 0.0
    while not request.Test():
        time.sleep(pause)
        pause = min(pause + 2e-5, LONGEST_PAUSE)


def _exit_code(error: BaseException) -> int:
    """As `minivivit.command_line` has them."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, EXPECTED) else 1


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Meanwhile, what is printed goes nowhere."""
    streams = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
