"""Post-training compression: budgets kept, errors low, mistakes named."""

import jax
import ml_dtypes
import numpy as np
import pytest

import embedcomp
from embedcomp import methods
from embedcomp.compression import post_training
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


@pytest.mark.slow
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
  arguments = {'budget': '10x', 'methods': ('dense', 'pq'), **QUICK}
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


@pytest.fixture
def no_work(monkeypatch):
  """Measuring and fitting fail: what is wrong must be found before them."""
  for name in ('measure_segments', 'fitting'):
    monkeypatch.setattr(post_training, name, None)


@pytest.mark.usefixtures('no_work')
@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({}, 'either a budget or a tolerance, got budget=None'),
    ({'budget': 0.5, 'tolerance': 0.5}, 'either a budget or a tolerance'),
    ({'budget': True}, 'budget must be a share .* got True'),
    ({'budget': '40 x'}, "budget must be a share .* got '40 x'"),
    ({'budget': 161}, "budget must be at most the dense table's 160 bytes"),
    ({'budget': 1}, 'nothing fits into 1 bytes: the smallest choice takes 9'),
    ({'tolerance': True}, r'tolerance must be in \(0, 1\), got True'),
    ({'tolerance': 1.5}, r'tolerance must be in \(0, 1\), got 1.5'),
    (
      {'budget': 0.5, 'importance': np.ones(9)},
      'importance .* 10 .* got 9',
    ),
    ({'budget': 0.5, 'importance': -np.ones(10)}, 'importance .* negative'),
    ({'budget': 0.5, 'importance': np.zeros(10)}, 'importance .* not all be'),
    ({'budget': 0.5, 'counts': np.zeros(10)}, 'counts must not all be zero'),
    (
      {'budget': 0.5, 'counts': np.ones(10), 'importance': np.ones(10)},
      'either counts or importance, got both',
    ),
    ({'budget': 0.5, 'methods': ['lowrank']}, 'method must be one of'),
    ({'budget': 0.5, 'methods': [3]}, 'method must be one of .* got 3'),
    ({'budget': 0.5, 'methods': 3}, 'methods must be names or configs, got 3'),
    (
      {'budget': 0.5, 'metric': np.eye(3)},
      r'metric must be \[D, D\] with D = 4',
    ),
    ({'tolerance': 0.5, 'metric': np.eye(4)}, 'an error that knows no metric'),
    (
      {'budget': 0.5, 'metric': np.eye(4), 'methods': 'pq'},
      'a metric is looked at by graded and scalar codes alone',
    ),
    ({'budget': 0.5, 'methods': ()}, 'at least one method, got none'),
    (
      {'budget': 0.5, 'methods': methods.VectorQuantization(codewords=11)},
      'codewords must be 1 to',
    ),
    ({'budget': 0.5, 'num_bins': 0}, 'num_bins must be an int .* got 0'),
    ({'budget': 0.5, 'num_bins': 2.0}, 'num_bins must be an int .* got 2.0'),
    ({'budget': 0.5, 'max_groups': True}, 'max_groups must be .* got True'),
    ({'budget': 0.5, 'seed': -1}, 'seed must be an int of at least 0, got -1'),
  ],
)
def test_what_is_wrong_is_named_before_any_work(fields, message):
  with pytest.raises(ValueError, match=message):
    embedcomp.compress(np.ones((10, 4)), **fields)


@pytest.mark.usefixtures('no_work')
def test_counts_before_the_table_are_refused():
  with pytest.raises(ValueError, match=r'table must be \[V, D\].* first'):
    embedcomp.compress(np.ones(10), np.ones((10, 4)), budget=0.5)


def test_numbers_of_numpy_are_numbers():
  table, counts = make_table(100, 8)
  plain = embedcomp.compress(
    table, counts, tolerance=0.5, num_bins=2, max_groups=2, progress=False
  )
  scheme, params = embedcomp.compress(
    table.astype('>f4'),
    counts.astype('>i8'),
    tolerance=np.float32(0.5),
    num_bins=np.int64(2),
    max_groups=np.uint8(2),
    seed=np.int32(0),
    progress=False,
  )
  assert scheme == plain[0]
  jax.tree.map(np.testing.assert_array_equal, params, plain[1])


@pytest.mark.parametrize('exponent', [-80, 70])
def test_magnitude_does_not_matter(exponent):
  table, counts = make_table(200, 8)
  usual = embedcomp.compress(table, counts, budget='4x', **QUICK)
  scaled = np.ldexp(table, exponent)
  scheme, params = embedcomp.compress(scaled, counts, budget='4x', **QUICK)
  assert scheme == usual[0]
  np.testing.assert_array_equal(
    np.ldexp(embedcomp.reconstruct(scheme, params), -exponent),
    embedcomp.reconstruct(*usual),
  )
  assert embedcomp.relative_error(scaled, scheme, params) == pytest.approx(
    embedcomp.relative_error(table, *usual)
  )


def test_counts_may_be_the_largest_numbers():
  table, _ = make_table(100, 8)
  arguments = {'budget': '4x', **QUICK}
  scheme, params = embedcomp.compress(table, np.full(100, 1e308), **arguments)
  uniform = embedcomp.compress(table, **arguments)
  assert scheme == uniform[0]
  jax.tree.map(np.testing.assert_array_equal, params, uniform[1])


def test_graded_codes_have_no_curve_of_options():
  with pytest.raises(ValueError, match='they are planned by compress'):
    embedcomp.rate_distortion_curve(np.ones((10, 4)), methods='graded')
