"""A fuzzer of every reader: mutated files, read in child processes with limits of memory and processor time.

    python tests/fuzz/run.py --inputs 20000 --seed 1            every reader
    python tests/fuzz/run.py --inputs 500 --reader torch        one of them
    python tests/fuzz/run.py --reader torch --replay DIRECTORY  an input that was found

An input is loaded, or refused with an `InputError` of one line, or it has found a defect: any other exception, a
warning, something written to the terminal or beside its place, a file left open, a crash, or a limit that is reached.
What has found one is kept, and the command that repeats it printed; the exit code is then 1. The same seed makes the
same inputs.
"""

import argparse
import gc
import json
import logging
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: a fork takes no threads along
from fuzz_readers import READERS, Files, Reader, make_samples, mutate

from minivivit.backend import set_num_threads
from minivivit.errors import InputError

# Of one input: the files have a few thousand bytes, and honest ones take milliseconds. Ten seconds takes a picture of
# three frames that are as large as may be read.
CPU_SECONDS, MEMORY_BYTES = 30, 2 << 30
LONGEST_MESSAGE = 21_000  # names of tensors that do not fit are all listed, up to 20,000 letters
INPUTS_A_CHILD = 400
SILENCE = 600  # seconds without a word after which a child is taken for stuck, and killed


class Defect(Exception):
    """What an input must not lead to."""


def make_input(reader: Reader, samples: list[Files], seed: int, index: int) -> tuple[Files, Random]:
    """Input number `index` of a seed, and the generator that goes on with the reader's own choices."""
    rng = Random(f"{seed}/{reader.name}/{index}")
    files = dict(rng.choice(samples))
    names = [name for name in files if name.endswith(reader.mutated) and not files[name].startswith(b"->")]
    name = rng.choice(names)
    others = [content for sample in samples for other, content in sample.items() if other.endswith(reader.mutated)]
    files[name] = mutate(rng, name, files[name], others)
    return files, rng


def write_files(files: Files, place: Path) -> None:
    """Write an input into a directory that is made for it."""
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if content.startswith(b"->"):
            (place / name).symlink_to(content[2:].decode())
        else:
            (place / name).write_bytes(content)


# --------------------------------------------------------------------------------------------------------------------
# In the child
# --------------------------------------------------------------------------------------------------------------------


class Judge:
    """Runs one input after the other, and says what came of each."""

    def __init__(self, room: Path):
        self.room, self.place, self.elsewhere = room, room / "input", room / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        os.chdir(self.elsewhere)
        os.environ.update(TMPDIR=str(self.elsewhere), HOME=str(self.elsewhere))
        tempfile.tempdir = str(self.elsewhere)
        self.output = os.open(room.with_suffix(".output"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(self.output, stream)
        warnings.simplefilter("error")
        logging.getLogger("minivivit").addHandler(logging.NullHandler())

    def judge(self, reader: Reader, files: Files, rng: Random) -> str:
        """ "loaded" or "refused"; anything else raises `Defect`."""
        shutil.rmtree(self.place, ignore_errors=True)
        write_files(files, self.place)
        before, open_files = self.listing(), len(os.listdir("/proc/self/fd"))
        outcome = self.read(reader, rng)
        gc.collect(0)
        sys.stdout.flush()
        if os.fstat(self.output).st_size:
            os.lseek(self.output, 0, os.SEEK_SET)
            text = os.read(self.output, 2000).decode("utf-8", "replace")
            os.ftruncate(self.output, 0)
            raise Defect(f"wrote to the terminal: {text!r}")
        if os.listdir(self.elsewhere) or set(os.listdir(self.room)) != {"input", "elsewhere"}:
            raise Defect(f"wrote elsewhere: {os.listdir(self.elsewhere)} {os.listdir(self.room)}")
        if not reader.writes and self.listing() != before:
            raise Defect(f"changed its files: {sorted(self.listing() ^ before)[:5]}")
        if (
            len(os.listdir("/proc/self/fd")) > open_files
            and gc.collect() >= 0 < len(os.listdir("/proc/self/fd")) - open_files
        ):
            raise Defect("left a file open")
        return outcome

    def read(self, reader: Reader, rng: Random) -> str:
        try:
            reader.read(self.place, rng)
        except InputError as error:
            message = str(error)
            if len(message) > LONGEST_MESSAGE + 10 * len(str(self.place)):
                raise Defect(f"a message of {len(message):,} letters: {message[:300]}") from None
            if not message.isprintable():
                raise Defect(f"a message that is no line: {message[:300]!r}") from None
            return "refused"
        except MemoryError:
            if reader.may_be_large:
                return "refused"
            raise Defect(f"needs more than {MEMORY_BYTES >> 20} MiB\n{traceback.format_exc()[-1500:]}") from None
        except Exception:
            raise Defect(traceback.format_exc()[-1500:]) from None
        return "loaded"

    def listing(self) -> set[tuple[str, int, int]]:
        """Path, size and time of change of all that is in the input's place."""
        found = (path.lstat() for path in self.place.rglob("*") if not path.is_dir())
        return {(str(entry.st_ino), entry.st_size, entry.st_mtime_ns) for entry in found}


def limit_memory() -> None:
    """So much more than the process has by now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_processor_time() -> None:
    """Of the next input: beyond it, the system ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def run_child(reader: Reader, samples: list[Files], seed: int, indices: range, room: Path, pipe: int) -> None:
    """Judge the inputs of these numbers; of each, say so before and afterwards, one JSON value a line."""
    judge = Judge(room)
    limit_memory()
    for index in indices:
        os.write(pipe, f"{index}\n".encode())
        limit_processor_time()
        files, rng = make_input(reader, samples, seed, index)
        try:
            outcome, detail = judge.judge(reader, files, rng), ""
        except Defect as defect:
            outcome, detail = "defect", str(defect)
        os.write(pipe, json.dumps([outcome, detail]).encode() + b"\n")


# --------------------------------------------------------------------------------------------------------------------
# In the parent
# --------------------------------------------------------------------------------------------------------------------


class Child:
    """A process that judges a range of inputs of one reader."""

    def __init__(self, reader: Reader, samples: list[Files], seed: int, indices: range, room: Path):
        self.reader, self.indices, self.current, self.rest = reader, indices, indices.start, b""
        shutil.rmtree(room, ignore_errors=True)
        self.pipe, writing = os.pipe()
        sys.stdout.flush()  # or the other process would write it once more
        self.process = os.fork()
        if self.process == 0:
            code = 1
            try:
                os.close(self.pipe)
                run_child(reader, samples, seed, indices, room, writing)
                code = 0
            except BaseException:
                os.write(writing, json.dumps(["defect", traceback.format_exc()[-1500:]]).encode() + b"\n")
            finally:
                os._exit(code)
        os.close(writing)

    def outcomes(self) -> Iterator[tuple[int, str, str]]:
        """Number, outcome and detail of what was judged since; `indices` is then what is left to do."""
        data = os.read(self.pipe, 1 << 16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            value = json.loads(line)
            if isinstance(value, int):
                self.current = value
            else:
                self.indices = range(self.current + 1, self.indices.stop)
                yield self.current, *value
        if not data:
            yield from self.end()

    def end(self, stuck: bool = False) -> Iterator[tuple[int, str, str]]:
        """The process has ended, by itself or by a signal, which is then the outcome of its last input."""
        if stuck:
            os.kill(self.process, signal.SIGKILL)
        os.close(self.pipe)
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        if stuck:
            cause = f"said nothing for {SILENCE} seconds"
        elif os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            cause = (
                f"took more than {CPU_SECONDS} seconds of processor time" if name == "SIGXCPU" else f"died of {name}"
            )
        else:
            return
        self.indices = range(self.current + 1, self.indices.stop)
        yield self.current, "defect", cause


def share_out(names: list[str], inputs: int) -> dict[str, int]:
    """How many inputs each reader gets."""
    total = sum(READERS[name].share for name in names)
    return {name: max(1, inputs * READERS[name].share // total) for name in names}


def make_samples_apart(reader: Reader) -> list[Files]:
    """The samples of a reader, made in a process of their own: FFmpeg leaves threads behind, which no fork survives."""
    with tempfile.NamedTemporaryFile() as file:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                Path(file.name).write_bytes(pickle.dumps(make_samples(reader)))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(process, 0)
        if status:
            raise RuntimeError(f"the samples of {reader.name} could not be made")
        return pickle.loads(file.read())


def fuzz(names: list[str], inputs: int, seed: int, jobs: int, kept: Path) -> tuple[Counter, list[str]]:
    """Run so many inputs: counts by (reader, outcome), and a paragraph for each defect."""
    set_num_threads(1)
    counts: Counter = Counter()
    defects: list[str] = []
    samples = {name: make_samples_apart(READERS[name]) for name in names}
    work = [
        (name, range(start, min(start + INPUTS_A_CHILD, count)))
        for name, count in share_out(names, inputs).items()
        for start in range(0, count, INPUTS_A_CHILD)
    ]
    work.reverse()
    with tempfile.TemporaryDirectory() as rooms:
        children: dict[int, tuple[Child, Path]] = {}
        free = [Path(rooms) / str(number) for number in range(jobs)]
        while work or children:
            while work and free:
                name, indices = work.pop()
                room = free.pop()
                child = Child(READERS[name], samples[name], seed, indices, room)
                children[child.pipe] = (child, room)
            ready, _, _ = select.select(list(children), [], [], SILENCE)
            for pipe in ready or list(children):
                child, room = children[pipe]
                name = child.reader.name
                for index, outcome, detail in list(child.outcomes() if ready else child.end(stuck=True)):
                    counts[name, outcome] += 1
                    if outcome == "defect":
                        files, _ = make_input(child.reader, samples[name], seed, index)
                        defects.append(keep(name, seed, index, files, detail, kept))
                if child.process == 0:
                    del children[pipe]
                    free.append(room)
                    if child.indices:
                        work.append((name, child.indices))
    return counts, defects


def keep(name: str, seed: int, index: int, files: Files, detail: str, kept: Path) -> str:
    """Keep an input that has found a defect, and say how to repeat it."""
    place = kept / f"{name}-{seed}-{index}"
    shutil.rmtree(place, ignore_errors=True)
    write_files(files, place)
    (kept / f"{place.name}.txt").write_text(detail)
    command = f"python tests/fuzz/run.py --reader {name} --seed {seed} --replay {place}"
    return f"{name} {index}: {detail}\nrepeat with  {command}\n"


def replay(name: str, seed: int, place: Path) -> int:
    """Read an input that was kept, in this process: a defect shows as what it is."""
    index = place.name.rpartition("-")[2]
    rng = Random(f"{seed}/{name}/{index}")
    if index.isdecimal():  # the reader's own choices come after those of the mutation
        _, rng = make_input(READERS[name], make_samples(READERS[name]), seed, int(index))
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(place, Path(copy) / "input", symlinks=True)
        try:
            READERS[name].read(Path(copy) / "input", rng)
        except InputError as error:
            print(f"refused: {str(error)[:2000]}")
            return 0
    print("loaded")
    return 0


def main() -> int:
    """Run the command line: 0 without a defect, 1 with one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, metavar="N", help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which (default: 0)")
    parser.add_argument("--reader", choices=READERS, metavar="NAME", help=f"one of {', '.join(READERS)} (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="J", help="processes at a time")
    parser.add_argument("--replay", type=Path, metavar="DIRECTORY", help="an input that was kept, of --reader")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where to keep what finds a defect")
    arguments = parser.parse_args()
    if arguments.replay is not None:
        return replay(arguments.reader, arguments.seed, arguments.replay)
    kept = arguments.keep or Path(tempfile.mkdtemp(prefix="minivivit-fuzz-"))
    names = [arguments.reader] if arguments.reader else list(READERS)
    counts, defects = fuzz(names, arguments.inputs, arguments.seed, arguments.jobs, kept)
    for defect in defects[:20]:
        print(defect)
    for name in names:
        print(f"{name:12}", *(f"{outcome} {counts[name, outcome]:6,}" for outcome in ("loaded", "refused", "defect")))
    used = sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = f"{sum(counts.values()):,} inputs, {len(defects)} defects"
    print(f"{total}, {used:.0f} seconds of processor time; seed {arguments.seed}")
    if not defects and arguments.keep is None:
        shutil.rmtree(kept, ignore_errors=True)
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
