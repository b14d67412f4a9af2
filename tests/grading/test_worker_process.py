"""The process that holds a student's code: what it is cut off from, and that nothing of it stays or goes elsewhere."""

import itertools
import os
import select
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy
import pytest

from minivivit.grading import worker_process
from minivivit.grading.apart.limits import _writes
from minivivit.grading.worker_process import EndedError, Worker, _remove
from minivivit.own_time import OwnTime


def run(worker, source, function="f"):
    """Run a cell, then call a function that it made."""
    cell = {"do": "cell", "source": source, "name": "<cell 1>", "first": 1, "seconds": 5.0}
    assert worker.ask(cell, 60)["errors"] == []
    call = {"do": "call", "function": function, "arguments": {"x": 1.5}, "seconds": 5.0}
    return worker.ask(call, 60)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where temporary directories are made."""
    tmp_path.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_process_leaves_nothing_and_changes_nothing_around_it(place):
    mode = stat.S_IMODE(place.stat().st_mode)
    worker = Worker()
    source = "import os\ndef f(x):\n    os.makedirs('a/b')\n    os.chmod('a', 0)\n    return x\n"
    assert run(worker, source)["value"] == 1.5
    worker.end()
    worker.end()
    assert list(place.iterdir()) == []
    assert stat.S_IMODE(place.stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes are POSIX's")
def test_removing_touches_nothing_outside(place):
    (place / "work" / "deep").mkdir(parents=True)
    (place / "mine").mkdir(mode=0o755)
    (place / "work" / "link").symlink_to(place / "mine")
    (place / "work" / "deep").chmod(0)
    _remove(str(place / "work"))
    _remove(str(place / "work"))
    assert [path.name for path in place.iterdir()] == ["mine"]
    assert stat.S_IMODE((place / "mine").stat().st_mode) == 0o755
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


@pytest.mark.parametrize("seclude", [True, False])
def test_files_of_the_user_are_out_of_reach(place, seclude):
    secret = place / "secret.txt"
    secret.write_text("the other students' answers")
    source = f"""
import os
def f(x):
    found = []
    for act in (
        lambda: open({str(secret)!r}).read(),
        lambda: os.listdir({str(place)!r}).index("secret.txt"),
        lambda: os.remove({str(secret)!r}),
        lambda: os.rename({str(secret)!r}, "mine.txt"),
        lambda: open({str(place / "new.txt")!r}, "w"),
        lambda: os.kill(os.getppid(), 0),
        lambda: __import__("socket").create_connection(("127.0.0.1", 9)),
    ):
        try:
            found.append(str(act()))
        except (OSError, ValueError) as error:
            found.append(type(error).__name__)
    return found
"""
    with Worker(seclude=seclude) as worker:
        found = run(worker, source)["value"]
    assert set(found) <= {"PermissionError", "FileNotFoundError", "ValueError", "OSError"}
    assert secret.read_text() == "the other students' answers"
    assert [path.name for path in place.iterdir()] == ["secret.txt"]


@pytest.mark.skipif(not hasattr(select, "poll"), reason="the system does not tell what is in a pipe")
@pytest.mark.parametrize(
    "how", ["print(x, end='')", "print(x, end='', file=sys.stderr)", "os.write(1, b'1.5')", "os.write(2, b'1.5')"]
)
def test_what_is_printed_is_told_with_the_call_that_printed_it(how, monkeypatch):
    """However late the thread is that reads it: here it never comes to it. A line need not have an end."""
    monkeypatch.setattr(worker_process._Printed, "read_on", lambda self: None)
    source = f"import os, sys\ndef f(x):\n    {how}\n    return x\n\ndef silent(x):\n    return x\n"
    with Worker() as worker:
        for _ in range(2):
            assert run(worker, source)["value"] == 1.5
            assert worker.printed.strip() == "1.5"
            assert run(worker, source, "silent")["value"] == 1.5
            assert worker.printed == ""


@pytest.mark.skipif(not hasattr(select, "poll"), reason="the system does not tell what is in a pipe")
def test_what_is_printed_between_two_calls_is_told_with_neither(monkeypatch):
    monkeypatch.setattr(worker_process._Printed, "read_on", lambda self: None)
    source = """
import os, threading, time
def late():
    while not os.path.exists("go"):
        time.sleep(0.01)
    os.write(2, b"late")
    open("done", "w").close()
def f(x):
    threading.Thread(target=late, daemon=True).start()
    return x
def silent(x):
    return x
"""
    with Worker(seclude=False) as worker:
        run(worker, source)
        place = Path(worker._directory)
        (place / "go").touch()
        while not (place / "done").exists():
            time.sleep(0.01)
        assert worker.printed == ""
        call = {"do": "call", "function": "silent", "arguments": {"x": 1.5}, "seconds": 5.0}
        assert worker.ask(call, 60)["value"] == 1.5
        assert worker.printed == ""


@pytest.mark.skipif(not hasattr(select, "poll"), reason="the system does not tell what is in a pipe")
def test_who_prints_too_much_is_told_so_with_the_call_that_did_it(monkeypatch):
    """Not with the next, which is somebody else's."""
    reads = worker_process._Printed.read_on
    late = threading.Event()
    monkeypatch.setattr(worker_process._Printed, "read_on", lambda self: late.wait(600) and reads(self))
    monkeypatch.setattr(worker_process, "MOST_PRINTED", 1000)
    source = "import os\ndef f(x):\n    os.write(2, b'x' * 1001)\n    return x\n"
    with Worker() as worker:
        with pytest.raises(EndedError, match="it printed more than 1,000 bytes"):
            run(worker, source)
        late.set()


# Ways to the user's files past a fence that looks at one path, as if it were in the working directory. (3 is open.)
OTHER_WAYS = {
    "a name moved out": "os.rename('own.txt', SECRET)",
    "a name moved out, by its other name": "os.replace('own.txt', SECRET)",
    "a second name": "os.link(SECRET, 'link.txt')",
    "a second name outside": "os.link('own.txt', NEW)",
    "a link outside": "os.symlink('own.txt', NEW)",
    "opened in a directory": "os.open('secret.txt', os.O_RDONLY, dir_fd=3)",
    "written in a directory": "os.open('new.txt', os.O_WRONLY | os.O_CREAT, dir_fd=3)",
    "by posix": "__import__('posix').open('secret.txt', os.O_RDONLY, dir_fd=3)",
    "removed in a directory": "os.remove('secret.txt', dir_fd=3)",
    "made in a directory": "os.mkdir('new.txt', dir_fd=3)",
    "moved within a directory": "os.rename('secret.txt', 'new.txt', src_dir_fd=3, dst_dir_fd=3)",
    "linked in a directory": "os.symlink('own.txt', 'new.txt', dir_fd=3)",
    "changed in a directory": "os.chmod('secret.txt', 0, dir_fd=3)",
    "timed in a directory": "os.utime('secret.txt', (0, 0), dir_fd=3)",
}


@pytest.mark.skipif(not os.supports_dir_fd, reason="the system has no descriptors of directories")
@pytest.mark.parametrize("way", OTHER_WAYS)
def test_a_path_is_what_the_system_makes_of_it(place, way):
    """With the last fence alone, as where there are no namespaces and no Landlock."""
    outside = place / "outside"
    outside.mkdir()
    secret = outside / "secret.txt"
    secret.write_text("the other students' answers")
    before = secret.stat()
    source = f"""
import os
SECRET, NEW = {str(secret)!r}, {str(outside / "new.txt")!r}
def f(x):
    for name in ("own.txt", "secret.txt", "new.txt"):
        open(name, "w").close()
    os.remove("new.txt")
    try:
        return str({OTHER_WAYS[way]})
    except PermissionError as error:
        return str(error)
"""
    with Worker(seclude=False, filtered=False) as worker:
        found = run(worker, source)["value"]
    assert "while grading" in found
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    after = secret.stat()
    assert (after.st_mode, after.st_nlink, after.st_mtime_ns) == (before.st_mode, before.st_nlink, before.st_mtime_ns)
    assert secret.read_text() == "the other students' answers"


# Ways past a fence of Python's own events, where there is no other, that need no more than a call of its library.
OTHER_DOINGS = {
    "a database": "import sqlite3; sqlite3.connect(':memory:')",
    "an interpreter": "import _xxsubinterpreters",
    "Tcl": "import tkinter",
    "a history": "import readline",
    "shared memory": "import _posixshmem",
    "another's limits": "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "a name": "import socket; socket.getnameinfo(('127.0.0.1', 9), 0)",
    "the system's log": "import syslog; syslog.syslog('x')",
    "a path that answers twice": "__import__('io').FileIO(Twice())",
    "a text with methods of its own": "open(Text(SECRET))",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the modules are those of a system")
@pytest.mark.parametrize("doing", OTHER_DOINGS)
def test_the_last_fence_knows_more_than_paths(place, doing):
    secret = place / "secret.txt"
    secret.write_text("the other students' answers")
    source = f"""
import os
SECRET = {str(secret)!r}
open("own.txt", "w").close()
class Twice:
    asked = 0
    def __fspath__(self):
        self.asked += 1
        return "own.txt" if self.asked == 1 else SECRET
class Text(str):
    def startswith(self, *arguments):
        return True
    def __eq__(self, other):
        return True
    def __hash__(self):
        return 1
    def partition(self, *arguments):
        return ("own.txt", "", "")
def f(x):
    try:
        {OTHER_DOINGS[doing]}
    except PermissionError as error:
        return str(error)
    except ImportError as error:
        return "not here"
    return "done"
"""
    with Worker(seclude=False, filtered=False) as worker:
        found = run(worker, source)["value"]
    assert found == "not here" or "while grading" in found
    assert secret.read_text() == "the other students' answers"


def test_paths_of_the_library_may_be_used(place):
    source = """
import io, pathlib
def f(x):
    path = pathlib.Path("a.txt")
    path.write_text("1")
    return io.FileIO(path).read().decode()
"""
    with Worker(seclude=False, filtered=False) as worker:
        assert run(worker, source)["value"] == "1"


def test_a_file_can_be_changed_by_who_opens_it_to_read():
    """Made, or emptied; where files may only be read, that is refused as well."""
    assert not _writes(("x", None, os.O_RDONLY))
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
        assert _writes(("x", None, os.O_RDONLY | flags))


def test_own_directories_can_be_removed(place):
    """As Python's library does, which would do it by descriptors of directories."""
    source = """
import os, shutil, tempfile
def f(x):
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "a", "b"))
        open(os.path.join(folder, "a", "c.txt"), "w").close()
    os.makedirs("d/e")
    shutil.rmtree("d")
    return os.listdir(".")
"""
    with Worker(seclude=False, filtered=False) as worker:
        assert run(worker, source)["value"] == []


# Before a function of a student's that speaks for its process: the channel, the format, the number of what is done.
CHANNEL = """
import fcntl, os, sys, time
import numpy as np
def channel():
    frame = sys._getframe()
    while "student" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["channel"], frame.f_globals["wire"], frame.f_locals["message"]["number"]
ASK = {"status": "ask", "name": "model.x", "arguments": [], "keywords": {}}
"""


def run_with_channel(worker, body, seconds):
    """Run a function of `body`, which has the names c, wire and number."""
    cell = {"do": "cell", "source": CHANNEL, "name": "<cell 1>", "first": 1, "seconds": 5.0}
    assert worker.ask(cell, 60)["errors"] == []
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    cell = {**cell, "source": f"def f(x):\n    c, wire, number = channel()\n{lines}    return x\n"}
    assert worker.ask(cell, 60)["errors"] == []
    call = {"do": "call", "function": "f", "arguments": {"x": 1.5}, "seconds": 5.0}
    return worker.ask(call, seconds, lambda request: {"error": None, "value": numpy.zeros(200_000)})


# What a student's process says or leaves undone, and how that ends; or the value that comes back all the same.
OWN_WORDS = {
    "asks and reads no answer": (
        "for _ in range(2900):\n    c.send(wire.pack(ASK))\ntime.sleep(600)",
        "it did not read in time what it was sent",
    ),
    "reads slowly": (
        "fcntl.fcntl(c.inbox, 1031, 4096)\nc.send(wire.pack(ASK))\n"
        "for _ in range(300):\n    time.sleep(0.05)\n    os.read(c.inbox, 4096)",
        "it did not read in time what it was sent",
    ),
    "a number that is an array": ("c.send(wire.pack({'status': 'x', 'number': np.array([1, 2])}))", 1.5),
    "closes the channel": ("os.closerange(3, 64)\ntime.sleep(600)", "closed its connection"),
    "many threads": (
        "from threading import Thread\n"
        "for _ in range(200):\n    Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "time.sleep(600)",
        "it runs more than 64 threads",
    ),
    "arrays of the same bytes": (
        "import json\nhead = json.dumps(['list', [['array', '|u1', [100000], 0, False]] * 1000]).encode()\n"
        "body = len(head).to_bytes(4, 'big') + head + bytes(100000)\n"
        "c.send(len(body).to_bytes(8, 'big') + body)",
        "it sent a message that cannot be read|an array of an unknown kind",
    ),
}


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="pipes are counted and limited as on Linux")
@pytest.mark.parametrize("words", OWN_WORDS)
def test_nobody_makes_the_grader_wait_or_fail(words):
    body, expected = OWN_WORDS[words]
    own = OwnTime(threading.get_native_id())
    with Worker(seclude=False) as worker:
        if isinstance(expected, float):
            assert run_with_channel(worker, body, 60)["value"] == expected
        else:
            before = worker.spent
            with pytest.raises(EndedError, match=expected):
                run_with_channel(worker, body, 1.5)
            if words in ("asks and reads no answer", "reads slowly"):
                assert worker.spent - before >= 1.5
    assert own.seconds() < 60  # whatever others do with the processors
    if words == "closes the channel":
        assert worker.spent >= 0.9  # for the grader waited that long to learn how it ended


@pytest.mark.skipif(sys.platform != "linux", reason="pipes are counted and limited as on Linux")
def test_what_nobody_reads_any_more_leaves_nothing():
    """Neither a thread that waits for a place in the queue, nor what the pipe still holds."""
    flood = "tiny = wire.pack({'status': 'x'})\nfor _ in range(2990):\n    c.send(tiny)\nc.send(tiny * 60)"
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Worker(seclude=False) as worker, pytest.raises(EndedError):
            run_with_channel(worker, f"fcntl.fcntl(c.outbox, 1031, 1 << 20)\n{flood}\ntime.sleep(600)", 5)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="processor time of all threads is looked up in /proc")
def test_time_of_all_threads_counts():
    """Or who keeps all processors busy makes the first thread wait, which is not its own time."""
    source = """
import hashlib, resource, signal, threading
def f(x):
    resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
    signal.setitimer(signal.ITIMER_PROF, 0)
    for _ in range(8):
        threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"x", b"y", 10**8), daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**8)
"""
    use = worker_process._Use(os.getpid())
    sum(range(10**7))
    assert use.computed() > 0.05
    assert use.threads >= threading.active_count()
    with Worker(seclude=False) as worker:
        assert (
            worker.ask({"do": "cell", "source": source, "name": "<c>", "first": 1, "seconds": 5.0}, 60)["errors"] == []
        )
        with pytest.raises(EndedError):
            worker.ask({"do": "call", "function": "f", "arguments": {"x": 1.5}, "seconds": 5.0}, 1.0)
        assert worker.spent >= 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="what is refused is Linux's")
def test_no_other_process_gets_a_signal():
    """Nor by a file that tells its readiness by one."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        source = f"""
import fcntl, os
def f(x):
    out, into = os.pipe()
    found = []
    for command, value in ((fcntl.F_SETOWN, {other.pid}), (fcntl.F_SETSIG, 9)):
        try:
            fcntl.fcntl(out, command, value)
        except OSError as error:
            found.append(error.errno)
    fcntl.fcntl(out, fcntl.F_SETFL, fcntl.fcntl(out, fcntl.F_GETFL) | os.O_NONBLOCK)
    return found
"""
        with Worker(seclude=False) as worker:
            filtered = worker.done["processes"]
            found = run(worker, source)["value"]
        other.kill()
    if filtered:
        assert found == [1, 1]


def test_a_directory_is_removed_however_deep_and_closed(place):
    """Deeper than a path may be long, and with directories that nobody may open."""
    top = place / "work"
    top.mkdir()
    (place / "mine.txt").write_text("kept")
    here = os.getcwd()
    try:
        os.chdir(top)
        for _ in range(1200):
            os.mkdir("deeper")
            os.symlink(place / "mine.txt", "link")
            os.chdir("deeper")
    finally:
        os.chdir(here)
    (top / "closed").mkdir()
    (top / "closed" / "file.txt").touch()
    (top / "closed").chmod(0)
    _remove(str(top))
    assert [path.name for path in place.iterdir()] == ["mine.txt"]


def test_the_environment_and_the_arguments_tell_nothing(place, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    source = "import os, sys\ndef f(x):\n    return [' '.join(os.environ), ' '.join(sys.modules)]\n"
    with Worker() as worker:
        names, modules = run(worker, source)["value"]
    assert "SECRET" not in names
    assert "minivivit" not in modules


def test_after_the_end_a_question_is_an_error(place):
    worker = Worker()
    worker.end()
    with pytest.raises(EndedError):
        worker.ask({"do": "cell", "source": "", "name": "<cell>", "first": 1, "seconds": 1.0}, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="numbers of processes are looked up in /proc")
@pytest.mark.parametrize("seclude", [True, False])
def test_the_process_that_is_watched_is_the_one_with_the_code(seclude):
    with Worker(seclude=seclude) as worker:
        before = computed(worker._student)
        run(worker, "def f(x):\n    return sum(range(10**7))\n")
        assert computed(worker._student) > before


def computed(number):
    """Nanoseconds that a process computed."""
    return int(Path(f"/proc/{number}/schedstat").read_text(encoding="ascii").split()[0])


def test_nobody_is_late_because_others_have_the_processors(monkeypatch):
    """Time that is not its own ends no process, and its own does, in whatever time by the clock."""
    own = [0.0]
    monkeypatch.setattr(worker_process.OwnTime, "seconds", lambda self: own[0])
    cell = {"do": "cell", "source": "__import__('time').sleep(0.3)", "name": "<cell 1>", "first": 1, "seconds": 5.0}
    with Worker() as worker:
        assert worker.ask(cell, 0.001)["errors"] == []
        own[0] = 60.0
        with pytest.raises(EndedError, match="did not answer in time"):
            worker.ask(cell, 59.0)


def test_what_the_grader_computes_for_it_is_its_time(monkeypatch):
    seconds = itertools.count(0, 30)
    monkeypatch.setattr(worker_process.time, "process_time", lambda: next(seconds))
    source = "from minivivit.ops import softmax\nwhile True:\n    softmax.softmax_forward(1)\n"
    cell = {"do": "cell", "source": source, "name": "<cell 1>", "first": 1, "seconds": 50.0}
    with Worker() as worker, pytest.raises(EndedError, match="what it asked the grader to compute took too long"):
        worker.ask(cell, 50.0, lambda request: {"error": None, "value": 1})
    assert worker.spent > 60


ABANDON = """
import sys, threading
from minivivit.grading.worker_process import Worker
worker = Worker()
print(worker._process.pid, *worker._numbers, flush=True)
cell = {"do": "cell", "source": "import time\\ntime.sleep(3600)", "name": "<cell 1>", "first": 1, "seconds": 5.0}
worker.ask(cell, 3600)
"""


def is_running(number):
    """Whether a process is there, and not only waiting for somebody to take note of its end."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends processes with their parents")
def test_no_process_outlives_the_grader():
    grader = subprocess.Popen([sys.executable, "-c", ABANDON], stdout=subprocess.PIPE, text=True)
    assert grader.stdout is not None
    numbers = [int(number) for number in grader.stdout.readline().split()]
    grader.kill()
    grader.wait()
    grader.stdout.close()
    while any(map(is_running, numbers)):
        time.sleep(0.05)
