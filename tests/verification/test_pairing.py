"""Which tensor of theirs belongs to which of ours."""

import numpy
import pytest
from counting import CountedName, num_calls

from minivivit.errors import InputError
from minivivit.verification.comparison.mapping import Pair, apply_mapping, read_mapping
from minivivit.verification.comparison.pairing import LONGEST_ORDER, pair_by_order, pair_tensors
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tensors.layouts import undo_layout
from minivivit.verification.tensors.source import ArraySource

OURS = ["embeddings", "layer.0.query", "layer.0.key", "layer.1.query", "layer.1.key", "head"]


def pairs_of(ours, mapping):
    return [pair for pair in apply_mapping(ours, mapping).values() if pair is not None]


def numbers(*names, shape=(2, 3)):
    return ArraySource({name: numpy.ones(shape) for name in names})


def test_equal_names_are_pairs():
    pairs, notes = pair_tensors(numbers(*OURS), numbers("head", "other", "embeddings"))
    assert pairs == [Pair("embeddings", "embeddings"), Pair("head", "head")]
    assert notes == []


def test_a_mapping_names_others():
    mapping = {
        "layer.{N}.query": {"name": "blocks.{N}.qkv", "layout": "qkv[0]"},
        "layer.{N}.key": "blocks.{N}.k",
        "layer.1.key": "special",
        "head": None,
        "embeddings": {"layout": "transposed"},
    }
    assert apply_mapping(OURS, mapping) == {
        "embeddings": Pair("embeddings", "embeddings", "transposed"),
        "layer.0.query": Pair("layer.0.query", "blocks.0.qkv", "qkv[0]"),
        "layer.0.key": Pair("layer.0.key", "blocks.0.k"),
        "layer.1.query": Pair("layer.1.query", "blocks.1.qkv", "qkv[0]"),
        "layer.1.key": Pair("layer.1.key", "special"),
        "head": None,
    }


def test_several_numbers_and_equal_ones():
    ours = ["a.1.b.1", "a.1.b.2", "a.x"]
    assert pairs_of(ours, {"a.{N}.b.{N}": "same.{N}"}) == [Pair("a.1.b.1", "same.1")]
    assert pairs_of(ours, {"a.{N}.b.{M}": "{M}-{N}"}) == [Pair("a.1.b.1", "1-1"), Pair("a.1.b.2", "2-1")]
    assert pairs_of(["a{N}(.*"], {"a{N}(.*": "x"}) == [Pair("a{N}(.*", "x")]  # a name that looks like a pattern


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nothing": "x"}, "the mapping names 'nothing', which fits no tensor of ours: 'embeddings'"),
        ({"layer.{N}.value": "x.{N}"}, "fits no tensor of ours"),
        ({"head": 3}, "the entry of 'head' is 3; expected their name"),
        ({"head": ["x"]}, "expected their name"),
        ({"head": {"name": 3}}, 'expected {"name": "...", "layout": "...", "optional": true or false}'),
        ({"head": {"names": "x"}}, 'expected {"name": "...", "layout": "...", "optional": true or false}'),
        ({"head": {"name": "x", "optional": 1}}, '"optional": true or false'),
        ({"head": {"layout": "transposed " * 1000}}, "a layout of 11,000 characters; expected at most 1,000"),
        ({"{P:head|embeddings}": "{P:x|y|z}"}, r"has 'x|y|z' for {P}; expected as many alternatives as .* has: 2"),
        ({"layer.{N}.key": "{N:a|b}"}, r"has 'a|b' for {N}; expected as many"),
        ({"{P:head|layer}.{P:0|1}": "x"}, "has alternatives for {P} twice"),
        ({"{A:1|2|3|4|5|6}{B:1|2|3|4|5|6}{C:1|2|3}": "x"}, "108 combinations of alternatives; expected at most 100"),
        ({"{A}" * 21: "x"}, "has 21 words in braces; expected at most 20"),
        ({f"layer.{{N}}.{i}": "x" for i in range(1001)}, "has 1,001 entries with {N}; expected at most 1,000"),
        ({"head": "{" + "a" * 5000 + "}"}, r"uses \{a{60}"),
        ({"head": "x.{N}"}, r"the entry of 'head' uses \{N\}, which 'head' does not have"),
        ({"he\nad": "x"}, r"'he\\nad'"),
    ],
)
def test_mappings_that_are_none_are_refused(mapping, message):
    with pytest.raises(InputError, match=message) as error:
        apply_mapping(OURS, mapping)
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


def test_numbers_may_be_counted_from_another_one():
    ours = ["layer.0", "layer.1", "layer.9"]
    expected = [Pair("layer.0", "b.1"), Pair("layer.1", "b.2"), Pair("layer.9", "b.10")]
    assert pairs_of(ours, {"layer.{N}": "b.{N+1}"}) == expected
    assert pairs_of(ours, {"layer.{N-1}": "b.{N}"}) == expected
    assert pairs_of(ours, {"layer.{N}": "b.{N-1}"}) == [Pair("layer.1", "b.0"), Pair("layer.9", "b.8")]
    assert pairs_of(ours, {"layer.{N+1}": "b.{N}"}) == [Pair("layer.1", "b.0"), Pair("layer.9", "b.8")]
    assert pairs_of(["a.1.2", "a.1.3"], {"a.{N}.{N+1}": "b.{N}"}) == [Pair("a.1.2", "b.1")]
    assert pairs_of(["a." + "9" * 5000], {"a.{N}": "b"}) != []
    with pytest.raises(InputError, match="fits no tensor of ours"):
        assert pairs_of(["a." + "9" * 5000], {"a.{N-1}": "b"})


def test_a_layout_may_use_the_number():
    """All layers in one tensor."""
    mapping = {"layer.{N}.key": {"name": "keys", "layout": "take(0, {N+1})"}}
    assert [pair.layout for pair in pairs_of(OURS, mapping)] == ["take(0, 1)", "take(0, 2)"]


def test_alternatives():
    mapping = {"{G:|gradient.}layer.{N}.{P:query|key|value}": {"name": "{G:|d_}b.{N}.qkv", "layout": "qkv[{P:0|1|2}]"}}
    assert pairs_of([*OURS, "gradient.layer.0.key"], mapping) == [
        Pair("layer.0.query", "b.0.qkv", "qkv[0]"),
        Pair("layer.1.query", "b.1.qkv", "qkv[0]"),
        Pair("layer.0.key", "b.0.qkv", "qkv[1]"),
        Pair("layer.1.key", "b.1.qkv", "qkv[1]"),
        Pair("gradient.layer.0.key", "d_b.0.qkv", "qkv[1]"),
    ]
    same = {"{P:embeddings|head}": "x.{P}"}
    assert [pair.their_name for pair in pairs_of(OURS, same)] == ["x.embeddings", "x.head"]


def test_what_theirs_lacks_is_listed_or_is_optional_or_must_be_there():
    ours, theirs = numbers(*OURS), numbers("tokens", "b.0")
    mapping = {"embeddings": "tokens", "layer.{N}.query": "b.{N}", "head": {"name": "logits", "optional": True}}
    pairs, notes = pair_tensors(ours, theirs, mapping)
    assert [pair.name for pair in pairs] == ["embeddings", "layer.0.query"]
    assert notes == ["theirs lacks a tensor that the mapping names, not compared: 'b.1'"]
    mapping["head"] = {"name": "logits", "optional": False}
    assert [pair.name for pair in pair_tensors(ours, theirs, mapping)[0]] == ["embeddings", "layer.0.query", "head"]
    with pytest.raises(InputError, match=r"no tensor of memory has its like in memory .* look whether the mapping"):
        pair_tensors(ours, numbers("other", "another", shape=(7,)), mapping, by_order=True)


def test_a_full_mapping_fits_a_coarse_trace_of_ours():
    names = ["embeddings", "head"]
    metadata = {"unwritten": ["layer.0.query", "layer.1.query"], "gradients": False}
    ours = ArraySource({name: numpy.ones(3) for name in names}, metadata)
    mapping = {"head": "logits", "layer.{N}.query": "q.{N}", "gradient.head": "d_logits"}
    assert [pair.name for pair in pair_tensors(ours, ours, mapping)[0]] == ["embeddings"]
    with pytest.raises(InputError, match=r"names 'layer.\{N\}.quarry', which fits no tensor of ours"):
        pair_tensors(ours, ours, {"layer.{N}.quarry": "q.{N}"})
    with pytest.raises(InputError, match=r"names 'gradient.head'"):
        pair_tensors(numbers(*names), numbers(*names), mapping)


CONFIG = {"image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 4], "hidden_size": 12, "num_attention_heads": 3}
CONFIG |= {"intermediate_size": 20, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("reshape(batch, tokens, hidden)", "reshape(5, 17, 12)"),
        ("reshape(batch * times, places + 1, heads, head_size) take(3,0)", "reshape(10, 9, 3, 4) take(3, 0)"),
        ("reshape(-1, rows,columns , intermediate-2*heads)", "reshape(-1, 2, 4, 14)"),
        ("qkv[0] heads split", "qkv[0] heads split"),
        ("reshape(frames, labels)", "reshape(4, 2)"),
    ],
)
def test_sizes_have_names(layout, expected):
    ours = ArraySource({"pixel_values": numpy.ones((5, 4, 3, 16, 16)), "a": numpy.ones(3)}, {"config": CONFIG})
    (_, pair), _ = pair_tensors(ours, ours, {"a": {"layout": layout}})
    assert pair.layout == expected


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            "reshape(token, 3)",
            "the mapping of 'a': 'token' in the layout .* is no size; expected a whole number, or one",
        ),
        ("reshape(hidden + )", "'' in the layout"),
        ("reshape(2 ** batch)", "is no size"),
        ("reshape(batch)", "our trace does not say what batch in the layout"),
        ("reshape(hidden * 999999999999999999 * 999999999999999999)", "too large for a size"),
        ("reshape(hidden(3))", "is no layout"),
    ],
)
def test_sizes_that_are_none_are_refused(layout, message):
    ours = ArraySource({"a": numpy.ones(3)}, {"config": CONFIG})
    with pytest.raises(InputError, match=message):
        compare(ours, ours, mapping={"a": {"layout": layout}})


@pytest.mark.parametrize(
    "metadata", [{}, {"config": {"hidden_size": 7}}, {"config": 3}, {"config": {"image_size": "x"}}]
)
def test_without_a_config_sizes_have_no_names(metadata):
    ours = ArraySource({"a": numpy.ones(3)}, metadata)
    with pytest.raises(InputError, match="our trace does not say what hidden"):
        pair_tensors(ours, ours, {"a": {"layout": "reshape(hidden)"}})


def test_axes_before_the_last_need_no_layout_where_a_mapping_pairs():
    ours, theirs = numbers("a", "b", shape=(6, 4)), numbers("x", "b", shape=(2, 3, 4))
    assert pair_tensors(ours, theirs, {"a": "x"})[0] == [Pair("a", "x", "reshape(6, 4)"), Pair("b", "b")]


def test_order_pairs_what_the_mapping_does_not_name():
    rng = numpy.random.default_rng(0)
    a, b, c, d = rng.standard_normal((4, 3, 5))
    ours = ArraySource({"a": a, "b": b, "c": c, "d": d})
    theirs = ArraySource({"3": a, "1": b, "7": c, "qkv": d})
    mapping = {"d": {"name": "qkv"}, "b": None}
    pairs, notes = pair_tensors(ours, theirs, mapping, by_order=True)
    assert pairs == [Pair("a", "3", guessed=True), Pair("c", "7", guessed=True), Pair("d", "qkv")]
    assert notes == []


def test_a_sorted_file_is_paired_without_its_order_and_said_to_be():
    """As save_file writes: `e` comes before `z` there, and after it in the order of execution."""
    rng = numpy.random.default_rng(0)
    values = dict(zip("zyexwdv", rng.standard_normal((7, 3, 5)), strict=True))
    ours = ArraySource({f"t{i}": value for i, value in enumerate(values.values())})
    theirs = ArraySource(dict(sorted(values.items())))
    pairs, notes = pair_tensors(ours, theirs, by_order=True)
    assert [pair.their_name for pair in pairs] == list("zyexwdv")
    assert all(pair.guessed for pair in pairs)
    assert "are in alphabetical order, as save_file of safetensors leaves them" in notes[0]
    given = ArraySource(dict(sorted(values.items())))
    given.order_given = True
    assert len(pair_tensors(ours, given, by_order=True)[0]) < 7
    # sorted names that are in the order of execution too are no reason to doubt it
    named = ArraySource({f"t{i}": value for i, value in enumerate(values.values())})
    assert pair_tensors(ours, named, by_order=True)[1] == []


def test_twice_as_many_names_are_twice_the_work():
    def work(count):
        ours, pairs = [CountedName(f"layer.{i}.x") for i in range(count)], []
        mapping = {"layer.{N}.x": "b.{N}", "layer.7.x": None}
        calls = num_calls(lambda: pairs.extend(pairs_of(ours, mapping)))
        assert len(pairs) == count - 1
        return calls

    assert work(2000) < 2.5 * work(1000)


def source(*arrays):
    return ArraySource({f"t{i}": array for i, array in enumerate(arrays)})


def order(ours, theirs, **arguments):
    return [(pair.name, pair.their_name) for pair in pair_by_order(ours, theirs, **arguments)[0]]


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


def test_what_theirs_records_twice_does_not_pair_another():
    """Theirs has the gradient of the tokens after and before positions are added; ours has it once, after a layer's."""
    rng = numpy.random.default_rng(0)
    layer, within, tokens, last = rng.standard_normal((4, 9, 8))
    ours = source(layer, within, tokens, last)
    assert order(ours, source(layer, tokens, tokens, last)) == [("t0", "t0"), ("t2", "t1"), ("t3", "t3")]
    assert order(ours, source(layer, within, tokens, tokens, last)) == [
        ("t0", "t0"), ("t1", "t1"), ("t2", "t2"), ("t3", "t4"),
    ]  # fmt: skip
    # a layer that does nothing is one of the mistakes to be found
    idle = order(ours, source(layer, layer, tokens, last))
    assert idle == [("t0", "t0"), ("t1", "t1"), ("t2", "t2"), ("t3", "t3")]
    # what both repeat is paired as often
    twice = source(layer, tokens, tokens, last)
    assert order(twice, twice) == [(name, name) for name in twice.shapes]
    zeros = source(*[numpy.zeros((9, 8))] * 3, last)
    assert order(zeros, zeros) == [(name, name) for name in zeros.shapes]


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
    assert pair_by_order(ours, theirs)[0] == [Pair("a", "x", guessed=True)]
    assert (ours.read_names, theirs.read_names) == (["a"], ["x"])
    assert pair_by_order(ours, theirs, any_layout=True)[0] == [Pair("a", "x", guessed=True)]
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
