"""JupyterLite, built into the site: the notebooks to run, in a Python that has the package when it starts."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from minivivit.errors import InputError, MissingExtraError
from minivivit.site.pyodide import PACKAGES, Pyodide, copy_pyodide
from minivivit.site.wheels import Wheel

ASSETS = Path(__file__).parent / "assets"
KERNEL = "@jupyterlite/pyodide-kernel-extension"
# The extensions that go into the site, with the packages that bring them; others that happen to be here do not.
EXTENSIONS = {KERNEL: "jupyterlite-pyodide-kernel", "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets"}
# In the page of a notebook. Browsers would ask the server's root for an icon.
IN_NOTEBOOKS = '<link rel="icon" href="favicon.ico"><script src="../python/progress.js" defer></script>'
# The kernel's own wheels, which lie in its extension.
KERNEL_WHEELS = ("piplite", "pyodide_kernel", "ipykernel")
# Of its build: Font Awesome, of whose icons no page and no widget of the course has one, letters that no formula of the
# course has, settings that all.json holds too.
UNUSED = (
    "build/fa-*",
    "build/MathJax_Fraktur-*",
    "build/MathJax_SansSerif-*",
    "build/MathJax_Script-*",
    "build/MathJax_Calligraphic-*",
    "build/MathJax_Main-Italic.*",
    "build/MathJax_Typewriter-*",
    "*/package.json",
    "extensions/**/*.orig",
)
# Without its service worker, Python has files of its own. With it, Python's every look into its folder, of which an
# import makes many, would be a request that the page answers: slow, and where the answer was lost, without an end.
DISABLED = (
    "@jupyterlite/application-extension:service-worker-manager",
    "@jupyterlab/apputils-extension:licenses-client",
    "@jupyterlab/apputils-extension:licenses-plugin",
    "@jupyterlab/help-extension:licenses-commands",
)  # the licences stand, shorter, in this file of the build
LICENCES = "third-party-licenses.txt"
ABOUT_LICENCES = "Packages, and their licences. A paragraph stands where it comes first; afterwards, only its number.\n"
RULE = f"\n{'-' * 40}\n\n"
UNUSED_FOLDER = "build/schemas/@jupyterlab"
# Style sheets lie in scripts, each with the map of its own source, for those who write JupyterLab.
STRINGS = r"""\[(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|,)*\]"""
MAP_OF_STYLES = (
    rf',\{{version:3,sources:{STRINGS},names:{STRINGS},mappings:"[^"]*",(?:sourcesContent:{STRINGS},)?sourceRoot:""\}}'
)
# The kernel has a second worker for servers that isolate their pages. The first works there too.
WORKERS = re.compile(r"crossOriginIsolated\?new Worker\(new URL\(\w+\.p\+\w+\.u\((\d+)\).*?\):(?=new Worker\()")
ISOLATED = "crossOriginIsolated"
ICON_SIZE = 32
# The languages of code that the notebooks and pages show; an editor of JupyterLab knows a hundred.
LANGUAGES = ("Python", "ipython", "JSON", "Markdown", "Shell", "YAML", "TOML", "HTML", "CSS", "Javascript", "JSX")
# What nobody here asks for: diagrams (Mermaid with its layouts, Vega), terminals, tables of CSV, trees of JSON, regular
# expressions for old browsers, the other languages. Each is where JupyterLab's scripts load it.
NOT_ASKED_FOR = (
    r"\.version;const \w+=\w+=\(await Promise\.all\(\[[^\]]*\]\)",
    r"ensureMermaidElk=async function.{0,300}?\.e\(\d+\)",
    r"ensureVega=function\(\).{0,200}?\.e\(\d+\)",
    r'"(?:vega(?:-lite|-embed)?|@lumino/datagrid|react-json-tree)",(?:"[^"]*"|\[[^\]]*\]),\(\(\)=>.{0,300}?\.then',
    r"instanceof WebGLRenderingContext\}.{0,600}?\]\)",
    r'flags\.includes\("d"\)\).{0,200}?\.e\(\d+\)',
    rf'name:"(?!(?:{"|".join(LANGUAGES)})")[^"]+",displayName:[^{{}}]*?load:async\(\)=>[^{{}}]*\}}',
)


def build_jupyterlite(target: Path, work: Path, contents: Path, pyodide: Pyodide, wheels: list[Wheel]) -> None:
    """Build JupyterLite.

    Parameters
    ----------
    target : pathlib.Path
        Where it shall stand, not there yet.
    work : pathlib.Path
        An empty folder for the build's own files.
    contents : pathlib.Path
        What the reader finds in it: notebooks, and what they import.
    pyodide : Pyodide
    wheels : list of Wheel
        What Python has beside Pyodide's packages.

    Raises
    ------
    MissingExtraError
        When JupyterLite is not installed.
    InputError
        When its build fails; the message ends with its last line.
    """
    settings = {
        "contents": [str(contents)],
        "output_dir": str(target),
        "apps": ["notebooks", "tree", "edit"],
        "no_sourcemaps": True,
        "no_unused_shared_packages": True,
        "ignore_sys_prefix": ["federated_extensions"],
        "federated_extensions": [str(_extension(name, package)) for name, package in EXTENSIONS.items()],
    }
    (work / "jupyter_lite_config.json").write_text(json.dumps({"LiteBuildConfig": settings}), encoding="utf-8")
    (work / "jupyter-lite.json").write_text(json.dumps(_configuration(contents, pyodide, wheels)), encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlite_core", "build"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
        raise InputError(f"JupyterLite's build failed: {lines[-1].strip()}")
    _put_in(target, wheels)
    copy_pyodide(pyodide, target)
    _leave_out(target)


def _extension(name: str, package: str) -> Path:
    """Where a package keeps the extension of JupyterLab that it brings."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(package, "site", "the site") from None
    for place in distribution.files or []:
        if place.as_posix().endswith(f"labextensions/{name}/package.json"):
            return Path(str(place.locate())).resolve().parent
    raise InputError(f"the installed {package} holds no extension {name}; reinstall it")


def _configuration(contents: Path, pyodide: Pyodide, wheels: list[Wheel]) -> dict[str, Any]:
    """What JupyterLite is told: start.js stands in for pyodide.js, and puts the wheels where Python finds them."""
    own = {wheel.name.partition("-")[0]: f"python/{wheel.name}" for wheel in wheels}
    for path in sorted((_extension(KERNEL, EXTENSIONS[KERNEL]) / "static" / "pypi").glob("*.whl")):
        if path.name.partition("-")[0] in KERNEL_WHEELS:
            own[path.name.partition("-")[0]] = f"extensions/{KERNEL}/static/pypi/{path.name}"
    kernel = {
        "pyodideUrl": "./python/start.js",
        "disablePyPIFallback": pyodide.folder is not None,
        "loadPyodideOptions": {
            "indexURL": pyodide.url,
            "liteURL": "./",  # names that end in URL become whole addresses
            "packages": [*PACKAGES, *own],
            "wheels": own,
            "files": sorted(path.name for path in contents.glob("*.py")),
        },
    }
    return {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {
            "appName": "minivivit",
            "appUrl": "./tree",
            "exposeAppInBrowser": True,
            "enableMemoryStorage": True,
            "disabledExtensions": list(DISABLED),
            "litePluginSettings": {f"{KERNEL}:kernel": kernel},
        },
    }


def _put_in(target: Path, wheels: list[Wheel]) -> None:
    """What starts Python, and what says how far it is."""
    python = target / "python"
    python.mkdir()
    for wheel in wheels:
        (python / wheel.name).write_bytes(wheel.data)
    for name in ("start.js", "progress.js"):
        (python / name).write_bytes((ASSETS / name).read_bytes())
    page = target / "notebooks" / "index.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</head>", IN_NOTEBOOKS + "</head>"), "utf-8")


def _leave_out(target: Path) -> None:
    """Remove what this site's readers never load: half of JupyterLite."""
    for pattern in UNUSED:
        for path in target.glob(pattern):
            path.unlink()
    shutil.rmtree(target / UNUSED_FOLDER)
    _shorten_licences(target)
    scripts = {path: path.read_text(encoding="utf-8") for path in (target / "build").rglob("*.js")}
    for path in _not_asked_for(scripts):
        path.unlink()
    for path in target.glob("**/favicon.ico"):
        with Image.open(path) as icon:
            icon.resize((ICON_SIZE, ICON_SIZE)).save(path, sizes=[(ICON_SIZE, ICON_SIZE)])
    for path in [*(target / "build").rglob("*.js"), *(target / "extensions").rglob("*.js")]:
        text = path.read_text(encoding="utf-8")
        shorter = re.sub(MAP_OF_STYLES, "", text)
        if shorter != text:
            path.write_text(shorter, "utf-8")
    for path in target.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")), "utf-8")
    _leave_one_worker(target / "extensions" / KERNEL / "static")


def _leave_one_worker(static: Path) -> None:
    """Remove the kernel's worker for isolated pages, and tell the kernel that no page is one."""
    scripts = {path: path.read_text(encoding="utf-8") for path in static.glob("*.js")}
    pieces = {piece for text in scripts.values() for piece in WORKERS.findall(text)}
    for path, text in scripts.items():
        if path.name.partition(".")[0] in pieces:
            path.unlink()
        elif ISOLATED in text:
            path.write_text(WORKERS.sub("", text).replace(ISOLATED, "false"), "utf-8")


def _shorten_licences(target: Path) -> None:
    """Write each paragraph of all licences once, and what each package's text is made of: a third of the bytes."""
    texts: dict[str, list[str]] = {}
    for listed in sorted(target.glob("**/third-party-licenses.json")):
        for package in json.loads(listed.read_text(encoding="utf-8"))["packages"]:
            text = package.get("extractedText") or package.get("licenseId") or "no text was given"
            name = f"{package['name']} {package.get('versionInfo', '')}".strip()
            texts.setdefault(text, []).append(name)
        listed.unlink()
    numbers: dict[str, int] = {}
    parts = []
    for text, names in texts.items():
        shown = []
        for paragraph in filter(None, (part.strip() for part in re.split(r"\n\s*\n", text))):
            key = " ".join(paragraph.split())
            known = key in numbers
            number = numbers.setdefault(key, len(numbers) + 1)
            shown.append(f"[{number}]" if known else f"[{number}] {paragraph}")
        parts.append("\n".join(dict.fromkeys(names)) + "\n\n" + "\n".join(shown))
    (target / "build" / LICENCES).write_text(ABOUT_LICENCES + RULE + RULE.join(parts), encoding="utf-8")


def _not_asked_for(scripts: dict[Path, str]) -> set[Path]:
    """The pieces of webpack's bundle that nothing else loads."""
    pieces = {path.name.split(".")[0]: path for path in scripts if path.name[0].isdigit()}

    def loads(text: str) -> set[str]:
        return set(re.findall(r"\.e\((\d+)\)", text))

    waiting = set()
    for path, text in scripts.items():
        if path not in pieces.values():
            for pattern in NOT_ASKED_FOR:
                text = re.sub(pattern, "", text)
            waiting |= loads(text)
    kept: set[str] = set()
    while waiting:
        piece = waiting.pop()
        kept.add(piece)
        if piece in pieces:
            waiting |= loads(scripts[pieces[piece]]) - kept
    return {path for piece, path in pieces.items() if piece not in kept}
