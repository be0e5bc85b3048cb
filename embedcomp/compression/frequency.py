"""Word frequencies: ranks, coverage, Zipf-Mandelbrot fits and bins.

Word frequencies follow the Zipf-Mandelbrot law f(r) = scale / (r + shift)^s
with r = 1, 2, ... the rank by frequency (Mandelbrot, "An informational theory
of the statistical structure of language", 1953). A few hundred words make up
most of a text, so that ranks say where a table's bytes are worth spending.
"""

import dataclasses
import math

import numpy as np

from embedcomp._internal.checks import check_int
from embedcomp.compression.counts import check_counts as check_counts
from embedcomp.compression.counts import (
  with_room_for_sums as with_room_for_sums,
)
from embedcomp.compression.word_weights import (
  expected_counts as expected_counts,
)
from embedcomp.types import Array

# Errors of words that are read in context weigh like this power of how often
# they occur, 0.5 to 0.53 being alike and 0.67 to 1 worse on MiniLM-L6.
_CONTEXTUAL_POWER = 0.5
# Occurrences that stand for none there.
_UNSEEN_COUNT = 0.05


def rank_order(counts: Array) -> np.ndarray:
  """Ids from the most to the least frequent word, ties by id.

  Args:
    counts: [V] tokens of each word.

  Returns:
    [V] int64: the id at each rank.

  Raises:
    ValueError: if counts are not valid.

  Example:
    >>> rank_order([3, 7, 0, 7]).tolist()
    [1, 3, 0, 2]
  """
  return np.argsort(-check_counts(counts), kind='stable')


def rank_order_around(counts: Array, fixed: Array) -> np.ndarray:
  """Ids from the most to the least frequent word around ids that stay.

  Args:
    counts: [V] tokens of each word.
    fixed: [F] ids that keep their positions, such as padding.

  Returns:
    [V] int64: the old id of each new one.

  Raises:
    ValueError: if counts are not valid, or a fixed id is none of [0, V).

  Example:
    >>> rank_order_around([0, 3, 7, 0, 9], fixed=[0, 3]).tolist()
    [0, 4, 2, 3, 1]
  """
  by_count = rank_order(counts)
  fixed = np.asarray(fixed, np.int64).reshape(-1)
  outside = (fixed < 0) | (fixed >= len(by_count))
  if outside.any():
    raise ValueError(
      f'fixed ids must be in [0, {len(by_count)}), got {fixed[outside][0]}.'
    )
  order = np.arange(len(by_count))
  moves = ~np.isin(order, fixed)
  order[moves] = by_count[moves[by_count]]
  return order


def contextual_importance(counts: Array) -> np.ndarray:
  """Importance of words for a model that reads them in context.

  sqrt(count + 0.05). A model with attention guesses a word from its context
  the better the more often it has seen it, so that an error of a frequent word
  costs less than its count says.

  Counts of one text are far from those of another: give `expected_counts` of
  them. As they are, a word that the text lacks weighs as 1/20 of an occurrence,
  and punctuation, digits and the special tokens around a text, which are among
  the most frequent words of most texts, next to nothing if they were left out.

  Args:
    counts: [V] tokens of each word, counted or expected.

  Returns:
    [V] float64, for the `importance` of `embedcomp.compress`.

  Raises:
    ValueError: if counts are not valid.

  Example:
    >>> contextual_importance([0, 0.2, 24.95]).round(2).tolist()
    [0.22, 0.5, 5.0]
  """
  return (check_counts(counts) + _UNSEEN_COUNT) ** _CONTEXTUAL_POWER


def coverage(counts: Array) -> np.ndarray:
  """Shares of all tokens that the most frequent words make up.

  Args:
    counts: [V] tokens of each word, any order.

  Returns:
    [V] float64: entry i is the share of the i + 1 most frequent words.

  Raises:
    ValueError: if counts are not valid.

  Example:
    >>> coverage([1, 6, 3]).tolist()
    [0.6, 0.9, 1.0]
  """
  counts = with_room_for_sums(check_counts(counts))
  cumulative = np.cumsum(np.sort(counts)[::-1])
  return cumulative / cumulative[-1]


@dataclasses.dataclass(frozen=True)
class ZipfMandelbrot:
  """The law f(r) = scale / (r + shift)^exponent, and the goodness of its fit.

  Attributes:
    exponent: s, about 1 for natural language.
    shift: q >= 0, flattens the head.
    scale: C; the frequencies of all words that occur sum to their tokens.
    r_squared: share of the variance of log frequencies over ranks that the
      law explains; 1 is perfect.
    ks_distance: Kolmogorov-Smirnov distance, the largest difference of the
      cumulative token shares; 0 is perfect.
  """

  exponent: float
  shift: float
  scale: float
  r_squared: float
  ks_distance: float

  def frequency(self, ranks: Array) -> np.ndarray:
    """Expected tokens of the words at given ranks, which start at 1."""
    ranks = np.asarray(ranks, np.float64)
    return self.scale / (ranks + self.shift) ** self.exponent


def fit_zipf_mandelbrot(counts: Array) -> ZipfMandelbrot:
  """Fits a Zipf-Mandelbrot law by maximum likelihood.

  Tokens are taken as draws from p(r) = (r + q)^-s / Z(s, q) over the words
  that occur; words that never occur are left out.

  Args:
    counts: [V] tokens of each word, any order, at least 3 of them positive.

  Returns:
    The law that makes the counts most likely; the exponent is at most 20.

  Raises:
    ValueError: if counts are not valid or too few words occur.
  """
  # scipy comes with jax; its optimizers are slow to import.
  from scipy import optimize

  counts = check_counts(counts)
  largest = float(counts.max())
  counts = np.sort(with_room_for_sums(counts[counts > 0]))[::-1]
  if len(counts) < 3:
    raise ValueError(
      f'a fit needs at least 3 words that occur, got {len(counts)}.'
    )
  ranks = np.arange(1, len(counts) + 1, dtype=np.float64)
  shares = counts / counts.sum()

  def negative_log_likelihood(parameters):
    exponent, log_shift = parameters
    shifted = ranks + np.expm1(log_shift)
    logs = np.log(shifted)
    scores = -exponent * logs
    log_normaliser = np.logaddexp.reduce(scores)
    excess = np.exp(scores - log_normaliser) - shares  # of model over data
    by_shift = -exponent * (excess @ (1 / shifted))
    gradient = [-(excess @ logs), by_shift * np.exp(log_shift)]
    return log_normaliser - shares @ scores, np.array(gradient)

  # The shift is at least 0 and searched on a log scale: it spans decades.
  found = optimize.minimize(
    negative_log_likelihood,
    x0=(1.0, np.log1p(2.0)),
    jac=True,
    method='L-BFGS-B',
    bounds=((0.0, 20.0), (0.0, np.log1p(10.0 * len(counts)))),
    options={'ftol': 1e-14, 'gtol': 1e-9, 'maxiter': 1000},
  )
  exponent, shift = float(found.x[0]), float(np.expm1(found.x[1]))
  expected = (ranks + shift) ** -exponent
  scale = float(counts.sum() / expected.sum())
  expected *= scale
  logs, expected_logs = np.log(counts), np.log(expected)
  residual = float(np.square(logs - expected_logs).sum())
  variation = float(np.square(logs - logs.mean()).sum())
  distance = np.abs(np.cumsum(shares) - np.cumsum(expected) / counts.sum())
  return ZipfMandelbrot(
    exponent=exponent,
    shift=shift,
    scale=_in_counts(scale / float(counts[0]), largest),
    # Equal counts leave nothing to explain, and are met exactly.
    r_squared=1 - residual / variation if variation else 1.0,
    ks_distance=float(distance.max()),
  )


def _in_counts(scale: float, largest: float) -> float:
  """The scale of a law, given as a multiple of the largest count."""
  scaled = scale * largest
  if scaled == math.inf:
    raise ValueError(
      f'counts up to {largest:.3g} need a law whose scale is no float64: '
      'divide them by a constant first.'
    )
  return scaled


def log_bins(
  importance: Array, num_bins: int, min_size: int = 1
) -> tuple[int, ...]:
  """Returns candidate split points: log-spaced, moved to even out the mass.

  Bins start with `min_size` words and grow by a constant factor. From left to
  right, each inner point then moves to where its bin has an equal share of the
  mass that is left, as far as the geometric means with its neighbours allow:
  under Zipf's law bins carry about the same mass, and whatever the
  importance they stay log-spaced within half a step.

  Args:
    importance: [V] counts or other weights of words, from the first rank to the
      last (`counts[rank_order(counts)]`).
    num_bins: J, how many bins to make, at least 1.
    min_size: words of the smallest bin, at least 1.

  Returns:
    Increasing split points 0, ..., V of min(J, V // min_size) bins, or of one
    bin if V < min_size.

  Raises:
    ValueError: if an argument is not valid.

  Example:
    >>> log_bins([1 / r for r in range(1, 1001)], num_bins=5)
    (0, 2, 11, 51, 227, 1000)
  """
  importance = with_room_for_sums(check_counts(importance, name='importance'))
  num_bins = check_int('num_bins', num_bins, 1)
  min_size = check_int('min_size', min_size, 1)
  vocab_size = len(importance)
  num_bins = min(num_bins, max(vocab_size // min_size, 1))
  mass = np.concatenate([[0.0], np.cumsum(importance)])
  spaced = _growing_bins(vocab_size, num_bins, min_size)
  means = np.sqrt(spaced[:-1] * spaced[1:]).round().astype(int)
  points = [0]
  for index in range(1, num_bins):
    start, bins_left = points[-1], num_bins - index
    goal = mass[start] + (mass[-1] - mass[start]) / (bins_left + 1)
    point = int(np.searchsorted(mass, goal))
    point = min(max(point, means[index - 1]), means[index])
    # Every bin, also of those to come, keeps its least size.
    point = min(max(point, start + min_size), vocab_size - bins_left * min_size)
    points.append(int(point))
  return (*points, vocab_size)


def _growing_bins(vocab_size: int, num_bins: int, min_size: int) -> np.ndarray:
  """[J + 1] points of bins of `min_size * growth**j` words that sum to V."""
  steps = np.arange(num_bins)
  low, high = 1.0, vocab_size / min_size
  for _ in range(64):  # bisection, to the last bit
    growth = (low + high) / 2
    with np.errstate(over='ignore'):  # infinity is too large as well
      words = min_size * (growth**steps).sum()
    if words < vocab_size:
      low = growth
    else:
      high = growth
  points = np.concatenate([[0.0], np.cumsum(min_size * low**steps)])
  return points * (vocab_size / points[-1])
