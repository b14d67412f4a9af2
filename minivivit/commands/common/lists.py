"""What the commands that take lists of clips say of them."""

import argparse

LISTS = """\
A list is a text file that names clips and their labels: CSV with a header (path and label, or label_NAME for each of
several heads; also start and end in seconds, or start_frame and end_frame, counted from 0, the end not included); lines
of a path and a label without a header, as SlowFast, VideoMAE and mmaction2 have them for Kinetics, Something-Something
and Moments in Time (with mmaction2's frame counts, too); Something-Something's JSON; Epic Kitchens' CSV. Its relative
paths begin at --root, or in the folder of the list; absolute ones, and  ..  in paths, are taken as they are. Labels are
names of classes, or numbers from 0; --labels FILE names them: a JSON list, or object of names and numbers, or text with
a name each line. All these files are in UTF-8."""


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that belong to a list of clips."""
    parser.add_argument("--root", metavar="DIR", help="where the paths of a list begin (default: the list's folder)")
    parser.add_argument("--labels", metavar="FILE", help="names of a list's classes, as JSON or text")
