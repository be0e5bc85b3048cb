"""Tables made ready, schemes fitted to them, and what is lost by that."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from embedcomp import frequency, grouped
from embedcomp.methods import storage
from embedcomp.progress import track
from embedcomp.scheme import Scheme
from embedcomp.types import Array, Params

# Words that are looked at together where the whole table has to be.
_CHECK_BLOCK = 1 << 16
_ERROR_BLOCK = 1 << 12


def relative_error(
  table: Array,
  scheme: Scheme,
  params: Params,
  importance: Array | None = None,
) -> float:
  """The weighted relative error of a compressed table.

  sqrt(sum_i w_i |e_i - e'_i|^2 / sum_i w_i |e_i|^2), the relative error in
  the (weighted) Frobenius norm; 0 for a table of zeros kept exactly.

  Args:
    table: [V, D] float, the original.
    scheme: of the compressed table.
    params: of the compressed table.
    importance: [V] weights w of the words, 1 if not given.

  Returns:
    The error; 1 is as bad as no vectors at all.
  """
  table = np.asarray(table)
  weights = np.ones(len(table)) if importance is None else importance
  weights = frequency.check_counts(weights, len(table))
  lost = total = 0.0
  block = min(_ERROR_BLOCK, len(table))
  for start in range(0, len(table), block):
    # The last block starts early: one shape, one compilation.
    ids = np.arange(start, start + block) - max(start + block - len(table), 0)
    words = np.asarray(grouped.lookup(scheme, params, ids))
    keep = ids >= start
    rows = table[ids[keep]].astype(np.float64)
    mass = weights[ids[keep]]
    lost += mass @ np.square(rows - words[keep]).sum(axis=1)
    total += mass @ np.square(rows).sum(axis=1)
  return float(np.sqrt(lost / total)) if total else float(lost > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Words:
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
  def prepare(cls, table, counts, importance) -> 'Words':
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

  def as_they_are(self) -> 'Words':
    """The same words, taken in the order of their ids whatever they weigh."""
    ids = np.arange(len(self.table))
    return dataclasses.replace(self, ids=ids, order='identity')

  def vectors(self, ids: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors of some ids."""
    return self.table[ids].astype(np.float32, copy=False)

  def rows(self, ranks: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors at some ranks."""
    return self.vectors(self.ids[ranks])


def fit(
  words: Words, scheme: Scheme, *, seed: int = 0, progress: bool = True
) -> Params:
  """Fits a scheme's methods to the words of their groups.

  Args:
    words: the table with its weights.
    scheme: of the same size. With a stored order its groups take the words by
      falling weight, else by id.
    seed: of whatever is random.
    progress: whether to show a progress bar.

  Returns:
    Frozen params.

  Raises:
    ValueError: if the scheme is not of the table's size.
  """
  expected = (scheme.vocab_size, scheme.features)
  if words.table.shape != expected:
    raise ValueError(
      f'the scheme is for a table of {expected}, got {words.table.shape}.'
    )
  stored = scheme.order == 'stored'
  ids_by_rank = words.ids if stored else np.arange(scheme.vocab_size)
  group_of_id = np.empty(scheme.vocab_size, np.int32)
  params: Params = {}
  groups = track(
    enumerate(zip(scheme.groups, scheme.shapes)),
    'fitting groups',
    enabled=progress,
    total=len(scheme.groups),
    unit='group',
  )
  for index, (group, shape) in groups:
    ids = ids_by_rank[scheme.splits[index] : scheme.splits[index + 1]]
    ids = np.sort(ids)
    group_of_id[ids] = index
    weights = words.weights[ids]
    if (
      not weights.any()
    ):  # words of no weight cost nothing, but a fit needs some
      weights = np.ones_like(weights)
    fitted = group.method.fit(words.vectors(ids), weights, seed)
    params[grouped.group_name(index)] = group.method.freeze(fitted, shape)
  if stored:
    order = grouped.order_from_groups(group_of_id)
    params['order'] = jnp.asarray(order)
  return params
