"""Ctrl-C as a wish that is granted between two steps."""

import signal
import threading
from typing import Any


class Interruption:
    """While it is entered, the first Ctrl-C only sets `requested`; the second one interrupts at once, as usual."""

    def __init__(self) -> None:
        self.requested = False
        self._usual: Any = None

    def __enter__(self) -> "Interruption":
        # Only the main thread can handle signals. None is a handler that was not set by Python, and can't be set again.
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is not None:
            self._usual = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._usual is not None:
            signal.signal(signal.SIGINT, self._usual)

    def _remember(self, number: int, frame: Any) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._usual)
