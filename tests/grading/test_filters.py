"""What Linux refuses a process that has filtered itself, whatever it does with Python: by calls of the C library."""

import json
import os
import subprocess
import sys
import sysconfig

import pytest

from minivivit.grading import worker_process
from minivivit.grading.worker_process import Worker

FILTERED = """
import ctypes, json, os, resource, socket, sys, threading
from minivivit.grading.apart.filters import filter_calls, filter_files

place, library = sys.argv[1], ctypes.CDLL(None, use_errno=True)
own, secret = place + "/own", place + "/secret.txt"
done = [filter_files([sys.argv[2], place + "/course"], [place + "/course/answers"], own), filter_calls()]

def call(name, *arguments):
    answer = getattr(library, name)(*arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), name)
    if name == "fork" and answer == 0:
        os._exit(0)

ATTEMPTS = {
    "files": {
        "read": lambda: open(secret),
        "read by the C library": lambda: call("open", secret.encode(), 0),
        "list": lambda: os.listdir(place),
        "write": lambda: open(place + "/new.txt", "w"),
        "remove": lambda: os.remove(secret),
        "move": lambda: os.rename(secret, own + "/secret.txt"),
        "link": lambda: os.link(secret, own + "/secret.txt"),
        "what is hidden": lambda: open(place + "/course/answers/all.txt"),
        "a course's file to write": lambda: open(place + "/course/task.txt", "a"),
    },
    "calls": {
        "socket": lambda: socket.socket(),
        "fork": lambda: call("fork"),
        "system": lambda: call("execl", b"/bin/true", b"true", None),
        "kill": lambda: call("kill", os.getppid(), 0),
        "kill the group": lambda: call("kill", 0, 0),
        "look into": lambda: call("ptrace", 16, os.getppid(), 0, 0),
        "limit": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)),
        "namespaces": lambda: call("unshare", 0x10000000),
    },
}
said = {}
for kind, attempts in ATTEMPTS.items():
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError as error:
            said[kind, name] = type(error).__name__
        else:
            said[kind, name] = "done"
thread = threading.Thread(target=open, args=(own + "/mine.txt", "w"))
thread.start()
thread.join()
os.makedirs(own + "/a/b")
os.rename(own + "/mine.txt", own + "/a/b/mine.txt")
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
import json.tool
right = [os.path.exists(own + "/a/b/mine.txt"), open(place + "/course/task.txt").read(), open("/dev/null").read()]
print(json.dumps([done, [[*key, value] for key, value in said.items()], right]), flush=True)
os.abort()
"""

REFUSED = ("PermissionError", "OSError")  # the second of a link, which is said to cross devices


@pytest.mark.skipif(sys.platform != "linux", reason="the filters are Linux's")
def test_a_filtered_process_reaches_no_files_of_others_no_process_and_no_network(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "course" / "answers").mkdir(parents=True)
    for name in ("secret.txt", "course/task.txt", "course/answers/all.txt"):
        (tmp_path / name).write_text(name)
    ran = subprocess.run(
        [sys.executable, "-c", FILTERED, str(tmp_path), sysconfig.get_path("stdlib")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == -6, ran.stderr  # its own signals still reach it
    (files, calls), said, right = json.loads(ran.stdout)
    assert right == [True, "course/task.txt", ""]
    if not (files or calls):
        pytest.skip("this kernel has neither Landlock nor seccomp")
    kinds = {"files": files, "calls": calls}
    assert [one for one in said if kinds[one[0]] and one[2] not in REFUSED] == []
    assert len(said) == 17
    assert (tmp_path / "secret.txt").read_text() == "secret.txt"


@pytest.mark.parametrize(("seclude", "filtered"), [(True, True), (False, True), (False, False)])
def test_what_is_installed_within_pythons_library_is_out_of_sight(tmp_path, monkeypatch, seclude, filtered):
    """As in a container without a virtual environment, where the package lies there."""
    tmp_path.chmod(0o755)
    (tmp_path / "library" / "site-packages" / "numpy").mkdir(parents=True)
    places = ["library/x.py", "library/site-packages/secret.py", "library/site-packages/numpy/y.py"]
    for name in places:
        (tmp_path / name).write_text(name)
    usual = worker_process._settings

    def settings(directory, scipy):
        own = usual(directory, scipy)
        own["readable"] += [str(tmp_path / "library"), str(tmp_path / "library" / "site-packages" / "numpy")]
        own["hidden"].append(str(tmp_path / "library" / "site-packages"))
        return own

    monkeypatch.setattr(worker_process, "_settings", settings)
    source = f"""
def f(x):
    found = []
    for name in {[str(tmp_path / name) for name in places]}:
        try:
            found.append(open(name).read())
        except OSError:
            found.append("")
    return found
"""
    with Worker(seclude=seclude, filtered=filtered) as worker:
        cell = {"do": "cell", "source": source, "name": "<cell 1>", "first": 1, "seconds": 5.0}
        assert worker.ask(cell, 60)["errors"] == []
        call = {"do": "call", "function": "f", "arguments": {"x": 1.5}, "seconds": 5.0}
        assert worker.ask(call, 60)["value"] == [places[0], "", places[2]]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only what the system permits is done")
def test_with_filters_nothing_is_left_to_hooks_alone():
    with Worker(seclude=False) as worker:
        done = worker.done
    assert done["files"] == done["network"] == done["processes"] == done["limits"]
