"""Checked embedding tables with the importance and the order of their words."""

import dataclasses
import functools

import numpy as np

from embedcomp.compression import frequency
from embedcomp.methods import storage
from embedcomp.types import Array

# Words that are looked at together where the whole table has to be.
_CHECK_BLOCK = 1 << 12
# Between these, scales of int8 and sums of products are ordinary float32.
_SMALLEST, _LARGEST = 1e-30, 1e36
# Between these, so are squares and sums of squares.
_USUAL = 1e-6, 1e6


def check_table(table: Array) -> np.ndarray:
  """Checks an embedding table.

  Args:
    table: [V, D] float, a row a word.

  Returns:
    [V, D] of the same dtype, in the byte order of the machine.

  Raises:
    ValueError: naming what is wrong with the table.
  """
  try:
    table = np.asarray(table)
  except ValueError as error:  # a ragged list
    raise ValueError(f'the table must be [V, D] floats: {error}.') from None
  if table.ndim != 2 or not table.size:
    raise ValueError(
      'the table must be [V, D] with at least one word and one feature, '
      f'got shape {table.shape}; it comes first, before counts.'
    )
  if not table.dtype.isnative:
    table = table.astype(table.dtype.newbyteorder('='))
  allowed = (*storage.FLOAT_DTYPES.values(), np.dtype(np.float64))
  if table.dtype not in allowed:
    raise ValueError(
      f'the table must be of floats, got {table.dtype}: convert it to float32.'
    )
  largest = _largest(table)
  if largest and not _SMALLEST <= largest <= _LARGEST:
    raise ValueError(
      f'the largest number of the table must be {_SMALLEST} to {_LARGEST}, or '
      f'0, got {largest:.3g}: multiply the table by a constant first.'
    )
  return table


def _largest(table: np.ndarray) -> float:
  """Largest magnitude in a table, whose numbers must be finite."""
  largest, dtype = 0.0, np.promote_types(table.dtype, np.float32)
  for start in range(0, len(table), _CHECK_BLOCK):
    rows = np.abs(table[start : start + _CHECK_BLOCK].astype(dtype))
    block_largest = float(rows.max())
    if not np.isfinite(block_largest):
      wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
      raise ValueError(
        'the table must be finite, got NaN or infinity in row '
        f'{start + wrong[0]}; clean it or drop such words first.'
      )
    largest = max(largest, block_largest)
  return largest


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedTable:
  """Checked table with the importance and the order of its words.

  Attributes:
    values: [V, D] float, as given; float64 is taken as float32.
    importance: [V] float64 weights of the words' errors, mean 1.
    ids: [V] the id at each rank.
    order: 'identity' if ids are ranks, else 'stored'.
  """

  values: np.ndarray
  importance: np.ndarray
  ids: np.ndarray
  order: str

  @classmethod
  def create(
    cls,
    table: Array,
    counts: Array | None = None,
    importance: Array | None = None,
  ) -> 'WeightedTable':
    """Checks a table and ranks its words by falling importance.

    Args:
      table: [V, D] float.
      counts: [V] how often each word occurs; errors then weigh counts + 1.
      importance: [V] weights of the words' errors instead of counts.

    Raises:
      ValueError: naming the value and the rule that it breaks.
    """
    if counts is not None and importance is not None:
      raise ValueError(
        'give either counts or importance, got both: importance alone says '
        'what errors weigh, and counts would not be looked at.'
      )
    table = check_table(table)
    if table.dtype == np.float64:
      table = table.astype(np.float32)
    weights = np.ones(len(table))
    if importance is not None:
      weights = frequency.check_counts(importance, len(table), 'importance')
    elif counts is not None:
      weights = frequency.check_counts(counts, len(table)) + 1
    weights = frequency.with_room_for_sums(weights)
    is_sorted = bool((np.diff(weights) <= 0).all())
    return cls(
      values=table,
      importance=weights / weights.mean(),
      ids=np.argsort(-weights, kind='stable'),
      order='identity' if is_sorted else 'stored',
    )

  @property
  def dtype(self) -> str:
    """Name of the table's dtype."""
    return str(self.values.dtype)

  @property
  def dense_bytes(self) -> int:
    """Bytes of the table in its own dtype."""
    return self.values.size * self.values.dtype.itemsize

  @functools.cached_property
  def largest(self) -> float:
    """Largest magnitude in the table."""
    return _largest(self.values)

  @functools.cached_property
  def scale(self) -> float:
    """Power of two above the largest number of the table; 1 if it is usual."""
    largest = self.largest
    if not largest or _USUAL[0] <= largest <= _USUAL[1]:
      return 1.0
    return float(np.ldexp(1.0, np.frexp(largest)[1]))

  @functools.cached_property
  def energies(self) -> np.ndarray:
    """[V] float32 squared norms of `vectors` by id."""
    energies = np.empty(len(self.values), np.float32)
    for start in range(0, len(energies), _CHECK_BLOCK):
      ids = np.arange(start, min(start + _CHECK_BLOCK, len(energies)))
      energies[ids] = np.square(self.vectors(ids)).sum(axis=1)
    return energies

  @functools.cached_property
  def ranked_importance(self) -> np.ndarray:
    """[V] float64 importance by rank."""
    return self.importance[self.ids]

  def in_id_order(self) -> 'WeightedTable':
    """The same words, ranked by id whatever their importance."""
    ids = np.arange(len(self.values))
    return dataclasses.replace(self, ids=ids, order='identity')

  def vectors(self, ids: np.ndarray) -> np.ndarray:
    """Vectors of some ids, divided by `scale`.

    Squares of very large or small numbers are no float32 any more. Divided by
    a power of two, which loses nothing, such tables are like others.

    Args:
      ids: [W] integers.

    Returns:
      [W, D] float32.
    """
    vectors = self.values[ids].astype(np.float32, copy=False)  # of its own
    if self.scale != 1:
      vectors *= np.float32(1 / self.scale)
    return vectors

  def ranked_vectors(self, ranks: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors at some ranks, divided by `scale`."""
    return self.vectors(self.ids[ranks])
