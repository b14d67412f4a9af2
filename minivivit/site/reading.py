"""Pages to read: notebooks, Markdown and source as HTML that asks nothing of a network and needs no script."""

import base64
import html
import io
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from PIL import Image

from minivivit.errors import MissingExtraError
from minivivit.site.sources import read_notebook

# Cells whose code is hidden in JupyterLab are folded here.
NOTEBOOK = """\
{%- extends "basic/index.html.j2" -%}
{%- block input_group -%}
{%- if cell.metadata.get("jupyter", {}).get("source_hidden") -%}
<details class="folded"><summary>The code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}"""
PICTURES = "pictures"
COLOURS = 40
# Pygments' classes: keywords and what is defined; comments and strings.
MARKS = {"b": ("k", "ow", "nf", "nc"), "i": ("c", "s")}


class Links:
    """Where links of the sources lead on the site.

    Attributes
    ----------
    pages : dict
        By a file's place in the clone, its page's place beside the other pages.
    asked : set of str
        Of the places in the clone, those that a link has led to.
    """

    def __init__(self, pages: dict[str, str]):
        self.pages = pages
        self.asked: set[str] = set()

    def target(self, url: str, origin: str) -> str | None:
        """Where a link in the file at `origin` leads on the site; None where that is nowhere."""
        if re.match(r"(?:https?|mailto):", url):
            return url
        path, _, fragment = url.partition("#")
        if re.match(r"[A-Za-z][\w+.-]*:|//", url):
            return None
        if path:
            place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), unquote(path)))
            if place not in self.pages:
                return None
            self.asked.add(place)
            path = posixpath.relpath(self.pages[place], posixpath.dirname(self.pages[origin]) or ".")
        return quote(path) + (f"#{fragment}" if fragment else "")


def markdown_page(text: str, origin: str, links: Links) -> str:
    """A text in Markdown, with formulas in TeX, as HTML."""
    try:
        from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    except ImportError:
        raise MissingExtraError("nbconvert", "site", "the site") from None
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    for name, method in _methods(origin, links).items():
        setattr(renderer, name, method)
    return MarkdownWithMath(renderer=renderer).render(text)


def notebook_page(path: Path, origin: str, links: Links) -> tuple[str, dict[str, bytes]]:
    """A notebook as HTML, and its pictures by their place beside the page."""
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError:
        raise MissingExtraError("nbconvert", "site", "the site") from None
    book = nbformat.reads(json.dumps(read_notebook(path)), as_version=4)
    exporter = HTMLExporter(raw_template=NOTEBOOK, exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_preprocessor("nbconvert.preprocessors.ExtractOutputPreprocessor", enabled=True)
    exporter.register_filter("markdown2html", lambda source: markdown_page(source, origin, links))
    stem = re.sub(r"[^\w.-]", "_", path.stem)
    body, resources = exporter.from_notebook_node(book, {"unique_key": stem})
    pictures: dict[str, bytes] = {}

    def put_out(found: re.Match) -> str:
        name = f"{PICTURES}/{stem}_{len(pictures)}.webp"
        data = resources["outputs"].get(found[1]) or base64.b64decode(found[2])
        pictures[name] = _as_webp(data)
        return f'src="{name}"'

    body = re.sub(r'src="(?:([^":]+\.png)|data:image/png;base64,([A-Za-z0-9+/=\s]+))"', put_out, body)
    return _lighter(body).replace("<img ", '<img loading="lazy" '), pictures


def _as_webp(png: bytes) -> bytes:
    """The same picture in fewer bytes and colours: it is a drawing, in which nobody tells 40 colours from 256."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        drawing = image.convert("RGB").quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE)
    drawing.convert("RGB").save(buffer, "WEBP", lossless=True, quality=60)
    return buffer.getvalue()


def source_page(text: str) -> str:
    """A Python file as HTML, with numbered lines."""
    try:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer
    except ImportError:
        raise MissingExtraError("nbconvert", "site", "the site") from None
    return _lighter(highlight(text, PythonLexer(), HtmlFormatter(cssclass="highlight source")))


def _lighter(page: str) -> str:
    """Highlighted code as a book prints it: keywords bold, words in italics, the rest plain; a third of the bytes."""

    def mark(found: re.Match) -> str:
        kind, text = found[1], found[2]
        tag = next((tag for tag, kinds in MARKS.items() if kind.startswith(kinds)), None)
        return f"<{tag}>{text}</{tag}>" if tag else text

    return re.sub(r'<span class="([a-z]\w?)">([^<]*)</span>', mark, page).replace("</i><i>", "").replace("</b><b>", "")


def formula(tex: str, display: str = "inline") -> str:
    """A formula in MathML, which browsers draw themselves; TeX that cannot be read stays as it is."""
    from latex2mathml.converter import convert

    try:
        return convert(tex, display=display)
    except Exception:  # of many kinds: the author sees the TeX, and the rest of the page
        return f"<code>{html.escape(tex)}</code>"


def _methods(origin: str, links: Links) -> dict[str, Callable[..., str]]:
    """What a page renders otherwise than nbconvert: links, pictures, headings (as GitHub names them), formulas."""
    seen: dict[str, int] = {}

    def link(text: str, url: str, title: str | None = None) -> str:
        target = links.target(url, origin)
        return text if target is None else f'<a href="{html.escape(target)}">{text}</a>'

    def image(text: str, url: str, title: str | None = None) -> str:  # it stays in the clone; what it shows is said
        return f"<em>{html.escape(html.unescape(text))}</em>"

    def heading(text: str, level: int, **attributes: Any) -> str:
        name = slug(html.unescape(re.sub(r"<[^>]*>", "", text)))
        seen[name] = seen.get(name, -1) + 1
        name = name if not seen[name] else f"{name}-{seen[name]}"
        return f'<h{level} id="{html.escape(name)}">{text}</h{level}>\n'

    def block(text: str) -> str:
        return f'<div class="formula">{formula(text.strip(), "block")}</div>\n'

    return {
        "link": link,
        "image": image,
        "heading": heading,
        "inline_math": formula,
        "block_math": block,
        "latex_environment": lambda name, body: block(rf"\begin{{{name}}}{body}\end{{{name}}}"),
    }


def slug(heading: str) -> str:
    """What GitHub calls a heading in addresses."""
    return re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", heading.strip().lower()))
