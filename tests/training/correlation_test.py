"""Correlations against SciPy's, and by hand."""

import hypothesis
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from embedcomp.training import correlation

# Few different numbers, so that many are equal.
NUMBERS = st.lists(
  st.tuples(st.integers(-3, 3), st.floats(-2, 2, width=16)),
  min_size=3,
  max_size=30,
)


@hypothesis.given(NUMBERS)
def test_correlations_are_those_of_scipy(pairs):
  first, second = np.array(pairs, np.float64).T
  hypothesis.assume(np.ptp(first) > 0 and np.ptp(second) > 1e-3)
  for found, expected in (
    (correlation.spearman, scipy.stats.spearmanr),
    (correlation.pearson, scipy.stats.pearsonr),
  ):
    np.testing.assert_allclose(
      found(first, second), expected(first, second).statistic, atol=1e-12
    )


def test_ranks_by_hand():
  """Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 of sqrt(4.5 * 5)."""
  found = correlation.spearman([0, 7, 7, 8], [-9.0, -1, 0, 1e30])
  assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5))
  assert correlation.spearman([1, 2, 3], [3, 2, 1]) == -1


def test_what_is_constant_goes_along_with_nothing():
  assert correlation.pearson([2, 2, 2], [1, 2, 3]) == 0
  assert correlation.spearman([1, 2, 3], [0.5, 0.5, 0.5]) == 0
  assert correlation.spearman([1], [1]) == 0


def test_rounding_does_not_lead_beyond_one():
  first = np.array([0.8, 1.5])  # else 1 + 2e-16
  assert correlation.pearson(first, 3 * first + 1) == 1


@pytest.mark.parametrize(
  ('first', 'second'), [([], []), ([1, 2], [1]), ([[1, 2]], [[1, 2]])]
)
def test_series_must_pair_up(first, second):
  with pytest.raises(ValueError, match='two series of one length'):
    correlation.pearson(first, second)
