"""Normal numbers rounded to integers: their frequencies and code lengths.

The model of `entropy_coding`: 81 normal distributions about zero, rounded to
integers and clipped to [-127, 127]. Their spread, which is the standard
deviation before rounding in steps, is 2**((index - 1) / 8 - 3), from 1/8 to
128; index 0 is the distribution of nothing but zeros.

Every machine derives the same frequencies. They come from Python's integers,
which are exact and of any length: the bell curve by repeated multiplication
from the series of exp(-2**-21), the spreads by integer square roots. No
floating-point number and no function of a mathematical library comes near them.
Costs, by which an encoder chooses, are logarithms of those integers rounded to
integers, none of them near a tie.
"""

import functools
import itertools
import math

import numpy as np

LARGEST = 127  # of magnitudes
NUM_SPREADS = 81
NUM_SYMBOLS = 256  # value + 127, and the escape
ESCAPE = 255
TOTAL_BITS = 14
TOTAL = 1 << TOTAL_BITS
ZERO_TABLE = 0
PLAIN_TABLE = NUM_SPREADS + 1  # of the bits of values after an escape
COST_UNIT = 1 << 12  # of a bit


def _frozen(array: np.ndarray) -> np.ndarray:
  """An array that all callers share and none may change."""
  array.setflags(write=False)
  return array


@functools.cache
def _bell() -> list[int]:
  """The area below exp(-x x / 2) from 0 to n / 512.

  Returns:
    4,097 integers: sums of the density at the middles of cells of width
    h = 1 / 512, in units of 2**-96.
  """
  unit = 96
  term = fine = 1 << unit  # fine: exp(-h h / 8), by its series
  for n in range(1, 8):
    term = term // (n << 21)
    fine += -term if n % 2 else term
  ratio = 1 << unit
  for _ in range(8):
    ratio = ratio * fine >> unit  # exp(-h h)
  areas = [0]
  density, factor = fine, ratio
  for _ in range(4096):
    areas.append(areas[-1] + density)
    density = density * factor >> unit
    factor = factor * ratio >> unit
  return areas


def _between(sums: list[int], position: int) -> int:
  """Interpolates running sums at a position in units of 2**-32 cells."""
  cell, rest = position >> 32, position & 0xFFFFFFFF
  if cell >= len(sums) - 1:
    return sums[-1]
  return sums[cell] + ((sums[cell + 1] - sums[cell]) * rest >> 32)


@functools.cache
def _edges(index: int) -> list[int]:
  """Upper edges of the cells of 0 to 127, in 2**-32 cells of the bell curve.

  Args:
    index: of the spread, 1 to 81.

  Returns:
    512 (k + 1 / 2) / spread for k = 0 to 127, times 2**32, rounded down.
  """
  octave, eighth = divmod(index - 1, 8)
  # 2**32 / 2**(eighth / 8), rounded down.
  root = math.isqrt(math.isqrt(math.isqrt(1 << (256 - eighth))))
  return [((2 * k + 1) * root << 11) >> octave for k in range(LARGEST + 1)]


@functools.cache
def frequencies_of(table: int) -> np.ndarray:
  """How many of 2**14 slots each symbol has; [256] int64."""
  counts = [0] * NUM_SYMBOLS
  if table == PLAIN_TABLE:
    counts = [TOTAL // NUM_SYMBOLS] * NUM_SYMBOLS
  elif table != ZERO_TABLE:
    areas = _bell()
    below = [_between(areas, edge) for edge in _edges(table)]
    below[-1] = half = areas[-1]  # values are clipped to 127
    rare = []
    for k, (low, high) in enumerate(itertools.pairwise(below), start=1):
      own = ((high - low) * TOTAL + half) // (2 * half)
      counts[LARGEST + k] = counts[LARGEST - k] = own
      if not own:
        rare.append(high - low)
    if rare:  # of both signs
      counts[ESCAPE] = max((2 * sum(rare) * TOTAL + half) // (2 * half), 1)
  counts[LARGEST] += TOTAL - sum(counts)
  return _frozen(np.array(counts, np.int64))


@functools.cache
def costs_of_magnitudes() -> np.ndarray:
  """Code lengths of magnitudes in 1 / 4096 bits; [128, 81] int64."""
  tables = [frequencies_of(index) for index in range(1, NUM_SPREADS + 1)]
  counts = np.stack(tables)[:, LARGEST:]  # 0 to 127, and the escape
  bits = TOTAL_BITS - np.log2(np.maximum(counts, 1))
  escape = bits[:, -1:] + 8
  bits = np.where(counts > 0, bits, escape)[:, :-1]
  return _frozen(np.rint(bits.T * COST_UNIT).astype(np.int64))


def costs_of_axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """What the values of each axis take by every spread.

  Args:
    values: [W, A] integers within [-127, 127].

  Returns:
    [A, 81] int64 sums of code lengths in 1 / 4096 bits, and [A] bool, which
    axes are zero throughout.
  """
  num_axes = values.shape[1]
  counts = np.zeros((num_axes, LARGEST + 1), np.int64)
  for axis in range(num_axes):
    magnitudes = np.abs(values[:, axis].astype(np.int16))
    counts[axis] = np.bincount(magnitudes, minlength=LARGEST + 1)
  is_zero = np.equal(counts[:, 1:].max(axis=1, initial=0), 0)
  return counts @ costs_of_magnitudes(), is_zero


def best_spreads(values: np.ndarray) -> np.ndarray:
  """The spread index by which each axis takes the fewest bits; [A] int64."""
  costs, is_zero = costs_of_axes(values)
  return np.where(is_zero, ZERO_TABLE, costs.argmin(axis=1) + 1)
