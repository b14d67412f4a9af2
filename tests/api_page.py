"""Write `notebooks/api.md` from the docstrings: python tests/api_page.py > notebooks/api.md

Everything public that is defined in the package (not what a module merely imports), by module, in the order of the
source: the signature, and the docstring as it stands. Commands of the command line describe themselves with --help.
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

INTRODUCTION = """# API reference

Every public function and class of `minivivit`, with its docstring; made from the source by
`python tests/api_page.py > notebooks/api.md`. What most programs need is imported from `minivivit` itself:
{face}.

The order is that of the house: each part uses only what stands above it. `xp` is NumPy or CuPy; an `Array` is an
array of either. Of each `NAME_forward`, the backward pass `NAME_backward` stands beside it.
"""

# Titles of the parts, by the first part of a module's name, from the ground up.
PARTS = {
    "config": "Config",
    "errors": "Errors",
    "progress": "Progress bar",
    "backend": "Backend: NumPy or CuPy",
    "files": "Files",
    "bundled": "The bundled model and clip",
    "ops": "Operators",
    "layers": "Layers",
    "models": "Models",
    "video": "Video: reading and preprocessing",
    "checkpoints": "Checkpoints of scenic and of image models",
    "explore": "Looking inside",
    "training": "Training",
    "verification": "Verification",
    "checks": "Checks of students' functions",
    "grading": "Grading",
}
LEFT_OUT = ("commands", "command_line", "cli", "__main__")


def modules() -> list[ModuleType]:
    """The package's public modules, from the ground up, in the order of their names within a part."""
    names = [information.name for information in pkgutil.walk_packages(minivivit.__path__, "minivivit.")]
    public = [name for name in names if part_of(name) not in LEFT_OUT and "._" not in name]
    ordered = sorted(public, key=lambda name: (list(PARTS).index(part_of(name)), name))
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
    lines = [f"#### {title(name, thing)}", "", fenced(f"{signature(name, thing)}\n\n{described(thing)}"), ""]
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


def page() -> str:
    """The whole page."""
    described_modules = [module for module in modules() if public_things(module)]
    contents, body, part = [], [], None
    for module in described_modules:
        if part_of(module.__name__) != part:
            part = part_of(module.__name__)
            contents.append(f"- [{PARTS[part]}](#{anchor(PARTS[part])})")
            body += [f"## {PARTS[part]}", ""]
        names = ", ".join(f"`{name}`" for name in public_things(module))
        contents.append(f"  - [{module.__name__}](#{anchor(module.__name__)}): {names}")
        body += [f"### {module.__name__}", "", described(module), ""]
        for name, thing in public_things(module).items():
            body += entry(name, thing)
    face = ", ".join(f"[`{name}`](#{anchor(title(name, getattr(minivivit, name)))})" for name in minivivit.__all__)
    return "\n".join([INTRODUCTION.format(face=face), "## Contents", "", *contents, "", *body]).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
