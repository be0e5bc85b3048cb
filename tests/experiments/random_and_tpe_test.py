"""Schemes that are tried stay within budget, and the best one is found."""

import pytest

from embedcomp import methods
from embedcomp.compression.space import SearchSpace
from experiments import random_and_tpe

SPACE = SearchSpace(
  8,
  (0, 64, 200, 1000),
  (
    methods.Drop('int8'),
    methods.LowRank(2, 'int4', 'int8'),
    methods.Dense('int4'),
    methods.Dense('int8'),
  ),
  max_groups=3,
)


def test_random_schemes_use_most_of_the_budget():
  schemes = random_and_tpe.random_schemes(SPACE, 2_500, num=5, seed=0)
  assert len(schemes) == 5
  assert all(0.9 * 2_500 <= s.num_bytes <= 2_500 for s in schemes)
  assert schemes == random_and_tpe.random_schemes(SPACE, 2_500, num=5, seed=0)


def test_random_schemes_need_a_budget_that_something_fits_into():
  with pytest.raises(ValueError, match='fits into 3 bytes'):
    random_and_tpe.random_schemes(SPACE, 3, num=1, seed=0)


@pytest.mark.parametrize('name', random_and_tpe.PROPOSALS)
def test_the_best_of_those_tried_is_taken(name):
  tried = []

  def loss_fn(scheme, number):
    assert number == len(tried)
    tried.append((abs(scheme.splits[1] - 200) + len(scheme.groups), scheme))
    return float(tried[-1][0])

  found = random_and_tpe.PROPOSALS[name](SPACE, 4_000, loss_fn, 6, 0)
  assert len(tried) == 6
  assert found.num_bytes <= 4_000
  losses = {scheme: loss for loss, scheme in tried}
  assert losses[found] == min(losses.values())
