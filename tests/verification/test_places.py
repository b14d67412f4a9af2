"""Where a tensor is wrong, in words: small tensors with a mistake in one place."""

import numpy
import pytest

from minivivit import VivitConfig
from minivivit.verification.comparison.evidence.where import Place, places
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tensors.source import ArraySource

CONFIG = VivitConfig(
    image_size=[8, 12],
    num_frames=8,
    tubelet_size=[2, 4, 4],
    hidden_size=24,
    num_attention_heads=4,
    num_hidden_layers=1,
    intermediate_size=24,
)  # a grid of 4 times, 2 rows, 3 columns: 24 tokens and the CLS token
LAYER = "vivit.encoder.layer.0"
ATTENTION = f"{LAYER}.attention.attention"


def said(name, shape, change, allowed=1e-5, clips=2, noise=1e-7):
    """The sentences about a tensor of random numbers in which `change` set something, beside rounding."""
    rng = numpy.random.default_rng(0)
    ours = rng.standard_normal(shape)
    theirs = ours * (1 + noise * rng.standard_normal(shape))
    change(theirs)
    return [place.sentence for place in places(name, ours, theirs, allowed, CONFIG, clips)]


def put(*index, value=7.0):
    """Sets a part of a tensor."""

    def change(tensor):
        tensor[index] = value

    return change


ALL = slice(None)


@pytest.mark.parametrize(
    ("name", "shape", "change", "sentences"),
    [
        (LAYER, (2, 25, 24), put(1), ["only clip 1"]),
        (LAYER, (2, 25, 24), put(ALL, 24), ["only token 24 (the last)"]),
        (LAYER, (2, 25, 24), put(ALL, 0), ["only token 0 (the CLS token)"]),
        (LAYER, (2, 25, 24), put(1, 0), ["only clip 1", "only token 0 (the CLS token)"]),
        (LAYER, (2, 25, 24), put(..., slice(12, 24)), ["only features 12 to 23"]),
        (LAYER, (2, 25, 24), put(..., [3, 4, 9]), ["only features 3, 4 and 9"]),
        (ATTENTION, (2, 25, 24), put(..., slice(6, 12)), ["only features 6 to 11", "only head 1"]),
        (f"{ATTENTION}.scores", (2, 4, 25, 25), put(..., 24), ["only key 24 (the last)"]),
        (f"{ATTENTION}.scores", (2, 4, 25, 25), put(ALL, [1, 2]), ["only heads 1 and 2"]),
        (f"{ATTENTION}.probs", (2, 4, 25, 25), put(..., slice(0, 3), ALL), ["only queries 0 to 2"]),
        ("pixel_values", (2, 8, 3, 8, 12), put(ALL, slice(0, 8, 2)), ["only the even frames"]),
        ("pixel_values", (2, 8, 3, 8, 12), put(..., 11), ["only pixel column 11 (the last)"]),
        ("pixel_values", (2, 8, 3, 8, 12), put(0, ALL, 2), ["only clip 0", "only channel 2 (the last)"]),
        ("classifier", (2, 10), put(ALL, 3), ["only class 3"]),
        ("vivit.spatial_encoder.layer.0", (8, 7, 24), put([1, 5]), ["only time 1"]),
        ("vivit.spatial_encoder.layer.0", (8, 7, 24), put(slice(4, 8)), ["only clip 1"]),
        ("gradient.classifier.weight", (10, 24), put(slice(0, 4)), ["only rows 0 to 3"]),
        ("gradient.classifier.weight", (10, 24), put(ALL, 23), ["only column 23 (the last)"]),
        ("gradient.classifier.bias", (10,), put(9), ["only entry 9 (the last)"]),
    ],
)
def test_each_place_has_its_words(name, shape, change, sentences):
    assert said(name, shape, change) == sentences
    assert said(name, shape, change, allowed=None) == sentences
    assert said(name, shape, change, allowed=None, noise=0.0) == sentences


def test_places_on_the_grid():
    def last_row(tensor):
        tensor[:, 1:].reshape(2, 4, 2, 3, 24)[:, :, 1] = 7

    def second_time(tensor):
        tensor[:, 1:].reshape(2, 4, 2, 3, 24)[:, 1] = 7

    assert said(LAYER, (2, 25, 24), last_row)[-1] == "only row 1 of the grid"
    assert said(LAYER, (2, 25, 24), second_time) == ["only tokens 7 to 12", "only time 1"]


def test_heads_and_tokens_exchanged():
    def heads(tensor):
        tensor[...] = tensor.reshape(2, 25, 4, 6)[:, :, [1, 0, 2, 3]].reshape(2, 25, 24)

    def tokens(tensor):
        tensor[:, [3, 5]] = tensor[:, [5, 3]]

    assert said(ATTENTION, (2, 25, 24), heads)[-1] == "only heads 0 and 1, exchanged"
    assert said(LAYER, (2, 25, 24), tokens) == ["only tokens 3 and 5, exchanged"]


def test_what_is_wrong_everywhere_or_nowhere_has_no_place():
    assert said(LAYER, (2, 25, 24), lambda tensor: None) == []
    assert said(LAYER, (2, 25, 24), lambda tensor: tensor.__imul__(1.1)) == []
    rng = numpy.random.default_rng(1)
    assert said(LAYER, (2, 25, 24), lambda tensor: tensor.__iadd__(0.01 * rng.standard_normal(tensor.shape))) == []


def test_numbers_that_are_none_have_a_place():
    assert said(LAYER, (2, 25, 24), put(ALL, 5, value=numpy.nan)) == ["only token 5"]
    assert said(LAYER, (2, 25, 24), put(..., 7, value=numpy.inf)) == ["only feature 7"]


def test_a_comparison_says_where_and_its_json_holds_it():
    rng = numpy.random.default_rng(0)
    ours = {"x": rng.standard_normal((2, 5, 4)), "y": rng.standard_normal((2, 3))}
    theirs = {**ours, "x": ours["x"].copy()}
    theirs["x"][:, 4] += 1
    comparison = compare(ArraySource(ours), ArraySource(theirs), rtol=1e-9, atol=1e-12)
    assert comparison.places == [Place("token", [(4, 4)], "only token 4 (the last)")]
    assert comparison.to_json()["places"] == [
        {"axis": "token", "indices": [[4, 4]], "sentence": "only token 4 (the last)", "tensor": "x"}
    ]
