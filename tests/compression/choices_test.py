"""What `compress` chooses among methods is what loses least once stored."""

import numpy as np
import pytest

import embedcomp
from embedcomp import methods
from embedcomp.compression import post_training
from embedcomp.compression.weighted_table import WeightedTable
from tests.compression.post_training_test import (
  QUICK,
  make_table,
  reference_error,
)


@pytest.mark.parametrize('kind', ['normal', 'outlier'])
@pytest.mark.parametrize('budget', ['2x', '4x', '6x'])
def test_further_methods_make_nothing_worse(kind, budget):
  table = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
  if kind == 'outlier':
    table[5] *= 30  # whatever shares a scale with it is rounded coarsely
  counts = 100_000 // np.arange(1, 401)
  sets = ('dense', 'graded', ('dense', 'graded'), ('dense', 'low_rank'))
  sets += (('dense', 'low_rank', 'pq', 'vq'),)
  errors = {}
  for names in sets:
    found = embedcomp.compress(
      table, counts, budget=budget, methods=names, **QUICK
    )
    errors[names] = reference_error(table, *found, counts + 1)
  dense, graded, both, fewer, more = errors.values()
  assert both <= 1.02 * min(dense, graded)
  assert fewer <= 1.02 * dense
  assert more <= 1.02 * min(dense, fewer)


def test_the_curve_expects_what_is_left():
  table = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
  curve = embedcomp.rate_distortion_curve(table, **QUICK)
  for budget in ('2x', '5x', '12x'):
    scheme, params = curve.compress(budget, progress=False)
    error = reference_error(table, scheme, params, np.ones(400))
    assert 0.85 * curve.error(budget) < error < 1.02 * curve.error(budget)


@pytest.mark.parametrize('names', ['dense', post_training.OPTION_METHODS])
@pytest.mark.parametrize('scale', [1, 1e-6])
def test_tables_of_float16_are_kept_exactly_at_their_own_size(names, scale):
  table = make_table(200, 8)[0] * scale
  scheme, params = embedcomp.compress(
    table.astype(np.float16), budget='1x', methods=names, **QUICK
  )
  assert scheme.num_bytes == 200 * 8 * 2
  np.testing.assert_array_equal(
    embedcomp.reconstruct(scheme, params), table.astype(np.float16)
  )


def test_float16_is_no_option_for_numbers_beyond_it():
  for scale in (1e5, 1e-20):
    table = make_table(200, 8)[0] * np.float32(scale)
    scheme, _ = embedcomp.compress(table, budget='2x', methods='dense', **QUICK)
    assert methods.Dense('float16') not in [g.method for g in scheme.groups]


def test_what_is_fitted_decides_between_plans_and_menus():
  """The first one expects to lose less, the second one does."""
  table = WeightedTable.create(np.ones((4, 2), np.float32))
  fitted = []

  def candidate(storage, expected):
    def fit():
      fitted.append(storage)
      scheme = embedcomp.Scheme(
        2, (embedcomp.Group(4, methods.Dense(storage)),)
      )
      value = 1.0 if storage == 'float32' else 0.5
      params = {'group_0': {'table': np.full((4, 2), value, np.float32)}}
      if storage == 'bfloat16':
        params = embedcomp.quantize_params(scheme, params)
      return scheme, params

    return expected, fit

  worse, better = candidate('bfloat16', 0.1), candidate('float32', 0.2)
  scheme, _ = post_training._best_fit([better, worse], table, None)
  assert fitted == ['bfloat16', 'float32']
  assert scheme.groups[0].method == methods.Dense('float32')
  fitted.clear()
  hopeless = candidate('bfloat16', 9.0)
  post_training._best_fit([hopeless, better], table, None)
  assert fitted == ['float32']
