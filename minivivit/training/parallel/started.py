"""Whether ``mpiexec`` has started this process, and others beside it: the one place where that decides anything."""

import os

from minivivit.errors import InputError
from minivivit.training.parallel.ranks import ALONE, Ranks

# What the launchers of MPI's implementations tell the processes that they start: how many there are.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def find_ranks() -> Ranks:
    """Those that this process was started with by ``mpiexec``; `ALONE` where it was not.

    Raises
    ------
    MissingExtraError
        When there are several, and mpi4py is not installed.
    InputError
        When mpi4py does not see the others: it is built for another MPI than the launcher's.
    """
    sizes = [os.environ[name] for name in SIZES if os.environ.get(name, "").isdecimal()]
    started = int(sizes[0]) if sizes else 1
    if started == 1:
        return ALONE
    from minivivit.training.parallel.mpi import MpiRanks  # which imports mpi4py, and that begins to talk

    ranks = MpiRanks()
    if ranks.size != started:
        raise InputError(
            f"mpiexec has started {started} processes, but mpi4py sees {ranks.size}: it uses another MPI library than "
            "this mpiexec; start with the mpiexec of that library, such as the one that  pip install mpich  brings"
        )
    return ranks
