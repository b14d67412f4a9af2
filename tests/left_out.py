"""What tests need and a platform may lack: threads and processes, which a browser cannot start."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def or_left_out(start, what):
    """`start`, where the platform may refuse it: a test that starts `what` itself is left out, and says why.

    The package is not: where it asks, it gets the error that the platform has for everybody, and must do without.
    """

    def start_or_leave_out(*arguments, **options):
        try:
            return start(*arguments, **options)
        except (RuntimeError, OSError) as error:
            if _asked_by_a_test(sys._getframe(1)):
                pytest.skip(f"needs {what}, and none can be started here ({error})")
            raise

    return start_or_leave_out


def _asked_by_a_test(frame):
    """Whether a test's own code called, be it through Python's library; not the package, nor another library."""
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] in sys.stdlib_module_names:
        frame = frame.f_back
    return frame is not None and Path(frame.f_code.co_filename).is_relative_to(TESTS)
