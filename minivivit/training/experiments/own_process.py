"""Work in a process of its own, so that the memory that it takes can be measured, and is given back."""

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

from minivivit.errors import InputError, MissingExtraError
from minivivit.system_errors import message_of

Report = Callable[[Any], None]


def can_start_processes() -> bool:
    """Whether this process may have others: not in a browser, and not within a worker that may have no children."""
    try:
        import multiprocessing
        import multiprocessing.connection  # the part that is missing there
    except ImportError:
        return False
    return sys.platform != "emscripten" and not multiprocessing.current_process().daemon


def run_in_own_process(work: Callable[[Any, Report], Any], job: Any, report: Report, name: str) -> Any:
    """Call ``work(job, report)`` in a fresh process, and return what it returns.

    Parameters
    ----------
    work : callable (job, report) -> result
        A function of a module, which the new process imports. What goes in and out must be picklable.
    job : object
    report : callable (message) -> None
        Called here with each message that the work reports there.
    name : str
        Of the work, for errors.

    Raises
    ------
    InputError
        What the work raised of the errors that a user can mend; or when the process was killed.
    """
    import multiprocessing  # here, since a browser lacks what it needs

    context = multiprocessing.get_context("spawn")  # not a copy of this process, which would have its memory too
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(work, job, sender), daemon=True)
    process.start()
    sender.close()  # the other process has its own: when that ends, so does the pipe
    try:
        while True:
            kind, value = receiver.recv()
            if kind == "result":
                return value
            if kind == "error":
                raise InputError(f"{name}: {value}")
            report(value)
    except EOFError:
        process.join()
        code = process.exitcode or 0
        if code < 0:
            raise InputError(f"{name}: its process was killed by signal {-code}; was there enough memory?") from None
        raise RuntimeError(f"{name}: its process ended with exit code {code}; its traceback is above") from None
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _serve(work: Callable[[Any, Report], Any], job: Any, sender: "Connection") -> None:
    """What the new process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; it is the parent that ends this process
    try:
        sender.send(("result", work(job, lambda message: sender.send(("report", message)))))
    except (InputError, MissingExtraError, MemoryError, OSError) as error:
        sender.send(("error", message_of(error)))


def peak_memory() -> int | None:
    """The most memory that this process has had in RAM so far, in bytes; None where the system does not say.

    On Linux this is ``VmHWM``, which a new program begins at zero. ``ru_maxrss`` would not do there: a program inherits
    it from the one that started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
