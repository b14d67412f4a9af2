"""The whole site: its front page, its pages, and JupyterLite beside them."""

import json
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from minivivit.errors import MissingExtraError
from minivivit.explore.page import More, assemble
from minivivit.site.front import answers_over_time
from minivivit.site.jupyterlite import LICENCES, build_jupyterlite
from minivivit.site.pyodide import Pyodide
from minivivit.site.reading import Links, markdown_page, notebook_page, source_page
from minivivit.site.sources import (
    ONE_PAGE,
    Entry,
    assignments,
    first_heading,
    helpers,
    notebooks,
    pages,
    read_notebook,
    without_outputs,
)
from minivivit.site.wheels import Wheel, wheel_of_clone, wheel_of_installed

ASSETS = Path(__file__).parent / "assets"
READ, RUN, LIVE = "read", "run", "live"
# What Python has in the browser beside Pyodide's packages; the widgets' own wheel wants nothing of comm but its name.
INSTALLED = ("comm", "ipywidgets", "tqdm")
LIVE_PACKAGES = ("numpy", "scipy", "pillow", "threadpoolctl")  # of Pyodide, for the live page


def write_site(
    site: Path, clone: Path, pyodide: Pyodide, with_assignments: bool, say: Callable[[str], None] = lambda text: None
) -> None:
    """Write the site into an empty folder.

    Parameters
    ----------
    site, clone : pathlib.Path
    pyodide : Pyodide
        Where its Python comes from.
    with_assignments : bool
        Whether the student versions of the assignments are among the notebooks to run.
    say : function of a text
        Told what is being done.

    Raises
    ------
    MissingExtraError
        When something of the extra ``site`` is not installed.
    InputError
        When a notebook is none, or JupyterLite's build fails.
    """
    books, tasks = notebooks(clone), assignments(clone) if with_assignments else []
    say(f"JupyterLite, with {len(books) + len(tasks)} notebooks to run")
    with tempfile.TemporaryDirectory(prefix="minivivit-") as temporary:
        work, contents = Path(temporary) / "work", Path(temporary) / "contents"
        work.mkdir()
        _lay_out_contents(contents, clone, books, tasks)
        wheels = [wheel_of_clone(clone), *map(wheel_of_installed, INSTALLED)]
        build_jupyterlite(site / RUN, work, contents, pyodide, wheels)
    write_live(site / LIVE, pyodide, wheels)
    say("pages to read")
    template = _templates()
    links = Links(_places(clone, books))
    _write_pages(site, clone, books, links, template)
    say("the front page")
    for name in ("front.js", "style.css"):
        shutil.copyfile(ASSETS / name, site / name)
    shutil.copyfile(clone / "minivivit" / "bundled" / "sample_clip.webp", site / "sample_clip.webp")
    project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = template("front.html").render(
        notebooks=[_listed(entry, clone, links) for entry in books],
        assignments=[_listed(entry, clone, links, "assignments/") for entry, _ in tasks],
        pages={door: [_listed(entry, clone, links) for entry in entries] for door, entries in pages(clone).items()},
        one_page=f"{READ}/{quote(links.pages[f'notebooks/{ONE_PAGE}'])}",
        tree=f"{RUN}/tree/index.html",
        licences=f"{RUN}/build/{LICENCES}",
        version=project["version"],
        data=_script_safe(answers_over_time()),
    )
    (site / "index.html").write_text(page, encoding="utf-8")


def write_live(folder: Path, pyodide: Pyodide, wheels: list[Wheel]) -> None:
    """Write the live page: a page of `minivivit explore` that is given its recordings by Python in a worker.

    Parameters
    ----------
    folder : pathlib.Path
        Beside that of JupyterLite, whose wheels and Pyodide it shares.
    pyodide : Pyodide
    wheels : list of Wheel
        Of which it takes the package's own and those that this needs.
    """
    folder.mkdir()
    shutil.copyfile(ASSETS / "live_worker.js", folder / "worker.js")
    here = pyodide.url.startswith("./")
    place = "" if here else " " + "/".join(pyodide.url.split("/")[:3])
    texts = {name: (ASSETS / f"live.{name}").read_text(encoding="utf-8") for name in ("js", "css", "html")}
    settings = {
        "worker": "worker.js",
        "pyodide": f"../{RUN}/{pyodide.url}" if here else pyodide.url,
        "packages": LIVE_PACKAGES,
        "wheels": [
            f"../{RUN}/python/{wheel.name}" for wheel in wheels if wheel.name.partition("-")[0] in ("minivivit", "tqdm")
        ],
    }
    more = More(
        texts["js"],
        texts["css"],
        texts["html"],
        scripts=f" 'self'{place} 'wasm-unsafe-eval'",
        policy=f"connect-src 'self'{place}; worker-src blob:; ",
    )
    (folder / "index.html").write_text(assemble({"live": settings}, more), encoding="utf-8")


def _templates() -> Callable[[str], Any]:
    """Templates by name; what is put into them is text, and no HTML, unless it is marked."""
    try:
        from jinja2 import Environment, FileSystemLoader
    except ImportError:
        raise MissingExtraError("nbconvert", "site", "the site") from None
    return Environment(loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True).get_template


def _script_safe(data: dict[str, Any]) -> Any:
    from markupsafe import Markup

    return Markup(json.dumps(data).replace("<", "\\u003c"))


def _lay_out_contents(
    contents: Path, clone: Path, books: list[Entry], tasks: list[tuple[Entry, dict[str, Any]]]
) -> None:
    """What JupyterLite shows: the notebooks as before anyone ran them, what they import, the assignments."""
    contents.mkdir()
    for path in helpers(clone):
        shutil.copyfile(path, contents / path.name)
    files = {entry.path.name: read_notebook(entry.path) for entry in books}
    files |= {f"assignments/{entry.path.name}": book for entry, book in tasks}
    for place, book in files.items():
        (contents / place).parent.mkdir(exist_ok=True)
        text = json.dumps(without_outputs(book), ensure_ascii=False, separators=(",", ":"))
        (contents / place).write_text(text, encoding="utf-8")


def _places(clone: Path, books: list[Entry]) -> dict[str, str]:
    """For every file of the clone that becomes a page, or may when a link asks for it, its page's place."""
    places = {f"notebooks/{entry.path.name}": f"{entry.path.stem}.html" for entry in books}
    for path in sorted((clone / "notebooks").glob("*.md")) + sorted((clone / "notebooks" / "api").glob("*.md")):
        place = path.relative_to(clone / "notebooks")
        places[f"notebooks/{place.as_posix()}"] = place.with_suffix(".html").as_posix()
    for path in sorted((clone / "minivivit").rglob("*.py")):
        source = path.relative_to(clone).as_posix()
        places[source] = f"source/{source}.html"
    return places | {f"notebooks/{name}": f"source/{name}.html" for name in (path.name for path in helpers(clone))}


def _write_pages(site: Path, clone: Path, books: list[Entry], links: Links, template: Callable[[str], Any]) -> None:
    """Notebooks and pages, and the source that they lead to."""

    def write(origin: str, body: str, **values: Any) -> None:
        place = links.pages[origin]
        root = "../" * (place.count("/") + 1)
        page = template("page.html").render(body=_markup(body), root=root, **values)
        target = site / READ / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")

    for number, entry in enumerate(books):
        origin = f"notebooks/{entry.path.name}"
        body, pictures = notebook_page(entry.path, origin, links)
        neighbours = {
            name: {"url": quote(f"{books[k].path.stem}.html"), "title": books[k].title}
            for name, k in (("before", number - 1), ("after", number + 1))
            if 0 <= k < len(books)
        }
        write(origin, body, title=entry.title, kind="notebook", run=f"../{_run(entry.path.name)}", **neighbours)
        for name, data in pictures.items():
            (site / READ / name).parent.mkdir(parents=True, exist_ok=True)
            (site / READ / name).write_bytes(data)
    listed = [entry.path for entries in pages(clone).values() for entry in entries]
    links.asked |= {f"notebooks/{name}" for name in (ONE_PAGE, *(path.name for path in listed))}
    written = {f"notebooks/{entry.path.name}" for entry in books}
    while waiting := sorted(links.asked - written):
        for origin in waiting:
            text = (clone / origin).read_text(encoding="utf-8")
            if origin.endswith(".md"):
                write(
                    origin, markdown_page(text, origin, links), title=first_heading(text, clone / origin), kind="page"
                )
            else:
                write(origin, f"<h1><code>{origin}</code></h1>{source_page(text)}", title=origin, kind="code")
        written |= set(waiting)


def _markup(body: str) -> Any:
    from markupsafe import Markup

    return Markup(body)


def _listed(entry: Entry, clone: Path, links: Links, folder: str = "") -> dict[str, str]:
    """An entry as the front page shows it."""
    place = links.pages.get(entry.path.relative_to(clone).as_posix(), "")
    return {
        "title": entry.title,
        "about": entry.about,
        "url": f"{READ}/{quote(place)}",
        "run": _run(folder + entry.path.name),
    }


def _run(name: str) -> str:
    """Where a notebook runs."""
    return f"{RUN}/notebooks/index.html?path={quote(name, safe='')}"
