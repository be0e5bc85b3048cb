"""Runs of words that share a group of codes on axes, and what codes may cost.

Words are sorted by what they can cost, their weight times their energy, and cut
into runs where that falls by a constant factor.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from embedcomp.compression.weighted_table import WeightedTable

# From the first word of a run to that of the next, costs fall by this factor;
# a run has at least so many words, and most codes are of at least that many.
_FALL = 2.3
_SMALLEST_RUN = 128
# Energies count within these multiples of their median: weights decide.
_ENERGY_RANGE = 0.05, 4.0
_BLOCK = 1 << 12


class Run(NamedTuple):
  """Statistics of consecutive words.

  Attributes:
    size: W.
    weight: mean importance of its words.
    means: [D] weighted mean of its coefficients, on all axes.
    energies: [D] weighted mean of their squares.
  """

  size: int
  weight: float
  means: np.ndarray
  energies: np.ndarray

  def variances(self, rank: int) -> np.ndarray:
    """[D] float64 about what is stored of the mean.

    Args:
      rank: R, axes that are stored; which others are left over for further
        ones is left to chance.
    """
    variances = self.energies.astype(np.float64)
    variances[:rank] -= np.square(self.means[:rank])
    variances = np.maximum(variances, 0)
    if rank < len(variances):
      variances[rank:] = variances[rank:].mean()
    return variances


def word_costs(importance: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
  """What words cost, as far as they are like others.

  Args:
    importance: [V] by id.
    coefficients: [V, D] on axes, whose errors all cost alike.

  Returns:
    [V] importance times energy, this within a range about its median.
  """
  energy = np.einsum('vd,vd->v', coefficients, coefficients)
  low, high = _ENERGY_RANGE
  median = float(np.maximum(np.median(energy), np.finfo(np.float32).tiny))
  return importance * np.clip(energy / median, low, high)


def runs_of(costs: np.ndarray) -> tuple[int, ...]:
  """Splits words where costs have fallen by a factor.

  Args:
    costs: [V] non-negative, by rank; where they rise again, later ones count.

  Returns:
    Increasing ranks 0, ..., V.
  """
  costs = np.maximum.accumulate(costs[::-1])[::-1]
  splits = [0]
  while splits[-1] < len(costs):
    start = splits[-1]
    stop = int(np.searchsorted(-costs, -costs[start] / _FALL))
    stop = max(stop, start + _SMALLEST_RUN)
    splits.append(len(costs) if len(costs) - stop < _SMALLEST_RUN else stop)
  return tuple(splits)


def measure_runs(
  table: WeightedTable, coefficients: np.ndarray, splits: Sequence[int]
) -> list[Run]:
  """Statistics of the runs between ranks of a table.

  Args:
    table: words in order.
    coefficients: [V, D] of words by id.
    splits: increasing ranks 0, ..., V.
  """
  runs = []
  for start, stop in itertools.pairwise(splits):
    ids = table.ids[start:stop]
    weights = table.importance[ids]
    shares = weights if weights.any() else np.ones_like(weights)
    shares = (shares / shares.sum()).astype(np.float32)
    first, second = np.zeros((2, coefficients.shape[1]), np.float32)
    for block in range(0, len(ids), _BLOCK):
      found = coefficients[ids[block : block + _BLOCK]]
      first += shares[block : block + _BLOCK] @ found
      second += shares[block : block + _BLOCK] @ np.square(found)
    runs.append(Run(stop - start, float(weights.mean()), first, second))
  return runs


class Choice(NamedTuple):
  """Codes of a run.

  Attributes:
    method: its codes, an `AxesMethod`.
    num_bytes: without what all runs share.
    loss: expected weighted squared error.
  """

  method: Any
  num_bytes: int
  loss: float
