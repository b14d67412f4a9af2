"""Arrays as text: what comes back, and how far it may be off by the number of bits that are kept."""

import json

import numpy
import pytest

from minivivit import InputError
from minivivit.explore.packing import SMALL, pack, unpack

NUMBERS = numpy.concatenate(
    [
        numpy.random.default_rng(1).standard_normal(3 * SMALL) * 10.0 ** numpy.linspace(-30, 30, 3 * SMALL),
        [0.0, -0.0, 1.0, -1.5, 3.4e38, 1e-40],
    ]
)


@pytest.mark.parametrize(("kind", "bound"), [("float32", 2.0**-24), ("float24", 2.0**-16)])
def test_numbers_come_back_within_half_a_unit_of_the_last_place(kind, bound):
    back = unpack(json.loads(json.dumps(pack(NUMBERS, kind))))
    normal = numpy.abs(NUMBERS) > numpy.finfo("f4").tiny
    error = numpy.abs(back - NUMBERS)[normal] / numpy.abs(NUMBERS[normal])
    assert error.max() <= bound
    assert numpy.abs(back - NUMBERS)[~normal].max() <= 2.0**-141  # a unit of what float24 has below its normal range


def test_float16_has_a_scale_of_its_own():
    numbers = NUMBERS[:SMALL] * 1e25
    back = unpack(pack(numbers, "float16"))
    scale = numpy.abs(numbers).max()
    assert (numpy.abs(back - numbers) <= 2.0**-11 * numpy.abs(numbers) + 2.0**-25 * scale).all()
    assert unpack(pack(numpy.zeros((2, 3)), "float16")).shape == (2, 3)


def test_what_is_no_number_stays_what_it_is():
    strange = numpy.array([numpy.nan, numpy.inf, -numpy.inf, 1e300])
    for kind in ("float32", "float24"):
        numpy.testing.assert_array_equal(unpack(pack(strange, kind)), [numpy.nan, numpy.inf, -numpy.inf, numpy.inf])
    every_bit = numpy.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], "u4").view("f4")
    assert numpy.isnan(unpack(pack(every_bit, "float24"))).sum() >= 2  # rounding up would make -0 of NaN


def test_small_arrays_keep_all_their_bits_and_shapes_are_kept():
    assert pack(numpy.zeros(SMALL))["kind"] == "float32"
    assert pack(numpy.zeros(SMALL + 1))["kind"] == "float24"
    assert len(pack(numpy.zeros(3000), "float24")["data"]) == 4 * 3000  # four letters a number
    assert unpack(pack(numpy.arange(24.0).reshape(2, 3, 4))).shape == (2, 3, 4)
    with pytest.raises(InputError, match="float8"):
        pack(numpy.zeros(3), "float8")
