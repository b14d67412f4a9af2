"""`notebooks/scaling.md`: what its programs print is what it shows."""

import contextlib
import io
import re
from pathlib import Path

import numpy
import pytest

from minivivit.config import PRESETS, VivitConfig
from minivivit.models.parameters import classification_shapes, flatten
from minivivit.training.parallel.gradient_sum import BUCKET_BYTES, bucket_names

PAGE = (Path(__file__).parents[2] / "notebooks" / "scaling.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=["the sum", "on paper"])
def test_the_programs_print_what_the_page_shows(program):
    code, shown = program
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "scaling.md", "exec"), {})
    assert [line.rstrip() for line in printed.getvalue().splitlines()] == shown.splitlines()


def test_vivit_b_is_as_large_as_the_page_says():
    shapes = flatten(classification_shapes(VivitConfig(**PRESETS["vivit-b-16x2"])))
    sizes = {name: 4 * int(numpy.prod(shape)) for name, shape in shapes.items()}
    assert f"batch, layers, parameters = 64, 12, {sum(sizes.values()) // 4:_}\n" in PAGE
    buckets = bucket_names(sizes, BUCKET_BYTES)
    assert len(buckets) == 12 + 1
    assert "the buckets of ViViT-B are a layer each" in PAGE
