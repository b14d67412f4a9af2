"""The two errors that a user of minivivit can mend.

Everything else that escapes from the package is a defect of ours. The command line turns these two, and the operating
system's own errors, into one line on stderr and exit code 2.
"""


class InputError(ValueError):
    """An argument, a file or an array is not what was expected.

    The message is one line: what was wrong, what was expected, and what to do about it. It is a ``ValueError``, so
    code written for other libraries catches it too.
    """


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: run  pip install 'minivivit[{extra}]'"
        )
