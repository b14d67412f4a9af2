"""Errors of tensors against their definitions, whatever the blocks, and for every strange value."""

import math

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.verification.tensors.error import PRECISIONS, RELATIVE_FLOOR, TensorError, tensor_error, unit_roundoff

SHAPE = (7, 5, 3)


def pair(scale=1e-3, seed=0):
    rng = numpy.random.default_rng(seed)
    ours = rng.standard_normal(SHAPE) * 10.0 ** rng.integers(-6, 3, SHAPE)
    return ours, ours + scale * rng.standard_normal(SHAPE)


def error_of(ours, theirs, precision="float32", block=1000):
    ours, theirs = numpy.asarray(ours), numpy.asarray(theirs)
    cuts = range(0, ours.size, block)
    return tensor_error(
        (ours.reshape(-1)[cut : cut + block] for cut in cuts),
        (theirs.reshape(-1)[cut : cut + block] for cut in cuts),
        ours.shape,
        precision,
    )


@pytest.mark.parametrize("block", [1, 4, 1000])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 10.0])
def test_every_figure_is_what_its_definition_says(block, scale):
    ours, theirs = pair(scale)
    found, difference = error_of(ours, theirs, block=block), theirs - ours
    assert found.max_abs == abs(difference).max()
    assert found.rms == pytest.approx(math.sqrt((difference**2).mean()), rel=1e-12)
    assert found.relative_l2 == pytest.approx(numpy.linalg.norm(difference) / numpy.linalg.norm(ours), rel=1e-12)
    cosine = (ours * theirs).sum() / numpy.linalg.norm(ours) / numpy.linalg.norm(theirs)
    assert found.cosine == pytest.approx(cosine, abs=1e-14)
    floor = 2.0 ** math.floor(math.log2(RELATIVE_FLOOR * math.sqrt((ours**2).mean())))
    large = abs(ours) >= floor
    assert 10 < large.sum() < ours.size
    assert found.max_rel == (abs(difference) / abs(ours))[large].max()
    assert found.where == numpy.unravel_index(abs(difference).argmax(), SHAPE)
    assert (found.ours, found.theirs) == (ours[found.where], theirs[found.where])
    assert found.num_nonfinite == 0


@pytest.mark.parametrize(("precision", "dtype"), [("float64", "f8"), ("float32", "f4"), ("float16", "f2")])
def test_units_in_the_last_place_are_numpys_spacing(precision, dtype):
    ours, theirs = pair()
    spacing = numpy.spacing(abs(ours).astype(dtype)).astype("f8")
    assert error_of(ours.astype(dtype), theirs, precision).max_ulp == pytest.approx(
        (abs(theirs - ours.astype(dtype)) / spacing).max(), rel=1e-12
    )


def test_units_in_the_last_place_of_types_that_numpy_lacks():
    assert error_of([1.0, 3.0], [1.0, 3.0 + 2**-6], "bfloat16").max_ulp == 1  # 8 bits: 2 to 4 in steps of 2**-6
    assert error_of([1.0], [1 + 2**-10], "tf32").max_ulp == 1  # 11 bits: 1 to 2 in steps of 2**-10
    assert error_of([2.0**-20], [2.0**-20 + 2**-24], "float16").max_ulp == 1  # below the normal numbers
    assert error_of([2.0**-20], [2.0**-20 + 2**-30], "tf32").max_ulp == 1
    assert error_of([0.0], [2.0**-149], "float32").max_ulp == 1
    assert error_of([5e-324], [1e-323], "float64").max_ulp == 1
    assert unit_roundoff("float32") == numpy.finfo("f4").eps / 2
    assert unit_roundoff("float16") == numpy.finfo("f2").eps / 2


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
def test_equal_tensors_have_no_error(shape):
    values = numpy.full(shape, 1.25)
    assert error_of(values, values) == TensorError()


def test_a_number_has_an_index_too():
    found = error_of(numpy.array(2.0), numpy.array(3.0))
    assert (found.where, found.ours, found.theirs, found.relative_l2) == ((), 2.0, 3.0, 0.5)


def test_values_that_are_not_finite_are_equal_or_counted():
    nan, inf = math.nan, math.inf
    assert error_of([nan, inf, -inf, 1], [nan, inf, -inf, 1]) == TensorError()
    ours, theirs = [1, 1, nan, inf, 1, nan, inf], [5, 2, 1, -inf, inf, inf, inf]
    for block in (1, 3, 7):
        found = error_of(ours, theirs, block=block)
        assert found.num_nonfinite == 4
        assert found.where == (2,)
        assert math.isnan(found.ours)
        assert found.theirs == 1
        assert (found.max_abs, found.rms) == (4, pytest.approx(math.sqrt(17 / 2), rel=1e-15))  # of the two finite pairs
    everything = error_of([nan] * 3, [1.0] * 3)
    assert (everything.num_nonfinite, everything.max_abs, everything.relative_l2) == (3, 0, 0)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1e307])
def test_nothing_overflows_or_vanishes(scale):
    found = error_of(numpy.array([3.0, 4.0]) * scale, numpy.array([3.0, 5.0]) * scale, "float64")
    assert found.relative_l2 == pytest.approx(0.2, rel=1e-2 if scale < 1e-300 else 1e-12)
    assert found.cosine == pytest.approx(29 / (5 * math.sqrt(34)), rel=1e-2 if scale < 1e-300 else 1e-12)


def test_the_cosine_of_any_triangle():
    assert error_of([1.0, 0], [0, 1.0]).cosine == pytest.approx(0, abs=1e-15)
    assert error_of([1.0, 2], [-1.0, -2]).cosine == -1
    assert error_of([1.0, 2], [1e-9, 2e-9]).cosine == pytest.approx(1)
    assert error_of([0.0], [1.0]).cosine == 0
    assert error_of([0.0], [1.0]).relative_l2 == math.inf
    assert abs(error_of([1e300], [-1e-300]).cosine) <= 1
    assert error_of([1.7e308], [-1.7e308]).max_abs == math.inf
    # 1 - cos = 5e-21 is below the spacing of 1: the angle is in relative_l2.
    assert error_of([1.0, 0], [1.0, 1e-10]).cosine == 1


def test_what_cannot_be_compared_is_refused():
    one, two = [numpy.zeros(4)], [numpy.zeros(2), numpy.zeros(2)]
    with pytest.raises(InputError, match="precision is 'int8'; expected one of float64, float32, tf32"):
        tensor_error(one, one, (4,), "int8")
    with pytest.raises(InputError, match="blocks of shapes"):
        tensor_error(one, two, (4,))
    with pytest.raises(InputError, match="different numbers of blocks"):
        tensor_error(two, two[:1], (4,))
    with pytest.raises(InputError, match=r"hold 4 numbers; expected 5 for shape \(5,\)"):
        tensor_error(one, one, (5,))
    assert set(PRECISIONS) == {"float64", "float32", "tf32", "bfloat16", "float16"}
