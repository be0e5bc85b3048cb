"""Ids and ranks: the group of each id, and its place among all words."""

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.table.scheme import Scheme
from embedcomp.types import Array


def order_from_groups(group_of_id: np.ndarray) -> np.ndarray:
  """Ranks ids group by group and, inside a group, by id.

  Args:
    group_of_id: [V] integers in [0, G).

  Returns:
    [V] int32, the rank of each id.

  Example:
    >>> order_from_groups(np.array([1, 0, 1, 0])).tolist()
    [2, 0, 3, 1]
  """
  by_rank = np.argsort(group_of_id, kind='stable')
  order = np.empty(len(by_rank), np.int32)
  order[by_rank] = np.arange(len(by_rank), dtype=np.int32)
  return order


def groups_from_order(scheme: Scheme, order: np.ndarray) -> np.ndarray:
  """The group of each id, [V] integers, from the rank of each id."""
  return np.searchsorted(scheme.splits, np.asarray(order), side='right') - 1


def check_order(scheme: Scheme, order: np.ndarray) -> np.ndarray:
  """Checks that ranks are a permutation that the file can express.

  Raises:
    ValueError: if they are not, or not by id inside each group.
  """
  order = np.asarray(order)
  if order.shape != (scheme.vocab_size,) or order.dtype.kind not in 'iu':
    raise ValueError(
      f'order must be [{scheme.vocab_size}] integers, '
      f'got {order.dtype}{list(order.shape)}.'
    )
  groups = groups_from_order(scheme, order)
  if not np.array_equal(order_from_groups(groups), order):
    raise ValueError(
      'order must rank each id once, group by group and by id inside a group.'
    )
  return order.astype(np.int32)


def check_ids(vocab_size: int, ids: Array) -> Array:
  """Checks ids; their range only where they are known (outside of jit).

  Args:
    vocab_size: V.
    ids: [...] integers, in an array or in Python's numbers and lists.

  Returns:
    The ids, in NumPy unless they are JAX's: nothing moves to a device only to
    be checked.

  Raises:
    TypeError: for ids that are not integers.
    ValueError: for known ids outside [0, vocab_size).
  """
  if not isinstance(ids, jax.Array):
    ids = np.asarray(ids)
  if not jnp.issubdtype(ids.dtype, jnp.integer):
    raise TypeError(f'ids must be integers, got {ids.dtype}.')
  is_known = not isinstance(ids, jax.core.Tracer) and getattr(
    ids, 'is_fully_addressable', True
  )
  if is_known and ids.size:
    known = np.asarray(ids)
    lowest, highest = known.min(), known.max()
    if lowest < 0 or highest >= vocab_size:
      wrong = lowest if lowest < 0 else highest
      raise ValueError(f'ids must be in [0, {vocab_size}), got {wrong}.')
  return ids
