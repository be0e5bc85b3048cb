"""Steps of scalars that are rounded and coded: the best for a price of a bit.

A normal number that is rounded to multiples of a step and coded by
`entropy_coding` takes some bits and leaves some error, which depend on its
spread alone, its standard deviation in steps. Where a bit has a price, there is
a step of least error plus bits times price: uniform threshold quantization with
entropy coding, for each variance its own. At high rates that step tends to the
same for all variances, about the square root of 12 times the water level of
reverse water-filling, and its error to 1.53 dB above the bound (Gish and
Pierce, "Asymptotically efficient quantizing", 1968); at low rates steps grow.
Trellis-coded quantization with eight states was measured on the word embeddings
of MiniLM: it takes 3 % off the squared error at 40x and 1.5 % at 100x.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from embedcomp.methods.coded_sizes import overhead
from embedcomp.methods.rounded_normals import (
  COST_UNIT,
  LARGEST,
  costs_of_magnitudes,
)

# Logarithms of variances over the price of a bit, between which it is worth
# to look for a step: below them no bit is worth its price.
_LEAST, _MOST, _STEPS = -1.0, 11.0, 1201
# Spreads of which as good as no value is clipped.
_SPREADS = np.exp2(np.linspace(-3, 5, 8 * 64 + 1))
# Of what is free, integers are expected to take this share.
_SURE = 0.97
# For so many words an axis without a value takes no bits.
_WORDS = 1000


class Rates(NamedTuple):
  """What scalars take and leave, one entry a variance.

  Attributes:
    spreads: standard deviations in steps; 0 where there is no step.
    bits: of a value.
    errors: squared.
  """

  spreads: np.ndarray
  bits: np.ndarray
  errors: np.ndarray


def best_rates(variances: np.ndarray, price: float) -> Rates:
  """Scalars of least squared error plus price times bits.

  Args:
    variances: [...] of normal numbers.
    price: error that a bit has to save, positive.

  Returns:
    Rates of [...] float64. Values stand for the means of what is rounded to
    them, which one factor an axis comes close to.

  Example:
    >>> rates = best_rates(np.array([0.5, 4.0]), price=1.0)
    >>> rates.bits.round(2).tolist()
    [0.0, 1.47]
  """
  grid, spreads, bits, errors = _best()
  variances = np.asarray(variances, np.float64)
  worth = np.log(np.maximum(variances, 1e-300) / price)
  coded = worth > grid[0]
  return Rates(
    np.where(coded, np.interp(worth, grid, spreads), 0),
    np.where(coded, np.interp(worth, grid, bits), 0),
    np.where(coded, np.interp(worth, grid, errors), 1) * variances,
  )


def spread_within(num_bytes: int, num_words: int, num_axes: int) -> float:
  """Standard deviation of normal integers that surely take no more bytes.

  Args:
    num_bytes: of a stream.
    num_words: W.
    num_axes: A, all of the same spread.

  Returns:
    At most 24; 0 if there is no room for any but zeros.
  """
  free = num_bytes - overhead(num_words, num_axes)
  rates = best_rates(np.exp2(np.linspace(-1, 16, 200)), 1.0)
  is_within = rates.bits <= _SURE * 8 * free / max(num_words * num_axes, 1)
  return float(rates.spreads[is_within].max(initial=0))


@functools.cache
def _best() -> tuple[np.ndarray, ...]:
  """Logarithms of variances in prices and, of each, the best scalars' spread,
  bits and error as a share of the variance.

  The first is where scalars begin to be worth their bits.
  """
  grid = np.linspace(_LEAST, _MOST, _STEPS)
  bits, errors = _expectations()
  costs = np.exp(grid)[:, None] * errors + bits
  best = costs.argmin(axis=1)
  coded = costs.min(axis=1) < np.exp(grid)
  found = _SPREADS[best], bits[best], errors[best]
  return tuple(array[coded] for array in (grid, *found))


def _expectations() -> tuple[np.ndarray, np.ndarray]:
  """Bits of normal numbers of `_SPREADS` and errors in their variances."""
  spreads = _SPREADS[:, None]
  edges = (np.arange(LARGEST + 1) + 0.5) / spreads
  tails = [math.erfc(edge) for edge in (edges / math.sqrt(2)).reshape(-1)]
  above = np.array(tails).reshape(edges.shape)
  shares = -np.diff(above, prepend=1)  # of magnitudes
  # Means of cells times their shares, both signs together.
  heights = np.exp(-edges * edges / 2) * math.sqrt(2 / math.pi)
  moments = -spreads * np.diff(heights)
  squares = moments**2 / np.maximum(shares[:, 1:], 1e-300)
  errors = 1 - squares.sum(axis=1) / _SPREADS**2
  shares[:, -1] += above[:, -1]  # clipped values
  costs = costs_of_magnitudes() / COST_UNIT
  bits = shares @ costs
  best = bits.argmin(axis=1)
  blank = (1 - above[:, 0]) ** _WORDS * costs[0, best]
  return bits.min(axis=1) - blank, errors
