"""GPUs of several ranks: which one is whose, and how buffers on them are summed.

Each rank takes one GPU: the ranks of a machine take its GPUs in turn. Then gradients are summed

- by NCCL, through CuPy's `cupyx.distributed`, where every rank has a GPU of its own and finds NCCL's library: from GPU
  to GPU, beside the backward pass;
- else over the host, for NCCL refuses two ranks on one GPU: a buffer is copied to the host, summed by MPI as it is
  without GPUs, and copied back.

All ranks know where all of them are (`Place`), and so come to the same decision, which is `obstacle_to_nccl`'s alone.
Nothing here imports CuPy: `minivivit.backend` does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from minivivit.backend import Array, get_namespace, gpu_addresses, has_nccl
from minivivit.errors import InputError


@dataclass(frozen=True)
class Place:
    """Where a rank is.

    Attributes
    ----------
    machine : str
        Its name.
    library : {"numpy", "cupy"}
        What this rank computes with.
    gpus : tuple of str
        The addresses on the PCI bus of the GPUs that it sees, in the order of their numbers. A launcher may show each
        rank another GPU, which then has the number 0 for all of them; by their addresses they differ.
    nccl : bool
        Whether it finds NCCL's library.
    """

    machine: str
    library: str
    gpus: tuple[str, ...] = ()
    nccl: bool = False


def find_place(backend: str | None, machine: str) -> Place:
    """Where this rank is, when it computes with the library that a backend's name stands for there.

    Raises
    ------
    InputError
        See `minivivit.backend.get_namespace`.
    """
    xp = get_namespace(backend)
    gpus = gpu_addresses(xp)
    return Place(machine, xp.__name__, gpus, bool(gpus) and has_nccl())


def check_one_library(places: Sequence[Place]) -> None:
    """Refuse ranks of which some compute with NumPy and others with CuPy: what they are sent would not fit.

    Raises
    ------
    InputError
    """
    libraries = [place.library for place in places]
    if len(set(libraries)) > 1:
        cpu, gpu = libraries.index("numpy"), libraries.index("cupy")
        raise InputError(
            f"process {gpu} (on {places[gpu].machine}) finds a GPU, and process {cpu} (on {places[cpu].machine}) finds "
            "none, but all must compute alike: --backend cupy says what is missing there, --backend numpy wants no GPU"
        )


def gpu_numbers(places: Sequence[Place]) -> list[int]:
    """The number of each rank's GPU, among those that it sees: the ranks of a machine take them in turn."""
    earlier: Counter[str] = Counter()
    numbers = []
    for place in places:
        numbers.append(earlier[place.machine] % len(place.gpus))
        earlier[place.machine] += 1
    return numbers


def obstacle_to_nccl(places: Sequence[Place]) -> str:
    """Why NCCL cannot sum what is on these ranks' GPUs; "" where it can, and then it does."""
    owners: dict[tuple[str, str], int] = {}
    for rank, (place, number) in enumerate(zip(places, gpu_numbers(places), strict=True)):
        owner = owners.setdefault((place.machine, place.gpus[number]), rank)
        if owner != rank:
            return f"processes {owner} and {rank} share a GPU"
    for rank, place in enumerate(places):
        if not place.nccl:
            return f"process {rank} finds no NCCL (pip install nvidia-nccl-cu12, or nvidia-nccl-cu13)"
    return ""


class NcclSum:
    """Sums over the ranks of what is on their GPUs, on a stream of their own beside the one that computes.

    The host waits for nothing: that a sum begins after the buffer was filled, and that what is computed with the
    buffer afterwards comes after the sum, the two streams agree upon by events.

    Parameters
    ----------
    xp : module
        CuPy; this rank's GPU is the current one.
    begin : callable
        Makes the communicator (`minivivit.backend.nccl_communicator`), which all ranks do at the same time: with the
        first sum. Who only evaluates does without it, and without the memory that it takes.
    """

    def __init__(self, xp: Any, begin: Callable[[], Any]):
        self._cuda, self._begin = xp.cuda, begin
        # One that does not wait for the null stream, on which CuPy computes, nor is waited for there.
        self._stream = self._cuda.Stream(non_blocking=True)

    @cached_property
    def _communicator(self) -> Any:
        try:
            return self._begin()
        except RuntimeError as error:  # NCCL's and MPI's errors are such
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"NCCL, which sums what is on GPUs, cannot begin ({reason}); with NCCL_DEBUG=WARN in the environment "
                "it says more"
            ) from None

    def start(self, buffer: Array) -> Callable[[], None]:
        """See `minivivit.training.parallel.ranks.Ranks.start_sum`."""
        communicator = self._communicator
        self._stream.wait_event(self._cuda.get_current_stream().record())
        communicator.all_reduce(buffer, buffer, op="sum", stream=self._stream)
        summed = self._stream.record()
        return lambda: self._cuda.get_current_stream().wait_event(summed)
