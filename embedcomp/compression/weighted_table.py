"""A checked table with the order and the weights of its words."""

import dataclasses

import numpy as np

from embedcomp.compression import frequency
from embedcomp.methods import storage

# WeightedTable that are looked at together where the whole table has to be.
_CHECK_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedTable:
  """A checked table with the order and the weights of its words.

  Attributes:
    table: [V, D] float, as given.
    weights: [V] float64, mean 1.
    ids: [V] the id at each rank.
    dtype: name of the table's dtype.
    order: 'identity' if ids are ranks, else 'stored'.
  """

  table: np.ndarray
  weights: np.ndarray
  ids: np.ndarray
  dtype: str
  order: str

  @classmethod
  def prepare(cls, table, counts, importance) -> 'WeightedTable':
    table = np.asarray(table)
    if table.ndim != 2 or not table.size:
      raise ValueError(
        'the table must be [V, D] with at least one word and one feature, '
        f'got shape {table.shape}.'
      )
    if table.dtype == np.float64:
      table = table.astype(np.float32)
    if table.dtype not in storage.FLOAT_DTYPES.values():
      raise ValueError(f'the table must be of floats, got {table.dtype}.')
    for start in range(0, len(table), _CHECK_BLOCK):
      rows = table[start : start + _CHECK_BLOCK].astype(np.float32)
      wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
      if len(wrong):
        raise ValueError(
          'the table must be finite, got NaN or infinity in row '
          f'{start + wrong[0]}; clean it or drop such words first.'
        )
    weights = np.ones(len(table))
    if importance is not None:
      if counts is not None:
        frequency.check_counts(counts, len(table))
      weights = frequency.check_counts(importance, len(table))
    elif counts is not None:
      weights = frequency.check_counts(counts, len(table)) + 1
    ids = np.argsort(-weights, kind='stable')
    sorted_already = bool((np.diff(weights) <= 0).all())
    return cls(
      table=table,
      weights=weights / weights.mean(),
      ids=ids,
      dtype=str(table.dtype),
      order='identity' if sorted_already else 'stored',
    )

  def in_id_order(self) -> 'WeightedTable':
    """The same words, taken in the order of their ids whatever they weigh."""
    ids = np.arange(len(self.table))
    return dataclasses.replace(self, ids=ids, order='identity')

  def vectors(self, ids: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors of some ids."""
    return self.table[ids].astype(np.float32, copy=False)

  def rows(self, ranks: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors at some ranks."""
    return self.vectors(self.ids[ranks])
