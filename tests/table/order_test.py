"""Tests of ranks and groups of ids."""

import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.table.order import (
  check_order,
  groups_from_order,
  order_from_groups,
)

# Ranks 0 to 1, 2 to 4 and 5.
SCHEME = Scheme(
  2, tuple(Group(size, methods.Dense()) for size in (2, 3, 1)), 'stored'
)
GROUPS = [1, 0, 1, 2, 0, 1]
ORDER = [2, 0, 3, 5, 1, 4]


def test_words_are_ranked_by_group_and_then_by_id():
  order = order_from_groups(np.array(GROUPS))
  assert (order.tolist(), order.dtype) == (ORDER, np.int32)


def test_groups_follow_from_ranks():
  assert groups_from_order(SCHEME, ORDER).tolist() == GROUPS


@pytest.mark.parametrize('dtype', [np.int64, np.uint8, np.int32])
def test_an_order_that_a_file_can_hold_is_kept(dtype):
  order = check_order(SCHEME, np.array(ORDER, dtype))
  assert (order.tolist(), order.dtype) == (ORDER, np.int32)


@pytest.mark.parametrize(
  ('order', 'rule'),
  [
    (ORDER[1:], r'order must be \[6\] integers, got int64\[5\]'),
    ([ORDER], r'order must be \[6\] integers, got int64\[1, 6\]'),
    (np.array(ORDER, float), r'order must be \[6\] integers, got float64\[6\]'),
    ([3, 0, 2, 5, 1, 4], 'by id inside a group'),  # ids 0 and 2 swapped
    ([2, 0, 3, 5, 1, 1], 'rank each id once'),
    ([2, 0, 3, 6, 1, 4], 'rank each id once'),
    ([2, -1, 3, 5, 1, 4], 'rank each id once'),
  ],
)
def test_other_orders_are_refused(order, rule):
  with pytest.raises(ValueError, match=rule):
    check_order(SCHEME, order)
