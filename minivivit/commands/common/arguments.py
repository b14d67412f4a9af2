"""Kinds of arguments that commands share."""

import argparse
import re

from minivivit.files.tensor_data import quoted


def integer(text: str) -> int:
    """A whole number in the digits 0 to 9, for argparse; `int` also takes those of other scripts, and underscores."""
    if not re.fullmatch("[+-]?[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number")
    return int(text)


def natural(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number of at least 1")
    return int(text)


def decimal(text: str) -> float:
    """A number such as 0.5 or 1e-3, for argparse; `float` also takes other digits, underscores and blanks."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|nan)", text):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number")
    return float(text)


def views(text: str) -> tuple[int, int]:
    """Numbers of temporal and spatial views such as "4x3", for argparse; the second is 1 or 3."""
    match = re.fullmatch("([1-9][0-9]{0,3})[xX]([13])", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not CLIPSxCROPS; expected 1 to 9999 clips and 1 or 3 crops, such as 4x3 or 4x1"
        )
    return int(match[1]), int(match[2])


def shard(text: str) -> tuple[int, int]:
    """A part of several, such as "2/4", counted from 1, for argparse."""
    match = re.fullmatch("([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not I/N; expected a part of N, from 1/N to N/N, such as 2/4"
        )
    return int(match[1]), int(match[2])
