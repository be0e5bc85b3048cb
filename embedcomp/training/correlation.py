"""How far predictions go along with labels: Pearson's and Spearman's r.

Not sums over batches: they need all rows of a data set at once.
"""

import numpy as np

from embedcomp.types import Array


def pearson(first: Array, second: Array) -> float:
  """Correlation of two series.

  Args:
    first: [N] real numbers.
    second: [N] likewise.

  Returns:
    In [-1, 1]; 0 if either series is constant, which goes along with nothing.

  Raises:
    ValueError: if there are no numbers, or if they do not pair up.

  Example:
    >>> pearson([1, 2, 4], [0, 1, 3])
    1.0
  """
  first, second = (np.asarray(values, np.float64) for values in (first, second))
  if first.ndim != 1 or first.shape != second.shape or not first.size:
    raise ValueError(
      'a correlation needs two series of one length, got shapes '
      f'{first.shape} and {second.shape}.'
    )
  if np.ptp(first) == 0 or np.ptp(second) == 0:
    return 0.0
  first, second = first - first.mean(), second - second.mean()
  norms = np.sqrt((first @ first) * (second @ second))
  return float(np.clip(first @ second / norms, -1, 1))


def spearman(first: Array, second: Array) -> float:
  """Correlation of the ranks in two series; equal numbers share their ranks.

  Args:
    first: [N] real numbers.
    second: [N] likewise.

  Returns:
    In [-1, 1]; 0 if either series is constant.

  Raises:
    ValueError: if there are no numbers, or if they do not pair up.

  Example:
    >>> spearman([1, 2, 400], [0, 1, 3])
    1.0
  """
  return pearson(_ranks(first), _ranks(second))


def _ranks(values: Array) -> np.ndarray:
  """The rank of each number, from 1 on; equal ones share the mean of theirs."""
  _, places, counts = np.unique(
    np.asarray(values), return_inverse=True, return_counts=True
  )
  last = np.cumsum(counts)
  return (last - (counts - 1) / 2)[places]
