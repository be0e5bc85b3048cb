"""Axes that all codes on axes of a table share, and coefficients on them.

With a metric H, errors e cost e H e' instead of e e', and axes are those that
hold most of that.
"""

import dataclasses
from typing import Any

import numpy as np

from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.methods.axes_method import AxesMethod
from embedcomp.methods.further_axes import full_axes, oriented
from embedcomp.methods.storage import Factor
from embedcomp.types import Params

_BLOCK = 1 << 12


@dataclasses.dataclass(frozen=True)
class Axes:
  """Axes of a metric that hold most of the weighted energy of a table.

  Attributes:
    to_axes: [D, D] takes words to coefficients, the first axes first, so that
      errors of coefficients are those of words in the metric.
    from_axes: [D, D] its inverse.
    metric: [D, D], the identity if none was given.
    energy: weighted squared norm of all words in the metric.
  """

  to_axes: np.ndarray
  from_axes: np.ndarray
  metric: np.ndarray
  energy: float

  @classmethod
  def of(cls, table: WeightedTable, metric: np.ndarray | None) -> 'Axes':
    """Principal axes of the weighted words in a metric.

    Args:
      table: with importance.
      metric: [D, D] symmetric and positive definite; None for the identity.
    """
    features = table.values.shape[1]
    metric = np.eye(features) if metric is None else np.asarray(metric)
    values, vectors = np.linalg.eigh(metric)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    moment = np.zeros((features, features))
    for start in range(0, len(table.ids), _BLOCK):
      ids = table.ids[start : start + _BLOCK]
      words = table.vectors(ids)
      weighted = words * table.importance[ids].astype(np.float32)[:, None]
      moment += words.T @ weighted
    values, vectors = np.linalg.eigh(root @ moment @ root)
    vectors = vectors[:, ::-1]
    to_axes, from_axes = root @ vectors, vectors.T @ inverse
    return cls(
      to_axes.astype(np.float32),
      np.ascontiguousarray(from_axes, np.float32),
      metric.astype(np.float32),
      float(values.sum()),
    )

  def coefficients(self, table: WeightedTable) -> np.ndarray:
    """[V, D] float32 of the words by id, errors of which all cost alike."""
    found = np.empty(table.values.shape, np.float32)
    for start in range(0, len(found), _BLOCK):
      ids = np.arange(start, min(start + _BLOCK, len(found)))
      np.matmul(
        table.vectors(ids), self.to_axes, out=found[ids[0] : ids[-1] + 1]
      )
    return found

  def stored(self, method: AxesMethod) -> 'StoredAxes':
    """The first axes as a method stores them."""
    axes = oriented(self.from_axes[: method.rank])
    part = method.axes_part(len(self.metric))
    return StoredAxes(part, part.trainable(axes), self.metric)


class StoredAxes:
  """Axes that a scheme stores, and coefficients on them.

  Attributes:
    axes: [R, D] float32, as they are read.
    metric: [D, D] float32.
  """

  def __init__(self, part: Factor, leaf: Any, metric: np.ndarray):
    self._leaf = leaf
    axes = part.dequantize(part.quantize(leaf))
    self.axes = axes = np.asarray(axes['values'] if part.is_integer else axes)
    self.metric = metric
    weighted = metric @ axes.T
    self._nearest = weighted @ np.linalg.inv(axes @ weighted)  # [D, R]
    every = np.asarray(full_axes(axes), np.float64)
    self._exact = np.linalg.inv(every)  # [D, D]
    self._costs = ((every @ metric) * every).sum(axis=1)

  def coefficients(self, words: np.ndarray, num_axes: int) -> np.ndarray:
    """Coefficients for codes of the first axes.

    Args:
      words: [W, D] float32.
      num_axes: how many are coded; more than R take all.

    Returns:
      [W, R] nearest to the words in the metric, or [W, D] those of the words.
    """
    few = num_axes <= len(self.axes)
    return words @ (self._nearest if few else self._exact).astype(np.float32)

  def fit(
    self,
    method: AxesMethod,
    words: np.ndarray,
    importance: np.ndarray,
    seed: int,
  ) -> Params:
    """Fits the codes of a group.

    Args:
      method: with as many axes.
      words: [W, D] float32.
      importance: [W] float, non-negative and not all zero.
      seed: of whatever is random.

    Returns:
      Trainable params.
    """
    coefficients = self.coefficients(words, method.num_axes)
    params = method.fit_on_axes(
      self.axes, coefficients, importance, seed, self._costs
    )
    # To fit scales to what was rounded already would round it again.
    return {**params, 'axes': self._leaf} if method.rank else params
