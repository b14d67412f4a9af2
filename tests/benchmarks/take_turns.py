"""Contenders of a benchmark, each in its own process, take turns: a slow minute of the machine falls on all."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def serve(step: Callable[[], dict]) -> None:
    """Be a contender: make a step for each line on stdin, and answer with its seconds and what it returned, as JSON.

    Seconds on the clock, and those that processors spent on it: where other work shares them, and there is one thread,
    the second is the fairer measure.
    """
    print("ready", flush=True)
    for _ in sys.stdin:
        start, processor_start = time.perf_counter(), time.process_time()
        result = step()
        times = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor_start}
        print(json.dumps({**times, **result}), flush=True)


def take_turns(commands: dict[str, list[str]], rounds: int, threads: int) -> dict[str, list[dict]]:
    """The answers of each contender, round by round; those of the first round, which warms up, are left out.

    Parameters
    ----------
    commands : dict of str to list of str
        Name -> the arguments after ``python`` that start the contender, which calls `serve`.
    rounds : int
    threads : int
        Of BLAS, in each process.
    """
    environment = {**os.environ, **dict.fromkeys(BLAS_THREADS, str(threads))}
    workers: dict[str, subprocess.Popen] = {}
    results: dict[str, list[dict]] = {name: [] for name in commands}
    try:
        for name, command in commands.items():
            pipe = subprocess.PIPE
            workers[name] = subprocess.Popen(
                [sys.executable, *command], stdin=pipe, stdout=pipe, text=True, env=environment
            )
            if workers[name].stdout.readline() != "ready\n":
                raise SystemExit(f"the worker {name!r} did not start")
        for round_number in range(rounds + 1):
            for name, worker in workers.items():
                worker.stdin.write("go\n")
                worker.stdin.flush()
                result = json.loads(worker.stdout.readline())
                if round_number:
                    results[name].append(result)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return results
