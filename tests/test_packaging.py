"""The house rules that a machine can check: what imports bring in, which floor imports which, what is written down."""

import ast
import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest

import minivivit

PACKAGE = Path(minivivit.__file__).parent
ROOT = Path(__file__).parent.parent
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]

# DESIGN's floors, by the first part of a module's name after "minivivit.".
FLOORS = {
    **dict.fromkeys(("errors", "backend", "config", "progress", "own_time", "files", "bundled"), 1),
    **dict.fromkeys(("system_errors", "model_directory"), 1),
    "ops": 2,
    "layers": 3,
    "models": 4,
    **dict.fromkeys(("video", "checkpoints", "explore"), 5),
    **dict.fromkeys(("training", "verification"), 6),
    **dict.fromkeys(("checks", "grading", "site"), 7),
    **dict.fromkeys(("commands", "command_line", "cli", "__main__"), 8),
    "__init__": 9,
}
EXTRAS = ("av", "torch", "transformers", "cupy", "msgpack", "matplotlib", "IPython", "jupyter", "nbgrader", "mpi4py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported_modules(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def floor_of(module: str) -> int:
    """The floor of "minivivit.ops.linear.linear_forward", say; a name of the package itself is on the top floor."""
    part = module.split(".")[1] if "." in module else "__init__"
    return FLOORS.get(part, FLOORS["__init__"])


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]


# --------------------------------------------------------------------------------------------------------------------
# Imports
# --------------------------------------------------------------------------------------------------------------------


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_brings_in_no_extra():
    loaded = run_python("import sys; from minivivit import *; print('\\n'.join(sys.modules))").split()
    assert "minivivit.models.vivit" in loaded
    assert [name for name in loaded if name.partition(".")[0] in EXTRAS] == []


def test_neither_does_the_command_line():
    code = "import sys; from minivivit.cli import main; main(['info', '--table2']); print('\\n'.join(sys.modules))"
    assert [name for name in run_python(code).split() if name.partition(".")[0] in EXTRAS] == []


# Of Python's own library; Pyodide 0.27, Python for browsers, comes without it.
PYODIDE_LACKS = (
    "_curses _dbm _hashlib _lzma _multiprocessing _posixshmem _sqlite3 _ssl _tkinter curses dbm fcntl grp lzma pty pwd "
    "readline resource sqlite3 ssl syslog termios tkinter tty venv"
)
IMPORT_AS_IN_A_BROWSER = """
import importlib, pkgutil, sys

class Pyodide:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        strange = not top.startswith("_") and top not in sys.stdlib_module_names and top not in THERE
        if strange or top in LACKING:
            raise ModuleNotFoundError(name)

for name in LACKING:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Pyodide())
import minivivit
names = [name for name in minivivit.__all__ if getattr(minivivit, name)]
for found in pkgutil.walk_packages(minivivit.__path__, "minivivit."):
    if not found.name.endswith("__main__"):
        names.append(importlib.import_module(found.name).__name__)
print(len(names))
"""


def test_importing_needs_nothing_that_a_browser_lacks():
    """Every public name, and every module: with the core's dependencies and what Pyodide has of Python's library."""
    there = ["minivivit", "numpy", "scipy", "PIL", "threadpoolctl", "tqdm"]
    code = f"LACKING, THERE = {PYODIDE_LACKS.split()}, {there}\n" + IMPORT_AS_IN_A_BROWSER
    assert int(run_python(code)) > len(FILES) - 30


COUNT_THE_IMPORT = """
import sys, threading
sys.path.append(sys.argv[1])
from counting import num_calls
foundation = num_calls(lambda: exec("import numpy, scipy.special, scipy.ndimage, PIL.Image, tqdm"))
import threadpoolctl
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
ours = num_calls(lambda: exec("from minivivit import *"))
print(foundation, ours, threading.active_count(), *(name for name in opened if not name.endswith((".py", ".pyc"))))
"""


def test_importing_the_package_does_little():
    """Beside the import of what we stand on our own is a tenth: no thread starts, and no file but code is opened."""
    command = [sys.executable, "-c", COUNT_THE_IMPORT, str(Path(__file__).parent)]
    foundation, ours, num_threads, *opened = subprocess.check_output(command, text=True).split()
    assert int(ours) < int(foundation) / 5
    assert int(num_threads) == 1
    assert opened == []


@pytest.mark.parametrize("name", NAMES)
def test_a_floor_imports_from_floors_below_or_its_own_wing(name):
    own = PACKAGE / name
    module = ".".join(("minivivit", *Path(name).with_suffix("").parts))
    own_floor, own_part = floor_of(module), module.split(".")[1]
    for imported in imported_modules(own):
        if imported.partition(".")[0] != "minivivit":
            continue
        floor = floor_of(imported)
        assert floor <= own_floor, f"{name} is on floor {own_floor} and imports {imported} from floor {floor}"
        if floor == own_floor and floor in (2, 3, 4):
            assert imported.split(".")[1] == own_part


def test_there_are_no_circles():
    """A module may be imported first, whichever it is."""
    seen: dict[str, set[str]] = {}
    modules = {".".join(("minivivit", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}

    def visit(module: str, ahead: tuple[str, ...]) -> None:
        assert module not in ahead, " imports ".join((*ahead, module))
        if module not in seen:
            seen[module] = {
                other
                for name in imported_modules(modules[module])
                for other in (name, name.rpartition(".")[0])
                if other in modules
            }
            for other in seen[module]:
                visit(other, (*ahead, module))

    for module in modules:
        visit(module, ())


def test_there_are_no_circles_between_rooms():
    """A folder can be read before or after another, never each before the other."""

    def room_of(module: str) -> str:
        return module.rpartition(".")[0]

    modules = {".".join(("minivivit", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    needs: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {other for name in imported_modules(path) for other in (name, name.rpartition(".")[0])}
        rooms = {room_of(name) for name in names if name in modules} - {"minivivit"}
        needs.setdefault(room_of(module), set()).update(rooms - {room_of(module)})

    def visit(room: str, ahead: tuple[str, ...]) -> None:
        assert room not in ahead, " needs ".join((*ahead, room))
        for other in needs[room]:
            visit(other, (*ahead, room))

    for room in needs.keys() - {"minivivit"}:
        visit(room, ())


@pytest.mark.parametrize("room", sorted({path.parent for path in FILES} - {PACKAGE / "ops"}), ids=str)
def test_a_room_holds_about_a_dozen_files(room):
    assert len([path for path in room.glob("*.py") if path.name != "__init__.py"]) <= 14


def test_the_command_line_is_imported_by_nobody():
    top = {"__main__.py", "cli.py", "command_line.py"}
    for path, name in zip(FILES, NAMES, strict=True):
        if name in top or name.startswith("commands"):
            continue
        assert not any(
            imported.startswith(("minivivit.cli", "minivivit.command")) for imported in imported_modules(path)
        )


def test_only_the_backend_knows_cupy():
    for path, name in zip(FILES, NAMES, strict=True):
        imports = {module.partition(".")[0] for module in imported_modules(path)}
        assert "cupy" not in imports
        assert not imports & {"cupyx", "torch", "transformers", "jax"}
        if name != "backend.py":
            strings = {node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)}
            assert not {text for text in strings if isinstance(text, str) and text.startswith("cupyx")}
            assert "import_module" not in path.read_text() or "cupy" not in path.read_text()


def test_only_one_file_knows_mpi():
    knows = [
        name
        for path, name in zip(FILES, NAMES, strict=True)
        if any(module.partition(".")[0] == "mpi4py" for module in imported_modules(path))
    ]
    assert knows == ["training/parallel/mpi.py"]


def test_dependencies_are_those_of_the_design():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9_-]", dependency)[0] for dependency in project["dependencies"]}
    assert names == {"numpy", "scipy", "pillow", "tqdm", "threadpoolctl"}
    extras = {"cuda12", "cuda13", "video", "scenic", "notebooks", "teaching", "mpi", "test", "parity"}
    assert extras <= set(project["optional-dependencies"])


# --------------------------------------------------------------------------------------------------------------------
# Operators
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["ops", "layers"])
def test_every_forward_has_its_backward_below_it(folder):
    pairs = 0
    for path in (PACKAGE / folder).glob("*.py"):
        lines = {node.name: node.lineno for node in tree_of(path).body if isinstance(node, ast.FunctionDef)}
        for name, line in lines.items():
            if name.endswith("_forward"):
                backward = name.removesuffix("_forward") + "_backward"
                assert backward in lines, f"{path.name} has {name} but no {backward}"
                assert lines[backward] > line
                pairs += 1
            if name.endswith("_backward"):
                assert name.removesuffix("_backward") + "_forward" in lines
    assert pairs >= 5


# --------------------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------------------


def length_without_docstring(function: ast.FunctionDef) -> int:
    assert function.end_lineno is not None
    first = function.body[0]
    docstring = 0
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        docstring = first.end_lineno - first.lineno + 1
    return function.end_lineno - function.lineno + 1 - docstring


# The constructor of the config is a list of its fields, which no reader wants in parts.
LONG = {("config.py", "__init__")}


@pytest.mark.parametrize("name", NAMES)
def test_functions_fit_on_a_screen(name):
    long = {
        function.name: length_without_docstring(function)
        for function in functions(PACKAGE / name)
        if length_without_docstring(function) > 50 and (name, function.name) not in LONG
    }
    assert long == {}


def test_everything_public_has_a_docstring():
    missing = []
    for information in pkgutil.walk_packages(minivivit.__path__, "minivivit."):
        if information.name.endswith("__main__"):
            continue
        module = importlib.import_module(information.name)
        if not module.__doc__ and Path(module.__file__ or "").stat().st_size > 0:
            missing.append(module.__name__)
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(thing) and not thing.__doc__:
                missing.append(f"{module.__name__}.{name}")
            if inspect.isclass(thing):
                members = {name: thing, **{f"{name}.{key}": value for key, value in vars(thing).items()}}
                missing += [
                    f"{module.__name__}.{key}"
                    for key, value in members.items()
                    if not key.rpartition(".")[2].startswith("_")
                    and (inspect.isfunction(value) or inspect.isclass(value) or isinstance(value, property))
                    and not value.__doc__
                ]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_be_done(name):
    source = (PACKAGE / name).read_text(encoding="utf-8")
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    assert not [comment for comment in comments if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment)]


def test_the_top_level_holds_what_the_design_names():
    allowed = {"minivivit", "notebooks", "tests", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository")
    tops = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert tops - {".gitignore", ".ci", ".github"} <= allowed
