"""``minivivit site``: the course as a static web site."""

import argparse
import shlex
from pathlib import Path

from minivivit.commands.common.text_table import printable
from minivivit.files.atomic import atomic_directory, check_free

DESCRIPTION = """\
Write the course into DIR, a directory that is new or empty, as a static web site: all notebooks to read, and to run in
the reader's browser with nothing installed; ViViT on one page; the pages to look things up.

The reader's browser loads Python (Pyodide) from its public network, in the version that was tested. With  --pyodide
and an unpacked Pyodide the site holds it, and works without any network.

This runs in a clone of minivivit's repository, where the notebooks are."""

EXAMPLES = """\
examples:
  minivivit site site --with-assignments && python -m http.server --directory site
  minivivit site site --pyodide ~/pyodide    for a room without a network"""


def add_site_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("directory", metavar="DIR", help="where to write the site: a new or an empty directory")
    parser.add_argument(
        "--pyodide", metavar="DIR_OR_URL", help="an unpacked Pyodide to put into the site, or where another one is"
    )
    parser.add_argument(
        "--with-assignments", action="store_true", help="with the assignments as students get them, and their checks"
    )
    parser.add_argument("--sources", metavar="DIR", help="a clone of minivivit's repository (default: this one)")


def run_site(arguments: argparse.Namespace) -> None:
    """Write the site, and say how to look at it."""
    from minivivit.site.publish import write_site
    from minivivit.site.pyodide import find_pyodide
    from minivivit.site.sources import find_clone

    directory = Path(arguments.directory)
    check_free(directory)
    clone, pyodide = find_clone(arguments.sources), find_pyodide(arguments.pyodide)
    with atomic_directory(directory) as site:
        write_site(site, clone, pyodide, arguments.with_assignments, say=lambda text: print(f"{text} ...", flush=True))
        sizes = [(path, path.stat().st_size) for path in site.rglob("*") if path.is_file()]
        inner = sum(size for path, size in sizes if path.is_relative_to(site / "run" / "pyodide"))
    size = sum(size for _, size in sizes) - inner
    print(f"{printable(directory)}: {size / 1e6:.1f} MB" + (f", and Pyodide's {inner / 1e6:.1f} MB" if inner else ""))
    print(f"next: python -m http.server --directory {printable(shlex.quote(str(directory)))}")
    print("then open http://localhost:8000; to publish it, copy the folder to any web server that has https")
