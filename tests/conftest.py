"""What holds for every test."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from left_out import or_left_out

ROOT = Path(__file__).parent.parent
MOST_PROCESSES = 4
# Where CPython's own `subprocess` starts no process, and a thread starts but in special builds: in a browser.
ALONE = sys.platform in ("emscripten", "wasi")


def pytest_configure(config):
    """Turn warnings that come from our own code into errors: from the package, the tests, and what they share.

    What another library's own code warns of is shown in the summary, and is no failure: its next release may.
    """
    shared = {path.stem for folder in ("tests", "notebooks") for path in (ROOT / folder).rglob("*.py")}
    ours = "|".join(map(re.escape, ["minivivit", *sorted(shared)]))
    config.addinivalue_line("filterwarnings", rf"error:::({ours})(\.|\Z)")
    if ALONE:
        threading.Thread.start = or_left_out(threading.Thread.start, "a thread")
        subprocess.Popen.__init__ = or_left_out(subprocess.Popen.__init__, "a process")
        os.fork = or_left_out(os.fork, "a process")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Share the tests out among as many processes as there are processors; not what one process does as well.

    That is a file or two, whose tests are over before other processes have begun; tests whose output is to be seen as
    it is written (`-s`); and those with a mark but `thorough`, some of which take all processors and much memory.
    """
    few = all(".py" in argument for argument in config.args)
    seen = config.option.capture == "no"
    marked = "not parity" not in config.option.markexpr and config.option.markexpr != "thorough"
    affinity = getattr(os, "sched_getaffinity", None)  # Linux's
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return 0 if few or seen or marked or processors == 1 else min(processors, MOST_PROCESSES)
