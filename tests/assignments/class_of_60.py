"""Grade a class of 60 with 10 hostile ones, and time it: ``python tests/assignments/class_of_60.py [--seed N]``.

50 students hand in solutions, right answers in other styles and wrong ones of the banks; 10 hand in code that exits,
crashes, blocks, floods and cheats in every task. All honest points must be right: those of a right answer all, those of
a wrong one fewer, those of an untouched solution all. Exit code 1 when one is not, or after more than 15 minutes.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE.parent / "grading")]

from assignment_cells import NAMES, bank, points  # noqa: E402
from cheats import ATTACKERS, BORROWERS  # noqa: E402
from hostile import HOSTILE, HOSTILE_CELLS  # noqa: E402
from submissions import ATTENTION, ROOT, TASKS, notebook, solved  # noqa: E402

HONEST, MINUTES = 50, 15


def honest_students() -> dict[str, tuple[str, dict[str, bool], bytes]]:
    """File -> (assignment, whether the answer to each task is right, notebook). One answer a student, to the last task.

    What a wrong answer is built on by others would cost them, too: nothing is built on the last one.
    """
    found = {}
    assignments = itertools.cycle(NAMES)
    right = {name: _answers("correct_answers", name) for name in NAMES}
    wrong = {name: _answers("wrong_answers", name) for name in NAMES}
    for number in range(HONEST):
        name = next(assignments)
        task = list(points(name))[-1]
        kind = (None, right, wrong)[number % 3]
        answers = {} if kind is None else {task: kind[name][number % len(kind[name])]}
        truth = dict.fromkeys(points(name), True) | ({task: False} if kind is wrong else {})
        found[f"student{number:02}/{name[:2]} homework (1).ipynb"] = name, truth, notebook(name, answers)
    return found


def _answers(folder: str, name: str) -> list[str]:
    last = list(points(name))[-1]
    return [answer.source for answer in bank(folder) if answer.assignment == name and answer.task == last]


def hostile_students() -> dict[str, bytes]:
    """File -> notebook: ten, with what is hostile in every task."""
    sources = [source for source, _ in HOSTILE.values()] + [*BORROWERS.values(), *ATTACKERS.values()]
    endless = itertools.cycle(sources)
    found = {}
    for number in range(9):
        answers = {
            task: next(endless).replace("THE_TASK", task).replace("THE_PLACE", repr(str(ROOT))) for task in TASKS
        }
        found[f"hostile{number}/02.ipynb"] = notebook(ATTENTION, answers)
    book = solved(ATTENTION)
    cells = [{"cell_type": "code", "metadata": {}, "source": source} for source in HOSTILE_CELLS]
    book["cells"] = cells + book["cells"]
    found["hostile9/02.ipynb"] = json.dumps(book).encode()
    return found


def main() -> None:
    """Hand in, grade, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    honest, hostile = honest_students(), hostile_students()
    with tempfile.TemporaryDirectory() as folder:
        for name, data in {**{name: data for name, (_, _, data) in honest.items()}, **hostile}.items():
            place = Path(folder) / "class" / name
            place.parent.mkdir(parents=True)
            place.write_bytes(data)
        start = time.monotonic()
        command = [
            "-m",
            "minivivit",
            "grade",
            f"{folder}/class",
            "--seed",
            str(seed),
            "--json",
            f"{folder}/grades.json",
        ]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        minutes = (time.monotonic() - start) / 60
        rows = json.loads(Path(folder, "grades.json").read_text(encoding="utf-8"))["submissions"]
    wrong = mistakes(rows, honest)
    earned = sum(row["points"] for row in rows if row["file"].startswith("hostile") and "9/" not in row["file"])
    print(f"{len(rows)} submissions, {len(hostile)} of them hostile: {minutes:.1f} minutes")
    print(f"honest scores that are wrong: {len(wrong)}; points of hostile answers: {earned:g}", *wrong, sep="\n")
    sys.exit(bool(wrong) or bool(earned) or minutes > MINUTES or len(rows) != HONEST + len(hostile))


def mistakes(rows: list[dict], honest: dict[str, tuple[str, dict[str, bool], bytes]]) -> list[str]:
    """Honest students' tasks with points that they do not deserve, or without those that they do."""
    found = []
    for row in rows:
        if row["file"] in honest:
            _, truth, _ = honest[row["file"]]
            if {task["task"] for task in row["tasks"]} != truth.keys():
                found.append(f"{row['file']}: {row['problems']}")
            for task in row["tasks"]:
                if (task["points"] == task["of"]) != truth[task["task"]]:
                    found.append(f"{row['file']}, {task['task']}: {task['text']}")
    return found


if __name__ == "__main__":
    main()
