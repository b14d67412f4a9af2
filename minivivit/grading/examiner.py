"""The process that examines: one submission after the other, on a bounded amount of memory.

A class has one for each core. It is trusted code that reads what students made, so whatever breaks it breaks one
submission. It is asked and answers in JSON lines, on what were its standard input and output.
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import BinaryIO

from minivivit.grading.examination import examine
from minivivit.grading.results import SubmissionResult

MEMORY = 4 << 30  # bytes of address space
UNDUMPABLE = 4  # prctl's number


def main() -> None:
    """Read requests until there are none: a line of JSON, and as many bytes as it says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    requests = sys.stdin.buffer
    with open(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what anything here prints is no answer
        _bound()
        while line := requests.readline():
            request = json.loads(line)
            answer = _examined(request, requests)
            answers.write(json.dumps(answer).encode("ascii") + b"\n")
            answers.flush()


def _examined(request: dict, requests: BinaryIO) -> dict:
    data = requests.read(request["size"])
    try:
        result = examine(request["name"], data, seed=request["seed"], assignment=request["assignment"])
    except (Exception, MemoryError) as error:  # ours: it shall cost no other submission
        result = SubmissionResult(request["name"], problems=[f"it could not be graded ({type(error).__name__})"])
    return asdict(result)


def _bound() -> None:
    """Limit the memory, and let no other process of the same user look into it."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(UNDUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    main()
