"""The command ``minivivit``: its beginning and its end.

Nothing is imported here that takes time: Ctrl-C while NumPy and the rest are imported finds us within `main`.
"""

import sys


class Interrupted(KeyboardInterrupt):
    """What Ctrl-C raises in the command. Where a plain KeyboardInterrupt goes through ``exec`` of a text, Python
    remembers it, and in the end gives up our exit code.
    """


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (`sys.argv` when None) and return the exit code; see `minivivit.command_line`.

    Ctrl-C, whenever it comes, is one line on standard error and exit code 130.
    """
    interrupts = _Interrupts()
    usual = None
    try:
        import atexit
        import signal

        usual = _handle_interrupts(interrupts.handle)
        atexit.unregister(_handle_interrupts)
        atexit.register(_handle_interrupts, signal.SIG_IGN)  # when all is done, nothing is left to interrupt
        from minivivit.command_line import run_command

        return run_command(sys.argv[1:] if argv is None else argv, interrupts.grant)
    except KeyboardInterrupt:
        return _say_interrupted()
    except Exception:
        if interrupts.wished:  # an interrupt in the midst of C code may come out as another error
            return _say_interrupted()
        raise
    finally:
        if usual is not None:
            _handle_interrupts(usual)


class _Interrupts:
    """Ctrl-C: a wish while modules are imported, for an import swallows or disguises what is raised in it; from `grant`
    on, or the second time, it interrupts at once.
    """

    def __init__(self) -> None:
        self.wished = self.granted = False

    def handle(self, number: int, frame: object) -> None:
        at_once = self.granted or self.wished
        self.wished = True
        if at_once:
            raise Interrupted

    def grant(self) -> None:
        self.granted = True
        if self.wished:
            raise Interrupted


def _say_interrupted() -> int:
    import contextlib
    import signal

    _handle_interrupts(signal.SIG_IGN)  # a second one would only disturb the message
    with contextlib.suppress(OSError, AttributeError):  # nobody is there to read it
        print("minivivit: interrupted", file=sys.stderr, flush=True)
    return 130


def _handle_interrupts(handler: object) -> object:
    """Let `handler` see Ctrl-C from now on, and return what saw it before; None outside of the main thread."""
    import signal

    try:
        return signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
    except ValueError:
        return None
