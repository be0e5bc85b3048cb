"""Sizes at equal metric, from rows of a comparison."""

import numpy as np
import pytest

from experiments.benchmarks import comparison


def rows_of(label, ratio, *values):
  return [
    {
      'label': label,
      'ratio': ratio,
      'value': value,
      'seed': seed,
      'seconds': 1.0,
      'metric': 'accuracy',
      'embedding_bytes': int(1_000 * ratio),
      'higher_is_better': True,
    }
    for seed, value in enumerate(values)
  ]


ROWS = [
  *rows_of('low_rank', 0.1, 0.7, 0.9),
  *rows_of('low_rank', 0.4, 0.85, 0.95),
  *rows_of('search', 0.02, 0.85),
  *rows_of('search', 0.05, 0.99),
]


def test_sizes_lie_between_ranks_by_their_logarithm():
  # 0.85 is half way from 0.8 to 0.9, so the size is the geometric mean.
  at = comparison.low_rank_ratio(ROWS, 0.85, 1)
  np.testing.assert_allclose(at, np.sqrt(0.1 * 0.4))


@pytest.mark.parametrize(
  ('value', 'ratio'), [(0.5, 0.1), (0.9, 0.4), (0.95, np.inf)]
)
def test_sizes_beyond_the_curve(value, ratio):
  assert comparison.low_rank_ratio(ROWS, value, 1) == pytest.approx(ratio)


def test_a_larger_rank_that_is_worse_does_not_hurt_low_rank():
  rows = [*ROWS, *rows_of('low_rank', 0.8, 0.6)]
  assert comparison.low_rank_ratio(rows, 0.9, 1) == pytest.approx(0.4)


def test_lower_metrics_may_be_better():
  rows = [
    *rows_of('low_rank', 0.1, 120.0),
    *rows_of('low_rank', 0.4, 100.0),
  ]
  at = comparison.low_rank_ratio(rows, 110.0, -1)
  np.testing.assert_allclose(at, np.sqrt(0.1 * 0.4))


def test_the_summary_has_a_row_for_each_size():
  table = comparison.summarise(ROWS)
  assert [row['method'] for row in table] == ['low_rank'] * 2 + ['search'] * 2
  assert table[0]['test'] == '0.8000 ± 0.1000'
  assert table[2]['of low rank'] == '10.0%'
  assert table[3]['of low rank'] == 'not reached'
