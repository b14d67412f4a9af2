"""Layouts: told, found, written out, and refused."""

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.verification.tensors.layouts import find_layout, find_layouts, same_axes, undo_layout

BATCH, TOKENS, HEADS, SIZE = 2, 10, 3, 4
RNG = numpy.random.default_rng(0)
QUERY, KEY, VALUE = RNG.standard_normal((3, BATCH, TOKENS, HEADS * SIZE))
CLIP = RNG.standard_normal((2, 4, 3, 6, 5))
TUBELETS = RNG.standard_normal((2, 2 * 3 * 4, 12))
SQUARE = RNG.standard_normal((8, 8))


def split(tensor):
    """(batch, tokens, heads * size) -> (batch, heads, tokens, size)."""
    return tensor.reshape(BATCH, TOKENS, HEADS, SIZE).transpose(0, 2, 1, 3)


def by_head(*tensors):
    stacked = numpy.stack([tensor.reshape(BATCH, TOKENS, HEADS, SIZE) for tensor in tensors], 3)
    return stacked.reshape(BATCH, TOKENS, -1)


# ours, theirs, the layout that is found
CASES = {
    "as ours": (QUERY, QUERY, ""),
    "merged": (QUERY, numpy.concatenate([QUERY, KEY, VALUE], -1), "qkv[0]"),
    "merged, key": (KEY, numpy.concatenate([QUERY, KEY, VALUE], -1), "qkv[1]"),
    "by head": (VALUE, by_head(QUERY, KEY, VALUE), "qkv[2] by head"),
    "innermost": (KEY, numpy.stack([QUERY, KEY, VALUE], -1).reshape(BATCH, TOKENS, -1), "qkv[1] innermost"),
    "merged and split": (KEY, numpy.stack([split(QUERY), split(KEY), split(VALUE)]), None),
    "transposed": (SQUARE, SQUARE.T, "transposed"),
    "channels last": (CLIP, CLIP.transpose(0, 1, 3, 4, 2), "channels last"),
    "channels first": (CLIP, CLIP.transpose(0, 2, 1, 3, 4), "channels first"),
    "without batch": (CLIP[:1], CLIP[0], ""),
    "channels last, without batch": (CLIP[:1], CLIP[0].transpose(0, 2, 3, 1), None),
    "heads split": (QUERY, split(QUERY), "heads split"),
    "heads merged": (split(QUERY), QUERY, "heads merged"),
    "heads after tokens": (split(QUERY), split(QUERY).transpose(0, 2, 1, 3), None),
    "heads in the batch": (split(QUERY), split(QUERY).reshape(-1, TOKENS, SIZE), ""),
    "heads in the batch, ours merged": (QUERY, split(QUERY).reshape(-1, TOKENS, SIZE), None),
    "tokens in the batch": (QUERY, QUERY.reshape(-1, HEADS * SIZE), "reshape(2, 10, 12)"),
    "tokens first": (QUERY, QUERY.transpose(1, 0, 2), None),
    "convolution": (TUBELETS, TUBELETS.reshape(2, 2, 3, 4, 12).transpose(0, 4, 1, 2, 3), None),
}


@pytest.mark.parametrize("case", CASES)
def test_layouts_are_found_and_undone(case):
    ours, theirs, expected = CASES[case]
    noisy = theirs + 1e-6 * numpy.random.default_rng(1).standard_normal(theirs.shape)
    layout = find_layout(ours, noisy, HEADS)
    if expected and not case.startswith("heads in"):
        assert layout == expected
    numpy.testing.assert_array_equal(undo_layout(theirs, layout, ours.shape, HEADS), ours)


def test_large_tensors_are_judged_by_a_sample():
    ours = RNG.standard_normal((1, 900, 96))
    layout = find_layout(ours, ours.transpose(0, 2, 1))
    assert layout == "transposed"
    merged = numpy.concatenate([RNG.standard_normal(ours.shape), ours, ours + 1], -1)
    assert find_layout(ours, merged) == "qkv[1]"


def test_the_plainest_layout_wins_where_none_is_clearly_better():
    assert find_layout(SQUARE, RNG.standard_normal((8, 8))) == ""
    assert find_layout(SQUARE, numpy.full((8, 8), numpy.nan)) == ""
    assert find_layout(QUERY, RNG.standard_normal((4, 5))) is None
    assert find_layout(numpy.zeros((0, 3)), numpy.zeros((3, 0))) is not None
    assert find_layout(numpy.array(1.0), numpy.array([[2.0]])) == ""
    assert find_layout(numpy.zeros((2,) * 9), numpy.zeros(2**9)) is not None  # too many axes to permute


def test_layouts_can_be_told_in_words():
    numbers = numpy.arange(24.0).reshape(2, 3, 4)
    found = undo_layout(numbers, "transpose(0, 2, 1) reshape(2, 2, -1) take(1, 1)", (2, 6))
    numpy.testing.assert_array_equal(found, numbers.transpose(0, 2, 1).reshape(2, 2, 6)[:, 1])
    numpy.testing.assert_array_equal(undo_layout(numbers, "reshape(6, 4)", (6, 1, 4)), numbers.reshape(6, 1, 4))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("rotate", "'rotate' is no layout; expected transposed, channels last"),
        ("transpose(0, 1) + 1", "is no layout"),
        ("__import__('os')", "is no layout"),
        ("transpose(0, 0)", r"transpose\(0, 0\) cannot be done to a tensor of shape \(4, 6\)"),
        ("transpose(5)", "cannot be done"),
        ("reshape(5, 5)", "cannot be done"),
        ("reshape(99999999999999999999999, 5)", "cannot be done"),
        ("reshape(1-2, 3)", "expected whole numbers"),
        ("take(0)", "cannot be done"),
        ("take(0, 7)", "cannot be done"),
        ("transpose(1, 0)", r"makes \(6, 4\) of \(4, 6\), but ours is \(4, 6\)"),
        ("qkv[0]", "ours is"),
        ("qkv[3]", "is no layout"),
        ("qkv[0] by head", "needs the number of heads"),
        ("channels last", "cannot be done"),
        ("heads merged", r"does not lead from their shape \(4, 6\)"),
    ],
)
def test_layouts_that_are_none_are_refused(layout, message):
    with pytest.raises(InputError, match=message) as error:
        undo_layout(numpy.zeros((4, 6)), layout, (4, 6))
    assert "\n" not in str(error.value)


FOLDED = RNG.standard_normal((BATCH, 5, TOKENS, HEADS * SIZE))  # (batch, times, tokens, hidden)
OURS = FOLDED.reshape(-1, TOKENS, HEADS * SIZE)
FOLDED_HEADS = FOLDED.reshape(BATCH, 5, TOKENS, HEADS, SIZE).swapaxes(2, 3)  # (batch, times, heads, tokens, size)


@pytest.mark.parametrize(
    ("theirs", "layout", "ours"),
    [
        (FOLDED, "", OURS),
        (OURS, "", FOLDED),
        (numpy.concatenate([FOLDED + 1, FOLDED, FOLDED], -1), "qkv[1]", OURS),
        (numpy.stack([FOLDED, FOLDED + 1, FOLDED], -1).reshape(BATCH, 5, TOKENS, -1), "qkv[2] innermost", OURS),
        (FOLDED_HEADS, "heads split", OURS),
        (FOLDED_HEADS[0, 0], "heads split", OURS[0]),
        (FOLDED, "heads merged", FOLDED_HEADS.reshape(-1, HEADS, TOKENS, SIZE)),
        (FOLDED.swapaxes(2, 3), "transposed", OURS),
        (CLIP[0].transpose(0, 2, 3, 1), "channels last", CLIP[:1]),
        (CLIP.reshape(1, *CLIP.shape).swapaxes(2, 3), "channels first", CLIP),
        # words together
        (numpy.concatenate([FOLDED_HEADS, FOLDED_HEADS + 1, FOLDED_HEADS], -1), "qkv[0] heads split", OURS),
        (numpy.concatenate([FOLDED + 1, FOLDED], 2), "reshape(2, 5, 2, 10, 12) take(2, 1)", OURS),
        (numpy.concatenate([FOLDED.swapaxes(2, 3)] * 3, 2), "transposed qkv[2]", OURS),
        (FOLDED_HEADS.swapaxes(-1, -2), "transposed heads split", OURS),
        (FOLDED_HEADS.reshape(-1, TOKENS, SIZE), "reshape(10, 3, 10, 4) heads split", OURS),
        (numpy.stack([OURS, OURS + 1]), "take(0, 0) qkv[0]", OURS[..., :4]),
    ],
)
def test_words_take_any_leading_axes_and_go_together(theirs, layout, ours):
    numpy.testing.assert_array_equal(undo_layout(theirs, layout, ours.shape, HEADS), ours)


@pytest.mark.parametrize(
    ("shape", "goal"),
    [((2, 3, 4), (2, 4, 3)), ((6, 4), (8, 3)), ((2, 12), (24,)), ((4, 3, 5), (6, 2, 5)), ((3, 0), (0, 4)), ((), (2,))],
)
def test_only_axes_before_the_last_are_merged_or_apart(shape, goal):
    assert not same_axes(shape, goal)
    with pytest.raises(InputError, match="but ours is"):
        undo_layout(numpy.zeros(shape), "", goal)


def test_layouts_are_found_for_single_numbers_and_for_nothing():
    number = numpy.array(3.0)
    assert find_layouts(number, number) == [""]
    assert find_layouts(number, numpy.array([4.0])) == [""]
    assert find_layouts(number, numpy.zeros(2)) == []
    assert undo_layout(number, "", ()) == 3
    assert find_layouts(numpy.zeros((0, 3)), numpy.zeros((0, 3))) == [""]


def test_each_layout_that_is_found_can_be_undone():
    """Also where a last reshape was left out, and where theirs is like ours in none."""
    rng = numpy.random.default_rng(5)
    for shape in [
        (2, 10, 3, 4),
        (2, 3, 10, 4),
        (2, 10, 3, 3, 4),
        (20, 36),
        (2, 10, 36),
        (3, 2, 10, 12),
        (2, 2, 5, 3, 4),
    ]:
        layouts = find_layouts(QUERY, rng.standard_normal(shape), HEADS)
        assert 0 < len(layouts) <= 24
        for layout in layouts:
            assert undo_layout(rng.standard_normal(shape), layout, QUERY.shape, HEADS).shape == QUERY.shape
    dropped = split(QUERY).transpose(0, 2, 1, 3)  # (batch, tokens, heads, size), not put together
    assert find_layouts(QUERY, dropped, HEADS) == ["reshape(2, 10, 12)"]


def test_where_none_agrees_the_right_one_is_among_those_that_remain():
    """A convolution's output with wrong numbers in it."""
    wrong = TUBELETS[:, ::-1] @ RNG.standard_normal((12, 12))
    theirs = wrong.reshape(2, 2, 3, 4, 12).transpose(0, 4, 1, 2, 3)
    undone = [undo_layout(theirs, layout, TUBELETS.shape) for layout in find_layouts(TUBELETS, theirs)]
    assert any(numpy.array_equal(one, wrong) for one in undone)
    assert len(undone) == len({one.tobytes() for one in undone})


def test_a_layout_line_has_an_end():
    with pytest.raises(InputError, match="is no layout"):
        undo_layout(numpy.zeros((2, 2)), "transposed " * 1000, (2, 2))
