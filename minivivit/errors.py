"""The two errors that a user of minivivit can mend.

Everything else that escapes from the package is a defect of ours. The command line turns these two, and the operating
system's own errors, into one line on stderr and exit code 2.
"""


class InputError(ValueError):
    """An argument, a file or an array is not what was expected.

    The message is one line: what was wrong, what was expected, and what to do about it. Names of files may hold line
    breaks, codes that a terminal obeys and bytes that are no text; they stand in it escaped. It is a ``ValueError``, so
    code written for other libraries catches it too.
    """

    def __init__(self, message: str = ""):
        super().__init__(_escaped(message))


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{_escaped(purpose)} needs the package '{package}', which is not installed: run  "
            f"pip install 'minivivit[{extra}]'  (in a clone of minivivit, which is on no package index: '.[{extra}]')"
        )


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
