"""How finely to store axes that all words share, at the price of a byte."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from embedcomp.methods import coded_sizes
from embedcomp.methods.axes_method import AxesMethod

# Deviations of an axis's numbers in steps.
_SPREADS = 0.7, 20.0
# Of normal numbers rounded to steps of their deviation.
_BITS = 0.5 * math.log2(2 * math.pi * math.e)


_LEAST = np.finfo(np.float64).tiny


class AxesChoice(NamedTuple):
  """Axes as they are stored.

  Attributes:
    rank: R.
    code_bytes: of their integers; 0 if these are not entropy-coded.
    num_bytes: with scales.
    loss: expected, as that of words.
  """

  rank: int
  code_bytes: int
  num_bytes: int
  loss: float

  def stored_by(self, method: AxesMethod) -> AxesMethod:
    """A method that shares these axes."""
    return dataclasses.replace(method, axes_bytes=self.code_bytes)


def choose_axes(
  cost: float, rank: int, features: int, price: float
) -> AxesChoice:
  """The steps of axes of least expected loss plus price.

  With steps of 1 / s of an axis's deviation, errors are s**-2 / 12 of its
  squared length, and a number takes log2 s + 2.05 bits. That is the most that
  they may cost, for coefficients are those on axes as they are stored; the
  errors of plain int8 go under in others.

  Args:
    cost: of errors as large as the axes themselves.
    rank: R.
    features: D.
    price: loss that a byte has to save.
  """
  if not rank:
    return AxesChoice(0, 0, 0, 0.0)
  count = rank * features
  plain = AxesChoice(rank, 0, count + 2 * rank, 0.0)
  square = 16 * math.log(2) * cost / (12 * max(price * count, _LEAST))
  spread = min(max(math.sqrt(square), _SPREADS[0]), _SPREADS[1])
  bits = np.full(rank, math.log2(spread) + _BITS)
  code_bytes = coded_sizes.size_for(features, bits)
  loss = cost / (12 * spread**2)
  coded = AxesChoice(rank, code_bytes, code_bytes + 2 * rank, loss)
  if price == np.inf:
    return min(coded, plain, key=lambda choice: choice.num_bytes)
  costs = [choice.loss + price * choice.num_bytes for choice in (coded, plain)]
  return coded if costs[0] < costs[1] else plain
