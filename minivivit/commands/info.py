"""``minivivit info``: how many parameters a model has, and what one clip costs."""

import argparse
import json
from pathlib import Path

from minivivit.bundled import bundled_model_directory
from minivivit.commands.common.text_table import printable, text_table
from minivivit.config import PRESETS, VivitConfig
from minivivit.models.counting import TABLE_2, count, table_2, total

DESCRIPTION = """\
Count parameters and multiply-accumulates by component, without reading a weight.

Multiply-accumulates are those of the matrix products of one forward pass of one clip; two floating-point operations
make one. What a paper calls "FLOPs" is often this number, and the ViViT paper's is."""

EXAMPLES = f"""\
The presets are {", ".join(PRESETS)}.

examples:
  minivivit info --preset vivit-b-16x2
  minivivit info --model vivit-b-16x2-kinetics400 --json
  minivivit info --table2"""


def add_info_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="DIR", help="a model's directory, of which config.json is read")
    which.add_argument("--preset", metavar="NAME", help="a published model, see below (default: the bundled model)")
    which.add_argument(
        "--table2", action="store_true", help="the paper's Table 2 from our own counts, beside the paper's figures"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run_info(arguments: argparse.Namespace) -> None:
    """Count what `arguments` name, and print the result."""
    if arguments.table2:
        _print_table_2(arguments.json)
        return
    if arguments.preset is not None:
        name, config = arguments.preset, VivitConfig.from_preset(arguments.preset)
    else:
        directory = Path(arguments.model) if arguments.model is not None else bundled_model_directory()
        name, config = str(directory), VivitConfig.from_pretrained(directory)
    rows = count(config)
    if arguments.json:
        result = {"model": name, "attention_type": config.attention_type, **total(rows), "components": rows}
        print(json.dumps(result))
        return
    print(_one_line(name, config))
    table = [*rows, {"component": "total", **total(rows)}]
    cells = [(row["component"], f"{row['parameters']:,}", f"{row['multiply_accumulates']:,}") for row in table]
    print(text_table(("component", "parameters", "multiply-accumulates"), cells))


def _one_line(name: str, config: VivitConfig) -> str:
    """What goes in: the clip, its tubelets, its tokens."""
    height, width = config.frame_size
    tubelet = " x ".join(map(str, config.tubelet_size))
    times, rows, columns = config.grid_size
    return (
        f"{printable(name)} ({config.attention_type}): {config.num_frames} frames of {height} x {width} in tubelets of "
        f"{tubelet}, {times} x {rows} x {columns} = {times * rows * columns:,} tokens"
    )


def _print_table_2(as_json: bool) -> None:
    rows = table_2()
    if as_json:
        print(json.dumps(rows))
        return
    cells = []
    for row, (_, _, parameters, multiply_accumulates) in zip(rows, TABLE_2, strict=True):
        ours = (f"{row['parameters'] / 1e6:.2f} M", f"{row['multiply_accumulates'] / 1e9:.1f} G")
        paper = (f"{parameters} M", f"{multiply_accumulates} G")
        difference = row["multiply_accumulates"] / (multiply_accumulates * 1e9) - 1
        cells.append((row["model"], ours[0], paper[0], ours[1], paper[1], f"{100 * difference:+.1f} %"))
    print("ViViT-B/16x2, 400 classes, 32 frames of 224 x 224; multiply-accumulates of the matrix products")
    header = ("model", "parameters", "paper's", "multiply-accumulates", "paper's", "difference")
    print(text_table(header, cells))
