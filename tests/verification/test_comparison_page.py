"""The page: what it says, in whatever names, and that it needs nothing else."""

import re
import xml.etree.ElementTree
from html.parser import HTMLParser

import numpy
import pytest

from minivivit.config import VivitConfig
from minivivit.verification.comparison.page import MOST_LISTED, comparison_page
from minivivit.verification.comparison.pictures import MOST_MARKS
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tensors.source import ArraySource

CONFIG = VivitConfig(image_size=16, num_frames=4, tubelet_size=(2, 4, 8), hidden_size=8, num_attention_heads=2)
EVIL = '<script>alert("1")</script>\n\x1b[31m&\u202e\ud800.layer.99999999999.x'
SMALL = {"relative_l2": 1e-6, "max_abs": 1e-5, "rms": 1e-6}


def source(tensors, config=None):
    metadata = {"rounding_budgets": {"float32": dict.fromkeys(tensors, SMALL)}}
    return ArraySource(tensors, metadata | ({"config": config} if config is not None else {}))


def tokens(seed):
    """(batch, CLS token and 2 x 4 x 2 tubelets, width)"""
    return numpy.random.default_rng(seed).standard_normal((2, 17, 8))


NAMES = [f"vivit.encoder.layer.{layer}.{name}" for layer in range(3) for name in ("query", "key")]
OURS = {name: tokens(seed) for seed, name in enumerate(NAMES)}


def page_of(ours, theirs, **arguments):
    comparison = compare(ours, theirs, **arguments)
    return comparison_page(comparison, ours, theirs)


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.void = [], [], ("meta", "br")
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def pictures(page):
    found = re.findall("<svg.*?</svg>", page, re.DOTALL)
    for picture in found:
        xml.etree.ElementTree.fromstring(picture)
    return found


@pytest.fixture(scope="module")
def divergent():
    theirs = {name: array.astype("f4") for name, array in OURS.items()}
    theirs[NAMES[3]] = theirs[NAMES[3]].copy()
    theirs[NAMES[3]][:, 1 + 8 + 5] += 0.25  # time 1, row 2, column 1
    return page_of(source(OURS, CONFIG.to_dict()), theirs)


def test_the_page_says_what_was_found(divergent):
    assert "The first tensor that differs by more than rounding to float32" in divergent
    assert f"Error of each token of {NAMES[3]}" in divergent
    assert "the worst is time 1, row 2, column 1 (framed): 2.50e-01. CLS token:" in divergent
    assert divergent.count('<tr class="first">') == 1
    assert len(pictures(divergent)) == 2
    assert divergent.count("<circle") == 5  # five that agree
    assert divergent.count("<path") == 1  # and one that does not: it differs in shape, not only in colour
    assert divergent.count("<rect") == 2 * 4 * 2 + 2 + 5  # tokens, the frame, the scale


def test_pictures_tell_who_cannot_see_them(divergent):
    described = [attributes for tag, attributes in Elements(divergent).tags if tag == "svg"]
    assert len(described) == 2
    for attributes in described:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 40
    assert described[0]["aria-label"].endswith(f"{NAMES[3]} is the first that differs.")
    for picture in pictures(divergent):
        assert picture.index("<title>") < 250


def test_the_page_needs_nothing_else(divergent):
    for tag, attributes in Elements(divergent).tags:
        assert tag not in ("script", "img", "link", "iframe", "object", "a", "use", "image")
        assert not {"href", "src", "style", "onload"} & set(attributes)
    assert "http" not in divergent.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "default-src 'none'" in divergent


def test_names_from_files_stay_text():
    ours = {EVIL: tokens(0), "b" * 100_000: tokens(1)}
    theirs = {name: array + 1 for name, array in ours.items()} | {EVIL * 2: tokens(0)}
    page = page_of(source(ours, CONFIG.to_dict()), theirs, precision="float32")
    page.encode("utf-8")
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert len(page) < 100_000
    Elements(page)
    assert len(pictures(page)) == 2


def test_whatever_is_compared_makes_a_page():
    nan = {"a": numpy.full((2, 2), numpy.nan), "b": numpy.zeros((0, 4)), "c": numpy.array(1.0)}
    other = {"a": numpy.ones((2, 2)), "b": numpy.zeros((4, 0)), "c": numpy.array(2.0)}
    huge = {"a": numpy.full((2, 2), 1e300)}
    for ours, theirs, arguments in [
        (nan, other, {"atol": 1.0}),
        (other, nan, {"atol": 0.0}),
        (nan, nan, {}),
        (huge, {"a": -huge["a"]}, {"rtol": 0.0}),
        ({"a": numpy.zeros((2, 2))}, {"a": numpy.ones((2, 2))}, {"rtol": 1.0}),
        (nan, other, {"atol": 1.0, "mapping": {"c": "absent"}}),
    ]:
        page = page_of(ours, theirs, **arguments)
        Elements(page)
        pictures(page)


@pytest.mark.parametrize(
    "config", [None, 3, {}, {"image_size": "x"}, {"hidden_size": 7}, CONFIG.to_dict() | {"num_frames": 2}]
)
def test_a_trace_that_does_not_tell_the_grid_has_no_picture_of_tokens(config):
    page = page_of(source(OURS, config), {name: array + 1 for name, array in OURS.items()}, precision="float32")
    assert len(pictures(page)) == 1
    assert "<p>Our trace does not say" in page or "<p>A tensor of shape (2, 17, 8) has no axis of" in page


@pytest.mark.thorough
def test_very_many_tensors_make_a_small_page():
    tensors = {f"layer.{i}.x": numpy.ones(3) for i in range(4000)}
    theirs = {name: array + (1e-3 if name == "layer.2500.x" else 1e-7) for name, array in tensors.items()}
    page = page_of(source(tensors), theirs, precision="float32")
    assert page.count("<circle") + page.count("<path") <= MOST_MARKS
    assert page.count("<path") == 1  # the worst of its neighbours stays
    assert page.count("<tr") == MOST_LISTED + 1
    assert '<tr class="first"><td>2501</td>' in page
    assert len(page) < 2_000_000


def test_pixels_have_their_picture():
    clip = numpy.random.default_rng(0).standard_normal((1, 4, 3, 16, 16))
    page = page_of(
        source({"pixel_values": clip}, CONFIG.to_dict()), {"pixel_values": clip[..., ::-1]}, precision="float32"
    )
    assert len(pictures(page)) == 2


@pytest.mark.parametrize("factor", [1e160, 1.5e308, 1e-310, -1.5e308])
def test_values_whose_squares_float64_cannot_hold(factor):
    """Beyond 1e154 squares are infinite, below 1e-162 they are 0: the picture is that of moderate numbers."""
    shape = (1, 4, 3, 16, 16)
    for name, ours in ((NAMES[0], OURS[NAMES[0]]), ("pixel_values", numpy.random.default_rng(3).uniform(-1, 1, shape))):
        ours = ours / abs(ours).max()
        theirs = ours.copy()
        theirs[(0, *(size // 2 for size in ours.shape[1:]))] *= -1
        pages = []
        for scale in (1.0, factor):
            left, right = ({name: array * scale} for array in (ours, theirs))
            page = page_of(source(left, CONFIG.to_dict()), source(right), rtol=0.0, atol=0.0)
            pictures(page)
            pages.append(page)
        greys = [re.findall('fill="#([0-9a-f]{6})"', page) for page in pages]
        assert len(greys[0]) > 10
        assert greys[0] == greys[1]
        assert "nan" not in pages[1].lower()


def test_differences_that_float64_cannot_hold():
    ours = {NAMES[0]: numpy.full((2, 17, 8), 1.7e308)}
    theirs = {NAMES[0]: numpy.where(numpy.arange(17)[:, None] == 5, -1.7e308, 1.7e308) * numpy.ones((2, 1, 8))}
    page = page_of(source(ours, CONFIG.to_dict()), source(theirs), rtol=1e-6)
    pictures(page)
    assert "time 0, row 2, column 0" in page  # token 5, of which the first is the CLS token
    assert "1.80e+308" in page
