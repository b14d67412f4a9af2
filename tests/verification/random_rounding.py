r"""What rounding must come to, by mathematics: passes in float64 in which every operation errs at random, as it would.

A number is rounded to float32 with a relative error between -u and u, u = 2^-24. Its size depends on the leading
digits; for digits that are spread as those of computed numbers are (Benford), its root mean square is

.. math::
    c\,u, \qquad c^2 = \frac13 \int_1^2 \frac{1}{m^2} \frac{dm}{m \ln 2} = \frac{1}{8 \ln 2}, \qquad c = 0.42

Errors of different roundings are all but independent with mean 0 (N. J. Higham and T. Mary, A new approach to
probabilistic rounding error analysis, 2019): their squares add up. A sum of n terms rounds every partial sum s_k:

.. math::
    E\,e^2 = (c\,u)^2 \sum_k s_k^2

With terms of changing sign, s_k^2 is about k times their mean square; with terms of one sign, (k/n)^2 times the square
of the sum. In which order a processor adds, and how many partial sums it keeps side by side, is its own affair: one
after the other, as here, it rounds the most. The least is one rounding, of the result.

How an error grows on its way, by layer norm's division, by the softmax, by the cancellation in the softmax's backward
pass, is left to the network: errors are put in where they arise, so much larger than those of float64 that the pass
without them shows what has become of them. That holds for any processor; nothing here is computed in float32.
"""

import copy
import math
from typing import Any

import numpy
import scipy.special

from minivivit.models.parameters import map_tree
from minivivit.verification.rounding.precisions import EmulatedArray, Emulation

ROUNDING = 2.0**-24 / math.sqrt(8 * math.log(2))

ELEMENTWISE = frozenset(["add", "subtract", "multiply", "divide", "square", "sqrt", "exp", "log", "tanh", "erf"])
SUMS = frozenset(["sum", "mean"])


class RandomRounding(Emulation):
    """An array library that computes in float64, with random errors of float32's size.

    Parameters
    ----------
    rng : numpy.random.Generator
    least : bool
        Round sums once, instead of at every term.
    """

    def __init__(self, rng: numpy.random.Generator, least: bool = False, module: Any = numpy):
        super().__init__("float64", rounds_results=False, module=module)
        self.rng, self.least = rng, least

    @property
    def special(self) -> "RandomRounding":
        """The error function and its kin."""
        return RandomRounding(self.rng, self.least, scipy.special)

    def matmul(self, a: Any, b: Any, out: Any = None) -> Any:
        """A product, each of whose entries is a sum."""
        a, b = (array.values if isinstance(array, EmulatedArray) else array for array in (a, b))
        squares = numpy.matmul(a**2, b**2)
        product = super().call(numpy.matmul, a, b, out=out)
        self._err(product.values, squares, a.shape[-1])
        return product

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """A function of NumPy, which errs if it computes anything."""
        result = super().call(function, *args, **kwargs)
        if not isinstance(result, EmulatedArray) or result.values.dtype.kind != "f":
            return result
        if function.__name__ in ELEMENTWISE:
            self._err(result.values)
        elif function.__name__ in SUMS:
            terms = function.__self__  # they are called as methods of an array
            num_terms = terms.size // result.values.size
            scale = num_terms**-2.0 if function.__name__ == "mean" else 1.0
            self._err(result.values, scale * numpy.sum(terms**2, **kwargs), num_terms)
        return result

    def _err(self, values: numpy.ndarray, sum_of_squares: Any = 0.0, num_terms: int = 1) -> None:
        """Add a sum's error in place, from its value, its terms' squares and their number; one term is no sum."""
        squares = values**2
        if not self.least:
            squares = squares * (1 + (num_terms - 1) / 3) + sum_of_squares * (num_terms - 1) / 2
        values += ROUNDING * numpy.sqrt(squares) * self.rng.standard_normal(values.shape)


def with_random_rounding(model: Any, rng: numpy.random.Generator, least: bool = False) -> Any:
    """A copy of a float64 model on NumPy in which the parameters, and all that is computed from them, err at random."""
    other = copy.copy(model)
    library = RandomRounding(rng, least)
    other.params = map_tree(lambda array: randomly_rounded(array, library), model.params)
    return other


def randomly_rounded(array: numpy.ndarray, library: RandomRounding) -> EmulatedArray:
    """An array of the library, rounded at random."""
    return library.asarray(array * (1 + ROUNDING * library.rng.standard_normal(array.shape)))
