"""Normal numbers rounded to integers: frequencies, means, bits and errors.

The model of `entropy_coding`: 81 normal distributions about zero, rounded to
integers and clipped to [-127, 127]. Their spread, which is the standard
deviation before rounding in steps, is 2**((index - 1) / 8 - 3), from 1/8 to
128; index 0 is the distribution of nothing but zeros.

Every machine derives the same frequencies and means. They come from Python's
integers, which are exact and of any length: the bell curve by repeated
multiplication from the series of exp(-2**-21), the spreads by integer square
roots. No floating-point number and no function of a mathematical library comes
near them. Costs, by which an encoder chooses, are logarithms of those integers
rounded to integers, none of them near a tie. Only what planners read
(`bits_of`, `distortion_of`, `rounding_error_of`) is floating point.
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
def _bell() -> tuple[list[int], list[int]]:
  """The area and the first moment of exp(-x x / 2) from 0 to n / 512.

  Returns:
    Two lists of 4,097 integers: sums of the density at the middles of cells of
    width h = 1 / 512, and of the density times 2 x / h, in units of 2**-96.
  """
  unit = 96
  term = fine = 1 << unit  # fine: exp(-h h / 8), by its series
  for n in range(1, 8):
    term = term // (n << 21)
    fine += -term if n % 2 else term
  ratio = 1 << unit
  for _ in range(8):
    ratio = ratio * fine >> unit  # exp(-h h)
  areas, moments = [0], [0]
  density, factor = fine, ratio
  for n in range(4096):
    areas.append(areas[-1] + density)
    moments.append(moments[-1] + (2 * n + 1) * density)
    density = density * factor >> unit
    factor = factor * ratio >> unit
  return areas, moments


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
    areas = _bell()[0]
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


@functools.cache
def means_of(index: int) -> np.ndarray:
  """Mean of a normal number that rounds to 0 to 127; [128] float32, in steps.

  Multiples of 1 / 256 from the exact integers of the tables, so that values
  stand for the same numbers on every machine too.
  """
  if index == ZERO_TABLE:
    return _frozen(np.arange(LARGEST + 1, dtype=np.float32))
  areas, moments = _bell()
  octave, eighth = divmod(index - 1, 8)
  spread = math.isqrt(math.isqrt(math.isqrt(1 << (256 + eighth)))) << octave
  edges = _edges(index)
  means = [0]
  for k, (low, high) in enumerate(itertools.pairwise(edges), start=1):
    area = _between(areas, high) - _between(areas, low)
    moment = _between(moments, high) - _between(moments, low)
    # 256 spread h / 2 moment / area, where `spread` counts 2**-35.
    mean = (spread * moment // area >> 37) if area else 0
    means.append(max(mean, 256 * k - 128))
  return _frozen((np.array(means) / 256).astype(np.float32))


def dequantize(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
  """What decoded values stand for, in steps.

  A value stands for the mean of its cell under the normal distribution of its
  axis, which lies nearer to zero than the middle of the cell. No byte is spent
  on it. It takes 20 % off the squared error at a spread of 0.3, 26 % at 0.4,
  15 % at 0.7 and 2 % at 2 (see `distortion_of`).

  Args:
    values: [W, A] integers within [-127, 127].
    indices: [A] see `entropy_coding.spread_indices`.

  Returns:
    [W, A] float32.
  """
  result = np.empty(values.shape, np.float32)
  for axis, index in enumerate(indices):
    means = means_of(int(index))
    signed = np.concatenate([-means[:0:-1], means])
    result[:, axis] = signed[values[:, axis].astype(np.int16) + LARGEST]
  return result


@functools.cache
def _expectations() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Code lengths and squared errors of normal numbers rounded to integers.

  Returns:
    log2 of spreads, bits a value, and log2 of squared errors in steps**2 about
    the means of cells, [769] float64 each.
  """
  exponents = np.linspace(-5, 7, 12 * 64 + 1)
  spreads = np.exp2(exponents)[:, None]
  edges = (np.arange(LARGEST + 1) + 0.5) / spreads
  tails = [math.erfc(edge) for edge in (edges / math.sqrt(2)).reshape(-1)]
  above = np.array(tails).reshape(edges.shape)
  shares = -np.diff(above, prepend=1)  # of magnitudes
  # Means of cells times their shares, both signs together.
  heights = np.exp(-edges * edges / 2) * math.sqrt(2 / math.pi)
  moments = -spreads * np.diff(heights)
  squares = moments**2 / np.maximum(shares[:, 1:], 1e-300)
  error = np.where(
    exponents < 4, spreads[:, 0] ** 2 - squares.sum(axis=1), 1 / 12
  )
  shares[:, -1] += above[:, -1]  # clipped values
  costs = costs_of_magnitudes() / COST_UNIT
  bits = shares @ costs
  best = bits.argmin(axis=1)
  blank = (1 - above[:, 0]) ** 1000 * costs[0, best]
  bits = np.maximum.accumulate(bits.min(axis=1) - blank)
  return exponents, bits, np.log2(error)


def _log2(spread: np.ndarray) -> np.ndarray:
  """log2 of spreads, of zero as well."""
  return np.log2(np.maximum(np.asarray(spread, np.float64), 1e-30))


def bits_of(spread: np.ndarray) -> np.ndarray:
  """Expected bits of a value, for planning.

  Args:
    spread: [...] standard deviation of normal numbers before they are rounded,
      in steps. Clipping to [-127, 127] is reckoned in, but bits do not fall
      again where most values are clipped. So is that an axis without a value
      takes no bits, for runs of 1,000 words.

  Returns:
    [...] float64, without what a matrix, an axis and a chunk add.
  """
  exponents, bits, _ = _expectations()
  return np.interp(_log2(spread), exponents, bits)


def distortion_of(spread: np.ndarray) -> np.ndarray:
  """Expected squared error of what `dequantize` gives, for planning.

  Args:
    spread: as `bits_of` takes it; clipping is left out.

  Returns:
    [...] float64 in steps**2.
  """
  exponents, _, errors = _expectations()
  found = _log2(spread)
  inside = np.interp(found, exponents, errors)
  return np.exp2(np.where(found < exponents[0], 2 * found, inside))


def rounding_error_of(spread: np.ndarray) -> np.ndarray:
  """Expected squared error when a value stands for itself, for planning.

  1 / 12 + sum over n of (-1)**n / (pi n)**2 exp(-2 (pi n spread)**2), from the
  Fourier series of the density of the error.

  Args:
    spread: as `bits_of` takes it; clipping is left out.

  Returns:
    [...] float64 in steps**2; it tends to spread**2 at zero and 1 / 12 at
    infinity.
  """
  spread = np.asarray(spread, np.float64)
  n = np.arange(1, 65)
  waves = np.exp(-2 * (math.pi * n * spread[..., None]) ** 2)
  series = 1 / 12 + (waves * (-1.0) ** n / (math.pi * n) ** 2).sum(axis=-1)
  return np.where(spread < 1 / 32, spread**2, series)
