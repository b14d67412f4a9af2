"""Other libraries' warnings about files, held back: what counts is what a file holds, and a broken one is refused."""

import os
import threading
import warnings


class _WarningsHeldBack:
    """`warnings.catch_warnings` for several threads at once: the last one out gives back what the first one found.

    The filters are one list for the whole process. Were each thread to save and restore them, two that overlap would
    leave the first one's behind for ever.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._count = 0
        self._catching = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self._count += 1
            if self._count == 1:
                self._catching = warnings.catch_warnings()
                self._catching.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self._count -= 1
            if self._count == 0:
                self._catching.__exit__(None, None, None)

    def after_fork(self) -> None:
        """In the child: the threads that were inside are gone. No file is opened in the middle of a fork."""
        self.lock = threading.RLock()
        if self._count:
            self._count = 0
            self._catching.__exit__(None, None, None)


_warnings_held_back = _WarningsHeldBack()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _warnings_held_back.lock.acquire(),
        after_in_parent=lambda: _warnings_held_back.lock.release(),
        after_in_child=lambda: _warnings_held_back.after_fork(),
    )


def warnings_held_back() -> _WarningsHeldBack:
    """A context in which no warning is shown, in any thread; it may be entered from several at once."""
    return _warnings_held_back
