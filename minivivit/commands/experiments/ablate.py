"""``minivivit ablate``: the paper's ablations, trained on small pools of motion clips."""

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from minivivit.backend import num_threads, set_num_threads
from minivivit.commands.common.arguments import positive
from minivivit.commands.common.notes import print_notes
from minivivit.commands.common.text_table import printable
from minivivit.commands.experiments.ablation_figures import MOST_SEEDS, Figures, read_figures, write_figures
from minivivit.commands.experiments.ablation_page import MARKDOWN_FILE, ablation_page
from minivivit.commands.experiments.ablation_picture import PICTURE_FILE, draw_ablations
from minivivit.commands.experiments.place import check_free
from minivivit.errors import InputError
from minivivit.files.atomic import write_text
from minivivit.files.weights import SINGLE_FILE
from minivivit.progress import progress_bar
from minivivit.training.checkpoints import remove_temporaries
from minivivit.training.data.digests import check_unchanged
from minivivit.training.experiments.ablation_runs import Job, run_start, run_trial, start_name
from minivivit.training.experiments.ablations import all_trials
from minivivit.training.experiments.own_process import can_start_processes, run_in_own_process
from minivivit.training.lock import locked

JSON_FILE, STARTS = "ablations.json", "starts"
SEEDS, STEPS, CLIPS = 3, 400, 1000
QUICK = {"seeds": 1, "steps": 60, "clips": 200}

DESCRIPTION = f"""\
Train Model 2 and Model 1 on small, fixed pools of the built-in motion clips, and ask what the paper's ablations ask:
what each regulariser adds (its Table 4), what a start from an image model gives to pools of 300, 1,000 and 3,000 clips
(its section 3.4), how many temporal layers Model 2 needs (Table 3), and what larger frames give (Table 5).

DIR gets {MARKDOWN_FILE} with tables and what they show, {PICTURE_FILE} where matplotlib is installed, and {JSON_FILE}
with all figures. What is interrupted goes on when the same command is given again, and more --seeds are added to those
that are there."""

EXAMPLES = """\
examples:
  minivivit ablate                                     at most two hours on two cores
  minivivit ablate --quick --output quick              five minutes: to see that it works, not to learn from
  minivivit ablate --seeds 5                           two seeds more than the first command
  minivivit ablate --json | jq .trials"""

Work = Callable[[Job, Callable[[Any], None]], dict[str, Any]]


def add_ablate_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("--output", metavar="DIR", default="ablations", help="where figures and pages go (default: ablations)")
    add("--quick", action="store_true", help=f"one seed, {QUICK['steps']} steps and {QUICK['clips']} clips")
    add("--seeds", type=positive, metavar="N", help=f"trainings of each kind: seeds 0 to N - 1 (default: {SEEDS})")
    add("--steps", type=positive, metavar="N", help=f"updates of each training (default: {STEPS})")
    add("--clips", type=positive, metavar="N", help=f"fresh ones to measure each training with (default: {CLIPS:,})")
    add("--processes", type=positive, metavar="N", help="trainings side by side (default: one for each thread)")
    add("--json", action="store_true", help="print one JSON object instead of the page")


def run_ablate(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, and print the page: 0, or 130 when Ctrl-C came first."""
    defaults = QUICK if arguments.quick else {"seeds": SEEDS, "steps": STEPS, "clips": CLIPS}
    given = {name: getattr(arguments, name) or value for name, value in defaults.items()}
    if given["seeds"] > MOST_SEEDS:
        raise InputError(f"--seeds is {given['seeds']}; expected at most {MOST_SEEDS}")
    output = Path(arguments.output)
    with locked(output) as notes:
        print_notes(notes)
        return _run(arguments, output, given)


def _run(arguments: argparse.Namespace, output: Path, given: dict[str, int]) -> int:
    figures = figures_so_far(output / JSON_FILE, given)
    remove_temporaries(output, JSON_FILE, MARKDOWN_FILE, PICTURE_FILE)
    write_figures(output / JSON_FILE, figures)
    try:
        _train(output, figures, arguments.processes or num_threads())
    except KeyboardInterrupt:
        print(
            f"minivivit: interrupted; {len(figures.trials)} trainings are in {printable(output / JSON_FILE)}: the same "
            "command goes on",
            file=sys.stderr,
        )
        return 130
    page = ablation_page(figures, f"minivivit ablate --output {output}", draw_ablations(figures, output / PICTURE_FILE))
    write_text(output / MARKDOWN_FILE, page)
    print(json.dumps(figures.to_dict(), allow_nan=False) if arguments.json else page)
    return 0


def _train(output: Path, figures: Figures, processes: int) -> None:
    """Train what `figures` lacks, and put it there and into the file, as soon as it is done."""
    seeds = range(figures.seeds)
    trials = sorted(all_trials(), key=lambda trial: trial.size, reverse=True)  # the longest first
    jobs = [Job(trial, seed, figures.steps, figures.clips, output / STARTS) for seed in seeds for trial in trials]
    missing = [job for job in jobs if job.trial.name(job.seed) not in figures.trials]
    starts = {name: job for job in jobs if (name := start_name(job.trial)) is not None}
    needed = {name: job for name, job in starts.items() if name not in figures.starts}

    def keep(kind: dict[str, dict[str, Any]], name: str, row: dict[str, Any]) -> None:
        kind[name] = row
        write_figures(output / JSON_FILE, figures)
        bar.update()

    with progress_bar(len(needed) + len(missing), "ablations", "training") as bar:
        _side_by_side(run_start, needed, processes, lambda name, row: keep(figures.starts, name, row))
        for name in {start_name(job.trial) for job in missing} - {None}:
            weights = output / STARTS / str(name) / SINGLE_FILE
            check_unchanged(weights, figures.starts[str(name)]["weights_sha256"], "the ablations")
        named = {job.trial.name(job.seed): job for job in missing}
        _side_by_side(run_trial, named, processes, lambda name, row: keep(figures.trials, name, row))


def _side_by_side(
    work: Work, jobs: dict[str, Job], processes: int, done: Callable[[str, dict[str, Any]], None]
) -> None:
    """Do the jobs, each in a process of its own with one thread where that can be; `done` gets what comes of each."""
    if not can_start_processes():
        for name, job in jobs.items():
            done(name, work(job, lambda report: None))
        return
    stop = threading.Event()

    def report(_: Any) -> None:  # at each step of a training, in the thread that waits for it
        if stop.is_set():
            raise InputError("stopped")

    with ThreadPoolExecutor(processes) as executor:
        futures = {
            executor.submit(run_in_own_process, _on_one_thread, (work, job), report, name): name
            for name, job in jobs.items()
        }
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        except BaseException:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _on_one_thread(task: tuple[Work, Job], report: Callable[[Any], None]) -> dict[str, Any]:
    """In the new process, whose sisters use the other threads. What comes out does not depend on their number."""
    set_num_threads(1)
    work, job = task
    return work(job, report)


def figures_so_far(path: Path, given: dict[str, int]) -> Figures:
    """The figures of earlier runs of the same command.

    Raises
    ------
    InputError
        When the file is damaged, or of other steps or clips, or of more seeds; when there is none, but something else
        under a name that the ablations would write to.
    """
    if not os.path.lexists(path):
        check_free(path, (MARKDOWN_FILE, PICTURE_FILE, STARTS), "new ablations")
        return Figures(given["seeds"], given["steps"], given["clips"])
    figures = read_figures(path)
    for name, value in given.items():
        was = getattr(figures, name)
        if was > value if name == "seeds" else was != value:
            raise InputError(
                f"{path} is of ablations with {was} {name}, and this command has {value}; give the same to go on with "
                "them (or more seeds), or choose another --output"
            )
    figures.seeds = given["seeds"]
    return figures
