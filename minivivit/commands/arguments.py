"""Kinds of arguments that commands share."""

import argparse
import re


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def views(text: str) -> tuple[int, int]:
    """Numbers of temporal and spatial views such as "4x3", for argparse; the second is 1 or 3."""
    match = re.fullmatch("([1-9][0-9]{0,3})[xX]([13])", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not CLIPSxCROPS; expected 1 to 9999 clips and 1 or 3 crops, such as 4x3 or 4x1"
        )
    return int(match[1]), int(match[2])
