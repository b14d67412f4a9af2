"""Run notebooks from a clean kernel, and compare their outputs with the committed ones, or (--write) store new ones.

    python tests/notebooks/execute.py             # all of notebooks/[0-9]*.ipynb: are they fresh?
    python tests/notebooks/execute.py --write 03

In the kernel warnings are errors, there are two threads, and the working directory is notebooks/. What is written to
stderr fails the run, and so do more than 4 minutes of processor time or 3 GB for one notebook, or 15 minutes for all.
Outputs are stored without anything that changes from run to run: no timestamps, no widgets (only a kernel moves them).
"""

import argparse
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from compare_outputs import differences
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SHARED = sorted(path.stem for path in NOTEBOOKS.glob("*.py"))  # what notebooks import from beside them
MAX_SECONDS, MAX_BYTES, MAX_TOTAL_SECONDS = 240, 3 * 10**9, 900
PATIENCE = 3600  # seconds by the clock for one cell: it hangs
THREADS = "2"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINIVIVIT_NUM_THREADS")
# Run in the kernel once its own start is over, before the first cell. Others' code may go on warning itself, unheard.
WARNINGS_ARE_ERRORS = (
    "import warnings; warnings.simplefilter('ignore'); "
    f"warnings.filterwarnings('error', module=r'(__main__|minivivit|{'|'.join(SHARED)})(\\.|\\Z)'); "
    "warnings.filterwarnings('error', category=RuntimeWarning, module=r'(numpy|scipy)\\.')"
)
DRAWING = "drawing"  # the tag of cells that only draw: their source is folded
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class Run(NamedTuple):
    """A notebook as it came out, and what it took: seconds of processor time, bytes of memory."""

    notebook: nbformat.NotebookNode
    seconds: float
    peak_bytes: int


def execute(path: Path) -> Run:
    """Run the notebook at `path` from a clean kernel.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell raises, or warns.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=[f"--IPKernelApp.exec_lines={WARNINGS_ARE_ERRORS}", "--IPKernelApp.log_level=ERROR"],
    )
    with tempfile.TemporaryDirectory() as directory, usage() as used:
        client.execute(env=environment(directory))
    return Run(normalised(notebook), sum(used.seconds.values()), used.peak_bytes)


def environment(directory: str) -> dict[str, str]:
    """The kernel's environment: nobody's settings, a fixed number of threads, the bundled model and clip."""
    ours = ("MINIVIVIT_", "IPYTHON", "MPL")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables |= {"IPYTHONDIR": directory, "MPLBACKEND": "agg", **dict.fromkeys(THREAD_VARIABLES, THREADS)}
    return variables


class Usage:
    """What processes use: the most resident memory of all together, and the processor time of each."""

    def __init__(self) -> None:
        self.peak_bytes, self.seconds = 0, dict[int, float]()

    def look(self, processes: set[psutil.Process]) -> None:
        """Note what they use now."""
        total = 0
        for process in processes:
            try:
                total += process.memory_info().rss
                times = process.cpu_times()
            except psutil.Error:  # it has just ended
                continue
            self.seconds[process.pid] = times.user + times.system
        self.peak_bytes = max(self.peak_bytes, total)


@contextmanager
def usage() -> Iterator[Usage]:
    """Watch the processes that are started meanwhile, and theirs."""
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    used, done = Usage(), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            used.look(set(mine.children(recursive=True)) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield used
    finally:
        done.set()
        watcher.join()


def normalised(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what changes from run to run."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = hashlib.sha256(f"{number} {cell.source}".encode()).hexdigest()[:8]
        tags = cell.metadata.get("tags", [])
        folded = {"jupyter": {"source_hidden": True}} if DRAWING in tags else {}
        cell.metadata = nbformat.from_dict(folded | ({"tags": tags} if tags else {}))
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            output.pop("transient", None)
            if "execution_count" in output:
                output.execution_count = count
    return notebook


def problems(path: Path, run: Run, compare: bool) -> list[str]:
    """What is wrong with a run, one line each."""
    found = [
        f"cell {number} wrote to stderr: {output.text[:300]}"
        for number, cell in enumerate(run.notebook.cells)
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]
    if run.seconds > MAX_SECONDS:
        found.append(f"it took {run.seconds:.0f} s of processor time; {MAX_SECONDS} s are allowed")
    if run.peak_bytes > MAX_BYTES:
        found.append(f"it took {run.peak_bytes / 1e9:.1f} GB of memory; {MAX_BYTES / 1e9:.1f} GB are allowed")
    if compare:
        stale = differences(nbformat.read(path, as_version=4).cells, run.notebook.cells)
        command = f"python tests/notebooks/execute.py --write {path.name}"
        found += [f"{line} (if that is meant: {command})" for line in stale]
    return found


def numbered_notebooks() -> list[Path]:
    """All of them, in order."""
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def named(name: str) -> list[Path]:
    """The notebook of a name, a path or a number."""
    found = sorted(NOTEBOOKS.glob(f"{Path(name).stem}*.ipynb"))
    if not found:
        raise SystemExit(f"{NOTEBOOKS.name}/ holds no notebook whose name begins with {Path(name).stem}")
    return found


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, by number, name or path (default: all)")
    parser.add_argument("--write", action="store_true", help="store the outputs in place of comparing them")
    arguments = parser.parse_args()
    paths = [path for name in arguments.names for path in named(name)] or numbered_notebooks()
    failed, total = False, 0.0
    for path in paths:
        run = execute(path)
        total += run.seconds
        found = problems(path, run, compare=not arguments.write)
        if arguments.write:
            nbformat.write(run.notebook, path)
        size = path.stat().st_size / 1000
        took = f"{run.seconds:.1f} s of processor time, peak {run.peak_bytes / 1e6:.0f} MB"
        print(f"{path.name}: {took}, {size:.0f} kB", flush=True)
        for line in found:
            print(f"  {line}")
        failed = failed or bool(found)
    if total > MAX_TOTAL_SECONDS:
        print(f"all together took {total:.0f} s; {MAX_TOTAL_SECONDS} s are allowed")
    return int(failed or total > MAX_TOTAL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
