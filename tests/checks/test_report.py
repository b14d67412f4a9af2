"""What a check prints: which entries are wrong, by how much, and why."""

import json

import numpy
import pytest

from minivivit import checks


def right(x):
    powers = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def split(x, num_heads):
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, num_heads, hidden // num_heads).transpose(0, 2, 1, 3)


def words(report) -> str:
    return " ".join(report.text.split())


def test_a_report_is_a_number_that_is_true_when_it_is_full():
    full, part = checks.softmax(right, seed=1), checks.softmax(lambda x: right(x) * (x < 1e3), seed=1)
    assert full
    assert full == 1
    assert full.points(3) == 3
    assert full.faults == ()
    assert not part
    assert 0 < part < 1
    assert part.score == float(part)
    assert type(part.score) is float
    assert json.loads(json.dumps({"score": part})) == {"score": part.score}
    assert part.points(7) == round(7 * part.score, 2) < 7


def test_no_part_of_the_points_rounds_up_to_all_of_them():
    report = checks.Report(0.9999, "softmax", (), "")
    assert report.points(1) == 0.99


def test_the_overflow_of_softmax_is_described(capsys):
    report = checks.softmax(lambda x: numpy.exp(x) / numpy.exp(x).sum(axis=-1, keepdims=True), seed=1)
    assert capsys.readouterr().out == report.text
    text = words(report)
    assert text.startswith(
        "softmax: 9 of 13 cases right (score 0.69) case 4, x of shape (6, 2, 4) with entries near 1e4: "
    )
    assert "y: 48 of 48 entries are NaN; expected finite numbers." in text
    assert "subtract the row's maximum before exp." in text


def test_the_worst_entry_is_named_with_its_numbers():
    def one_wrong(x):
        y = right(x)
        if y.shape == (4, 3):
            y[1, 2] += 0.25
        return y

    text = words(checks.softmax(one_wrong, seed=1))
    assert "y: 1 of 12 entries are wrong; the worst at [1, 2]: got" in text
    assert "off by 0.25" in text


def test_where_the_wrong_entries_are_is_said():
    def first_token_wrong(tokens, positions):
        z = tokens + positions
        z[:, 0] = 0
        return z

    assert "all at index 0 of axis 1" in words(checks.position_embedding(first_token_wrong, seed=1))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: None, "is None (is the return missing?)"),
        (lambda x: right, "is a function, not what it returns"),
        (lambda x: "text", "is a str, which makes no array of numbers"),
        (lambda x: (right(x), {}), "is a tuple, which makes no array of numbers"),
        (lambda x: right(x) + 0j, "holds complex numbers"),
        (lambda x: right(x).T, "the axes are in another order: transpose(1, 0) would put them right"),
        (lambda x: right(x)[..., None], "the right numbers in another shape"),
        (lambda x: right(x).sum(axis=0), "took an axis away"),
        (lambda x: right(x)[None] * numpy.ones((3,) + (1,) * x.ndim), "a sum over the first axes is missing"),
        (lambda x: numpy.zeros_like(x), "it is 0 everywhere"),
        (lambda x: (right(x) * 5).astype(int), "has dtype int64"),
        (lambda x: -right(x), "the sign is turned"),
        (lambda x: 3 * right(x), "a factor: all is 3 times"),
        (lambda x: right(x) + 7, "the same number is added to every entry"),
        (lambda x: right(x)[..., ::-1], "the right numbers in the wrong places"),
        (lambda x: right(x.astype("float16")), "a lower precision than that of the input"),
        (lambda x: right(x.astype("float32")), "a lower precision somewhere"),
    ],
)
def test_what_an_answer_looks_like_is_said(answer, said):
    report = checks.softmax(answer, seed=2)
    assert report.score < 1
    assert said in words(report)


def test_an_input_that_is_changed_is_named():
    def in_place(x):
        x -= x.max(axis=-1, keepdims=True)
        return right(x)

    report = checks.softmax(in_place, seed=1)
    assert report.score == 0
    assert "changes its input x in place" in words(report)


def test_a_tree_that_is_changed_is_named():
    def in_place(x, params, num_heads):
        params["attention"]["key"]["bias"] *= 0
        return x

    assert "changes its input params.attention.key.bias in place" in words(checks.multi_head_attention(in_place))


def test_float64_for_float32_earns_a_note_and_full_marks():
    report = checks.softmax(lambda x: right(x.astype("float64")))
    assert report
    assert "note: float32 goes in and y comes out in float64" in report.text
    assert "note" not in checks.softmax(right).text


def test_lists_of_numbers_are_taken_for_what_they_say():
    assert checks.softmax(lambda x: right(x).tolist())


def test_several_outputs_are_counted_apart():
    def without_bias(dy, x, weight, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        s = 1 / numpy.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        n, dn = centred * s, dy * weight
        dx = s * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))
        rows = (-1, x.shape[-1])
        return dx, (dy * n).reshape(rows).sum(axis=0), 0 * weight

    report = checks.layer_norm_backward(without_bias, seed=1)
    assert report.score == pytest.approx(0.9)  # dx counts for eight tenths
    assert "dbias: " in report.text
    assert "dx: " not in report.text
    assert "expected dx, dweight, dbias" in words(checks.layer_norm_backward(lambda dy, x, weight, eps: dy, seed=1))


def test_trees_are_compared_by_name():
    text = words(checks.multi_head_attention_backward(lambda dy, x, params, num_heads: (dy, {"query": x}), seed=1))
    assert "gradients: lacks attention.key.bias" in text
    assert "has query" in text
    text = words(checks.multi_head_attention_backward(lambda dy, x, params, num_heads: (dy, dy), seed=1))
    assert "gradients: is ndarray; expected a dict with attention, output" in text


def test_the_seed_of_a_failed_check_is_told_and_repeats_it():
    first = checks.split_heads(lambda x, num_heads: x)
    seed = int(first.text.rpartition("seed=")[2].rstrip(")\n"))
    again = checks.split_heads(lambda x, num_heads: x, seed=seed)
    assert first.faults == again.faults
    assert checks.split_heads(split)


def test_a_check_can_be_quiet(capsys):
    checks.split_heads(split, quiet=True)
    assert capsys.readouterr().out == ""


def test_what_is_no_function_is_said():
    report = checks.softmax(right(numpy.ones(3)))
    assert report.score == 0
    assert "expected the function softmax itself, got ndarray" in report.text


def test_a_hard_coded_example_fails_with_other_numbers():
    seen = {}

    def remembers(x):
        seen[x.shape] = right(x)
        return seen[x.shape]

    assert checks.softmax(remembers, seed=1)
    report = checks.softmax(lambda x: seen.get(x.shape, numpy.zeros(x.shape)), seed=2)
    assert report.score == 0
