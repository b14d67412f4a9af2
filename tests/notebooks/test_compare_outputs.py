"""The comparison of notebooks' outputs: what it lets pass, and what it finds."""

import base64
import copy
import io

import numpy
import pytest
from compare_outputs import differences, output_differences, picture_differences, same_number, text_differences
from PIL import Image, ImageDraw


def png(picture: numpy.ndarray | Image.Image) -> str:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture.astype(numpy.uint8))
    image.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def curve(power: float, shift: int = 0, width: int = 2) -> str:
    """A white picture with a frame and a line, as a plot looks."""
    image = Image.new("L", (320, 240), 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((40 + shift, 20, 300 + shift, 210), outline=0)
    x = numpy.linspace(0, 1, 50)
    draw.line([(40 + shift + 260 * a, 210 - 190 * a**power) for a in x], fill=0, width=width)
    return png(image)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.2345", "1.2350"),
        ("0.12", "0.13"),
        ("1.2e-3", "1.3e-3"),
        ("3.1e-16", "0.0"),
        ("12", "12"),
        ("1,234", "1,234"),
        ("-0.500", "-0.5002"),
        ("4.", "4."),
    ],
)
def test_numbers_that_are_one(old, new):
    assert same_number(old, new)
    assert same_number(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [("12", "13"), ("1.2345", "1.2370"), ("0.12", "0.14"), ("1e-4", "3e-4"), ("0.5", "-0.5"), ("1,234", "1,235")],
)
def test_numbers_that_differ(old, new):
    assert not same_number(old, new)


def test_words_shapes_and_numbers_are_compared():
    assert text_differences("x (1, 33, 96)   0.1000\n", "x (1, 33, 96) 0.1000") == []
    assert "committed" in text_differences("x (1, 33, 96)", "y (1, 33, 96)")[0]
    assert "a number is 32" in text_differences("x (1, 33, 96)", "x (1, 32, 96)")[0]
    assert text_differences("[1. 2.]", "[1. 2. 3.]")
    assert text_differences("took 1.0 s", "took 17 s", is_timing=True) == []
    assert text_differences("took 1.0 s", "takes 1.0 s", is_timing=True)


def test_a_picture_may_move_by_a_pixel_but_not_change():
    line = curve(2)
    assert picture_differences(line, line) == []
    assert picture_differences(line, curve(2, shift=1)) == []
    assert picture_differences(line, curve(2, width=3)) == []
    assert "different" in picture_differences(line, curve(0.3))[0]
    assert "blank" in picture_differences(line, png(numpy.full((240, 320), 255)))[0]
    assert "blank" in picture_differences(line, png(numpy.full((240, 320), 255)), is_timing=True)[0]
    assert "pixels" in picture_differences(line, png(numpy.arange(76000).reshape(200, 380) % 251))[0]
    assert picture_differences(line, curve(0.3), is_timing=True) == []


def test_pictures_inside_of_html_are_compared_as_pictures():
    def page(power: float, alt: str = "A line.", shift: int = 0) -> dict:
        html = f'<details><img alt="{alt}" src="data:image/png;base64,{curve(power, shift)}"/></details>'
        return {"output_type": "display_data", "data": {"text/html": html}}

    assert output_differences(page(1), page(1, shift=1), is_timing=False) == []
    assert "looks different" in output_differences(page(1), page(9), is_timing=False)[0]
    assert output_differences(page(1), page(9), is_timing=True) == []
    assert "text" in output_differences(page(1), page(1, "A curve."), is_timing=False)[0]


def cells() -> list[dict]:
    picture = {
        "output_type": "display_data",
        "data": {"image/png": curve(1), "text/plain": "A line that rises."},
        "metadata": {"image/png": {"alt": "A line that rises."}},
    }
    return [
        {"cell_type": "markdown", "source": "# Title", "metadata": {}},
        {
            "cell_type": "code",
            "source": "f()",
            "metadata": {},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["(2, 3)\n", "0.25\n"]}, picture],
        },
    ]


def test_cells_are_compared():
    assert differences(cells(), cells()) == []
    assert differences(cells(), cells()[:1])
    for change, words in [
        (lambda outputs: outputs.pop(), "outputs are"),
        (lambda outputs: outputs[0].update(text="(2, 4)\n0.25"), "cell 1: a number is 4"),
        (lambda outputs: outputs[0].update(name="stderr"), "outputs are"),
        (lambda outputs: outputs[1]["data"].update({"image/png": curve(9)}), "cell 1: the picture looks"),
        (lambda outputs: outputs[1]["metadata"]["image/png"].update(alt="A line that falls."), "falls"),
        (lambda outputs: outputs[1].update(metadata={}), "the text is ''"),
        (lambda outputs: outputs[1]["data"].pop("text/plain"), "outputs are"),
    ]:
        fresh = copy.deepcopy(cells())
        change(fresh[1]["outputs"])
        found = differences(cells(), fresh)
        assert found
        assert words in found[0]
