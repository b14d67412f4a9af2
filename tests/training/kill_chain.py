"""Run by test_resume.py in a process of its own: a training killed again and again, and resumed.

    python kill_chain.py OUTPUT KILLS STEPS

Each life of the training is a fork of this process, which has imported everything and computed nothing: that makes a
life cheap. It is killed with SIGKILL a random while after it has made a random number of checkpoints, wherever it is
then: in a step, in the midst of a file, between two renames. On a machine so fast that it gets further than one
checkpoint more, it waits there for its end, so that every life has something left to do. Whatever it leaves must be
readable. The last life is left alone. Prints the steps at which it was killed.
"""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from tiny_training import tiny_training

from minivivit.files.atomic import write_text
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training import loop
from minivivit.training.checkpoints import check_files, holds_training, read_state, settle
from minivivit.training.loop import make_step, train
from minivivit.training.run import resume_training


def live(output: Path, steps: int, last_step: int | None) -> None:
    """One life: go on, or begin; wait for the end after `last_step`."""

    def make_step_or_wait(training):
        if training.step == last_step:
            signal.pause()
        return make_step(training)

    loop.make_step = make_step_or_wait
    loop.draw_curves = lambda entries, path: write_text(path, f"{len(entries)} points")
    if holds_training(output):
        training = resume_training("motion", output)
    else:
        training = tiny_training(output, steps=steps, checkpoint_every=1, parallel=2)
    train(training)


def step_of(output: Path) -> int:
    """The step of the last checkpoint that is in its place, -1 for none."""
    try:
        state = (output / "last" / "training_state.json").read_bytes()
    except FileNotFoundError:
        return -1
    return int(re.search(rb'"step": (\d+)', state.rpartition(b'"settings"')[2])[1])


def fork_a_life(output: Path, steps: int, last_step: int | None) -> int:
    """The process id of a new life."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        live(output, steps, last_step)
        code = 0
    finally:
        os._exit(code)


def check_readable(output: Path) -> None:
    """Whatever stands there after a kill is complete, even before what it left unfinished is finished."""
    if holds_training(output):
        if step_of(output) >= 0:
            for name in ("last", "best"):
                VivitForVideoClassification.from_pretrained(output / name, backend="numpy")
        settle(output)
        check_files(output, read_state(output / "last"))


def main(output: Path, kills: int, steps: int) -> None:
    """Kill it, and then let it end."""
    rng = random.Random(5)
    killed_at = []
    for _ in range(kills):
        target = step_of(output) + rng.randrange(3)
        child = fork_a_life(output, steps, last_step=max(target, 0) + 1)
        while step_of(output) < target:
            if os.waitpid(child, os.WNOHANG)[0]:
                sys.exit("a life ended by itself")
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"a life ended by itself, with status {status}")
        killed_at.append(step_of(output))
        check_readable(output)
    _, status = os.waitpid(fork_a_life(output, steps, last_step=None), 0)
    if status:
        sys.exit("the last life failed")
    print(*killed_at)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
