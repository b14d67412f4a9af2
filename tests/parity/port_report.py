"""The measuring instrument: what `compare` says of every planted fault, and of right ports.

python tests/parity/port_report.py [--kind full|coarse] [--dtype float32|float16|bfloat16]
    [--pairing map|order] [--fresh] [--only WORDS] [--place PLACE] [--right [--drawn SEED]] [--workers 2] [--verbose]
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]

from port.gallery import PORT_FAULTS  # noqa: E402
from port.measure import Column, Finding, measure  # noqa: E402
from port.right_pairs import RIGHT_PAIRS, RightPair, drawn_pairs, false_alarm  # noqa: E402

WORKERS = 2


def measured(index: int, column: Column) -> Finding:
    """What is said of one fault; in a worker."""
    return measure(PORT_FAULTS[index], column)


def alarm(index: int, seed: int | None, number: int) -> str:
    """What is reported of a right pair; in a worker."""
    return false_alarm(pairs_of(seed, number)[index])


@functools.cache
def pairs_of(seed: int | None, number: int) -> list[RightPair]:
    """The right pairs that are listed, or so many that are drawn."""
    return RIGHT_PAIRS if seed is None else drawn_pairs(seed, number)


def chosen(arguments: argparse.Namespace) -> list[int]:
    """The faults that are asked for."""
    words = (arguments.only or "").lower()
    return [
        index
        for index, fault in enumerate(PORT_FAULTS)
        if words in fault.name.lower()
        and (not arguments.place or arguments.place in (fault.place, fault.model))
        and (not fault.precisions or arguments.dtype in fault.precisions)
    ]


def run(function: Callable[..., Any], jobs: list[int], workers: int, *arguments: Any) -> list[Any]:
    """The function of each, in at most two processes."""
    if workers == 1 or len(jobs) <= 1:
        return [function(index, *arguments) for index in jobs]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, WORKERS), context) as pool:
        return list(pool.map(function, jobs, *([argument] * len(jobs) for argument in arguments), chunksize=8))


def line(finding: Finding) -> str:
    """A row of the table."""
    mark = {True: "yes", False: "NO", None: ""}
    return (
        f"{finding.fault[:44]:<45}{mark[finding.localised]:<5}{finding.exit_code:<5}{finding.cause_verdict:<8}"
        f"{mark[finding.place_said]:<6}{'; '.join(finding.causes) or '-':<42} {finding.expected_cause or '-'}"
    )


def totals(findings: list[Finding]) -> str:
    """The numbers that count."""
    verdicts = collections.Counter(finding.cause_verdict for finding in findings)
    with_cause = [finding for finding in findings if finding.expected_cause]
    places = [finding.place_said for finding in findings if finding.place_said is not None]
    return (
        f"{len(findings)} faults: localised {sum(finding.localised for finding in findings)}, exit 0 "
        f"{sum(finding.exit_code == 0 for finding in findings)}, suspicious "
        f"{sum(finding.exit_code == 4 for finding in findings)}, crashed "
        f"{sum(finding.exit_code == 2 for finding in findings)}; causes right {verdicts['right']} of "
        f"{len(with_cause)} that have one, vague {verdicts['vague']}, wrong {verdicts['wrong']}, missed "
        f"{verdicts['missed']}; places said {sum(places)} of {len(places)}"
    )


def report_right_pairs(words: str, workers: int, seed: int | None, number: int) -> None:
    """Print those of which something is reported."""
    pairs = pairs_of(seed, number)
    jobs = [index for index, pair in enumerate(pairs) if words in pair.name.lower()]
    alarms = run(alarm, jobs, workers, seed, number)
    for index, said in zip(jobs, alarms, strict=True):
        if said:
            print(f"{pairs[index].name}\n    {said}")
    print(f"{len(jobs)} right pairs: {sum(map(bool, alarms))} false alarms")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("full", "coarse"), default="full")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--pairing", choices=("map", "order"), default="map")
    parser.add_argument("--fresh", action="store_true", help="freshly initialised weights")
    parser.add_argument("--right", action="store_true", help="the right pairs in place of the faults")
    parser.add_argument(
        "--drawn", type=int, metavar="SEED", help="with --right: pairs drawn at random, not those listed"
    )
    parser.add_argument("--number", type=int, default=150, help="of them (default: 150)")
    parser.add_argument("--only", metavar="WORDS", help="faults whose names hold these words")
    parser.add_argument("--place", help="a part of the network, or m1, m2, m3")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--verbose", action="store_true", help="also where, and the verdict")
    parser.add_argument("--json", metavar="FILE", help="write the findings")
    arguments = parser.parse_args()
    if arguments.right:
        words = (arguments.only or "").lower()
        report_right_pairs(words, arguments.workers, arguments.drawn, arguments.number)
        return
    column = Column(arguments.kind == "coarse", arguments.dtype, arguments.pairing, arguments.fresh)
    findings = run(measured, chosen(arguments), arguments.workers, column)
    print(f"{'fault':<45}{'loc.':<5}{'exit':<5}{'cause':<8}{'place':<6}{'claimed':<42} expected")
    for finding in findings:
        print(line(finding))
        if arguments.verbose or not finding.localised:
            print(f"    expected {finding.expected}, found {finding.found}; {finding.effect:.3g} x rounding")
            print(f"    {finding.verdict}")
    print(totals(findings))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))


if __name__ == "__main__":
    main()
