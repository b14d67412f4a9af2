"""Grade all that was handed in, several submissions at once."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minivivit.backend import num_processors
from minivivit.errors import InputError
from minivivit.grading.examination import MOST_SECONDS
from minivivit.grading.handed_in import HandedIn, find_handed_in
from minivivit.grading.results import SubmissionResult, from_json
from minivivit.grading.tasks import check_assignment
from minivivit.grading.worker_process import THREADS
from minivivit.progress import progress_bar

# Seconds by the clock after which an examiner is given up, with what it examines: a fault of ours. Students' code has
# limits of its own, which count no time in which others have the processors; here these may have nearly all of it.
PATIENCE = 30 * MOST_SECONDS


def grade(
    path: str | os.PathLike[str], *, seed: int, assignment: str | None = None, num_processes: int | None = None
) -> list[SubmissionResult]:
    """Grade a notebook, a Python file, or a folder or zip file of them.

    Parameters
    ----------
    path : path-like
    seed : int
        Of all inputs: everybody gets the same.
    assignment : str, optional
        Its name; by default every file says it by what it holds.
    num_processes : int, optional
        Submissions that are examined at once; by default as many as there are cores.

    Returns
    -------
    results : list of SubmissionResult
        One a file, in the order of their names.

    Raises
    ------
    InputError
        When there is nothing at `path`, or no such assignment.
    """
    check_assignment(assignment)
    handed_in = find_handed_in(Path(path))
    return examine_all(handed_in, seed=seed, assignment=assignment, num_processes=num_processes)


def examine_all(
    handed_in: Sequence[HandedIn], *, seed: int, assignment: str | None = None, num_processes: int | None = None
) -> list[SubmissionResult]:
    """Examine files, several at once; see `grade`."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(handed_in)):
        waiting.put(number)
    done: queue.SimpleQueue[tuple[int, SubmissionResult]] = queue.SimpleQueue()
    examiners = [_Examiner() for _ in range(min(len(handed_in), num_processes or num_processors()))]

    def work(examiner: _Examiner) -> None:
        for number in _taken(waiting):
            done.put((number, _examined(examiner, handed_in[number], seed, assignment)))

    threads = [threading.Thread(target=work, args=(examiner,), daemon=True) for examiner in examiners]
    results: dict[int, SubmissionResult] = {}
    try:
        for thread in threads:
            thread.start()
        with progress_bar(len(handed_in), "grading", "submission") as bar:
            while len(results) < len(handed_in):
                number, result = done.get()
                results[number] = result
                bar.update()
    finally:
        list(_taken(waiting))  # nobody takes another
        for examiner in examiners:
            examiner.end()
    return [results[number] for number in range(len(handed_in))]


def _taken(waiting: queue.SimpleQueue) -> Iterator[int]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield waiting.get_nowait()


def _examined(examiner: "_Examiner", file: HandedIn, seed: int, assignment: str | None) -> SubmissionResult:
    """The result of a file; what goes wrong is told in it."""
    try:
        if file.problem:
            raise InputError(file.problem)
        data = file.read()
        name = file.within[-1] if file.within else file.place.name
        row = examiner.examine(
            {"name": name, "size": len(data), "seed": seed, "assignment": assignment or file.assignment}, data
        )
        result = from_json({**row, "file": file.name})
    except InputError as error:
        result = SubmissionResult(file.name, problems=[str(error)])
    except OSError as error:
        result = SubmissionResult(file.name, problems=[f"it cannot be read: {error.strerror or error}"])
    return result


class _Examiner:
    """A process that examines (`minivivit.grading.examiner`), and another when that one has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def examine(self, request: dict[str, Any], data: bytes) -> dict[str, Any]:
        """The examiner's answer.

        Raises
        ------
        InputError
            When it ended over this submission, or took too long.
        """
        process = self._process = self._process or _started()
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = threading.Timer(PATIENCE, process.kill)
        alarm.daemon = True
        alarm.start()
        line = b""
        try:
            with contextlib.suppress(OSError):
                process.stdin.write(json.dumps(request).encode("ascii") + b"\n" + data)
                process.stdin.flush()
                line = process.stdout.readline()
        finally:
            alarm.cancel()
        if not line.endswith(b"\n"):
            self.end()
            raise InputError("grading it ended the grader's process; look at it by hand")
        return json.loads(line)

    def end(self) -> None:
        """End the process; where it has nothing to do, it ends by itself."""
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _started() -> subprocess.Popen:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "minivivit.grading.examiner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(THREADS, "1"), "MINIVIVIT_NUM_THREADS": "1", "PYTHONPATH": path},
    )
