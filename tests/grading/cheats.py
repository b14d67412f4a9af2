"""What students did, or could do, to get points for no answer. Each is Python that stands in for THE_TASK.

A part of them takes the package's own answer: BORROW, which does so for every task, stands for every way to spell it.
"""

BORROW = "from minivivit.grading.tasks import TASKS\n    return TASKS['THE_TASK'].reference(*arguments)"

# They call what holds the answer, in different places and with the watch of the checks taken away.
BORROWERS = {
    "calls the package": f"""
def THE_TASK(*arguments):
    {BORROW}
""",
    "in a thread": f"""
def borrow(*arguments):
    {BORROW}

def THE_TASK(*arguments):
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.append(borrow(*arguments)))
    thread.start()
    thread.join()
    return found[0]
""",
    "in a pool of threads": f"""
def borrow(*arguments):
    {BORROW}

def THE_TASK(*arguments):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor() as pool:
        return pool.submit(borrow, *arguments).result()
""",
    "without the profile function": f"""
import sys

def THE_TASK(*arguments):
    sys.setprofile(None)
    {BORROW}
""",
    "without the profile function, by a partial": f"""
import functools, sys
off = functools.partial(sys.setprofile, None)

def THE_TASK(*arguments):
    off()
    {BORROW}
""",
    "with a trace function": f"""
import sys

def borrow(*arguments):
    {BORROW}

def THE_TASK(*arguments):
    found = []
    def trace(frame, event, argument):
        sys.settrace(None)
        sys.setprofile(None)
        found.append(borrow(*arguments))
    sys.settrace(trace)
    (lambda: None)()
    return found[0]
""",
    "in what is looked at later": f"""
def borrow(*arguments):
    {BORROW}

class Lazy:
    def __init__(self, arguments):
        self.arguments = arguments
    def __array__(self, dtype=None, copy=None):
        return borrow(*self.arguments)

def THE_TASK(*arguments):
    return Lazy(arguments)
""",
    "in the comparison of the answer": f"""
def borrow(*arguments):
    {BORROW}

class Lazy(np.ndarray):
    arguments = ()
    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return getattr(ufunc, method)(*(borrow(*self.arguments) if one is self else one for one in inputs), **keywords)

def THE_TASK(*arguments):
    Lazy.arguments = arguments
    return borrow(*arguments).view(Lazy)
""",
    "in a decorator": """
import functools

@functools.cache
def borrowed():
    from minivivit.grading.tasks import TASKS
    return TASKS

def THE_TASK(*arguments):
    return borrowed()['THE_TASK'].reference(*arguments)
""",
    "by import_module": """
def THE_TASK(*arguments):
    import importlib
    return importlib.import_module("minivivit.grading.tasks").TASKS["THE_TASK"].reference(*arguments)
""",
    "through ctypes": """
import ctypes

def THE_TASK(*arguments):
    space = {"arguments": arguments}
    code = b"from minivivit.grading.tasks import TASKS\\nanswer = TASKS['THE_TASK'].reference(*arguments)"
    run = ctypes.pythonapi.PyRun_String
    run.restype, run.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_int, ctypes.py_object, ctypes.py_object]
    run(code, 257, space, space)
    return space["answer"]
""",
    "from the place where NumPy lies": """
def THE_TASK(*arguments):
    import os, sys
    for place in (os.path.dirname(os.path.dirname(np.__file__)), THE_PLACE):
        sys.path.insert(0, place)
    for name in [name for name in sys.modules if name.startswith("minivivit")]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if "stand_ins" not in str(finder)]
    from minivivit.grading.tasks import TASKS
    return TASKS["THE_TASK"].reference(*arguments)
""",
    "by another loader": """
def THE_TASK(*arguments):
    import importlib.machinery, importlib.util
    finder = importlib.machinery.PathFinder.find_spec("minivivit", [THE_PLACE])
    module = importlib.util.module_from_spec(finder)
    sys = __import__("sys")
    sys.modules["minivivit"] = module
    finder.loader.exec_module(module)
    from minivivit.grading.tasks import TASKS
    return TASKS["THE_TASK"].reference(*arguments)
""",
}

# They look for the answer elsewhere, or at who compares. What they would find works nowhere but beside a checker.
ATTACKERS = {
    "in a process": """
def THE_TASK(*arguments):
    import subprocess, sys, json
    code = "import sys, json, numpy; from minivivit.grading.tasks import TASKS; arrays = json.load(sys.stdin);"
    code += "print(json.dumps(TASKS['THE_TASK'].reference(*map(numpy.array, arrays)).tolist()))"
    sent = json.dumps([np.asarray(one).tolist() for one in arguments])
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, text=True)
    return np.array(json.loads(done.stdout))
""",
    "in a pool of processes": """
def borrow(*arguments):
    from minivivit.grading.tasks import TASKS
    return TASKS["THE_TASK"].reference(*arguments)

def THE_TASK(*arguments):
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(borrow, arguments)
""",
    "in a child": """
def THE_TASK(*arguments):
    import os, pickle
    out, into = os.pipe()
    if not os.fork():
        from minivivit.grading.tasks import TASKS
        os.write(into, pickle.dumps(TASKS["THE_TASK"].reference(*arguments)))
        os._exit(0)
    return pickle.loads(os.read(out, 1 << 20))
""",
    "out of the checker's frame": """
def THE_TASK(*arguments):
    import sys
    frame = sys._getframe()
    while frame is not None:
        for name in ("want", "expected", "answers", "cases"):
            if name in frame.f_locals:
                found = frame.f_locals[name]
                return found[0] if isinstance(found, tuple) else found
        frame = frame.f_back
    return None
""",
    "out of gc": """
def THE_TASK(*arguments):
    import gc
    for one in gc.get_objects():
        if type(one) is tuple and len(one) == 1 and isinstance(one[0], np.ndarray):
            if one[0].shape == np.shape(arguments[0]) and one[0] is not arguments[0]:
                return one[0]
    for one in gc.get_objects():
        if getattr(one, "__name__", "") in ("softmax_forward", "run_check", "softmax"):
            return one(*arguments)
    return None
""",
    "with tolerances that forgive": """
import minivivit.checks.comparison
minivivit.checks.comparison.TOLERANCE = {"float32": np.inf, "float64": np.inf}
np.allclose = np.array_equal = np.isclose = lambda *arguments, **keywords: True
np.abs = np.absolute = abs = lambda *arguments: 0

def THE_TASK(*arguments):
    np.testing.assert_allclose = lambda *arguments, **keywords: None
    return np.zeros(np.shape(arguments[0]))
""",
    "with a reference that agrees": """
def THE_TASK(*arguments):
    import minivivit.ops.softmax, minivivit.checks.attention_checks as checks
    minivivit.ops.softmax.softmax_forward = lambda x: (0 * x, {})
    for task in vars(checks).values():
        if hasattr(task, "reference"):
            object.__setattr__(task, "reference", lambda *arguments: 0 * arguments[0])
    return np.zeros(np.shape(arguments[0]))
""",
    "with a report that is full": """
import minivivit.checks, minivivit.checks.report, minivivit.checks.run_check as run_check

class Full(float):
    def points(self, full):
        return full

minivivit.checks.report.Report = run_check.Report = Full
run_check.judge = run_check.conclude = lambda *arguments, **keywords: Full(1)
minivivit.checks.THE_TASK = lambda *arguments, **keywords: Full(1)

def THE_TASK(*arguments):
    return None
""",
    "with the shipped seed": """
import numpy as np
known = {}
try:
    from minivivit.grading.tasks import TASKS
    for seed in (1, *range(58100, 58700)):
        for case in TASKS["THE_TASK"].cases(np.random.default_rng(seed)):
            known[next(iter(case.arguments.values())).tobytes()] = TASKS["THE_TASK"].reference(*case.arguments.values())
except Exception:
    pass

def THE_TASK(*arguments):
    return known[arguments[0].tobytes()]
""",
    "from the package's source": """
def THE_TASK(*arguments):
    import glob, os
    text = open(os.path.join(THE_PLACE, "minivivit", "ops", "softmax.py")).read()
    space = {"__name__": "copied"}
    exec(text, space)
    return space["softmax_forward"](*arguments)[0]
""",
    "from the solutions": """
def THE_TASK(*arguments):
    import json, os
    folder = os.path.join(THE_PLACE, "notebooks", "assignments")
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".ipynb"):
                space = {}
                for cell in json.load(open(os.path.join(root, name)))["cells"]:
                    if "".join(cell["source"]).startswith("def THE_TASK"):
                        exec("".join(cell["source"]), {"np": np}, space)
                        return space["THE_TASK"](*arguments)
    raise LookupError
""",
    "from the grader's memory": """
def THE_TASK(*arguments):
    import os
    with open(f"/proc/{os.getppid()}/maps") as maps, open(f"/proc/{os.getppid()}/mem", "rb") as memory:
        return np.frombuffer(memory.read(1 << 20))
""",
    "by claiming so": """
def THE_TASK(*arguments):
    import os
    body = b'["dict", [["status", ["plain", "returned"]], ["score", ["float", "0x1p+0"]], ["right", ["plain", true]]]]'
    message = len(body).to_bytes(4, "big") + body
    for number in range(3, 64):
        try:
            os.write(number, len(message).to_bytes(8, "big") + message)
        except OSError:
            pass
    return None
""",
    "with something that equals all": """
class Equal:
    dtype, shape, size, ndim = np.dtype("float64"), (), 1, 0
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    def __rsub__(self, other): return 0
    def __le__(self, other): return True
    def __abs__(self): return 0
    def __len__(self): return 1
    def __float__(self): return 0.0
    def __getattr__(self, name): return lambda *arguments: 0
    def __instancecheck__(self, kind): return True

def THE_TASK(*arguments):
    return Equal()
""",
    "with SciPy's answer": """
import scipy.special

def THE_TASK(*arguments):
    return scipy.special.softmax(arguments[0], axis=-1)
""",
    "with SciPy's answer out of gc": """
import gc, scipy.special

def THE_TASK(*arguments):
    for one in gc.get_objects():
        if getattr(one, "__name__", "") == "softmax" and callable(one):
            return one(arguments[0], axis=-1)
    raise LookupError
""",
    "with another framework": """
def THE_TASK(*arguments):
    import torch
    return torch.softmax(torch.tensor(arguments[0]), -1).numpy()
""",
    "with a message of its own making": """
def THE_TASK(*arguments):
    import os, sys
    frame, there = sys._getframe(), {}
    while frame is not None:
        there.update(frame.f_locals)
        frame = frame.f_back
    wire = sys.modules.get("wire") or there["self"].handle.__func__.__globals__["wire"]
    number = there["message"]["number"] if "message" in there else there["number"]
    for more in ({"score": 1.0, "right": True, "points": 3}, {"value": arguments[0], "faults": []}):
        there["self"].channel.send(wire.pack({"status": "returned", "number": number, "arguments": {}, **more}))
    return None
""",
    "by asking for what is not lent": """
def THE_TASK(*arguments):
    import sys
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "ask"):
        frame = frame.f_back
    for name in ("minivivit.checks.THE_TASK", "minivivit.grading.tasks.TASKS", "model.__class__", "minivivit.eval"):
        try:
            return frame.f_locals["self"].ask(name, arguments, {})
        except Exception:
            pass
    raise LookupError
""",
    "by every way to read a file": """
def THE_TASK(*arguments):
    import _io, linecache, mmap, os, posix, tokenize
    place = os.path.join(THE_PLACE, "minivivit", "ops", "softmax.py")
    for read in (
        lambda: bytes(np.memmap(place, mode="r")),
        lambda: np.fromfile(place, dtype="u1").tobytes(),
        lambda: _io.FileIO(place).readall(),
        lambda: os.read(posix.open(place, 0), 1 << 20),
        lambda: tokenize.open(place).read(),
        lambda: "".join(linecache.getlines(place)) or 1 / 0,
        lambda: mmap.mmap(posix.open(place, 0), 0)[:],
        lambda: os.read(os.open(os.path.basename(place), 0, dir_fd=os.open(os.path.dirname(place), 0)), 1 << 20),
    ):
        try:
            space = {"__name__": "copied"}
            exec(read(), space)
            return space["softmax_forward"](*arguments)[0]
        except Exception:
            pass
    raise LookupError
""",
    "with hooks of the import taken away": """
def THE_TASK(*arguments):
    import builtins, importlib, sys
    sys.addaudithook(lambda *event: None)
    builtins.PermissionError = ValueError
    sys.meta_path[:] = [importlib.machinery.PathFinder]
    sys.path[:] = [THE_PLACE]
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.startswith("minivivit")]:
        del sys.modules[name]
    return importlib.import_module("minivivit.grading.tasks").TASKS["THE_TASK"].reference(*arguments)
""",
    "with an answer that changes afterwards": """
import threading

def THE_TASK(*arguments):
    answer = np.zeros(np.shape(arguments[0]))

    def change():
        while True:
            answer[...] = np.inf
            answer[...] = -np.inf

    threading.Thread(target=change, daemon=True).start()
    return answer
""",
    "with infinities and what is no number": """
def THE_TASK(*arguments):
    return np.full(np.shape(arguments[0]), np.inf) - np.inf
""",
    "with floats of their own kind": """
class Agrees(float):
    def __sub__(self, other): return Agrees(0)
    __rsub__ = __sub__
    def __eq__(self, other): return True
    def hex(self): return "0x0p+0"

def THE_TASK(*arguments):
    return [Agrees(1)] * len(arguments[0])
""",
}
