"""Rounding to fewer bits, against bit patterns and exact arithmetic; and arrays that round by themselves."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from small_models import MODELS, clip_for, small_model

from minivivit import InputError
from minivivit.backend import array_namespace, to_numpy
from minivivit.verification.rounding.precisions import (
    EMULATIONS,
    EmulatedArray,
    in_precision,
    round_to_precision,
    stored,
)

BITS = {"tf32": 11, "bfloat16": 8, "float16": 11}
LOWEST = {"tf32": -126, "bfloat16": -126, "float16": -14}


def float32(bits: int) -> float:
    return float(numpy.uint32(bits).view("float32"))


def bits_of(value: float) -> int:
    return int(numpy.float32(value).view("uint32"))


def rounded(value: float, precision: str) -> float:
    return float(round_to_precision(numpy.float32([value]), precision)[0])


def nearest(value: float, precision: str) -> float:
    """The definition, in whole numbers: the nearest multiple of the last place, an even one where two are as near."""
    if value == 0:
        return value
    exponent = max(numpy.frexp(abs(value))[1] - 1, LOWEST[precision])
    last_place = Fraction(2) ** int(exponent - BITS[precision] + 1)
    return float(round(Fraction(value) / last_place) * last_place)  # Python rounds ties to even


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0x3F800000, 0x3F800000),  # 1
        (0x3F807FFF, 0x3F800000),  # less than half of the last place: down
        (0x3F808000, 0x3F800000),  # half: to the even neighbour, here down
        (0x3F808001, 0x3F810000),  # more: up
        (0x3F818000, 0x3F820000),  # half: here up
        (0xBF818000, 0xBF820000),  # as for positive numbers
        (0x3FFFFFFF, 0x40000000),  # carries into the exponent
        (0x7F7FFFFF, 0x7F800000),  # the largest float32 is nearer to what would be the next power of two: infinity
        (0x7F7F7FFF, 0x7F7F0000),  # the largest bfloat16 is not
        (0x00000001, 0x00000000),
        (0x00018000, 0x00020000),  # subnormal numbers round as the others do
        (0x80000000, 0x80000000),  # -0
        (0xFF800000, 0xFF800000),  # -infinity
    ],
)
def test_bfloat16_bit_by_bit(value, expected):
    assert bits_of(rounded(float32(value), "bfloat16")) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0x3F800FFF, 0x3F800000),
        (0x3F801000, 0x3F800000),  # half: even is below
        (0x3F801001, 0x3F802000),
        (0x3F803000, 0x3F804000),  # half: even is above
        (0x3FFFF000, 0x40000000),
        (0x7F7FFFFF, 0x7F800000),
        (0x00001000, 0x00000000),
        (0x00003000, 0x00004000),
        (0xC0490FDB, 0xC0490000),  # -pi
    ],
)
def test_tf32_bit_by_bit(value, expected):
    assert bits_of(rounded(float32(value), "tf32")) == expected


@pytest.mark.parametrize("precision", BITS)
def test_rounding_is_to_the_nearest_with_ties_to_even(precision):
    rng = numpy.random.default_rng(0)
    values = numpy.concatenate(
        [
            (rng.standard_normal(300) * 10.0 ** rng.uniform(-8, 4, 300)),
            rng.integers(-(2**14), 2**14, 300) * 2.0**-20,  # many ties, and float16's subnormal numbers
            rng.integers(-(2**13), 2**13, 300) / 2.0,
        ]
    ).astype("float32")
    expected = [nearest(float(value), precision) for value in values]
    assert round_to_precision(values, precision).tolist() == expected


def test_float16_is_numpys():
    values = numpy.float32([65504, 65519, 65520, -1e6, 2.0**-24, 2.0**-25, 1.5 * 2.0**-24, 2.0**-14 - 2.0**-26, 0.1])
    with numpy.errstate(over="ignore"):
        expected = values.astype("float16").astype("float32")
    assert round_to_precision(values, "float16").tolist() == expected.tolist()
    assert [rounded(value, "float16") for value in (65519, 65520, -1e6)] == [65504, numpy.inf, -numpy.inf]
    assert [rounded(value, "float16") for value in (2.0**-24, 2.0**-25)] == [2.0**-24, 0]


@pytest.mark.parametrize("precision", ["float32", *BITS])
def test_nan_stays_nan_and_rounding_twice_changes_nothing(precision):
    nan = numpy.uint32([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000]).view("float32")
    assert numpy.isnan(round_to_precision(nan, precision)).all()
    values = numpy.random.default_rng(1).standard_normal((3, 4, 5)).astype("float32")
    once = round_to_precision(values.transpose(2, 0, 1), precision)
    assert once.shape == (5, 3, 4)
    assert once.dtype == "float32"
    numpy.testing.assert_array_equal(once, round_to_precision(values, precision).transpose(2, 0, 1))
    numpy.testing.assert_array_equal(round_to_precision(once, precision), once)


def test_what_is_not_a_precision_is_refused():
    with pytest.raises(InputError, match="expected one of float32, tf32"):
        round_to_precision(numpy.ones(2), "float8")
    with pytest.raises(InputError, match="'float64'; expected one of float32, tf32"):
        in_precision(small_model(), "float64")


# --------------------------------------------------------------------------------------------------------------------
# Arrays that round by themselves
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", EMULATIONS)
def test_a_product_rounds_what_it_takes_and_all_else_is_float32(precision):
    rng = numpy.random.default_rng(2)
    a, b = rng.standard_normal((2, 6, 6)).astype("float32")
    xp = EMULATIONS[precision]
    ours = xp.asarray(a.copy())
    product = numpy.matmul(round_to_precision(a, precision), round_to_precision(b, precision))
    if precision != "tf32":
        product = round_to_precision(product, precision)
    out = xp.empty((6, 6), dtype="float32")
    for result in (ours @ b, xp.matmul(ours, xp.asarray(b)), xp.matmul(ours, b, out=out), a @ xp.asarray(b), out):
        numpy.testing.assert_array_equal(result.values, product)
    assert xp.matmul(ours, b, out=out) is out
    with numpy.errstate(all="raise"):
        numpy.testing.assert_array_equal((ours * 1e38 * 1e38).get(), a * numpy.float32(numpy.inf))
    numpy.testing.assert_array_equal((ours + b).values, a + b)
    numpy.testing.assert_array_equal(ours.sum(axis=0).values, a.sum(axis=0))
    same = ours
    ours += b
    assert ours is same
    numpy.testing.assert_array_equal(ours.values, a + b)
    assert array_namespace(ours.T[1:, [0, 2]]) is xp
    assert float(ours.sum()) == (a + b).sum()


def test_an_emulated_array_does_not_become_a_numpy_array_unseen():
    array = EMULATIONS["tf32"].asarray(numpy.ones((2, 2), "float32"))
    for convert in (numpy.asarray, numpy.ascontiguousarray, lambda array: numpy.concatenate([array])):
        with pytest.raises(TypeError, match="about to become a NumPy array"):
            convert(array)
    assert to_numpy(array) is array.values


def test_parameters_are_rounded_once_but_not_in_tf32():
    model = small_model()
    weights = model.state_dict()
    for precision in EMULATIONS:
        for name, array in in_precision(model, precision).state_dict().items():
            single = weights[name].astype("float32")
            expected = single if precision == "tf32" else round_to_precision(single, precision)
            numpy.testing.assert_array_equal(array.values, expected)
            numpy.testing.assert_array_equal(stored(weights[name], precision), expected)
    assert all(array.dtype == "float64" and type(array) is numpy.ndarray for array in model.state_dict().values())


@pytest.mark.parametrize("number", MODELS)
@pytest.mark.parametrize("explicit", [False, True])
def test_no_product_of_a_model_escapes(number, explicit, monkeypatch):
    """Every product, forward and backward, takes what the precision holds: none is computed in float32 unseen."""
    matmul, products = numpy.matmul, []

    def spy(*matrices, **kwargs):
        products.append(matrices)
        for matrix in matrices:
            numpy.testing.assert_array_equal(matrix, round_to_precision(matrix, "bfloat16"))
        return matmul(*matrices, **kwargs)

    monkeypatch.setattr(numpy, "matmul", spy)
    model = in_precision(small_model(number, representation_size=6), "bfloat16")
    pixels = clip_for(model.config)
    if explicit:
        model(pixels, output_attentions=True)
    else:
        _, gradients = model.loss_and_gradients(pixels, numpy.array([0, 2]))
        assert all(isinstance(gradient, EmulatedArray) for gradient in gradients.values())
    assert len(products) > 15
    assert all(matrix.dtype == "float32" for matrices in products for matrix in matrices)
