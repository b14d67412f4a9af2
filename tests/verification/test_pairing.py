"""Which tensor of theirs belongs to which of ours."""

import numpy
import pytest
from counting import CountedName, num_calls

from minivivit.errors import InputError
from minivivit.verification.comparison.pairing import LONGEST_ORDER, Pair, pair_by_name, pair_by_order, read_mapping
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tensors.layouts import undo_layout
from minivivit.verification.tensors.source import ArraySource

OURS = ["embeddings", "layer.0.query", "layer.0.key", "layer.1.query", "layer.1.key", "head"]


def test_equal_names_are_pairs():
    theirs = dict.fromkeys(["head", "other", "embeddings"])
    assert pair_by_name(OURS, {}, theirs) == [Pair("embeddings", "embeddings"), Pair("head", "head")]


def test_a_mapping_names_others():
    mapping = {
        "layer.{N}.query": {"name": "blocks.{N}.qkv", "layout": "qkv[0]"},
        "layer.{N}.key": "blocks.{N}.k",
        "layer.1.key": "special",
        "head": None,
        "embeddings": {"layout": "transposed"},
    }
    assert pair_by_name(OURS, mapping, dict.fromkeys(["embeddings", "head"])) == [
        Pair("embeddings", "embeddings", "transposed"),
        Pair("layer.0.query", "blocks.0.qkv", "qkv[0]"),
        Pair("layer.0.key", "blocks.0.k"),
        Pair("layer.1.query", "blocks.1.qkv", "qkv[0]"),
        Pair("layer.1.key", "special"),
    ]


def test_several_numbers_and_equal_ones():
    ours = ["a.1.b.1", "a.1.b.2", "a.x"]
    assert pair_by_name(ours, {"a.{N}.b.{N}": "same.{N}"}, {}) == [Pair("a.1.b.1", "same.1")]
    assert pair_by_name(ours, {"a.{N}.b.{M}": "{M}-{N}"}, {}) == [Pair("a.1.b.1", "1-1"), Pair("a.1.b.2", "2-1")]
    assert pair_by_name(["a{N}(.*"], {"a{N}(.*": "x"}, {}) == [Pair("a{N}(.*", "x")]  # a name that looks like a pattern


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nothing": "x"}, "the mapping names 'nothing', which fits no tensor of ours: 'embeddings'"),
        ({"layer.{N}.value": "x.{N}"}, "fits no tensor of ours"),
        ({"head": 3}, "the entry of 'head' is 3; expected their name"),
        ({"head": ["x"]}, "expected their name"),
        ({"head": {"name": 3}}, 'expected {"name": "...", "layout": "..."}'),
        ({"head": {"names": "x"}}, 'expected {"name": "...", "layout": "..."}'),
        ({"head": "x.{N}"}, r"the entry of 'head' uses \{N\}, which 'head' does not have"),
        ({"he\nad": "x"}, r"'he\\nad'"),
    ],
)
def test_mappings_that_are_none_are_refused(mapping, message):
    with pytest.raises(InputError, match=message) as error:
        pair_by_name(OURS, mapping, {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1, 2]", "", "{", '{"a": 1}', '{"a": "b", "a": "c"}', "[" * 100_000, '"x"'])
def test_mapping_files_that_are_none_are_refused(text, tmp_path):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_mapping(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_mapping_files_are_read(tmp_path):
    path = tmp_path / "map.json"
    path.write_text('{"head": "logits"}')
    assert read_mapping(path) == {"head": "logits"}
    with pytest.raises(InputError, match="does not exist"):
        read_mapping(tmp_path / "none.json")


def test_twice_as_many_names_are_twice_the_work():
    def work(count):
        ours, pairs = [CountedName(f"layer.{i}.x") for i in range(count)], []
        mapping = {"layer.{N}.x": "b.{N}", "layer.7.x": None}
        calls = num_calls(lambda: pairs.extend(pair_by_name(ours, mapping, {})))
        assert len(pairs) == count - 1
        return calls

    assert work(2000) < 2.5 * work(1000)


def source(*arrays):
    return ArraySource({f"t{i}": array for i, array in enumerate(arrays)})


def order(ours, theirs, **arguments):
    return [(pair.name, pair.their_name) for pair in pair_by_order(ours, theirs, **arguments)]


def test_shapes_and_order_pair_foreign_names():
    a, b, c = numpy.ones((2, 3)), numpy.ones((4,)), numpy.ones((2, 3))
    assert order(source(a, b, c), source(b, c)) == [("t1", "t0"), ("t2", "t1")]
    assert order(source(a, b), source()) == []
    assert order(source(a), source(a.T)) == []
    assert order(source(a), source(a.T), any_layout=True) == [("t0", "t0")]


def test_values_tell_tensors_of_one_shape_apart():
    rng = numpy.random.default_rng(0)
    ours = [rng.standard_normal((3, 4)) * scale for scale in (1, 5, 2, 9, 3)]
    theirs = [ours[1] * 1.0001, rng.standard_normal((3, 4)) * 77, ours[3] * 1.0001, ours[4].T * 1.0001]
    assert order(source(*ours), source(*theirs)) == [("t1", "t0"), ("t2", "t1"), ("t3", "t2")]
    found = order(source(*ours), source(*theirs), any_layout=True)
    assert ("t1", "t0") in found
    assert ("t3", "t2") in found
    assert ("t4", "t3") in found
    assert ("t2", "t1") in found  # nothing is said against it


def test_of_two_that_are_about_alike_the_nearer_one_is_paired():
    """Tokens before and after small position embeddings are added: theirs has only the second."""
    rng = numpy.random.default_rng(0)
    tokens = 5 + rng.standard_normal((9, 8))
    ours, after = [tokens, tokens + 0.01 * rng.standard_normal((9, 8)) + 0.01], rng.standard_normal((9, 8))
    assert order(source(*ours, after), source(ours[1].astype("f4"), after)) == [("t1", "t0"), ("t2", "t1")]
    assert order(source(*ours, after), source(ours[0].astype("f4"), after)) == [("t0", "t0"), ("t2", "t1")]
    assert order(source(*ours[::-1], after), source(ours[1].astype("f4"), after)) == [("t0", "t0"), ("t2", "t1")]


def test_order_has_its_limit():
    many = ArraySource(dict.fromkeys(map(str, range(LONGEST_ORDER + 1)), numpy.zeros(1)))
    with pytest.raises(InputError, match=r"memory holds 4,001 tensors; by order, at most 4,000 are paired"):
        pair_by_order(source(numpy.zeros(1)), many)


def test_by_order_only_what_can_have_a_like_is_read():
    """A compressed file of a few kilobytes can hold a tensor of gigabytes."""

    class Counting(ArraySource):
        def __init__(self, arrays):
            super().__init__(arrays)
            self.read_names = []

        def blocks(self, name):
            self.read_names.append(name)
            return super().blocks(name)

    ours = Counting({"a": numpy.ones((2, 3)), "b": numpy.ones(5)})
    theirs = Counting(
        {"bomb": numpy.broadcast_to(0.0, (10**6, 10**6)), "x": numpy.ones((2, 3)), "y": numpy.ones((3, 2))}
    )
    assert pair_by_order(ours, theirs) == [Pair("a", "x")]
    assert (ours.read_names, theirs.read_names) == (["a"], ["x"])
    assert pair_by_order(ours, theirs, any_layout=True) == [Pair("a", "x")]
    assert "bomb" not in theirs.read_names


@pytest.mark.parametrize(
    "arguments", [{"find_layouts": True}, {"mapping": {"a": {"name": "a", "layout": "take(0, 0)"}}}]
)
def test_a_tensor_that_no_layout_leads_from_is_not_read(arguments):
    theirs = ArraySource({"a": numpy.broadcast_to(0.0, (10**6, 10**6)), "b": numpy.ones(4)})
    theirs.blocks = lambda name: iter([numpy.ones(4)]) if name == "b" else pytest.fail("was read")  # type: ignore[method-assign]
    ours = {"a": numpy.ones((2, 3)), "b": numpy.ones(4)}
    if "mapping" in arguments:
        with pytest.raises(InputError, match="makes"):
            compare(ours, theirs, rtol=1e-6, **arguments)
    else:
        assert [row.status for row in compare(ours, theirs, rtol=1e-6, **arguments).rows] == ["shape", "equal"]


def test_a_part_is_taken_as_a_view():
    array = numpy.arange(24.0).reshape(2, 3, 4)
    for axis, place in ((0, 1), (1, -1), (-1, 2)):
        goal = array.take(place, axis=axis)
        taken = undo_layout(array, f"take({axis}, {place})", goal.shape)
        assert (taken == goal).all()
        assert numpy.shares_memory(taken, array)
    for axis, place in ((3, 0), (0, 2), (10**30, 0)):
        with pytest.raises(InputError, match="cannot be done"):
            undo_layout(array, f"take({axis}, {place})", (3, 4))
