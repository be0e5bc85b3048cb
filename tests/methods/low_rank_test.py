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


def test_narrow_keeps_the_leading_columns(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = np.ones(SHAPE.num_words)
  method, smaller = methods.LowRank(6), methods.LowRank(2)
  narrowed = method.narrow(method.fit(table, weights, 0), smaller, SHAPE)
  refitted = smaller.fit(table, weights, 0)
  np.testing.assert_allclose(
    smaller.lookup(narrowed, ROWS, SHAPE),
    smaller.lookup(refitted, ROWS, SHAPE),
    atol=1e-5,
  )


@pytest.mark.parametrize('rank', [0, 11])
def test_wrong_ranks_are_refused(rank):
  with pytest.raises(ValueError, match=f'= 10, got {rank}'):
    methods.LowRank(rank).validate(SHAPE)
