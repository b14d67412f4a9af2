"""Write `notebooks/api.md` and the pages in `notebooks/api/` from the docstrings: python tests/api_page.py

On the first page stands what programs import from `minivivit` itself. On the others stands everything public that is
defined in the package (not what a module merely imports), by module, in the order of the source: the signature, and the
docstring as it stands. Commands of the command line describe themselves with --help.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import minivivit

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
FIRST = "api.md"
INTRODUCTION = """# API reference

Every public function and class of `minivivit`, with its docstring. On this page stands what most programs need: the
names that are imported from `minivivit` itself, {face}.
Everything else is on [a page for each part](#parts). Made from the source by `python tests/api_page.py`.
"""
PARTS_INTRODUCTION = """The order is that of the house, from the ground up: each part uses only what stands above it.
"""
PART_INTRODUCTION = """# {title}

A part of the [API reference](../api.md). `xp` is NumPy or CuPy; an `Array` is an array of either. Of each
`NAME_forward`, the backward pass `NAME_backward` stands beside it.
"""

FOUNDATIONS = ("config", "errors", "system_errors", "progress", "own_time", "backend", "bundled", "model_directory")
# The pages, from the ground up: the name of the file, its title, and whose modules are on it (the first part of their
# names).
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "foundations": ("Foundations", FOUNDATIONS),
    "files": ("Files", ("files",)),
    "ops": ("Operators", ("ops",)),
    "layers": ("Layers", ("layers",)),
    "models": ("Models", ("models",)),
    "video": ("Video: reading and preprocessing", ("video",)),
    "checkpoints": ("Checkpoints of scenic and of image models", ("checkpoints",)),
    "explore": ("Looking inside", ("explore",)),
    "training": ("Training", ("training",)),
    "verification": ("Verification", ("verification",)),
    "checks": ("Checks of students' functions", ("checks",)),
    "grading": ("Grading", ("grading",)),
    "site": ("The course as a site", ("site",)),
}
PARTS = [part for _, parts in PAGES.values() for part in parts]
LEFT_OUT = ("commands", "command_line", "cli", "__main__")


def modules() -> list[ModuleType]:
    """The package's public modules, from the ground up, in the order of their names within a part."""
    names = [information.name for information in pkgutil.walk_packages(minivivit.__path__, "minivivit.")]
    public = [name for name in names if part_of(name) not in LEFT_OUT and "._" not in name]
    ordered = sorted(public, key=lambda name: (PARTS.index(part_of(name)), name))
    return [importlib.import_module(name) for name in ordered]


def part_of(module_name: str) -> str:
    return module_name.split(".")[1]


def public_things(module: ModuleType) -> dict[str, Any]:
    """Functions and classes that the module defines itself, by name, in the order of the source."""
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {name: getattr(module, name) for name in defined if not name.startswith("_")}


def public_members(cls: type) -> dict[str, Any]:
    """Methods and properties that a class defines itself."""
    members = {}
    for name, member in vars(cls).items():
        inner = getattr(member, "__func__", member)  # of a classmethod or staticmethod
        wanted = inspect.isfunction(inner) or isinstance(inner, property)
        if wanted and (not name.startswith("_") or name == "__call__") and inner.__doc__:
            members[name] = inner
    return members


class Written:
    """A default value as it is written on the page."""

    def __init__(self, value: Any):
        # Modules, functions and classes by their names: their own text has paths and addresses of this machine in it.
        named = inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value)
        self.text = value.__name__ if named else repr(value)

    def __repr__(self) -> str:
        return self.text


def signature(name: str, thing: Any) -> str:
    """As one would call it, without the types, which the docstring explains."""
    if inspect.isclass(thing) and not (inspect.isfunction(thing.__init__) or inspect.isfunction(thing.__new__)):
        return name  # made as an exception or a dict is, which only some versions of Python tell
    original = inspect.signature(thing)
    parameters = [
        parameter.replace(
            annotation=parameter.empty,
            default=parameter.empty if parameter.default is parameter.empty else Written(parameter.default),
        )
        for parameter in original.parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    return name + str(original.replace(parameters=parameters, return_annotation=original.empty))


def described(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def title(name: str, thing: Any) -> str:
    return f"class {name}" if inspect.isclass(thing) else name


def entry(name: str, thing: Any) -> list[str]:
    """One function, or one class with its members."""
    lines = [f"### {title(name, thing)}", "", fenced(f"{signature(name, thing)}\n\n{described(thing)}"), ""]
    if inspect.isclass(thing):
        for member_name, member in public_members(thing).items():
            if isinstance(member, property):
                head = f"{name}.{member_name}"
            else:
                head = signature(f"{name}.{member_name}", member)
            lines += [fenced(f"{head}\n\n{described(member)}"), ""]
    return lines


def anchor(heading: str) -> str:
    """What a web page calls a heading: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def first_page() -> str:
    """What is imported from the package itself, the errors last, and the way to everything else."""
    face_names = sorted(minivivit.__all__, key=lambda name: name.endswith("Error"))
    things = {name: getattr(minivivit, name) for name in face_names}
    face = ", ".join(f"[`{name}`](#{anchor(title(name, thing))})" for name, thing in things.items())
    body = []
    for name, thing in things.items():
        body += entry(name, thing)
    contents = []
    for file, (heading, parts) in PAGES.items():
        contents.append(f"- [{heading}](api/{file}.md)")
        for module in described_modules(parts):
            names = ", ".join(f"`{name}`" for name in public_things(module))
            contents.append(f"  - [{module.__name__}](api/{file}.md#{anchor(module.__name__)}): {names}")
    lines = [INTRODUCTION.format(face=face), "## What is imported from `minivivit`", "", *body]
    return "\n".join([*lines, "## Parts", "", PARTS_INTRODUCTION, *contents]).rstrip() + "\n"


def page_of_parts(heading: str, parts: tuple[str, ...]) -> str:
    """All modules of some parts. What stands on the first page is named here, and not said again."""
    contents, body = [], []
    for module in described_modules(parts):
        contents.append(f"- [{module.__name__}](#{anchor(module.__name__)})")
        body += [f"## {module.__name__}", "", described(module), ""]
        for name, thing in public_things(module).items():
            if name in minivivit.__all__:
                there = f"../{FIRST}#{anchor(title(name, thing))}"
                body += [f"### {title(name, thing)}", "", f"On the [first page]({there}).", ""]
            else:
                body += entry(name, thing)
    introduction = PART_INTRODUCTION.format(title=heading)
    return "\n".join([introduction, *contents, "", *body]).rstrip() + "\n"


def described_modules(parts: tuple[str, ...]) -> list[ModuleType]:
    """The public modules of some parts, without those that only gather others."""
    return [module for module in modules() if part_of(module.__name__) in parts and public_things(module)]


def pages() -> dict[str, str]:
    """The whole reference: the name of each file, as seen from `notebooks/`, and its text."""
    others = {f"api/{file}.md": page_of_parts(heading, parts) for file, (heading, parts) in PAGES.items()}
    return {FIRST: first_page(), **others}


def main() -> None:
    """Write all pages, and remove those of parts that are no more."""
    written = pages()
    for path in (NOTEBOOKS / "api").glob("*.md"):
        if f"api/{path.name}" not in written:
            path.unlink()
    (NOTEBOOKS / "api").mkdir(exist_ok=True)
    for name, text in written.items():
        (NOTEBOOKS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
