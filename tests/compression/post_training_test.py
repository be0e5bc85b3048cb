"""Post-training compression: budgets kept, errors low, mistakes named."""

import hypothesis
import hypothesis.strategies as st
import jax
import ml_dtypes
import numpy as np
import pytest

import embedcomp
from embedcomp import methods
from embedcomp.compression import budget as budget_lib
from embedcomp.compression import fitting
from embedcomp.types import Shape


def make_table(vocab_size=3000, features=24, seed=0):
  """A table of low rank plus noise, and Zipf counts in shuffled order."""
  rng = np.random.default_rng(seed)
  basis = rng.normal(size=(features, features)) / np.arange(1, features + 1)
  table = rng.normal(size=(vocab_size, features)) @ basis
  counts = 100_000 // np.arange(1, vocab_size + 1)
  return table.astype(np.float32), rng.permutation(counts)


def reference_error(table, scheme, params, weights):
  difference = table - np.asarray(embedcomp.reconstruct(scheme, params))
  lost = (weights * np.square(difference).sum(axis=1)).sum()
  return np.sqrt(lost / (weights * np.square(table).sum(axis=1)).sum())


# Few candidate splits: the tests are about the rules, not about the sizes.
QUICK = {'num_bins': 4, 'progress': False}


@pytest.fixture(scope='module')
def curve():
  return embedcomp.rate_distortion_curve(
    *make_table(), num_bins=6, progress=False
  )


@pytest.mark.parametrize('factor', [2.5, 4, 7, 10, 20, 40, 80])
def test_spends_the_budget_and_no_more(curve, factor):
  dense_bytes = 3000 * 24 * 4
  scheme = curve.scheme(f'{factor}x')
  assert scheme.num_bytes <= dense_bytes / factor
  # A word is 12 bytes or so: that is as close as a tiny budget can come.
  assert scheme.num_bytes >= 0.99 * int(dense_bytes / factor) - 24
  assert scheme.vocab_size == 3000
  assert scheme.features == 24


def test_any_number_of_bytes_is_kept(curve, rng):
  # Next to the smallest scheme there is nothing that so few bytes could buy.
  least = 2 * curve.smallest_bytes
  for share in np.exp(rng.uniform(np.log(least / 288_000), 0, 60)):
    num_bytes = int(288_000 * share)
    scheme = curve.scheme(num_bytes)
    assert 0.99 * num_bytes - 24 <= scheme.num_bytes <= num_bytes


def test_smallest_budget_works_and_one_less_names_it(curve):
  smallest = curve.smallest_bytes
  assert curve.scheme(smallest).num_bytes <= smallest
  with pytest.raises(ValueError, match=f'smallest choice takes {smallest}'):
    curve.scheme(smallest - 1)


def test_whole_curve_falls_and_ends_at_the_exact_table(curve):
  assert len(curve.num_bytes) == len(curve.errors) > 100
  assert (np.diff(curve.num_bytes) > 0).all()
  assert (np.diff(curve.errors) <= 1e-3).all()
  assert curve.num_bytes[-1] == curve.dense_bytes
  assert curve.errors[-1] == 0


@pytest.mark.parametrize('budget', ['20x', '60x'])
def test_beats_every_uniform_option_of_its_size(curve, budget):
  table, counts = make_table()
  scheme, params = curve.compress(budget, progress=False)
  error = reference_error(table, scheme, params, counts + 1)
  expected = embedcomp.relative_error(table, scheme, params, counts + 1)
  np.testing.assert_allclose(error, expected, rtol=1e-5)
  for name in ('dense', 'low_rank', 'pq', 'vq'):
    for option in methods.get(name).options(Shape(3000, 24)):
      uniform = embedcomp.Scheme(24, (embedcomp.Group(3000, option),))
      if uniform.num_bytes > scheme.num_bytes:
        continue
      fitted = {'group_0': option.fit(table, counts + 1.0, seed=0)}
      assert error < reference_error(table, uniform, fitted, counts + 1)


def test_equal_seeds_give_equal_params():
  table, counts = make_table(800)
  arguments = {'budget': '12x', 'seed': 3, **QUICK}
  first = embedcomp.compress(table, counts, **arguments)
  second = embedcomp.compress(table, counts, **arguments)
  assert first[0] == second[0]
  jax.tree.map(np.testing.assert_array_equal, first[1], second[1])


def test_finds_the_smallest_scheme_within_a_tolerance():
  table, counts = make_table(800)
  scheme, params = embedcomp.compress(table, counts, tolerance=0.2, **QUICK)
  error = reference_error(table, scheme, params, counts + 1)
  assert 0.15 < error <= 0.2
  smaller, params = embedcomp.compress(
    table, counts, budget=int(0.9 * scheme.num_bytes), **QUICK
  )
  assert reference_error(table, smaller, params, counts + 1) > 0.2


def test_tolerance_out_of_reach_says_how_near_it_came():
  table, counts = make_table(200)
  with pytest.raises(ValueError, match=r'0\.001 or less: the largest leaves 0'):
    embedcomp.compress(table, counts, tolerance=0.001, methods='vq', **QUICK)


def test_importance_decides_which_words_are_kept():
  table, _ = make_table(1000)
  importance = np.where(np.arange(1000) >= 900, 100.0, 0.01)
  scheme, params = embedcomp.compress(
    table, importance=importance, budget='15x', **QUICK
  )
  error = np.square(table - embedcomp.reconstruct(scheme, params)).sum(axis=1)
  norms = np.square(table).sum(axis=1)
  kept = error[900:].sum() / norms[900:].sum()
  lost = error[:900].sum() / norms[:900].sum()
  assert 10 * kept < lost


def test_words_that_never_occur_still_count_a_little():
  table, counts = make_table(1000)
  counts = np.where(counts > np.median(counts), counts, 0)
  scheme, params = embedcomp.compress(table, counts, budget=0.4, **QUICK)
  error = np.square(table - embedcomp.reconstruct(scheme, params)).sum(axis=1)
  unseen = counts == 0
  assert error[unseen].sum() < 0.5 * np.square(table[unseen]).sum()


def test_importance_of_zero_for_many_words():
  table, _ = make_table(1000)
  importance = np.where(np.arange(1000) < 300, 1.0, 0.0)
  scheme, params = embedcomp.compress(
    table, importance=importance, budget='20x', **QUICK
  )
  assert np.isfinite(embedcomp.reconstruct(scheme, params)).all()
  assert embedcomp.relative_error(table, scheme, params, importance) < 1


def test_order_is_stored_only_where_ids_are_not_by_frequency():
  table, counts = make_table(600)
  by_rank = np.argsort(-counts, kind='stable')
  arguments = {'budget': '10x', **QUICK}
  shuffled, _ = embedcomp.compress(table, counts, **arguments)
  ranked, params = embedcomp.compress(
    table[by_rank], counts[by_rank], **arguments
  )
  assert (shuffled.order, ranked.order) == ('stored', 'identity')
  assert 'order' not in params
  uncounted, _ = embedcomp.compress(table, **arguments)
  assert uncounted.order == 'identity'


def test_given_configs_are_used_as_they_are():
  table, counts = make_table(600)
  config = methods.ProductQuantization(books=6, codewords=16)
  scheme, _ = embedcomp.compress(
    table, counts, budget=0.9, methods=[config], **QUICK
  )
  assert {group.method for group in scheme.groups} == {config}


@pytest.mark.parametrize('name', methods.names())
def test_every_method_can_be_asked_for(name):
  table, counts = make_table(100, 8)
  scheme, params = embedcomp.compress(
    table, counts, budget='1.2x', methods=name, num_bins=1, progress=False
  )
  assert {group.method.name for group in scheme.groups} == {name}
  assert np.isfinite(embedcomp.reconstruct(scheme, params)).all()


@pytest.mark.parametrize(
  ('dtype', 'dense_bytes'),
  [(np.float64, 4), (np.float16, 2), (ml_dtypes.bfloat16, 2)],
)
def test_ratio_refers_to_the_table_s_own_dtype(dtype, dense_bytes):
  table, counts = make_table(500, 16)
  scheme, _ = embedcomp.compress(
    table.astype(dtype), counts, budget=0.25, **QUICK
  )
  assert scheme.dense_bytes == 500 * 16 * dense_bytes
  assert 0.24 < scheme.ratio <= 0.25


def test_takes_arrays_of_jax():
  table, counts = make_table(200, 8)
  scheme, _ = embedcomp.compress(
    jax.numpy.asarray(table),
    jax.numpy.asarray(counts),
    budget=0.5,
    **QUICK,
  )
  assert scheme.vocab_size == 200


@pytest.mark.parametrize('vocab_size', [1, 2, 3, 5, 17, 64, 65])
@pytest.mark.parametrize('features', [1, 3, 7])
def test_tiny_tables(vocab_size, features):
  table = np.random.default_rng(0).normal(size=(vocab_size, features))
  scheme, params = embedcomp.compress(
    table, np.arange(vocab_size) + 1, budget='1.0x', **QUICK
  )
  assert scheme.num_bytes <= vocab_size * features * 4
  assert embedcomp.reconstruct(scheme, params).shape == table.shape


def test_constant_and_zero_tables():
  for value in (0.0, 1.0):
    table = np.full((300, 8), value, np.float32)
    scheme, params = embedcomp.compress(table, budget='20x', **QUICK)
    np.testing.assert_allclose(
      embedcomp.reconstruct(scheme, params), table, rtol=0.01
    )


@pytest.mark.parametrize(
  ('table', 'message'),
  [
    (np.zeros((0, 4)), r'at least one word.*\(0, 4\)'),
    (np.zeros((4, 0)), r'at least one word.*\(4, 0\)'),
    (np.zeros(4), r'\[V, D\].*\(4,\)'),
    (np.zeros((4, 4), int), 'of floats, got int64'),
    (np.array([[0.0, 1.0], [np.nan, 0.0]]), 'NaN or infinity in row 1'),
    (np.array([[np.inf, 1.0], [0.0, 0.0]]), 'NaN or infinity in row 0'),
  ],
)
def test_names_what_is_wrong_with_a_table(table, message):
  with pytest.raises(ValueError, match=message):
    embedcomp.compress(table, budget=0.5, **QUICK)


@pytest.mark.parametrize(
  ('counts', 'message'),
  [
    (np.ones(9), 'each of 10 words, got 9'),
    (-np.ones(10), 'not negative'),
    (np.zeros(10), 'not all be zero'),
    (np.full(10, np.nan), 'finite'),
  ],
)
@pytest.mark.parametrize('name', ['counts', 'importance'])
def test_names_what_is_wrong_with_counts(counts, message, name):
  with pytest.raises(ValueError, match=message):
    embedcomp.compress(np.ones((10, 4)), budget=0.5, **QUICK, **{name: counts})


@pytest.mark.parametrize(
  'budget',
  [
    0,
    -5,
    0.0,
    1.0,
    1.5,
    True,
    'x',
    '40',
    '-4x',
    '0x',
    'nanx',
    'infx',
    None,
    [3],
    float('nan'),
  ],
)
def test_malformed_budgets(budget):
  with pytest.raises(ValueError, match='budget'):
    embedcomp.compress(np.ones((10, 4)), budget=budget, **QUICK)


@pytest.mark.parametrize('tolerance', [0, 1, -0.1, float('nan'), 'a'])
def test_malformed_tolerances(tolerance):
  with pytest.raises(ValueError, match='tolerance must be'):
    embedcomp.compress(np.ones((10, 4)), tolerance=tolerance, **QUICK)


def test_malformed_choices():
  table = np.ones((10, 4))
  with pytest.raises(ValueError, match='either a budget or a tolerance'):
    embedcomp.compress(table, budget=0.5, tolerance=0.5)
  with pytest.raises(ValueError, match='method must be one of'):
    embedcomp.compress(table, budget=0.5, methods=['lowrank'])
  config = methods.VectorQuantization(codewords=11)
  with pytest.raises(ValueError, match='codewords must be 1 to'):
    embedcomp.compress(table, budget=0.5, methods=[config])
  with pytest.raises(ValueError, match='num_bins must be'):
    embedcomp.compress(table, budget=0.5, num_bins=0)


@hypothesis.given(st.integers(1, 10**12), st.integers(1, 10**6))
def test_budgets_mean_bytes(dense_bytes, num_bytes):
  parse = budget_lib.parse_budget
  assert parse(num_bytes, dense_bytes) == num_bytes
  assert parse('1x', dense_bytes) == dense_bytes
  assert parse(0.5, dense_bytes) == dense_bytes // 2


def test_error_is_measured_in_blocks_alike(monkeypatch):
  table, counts = make_table(500, 8)
  scheme, params = embedcomp.compress(table, counts, budget='6x', **QUICK)
  monkeypatch.setattr(fitting, '_ERROR_BLOCK', 64)
  blocked = embedcomp.relative_error(table, scheme, params, counts)
  reference = reference_error(table, scheme, params, counts)
  np.testing.assert_allclose(blocked, reference, rtol=1e-5)


def test_schemes_made_by_hand_can_be_fitted():
  table, counts = make_table(300, 8)
  head = embedcomp.Group(20, methods.Dense())
  tail = embedcomp.Group(280, methods.Drop())
  scheme = embedcomp.Scheme(8, (head, tail), order='stored')
  params = embedcomp.fit(table, scheme, counts, progress=False)
  words = np.asarray(embedcomp.reconstruct(scheme, params))
  frequent = np.argsort(-counts, kind='stable')[:20]
  np.testing.assert_array_equal(words[frequent], table[frequent])
  by_id = embedcomp.Scheme(8, (head, tail))
  params = embedcomp.fit(table, by_id, counts, progress=False)
  words = np.asarray(embedcomp.reconstruct(by_id, params))
  np.testing.assert_array_equal(words[:20], table[:20])
  with pytest.raises(ValueError, match=r'table of \(300, 8\), got \(299, 8\)'):
    embedcomp.fit(table[1:], scheme, progress=False)
