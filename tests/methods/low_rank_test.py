"""Low rank against NumPy's singular value decomposition."""

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.types import Shape

SHAPE = Shape(40, 10)
ROWS = np.arange(SHAPE.num_words)


def test_fit_is_the_weighted_svd(rng):
  table = rng.normal(size=SHAPE) @ np.diag(np.linspace(2, 0.1, 10))
  table = table.astype(np.float32)
  weights = rng.exponential(size=SHAPE.num_words)
  for rank in (1, 4, 10):
    method = methods.LowRank(rank)
    words = method.lookup(method.fit(table, weights, 0), ROWS, SHAPE)
    root = np.sqrt(weights)[:, None]
    left, values, right = np.linalg.svd(root * table, full_matrices=False)
    best = (left[:, :rank] * values[:rank]) @ right[:rank] / root
    np.testing.assert_allclose(words, best, atol=2e-5)


def test_leading_columns_are_the_smaller_rank(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = np.ones(SHAPE.num_words)
  method, smaller = methods.LowRank(6), methods.LowRank(2)
  params = method.fit(table, weights, 0)
  leading = {
    'coefficients': params['coefficients'][:, :2],
    'basis': params['basis'][:2],
  }
  refitted = smaller.fit(table, weights, 0)
  np.testing.assert_allclose(
    smaller.lookup(leading, ROWS, SHAPE),
    smaller.lookup(refitted, ROWS, SHAPE),
    atol=1e-5,
  )


def test_options_by_hand():
  found = {(o.rank, o.storage) for o in methods.LowRank.options(Shape(40, 96))}
  # From a 48th of the features to half of them, but for more than the words.
  assert found == {
    (rank, stored) for rank in (2, 4, 8, 16, 32) for stored in ('int8', 'int4')
  }
  assert methods.LowRank.options(Shape(32, 96)) == methods.LowRank.options(
    Shape(40, 96)
  )
  ranks = {o.rank for o in methods.LowRank.options(Shape(1000, 96))}
  assert ranks == {2, 4, 8, 16, 32, 48}


def test_both_factors_have_a_known_storage():
  with pytest.raises(ValueError, match="got 'int3'"):
    methods.LowRank(2, basis_storage='int3')


@pytest.mark.parametrize('rank', [0, 11])
def test_wrong_ranks_are_refused(rank):
  with pytest.raises(ValueError, match=f'= 10, got {rank}'):
    methods.LowRank(rank).validate(SHAPE)
