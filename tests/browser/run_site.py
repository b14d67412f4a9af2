"""The site in a real browser: `python tests/browser/run_site.py [NOTEBOOK ...]`, with Chromium, on this machine.

Builds the site with a Pyodide inside, serves it, and drives Chromium over it: the front page at two widths, three
notebooks (or those that are named by their numbers, or `all`), and an assignment as a student would answer it: written,
checked, downloaded, and graded by `minivivit grade`. It fails on any error in a cell or on the browser's console, on
any request that leaves this machine, and on a site of more than 15 MB. Printed are the seconds to the first output and
to the end of each notebook.

Needs the extra `site`, Chromium (Debian's package, or $CHROMIUM), Node 18 or newer with npm, and what run.py needs.
"""

import argparse
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright import playwright
from run import HERE, ROOT, fetch

FEW = ("01", "04", "08")
ASSIGNMENT = "03_layer_norm_and_gelu"
MAX_BYTES = 15_000_000  # without Pyodide
MAX_SECONDS = 600  # of a notebook
WIDTHS = (1280, 390)
# Errors on the console that are not ours, by their whole text, each with its reason.
NOT_OURS: dict[str, str] = {}
SPEED = """\
import time, numpy, minivivit
size = dict(image_size=112, num_frames=16, hidden_size=192, num_hidden_layers=4, num_attention_heads=3)
config = minivivit.VivitConfig(num_labels=10, intermediate_size=768, **size)
model = minivivit.VivitForVideoClassification(config)
video = numpy.random.default_rng(0).standard_normal((1, 16, 3, 112, 112)).astype("float32")
for name, call in (("forward", lambda: model(video)), ("both", lambda: model.loss_and_gradients(video, labels=[5]))):
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    print(name, round(min(times), 3))
"""


def main() -> int:
    """Returns 0 when all of it is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", default=FEW, help="numbers such as 04, or all (default: 01 04 08)")
    parser.add_argument("--speed", action="store_true", help="time a model there and here")
    add_places(parser)
    arguments = parser.parse_args()
    with published(arguments) as place:
        problems = place.problems
        for result in drive(place, jobs(place.site, arguments)):
            problems += report(result)
        problems += grade(place.pictures / f"{ASSIGNMENT}.ipynb")
    return conclude(problems)


class Published(NamedTuple):
    """A site that is served at `address`; the folders beside it; and what is wrong with it."""

    site: Path
    address: str
    cache: Path
    pictures: Path
    problems: list[str]


def add_places(parser: argparse.ArgumentParser) -> None:
    """Let the folders be named that would be removed otherwise."""
    parser.add_argument("--cache", type=Path, help="keep what is downloaded in this folder")
    parser.add_argument("--pictures", type=Path, help="keep the pictures of pages in this folder")
    parser.add_argument("--site", type=Path, help="keep the site in this folder; where it is there already, use it")


@contextmanager
def published(arguments: argparse.Namespace) -> Iterator[Published]:
    """Build the site, unless it is there, and serve it."""
    with tempfile.TemporaryDirectory() as temporary:
        names = ("site", "cache", "pictures")
        site, cache, pictures = (getattr(arguments, name) or Path(temporary) / name for name in names)
        for folder in (cache, pictures):
            folder.mkdir(parents=True, exist_ok=True)
        problems = [] if (site / "run" / "files").is_dir() else build(site, fetch(cache)[0])
        with served(site) as address:
            yield Published(site, address, cache, pictures, problems)


def conclude(problems: list[str]) -> int:
    """Print the problems; the exit code."""
    print("\n".join(["", *problems]) if problems else "\nall of it is well")
    return bool(problems)


def build(site: Path, pyodide: Path) -> list[str]:
    """Write the site; a problem when it is too large."""
    command = [sys.executable, "-m", "minivivit", "site", str(site), "--pyodide", str(pyodide), "--with-assignments"]
    subprocess.run(command, cwd=ROOT, check=True)
    inside = site / "run" / "pyodide"
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and inside not in path.parents)
    return [f"the site has {size:,} bytes, more than {MAX_BYTES:,}"] if size > MAX_BYTES else []


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a folder as `python -m http.server` does; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def jobs(site: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What the browser does."""
    names = sorted(path.name for path in (site / "run" / "files").glob("[0-9]*.ipynb"))
    chosen = [name for name in names if "all" in arguments.notebooks or name[:2] in arguments.notebooks]
    if not chosen:
        raise SystemExit(f"there is no notebook {', '.join(arguments.notebooks)}; there are {', '.join(names)}")
    found: list[dict[str, Any]] = [
        {"kind": "picture", "page": page, "width": width, "name": f"{name}-{width}"}
        for page, name in (("index.html", "front"), (f"read/{names[3][:-6]}.html", "read"))
        for width in WIDTHS
    ]
    found += [{"kind": "run", "notebook": name, "seconds": MAX_SECONDS} for name in chosen]
    found.append(
        {"kind": "run", "notebook": f"assignments/{ASSIGNMENT}.ipynb", "answers": answers(), "seconds": MAX_SECONDS}
    )
    if arguments.speed:
        found.append({"kind": "code", "notebook": names[0], "code": SPEED, "seconds": MAX_SECONDS})
    return found


def answers() -> dict[str, str]:
    """What a good student writes into each cell of the assignment."""
    source = ROOT / "notebooks" / "assignments" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    cells = ["".join(cell["source"]) for cell in json.loads(source.read_text(encoding="utf-8"))["cells"]]
    solved = [
        re.sub(r"^ *### (?:BEGIN|END) SOLUTION\n?", "", text, flags=re.M) for text in cells if "### BEGIN SOL" in text
    ]
    return {found[1]: text for text in solved if (found := re.search(r"^def (\w+)\(", text, flags=re.M))}


def drive(place: Published, work: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Do the jobs in Chromium; yields what came of each."""
    file = place.pictures / "jobs.json"
    file.write_text(json.dumps(work), encoding="utf-8")
    command = ["node", HERE / "drive.mjs", playwright(place.cache), place.address, file, place.pictures]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        yield {"kind": "drive", "errors": [f"node ended with {process.returncode}"]}


def report(result: dict[str, Any]) -> list[str]:
    """Print what came of a job; the problems in it."""
    name = result.get("notebook") or result.get("name") or result["kind"]
    problems = [f"{name}: {error}" for error in result.get("errors", []) if error not in NOT_OURS]
    problems += [f"{name}: asked {address}" for address in result.get("outside", [])]
    problems += [f"{name}: {failure}" for failure in result.get("failures", [])]
    if result["kind"] == "run" and not result.get("done"):
        problems.append(f"{name}: only {result.get('ran')} of {result.get('cells')} cells ran to their end")
    if result["kind"] == "run" and "total" in result:
        print(f"{name}: first output after {result['first']:.0f} s, {result['cells']} cells in {result['total']:.0f} s")
    elif result["kind"] == "code":
        problems += compare_speed(result.get("text", ""))
    else:
        print(f"{name}: {'a picture' if not problems else 'wrong'}")
    sys.stdout.flush()
    return problems


def compare_speed(there: str) -> list[str]:
    """Print how much slower the browser is than this machine's own Python."""
    here = subprocess.run([sys.executable, "-c", SPEED], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    times = [dict(re.findall(r"^(\w+) ([\d.]+)$", text, flags=re.M)) for text in (there, here)]
    if set(times[0]) != set(times[1]):
        return [f"the model could not be timed: {there}"]
    for name in times[1]:
        a, b = (float(found[name]) for found in times)
        print(f"{name}: {a:.2f} s in the browser, {b:.2f} s here with {os.cpu_count()} processors: {a / b:.1f} times")
    return []


def grade(file: Path) -> list[str]:
    """Grade the downloaded assignment as a teacher does; a problem unless it earns all points."""
    if not file.is_file():
        return ["the assignment could not be downloaded"]
    results = file.with_suffix(".json")
    command = [sys.executable, "-m", "minivivit", "grade", str(file), "--json", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print((done.stdout + done.stderr).strip())
    found = re.search(r": ([\d.]+) of (\d+) points", done.stdout)
    if done.returncode or not found or float(found[1]) != float(found[2]):
        return [f"the downloaded assignment was not graded with all points: {done.stdout}{done.stderr}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
