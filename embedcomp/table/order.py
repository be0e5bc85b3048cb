"""Ids and ranks: the group of each id, and its place among all words."""

import numpy as np

from embedcomp.table.scheme import Scheme


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
