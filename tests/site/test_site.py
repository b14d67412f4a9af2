"""What `minivivit site` writes: all links lead somewhere, nothing is asked of a network, hostile names are text.

pip install '.[test,site]' && pytest -m site
"""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy
import pytest
from PIL import Image

from minivivit.cli import main
from minivivit.site.publish import write_live
from minivivit.site.pyodide import Pyodide
from minivivit.site.reading import Links, formula, markdown_page, notebook_page

pytestmark = pytest.mark.site

ROOT = Path(__file__).parents[2]
HOSTILE = "99_<img src=x onerror=alert(1)>&\"'%2e #?.ipynb"
TITLE = '<script>alert(2)</script> & "so" on'
MAX_BYTES = 15_000_000
LOADED = {
    "img": "src",
    "script": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of a clone with one more notebook, whose name and title are hostile; in a folder that was there."""
    clone, site = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "notebooks", clone / "notebooks")
    (clone / "minivivit").symlink_to(ROOT / "minivivit")
    for name in ("pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, clone / name)
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": "print('<b>')"}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": f"# 99 · {TITLE}"}, code]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    (clone / "notebooks" / HOSTILE).write_text(json.dumps(book))
    assert main(["site", str(site), "--sources", str(clone), "--with-assignments"]) == 0
    return site


class Page(HTMLParser):
    """Where the links of a page lead, what it loads, and what can be led to in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loaded, self.names, self.scripts, self.handlers = [], [], set(), 0, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.names.add(values.get("id"))
        self.handlers += [name for name in values if name.startswith("on")]
        self.scripts += tag == "script"
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get(LOADED.get(tag)):
            self.loaded.append(values[LOADED[tag]])


def pages(site):
    return {path: Page(path) for path in [site / "index.html", *(site / "read").rglob("*.html")]}


def test_all_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    found = pages(site)
    assert len(found) > 40
    for path, page in found.items():
        for url in (*page.links, *page.loaded):
            parts = urlsplit(url)
            if parts.scheme:
                assert parts.scheme == "data" or (parts.scheme in ("http", "https") and url in page.links), (path, url)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), (path, url)
            if parts.fragment and target in found:
                assert unquote(parts.fragment) in found[target].names, (path, url)
            if parts.query.startswith("path="):
                assert (site / "run" / "files" / unquote(parts.query[5:])).is_file(), (path, url)


def test_every_notebook_and_page_is_there_to_read_and_to_run(site):
    front = Page(site / "index.html")
    for path in [*(ROOT / "notebooks").glob("[0-9]*.ipynb"), *(ROOT / "notebooks").glob("*.md")]:
        assert f"read/{path.stem}.html" in front.links
    runs = [unquote(url.partition("path=")[2]) for url in front.links if "path=" in url]
    books = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert runs[: len(books)] == books
    assert runs[len(books)] == HOSTILE
    assert len(set(runs[len(books) + 1 :])) == 6
    assert "read/source/vivit_one_page.py.html" in front.links
    text = (site / "index.html").read_text(encoding="utf-8")
    assert text.count('class="about"></span>') == 1, "each notebook but the strange one says what it is about"


def test_hostile_names_are_text(site):
    for path, page in pages(site).items():
        if HOSTILE[:-6] not in path.name:  # its own page holds what its author wrote
            assert page.handlers == [], path
            assert page.scripts == (2 if path.name == "index.html" else 0), path
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(2)&lt;/script&gt; &amp;" in front
    assert (site / "read" / f"{HOSTILE[:-6]}.html").is_file()


def test_what_runs_is_unspoilt_and_has_no_solutions(site):
    files = site / "run" / "files"
    for path in files.rglob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
        assert not re.search("BEGIN (?:SOLUTION|HIDDEN)", path.read_text(encoding="utf-8"))
    assert "YOUR CODE HERE" in (files / "assignments" / "01_tubelet_embedding.ipynb").read_text(encoding="utf-8")


def test_python_finds_what_it_is_told_of(site):
    settings = json.loads((site / "run" / "jupyter-lite.json").read_text())["jupyter-config-data"]
    kernel = settings["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]
    options = kernel["loadPyodideOptions"]
    assert set(options["wheels"]) <= set(options["packages"])
    assert {"minivivit", "comm", "ipywidgets", "tqdm", "piplite", "pyodide_kernel"} <= set(options["wheels"])
    for place in [*options["wheels"].values(), "python/start.js", "python/progress.js"]:
        assert (site / "run" / place).is_file(), place
    for name in options["files"]:
        assert (site / "run" / "files" / name).is_file()
    names = [extension["name"] for extension in settings["federated_extensions"]]
    assert sorted(names) == ["@jupyter-widgets/jupyterlab-manager", "@jupyterlite/pyodide-kernel-extension"]


def test_the_live_page_lets_in_what_is_the_sites_and_its_python_and_nothing_else(site, tmp_path):
    page = (site / "live" / "index.html").read_text(encoding="utf-8")
    settings = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])["live"]
    for place in [settings["worker"], *settings["wheels"]]:
        assert (site / "live" / place).is_file(), place
    assert [place.rpartition("/")[2].partition("-")[0] for place in settings["wheels"]] == ["minivivit", "tqdm"]
    assert 'href="live/index.html"' in (site / "index.html").read_text(encoding="utf-8")
    (tmp_path / "run").mkdir()
    write_live(tmp_path / "live", Pyodide("./pyodide/"), [])
    own = (tmp_path / "live" / "index.html").read_text(encoding="utf-8")
    for text, place in ((page, " https://cdn.jsdelivr.net"), (own, "")):
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].split("; ")
        script = re.search(r'<script type="module">(.*?)</script>', text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy[:2] == [
            "default-src 'none'",
            f"script-src 'sha256-{digest}' 'self'{place} 'wasm-unsafe-eval'",
        ]
        assert policy[3:] == [
            "img-src data:",
            f"connect-src 'self'{place}",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
        assert not Page(tmp_path / "live" / "index.html").handlers
        names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", script, re.MULTILINE)
        assert len(names) == len(set(names)), "modules in one script have no name in common"
        assert not re.search(r"^(?:import|export)\b|innerHTML|eval\(", script, re.MULTILINE)
    ids = re.findall(r' id="([^"]*)"', own)
    assert len(ids) == len(set(ids))
    asked = re.findall(r'(?:byId|set|openPad)\("([\w-]+)"', (ROOT / "minivivit/site/assets/live.js").read_text())
    assert set(asked) - {"data"} <= set(ids)


def test_the_kernel_has_one_worker_and_scripts_carry_no_source(site):
    scripts = {path: path.read_text(encoding="utf-8") for path in (site / "run").rglob("*.js")}
    assert not [path for path, text in scripts.items() if "sourcesContent:[" in text]
    kernel = {path: text for path, text in scripts.items() if "pyodide-kernel-extension" in str(path)}
    assert not [path for path, text in kernel.items() if "crossOriginIsolated" in text]
    worker = r"new Worker\(new URL\(\w+\.p\+\w+\.u\((\d+)\)"
    (piece,) = {piece for text in kernel.values() for piece in re.findall(worker, text)}
    assert [path for path in kernel if path.name.startswith(f"{piece}.")]


def test_its_size_is_bounded(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) <= MAX_BYTES


# --------------------------------------------------------------------------------------------------------------------
# Pages
# --------------------------------------------------------------------------------------------------------------------


LINKS = {"notebooks/a.md": "a.html", "notebooks/b c.md": "b c.html", "minivivit/x.py": "source/minivivit/x.py.html"}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[b](<b c.md>)", '<a href="b%20c.html">b</a>'),
        ("[b](b%20c.md#top)", '<a href="b%20c.html#top">b</a>'),
        ("[x](../minivivit/x.py)", '<a href="source/minivivit/x.py.html">x</a>'),
        ("[top](#top)", '<a href="#top">top</a>'),
        ("[out](https://a.example/?a=1&b=2)", '<a href="https://a.example/?a=1&amp;b=2">out</a>'),
        ("[test](../tests/test_x.py)", "test"),
        ("[up](../../../etc/passwd)", "up"),
        (
            "![dots & a curve <b>](a.png)",
            "<em>dots &amp; a curve &lt;b&gt;</em>",
        ),  # in words: the file stays in the clone
        ("[bad](javascript:alert(1))", "bad"),
        ("[bad](data:text/html,x)", "bad"),
        ("[bad](//a.example/x)", "bad"),
    ],
)
def test_links(written, shown):
    assert markdown_page(written, "notebooks/a.md", Links(LINKS)) == f"<p>{shown}</p>\n"


def test_headings_are_named_as_github_names_them():
    page = markdown_page("# `class` A_b, c!\n\n## Two\n\n## Two", "notebooks/a.md", Links(LINKS))
    assert re.findall('id="([^"]*)"', page) == ["class-a_b-c", "two", "two-1"]


def test_formulas_are_mathml():
    page = markdown_page("so $a < b$ and\n\n$$\\frac{a}{b}$$", "notebooks/a.md", Links(LINKS))
    assert page.count("<math ") == 2
    assert "<mfrac>" in page
    assert "$" not in page


def test_pictures_within_html_become_files(tmp_path):
    png = (ROOT / "notebooks" / "front_picture.png").read_bytes()
    shown = f'<details><img alt="a > b" src="data:image/png;base64,{base64.b64encode(png).decode()}"/></details>'
    output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": shown}}
    cell = {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": "1", "outputs": [output]}
    (tmp_path / "a b.ipynb").write_text(
        json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    )
    body, pictures = notebook_page(tmp_path / "a b.ipynb", "notebooks/a.md", Links(LINKS))
    (name,) = pictures
    assert f'src="{name}"' in body
    assert "base64" not in body
    with Image.open(io.BytesIO(pictures[name])) as ours, Image.open(io.BytesIO(png)) as theirs:
        assert len(ours.convert("RGB").getcolors(1 << 24)) <= 64
        apart = numpy.asarray(ours.convert("RGB"), int) - numpy.asarray(theirs.convert("RGB"), int)
        assert numpy.abs(apart).mean() < 2


@pytest.mark.parametrize("tex", [r"\frac{", "<b>", r"\begin{nothing}", "}", r"\left("])
def test_no_formula_stops_a_page(tex):
    assert "<b>" not in formula(tex)
