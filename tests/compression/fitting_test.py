"""Tests of fitting schemes made by hand, and of the error that is left."""

import numpy as np
import pytest

import embedcomp
from embedcomp import methods
from embedcomp.compression import fitting
from embedcomp.types import Shape


def make_table(vocab_size=300, features=8, seed=0):
  rng = np.random.default_rng(seed)
  counts = rng.permutation(100_000 // np.arange(1, vocab_size + 1))
  return rng.normal(size=(vocab_size, features)).astype(np.float32), counts


def scheme_of(*groups, order='identity', features=8):
  return embedcomp.Scheme(
    features, tuple(embedcomp.Group(n, method) for n, method in groups), order
  )


HALVES = scheme_of((20, methods.Dense()), (280, methods.Drop()))
RANKED = scheme_of((20, methods.Dense()), (280, methods.Drop()), order='stored')


def plain_error(table, words, importance):
  """The relative error by its formula."""
  table = np.asarray(table, np.float64)
  lost = (importance * np.square(table - words).sum(axis=1)).sum()
  return np.sqrt(lost / (importance * np.square(table).sum(axis=1)).sum())


def test_groups_take_words_by_importance_or_by_id():
  table, counts = make_table()
  params = embedcomp.fit(table, RANKED, counts, progress=False)
  words = np.asarray(embedcomp.reconstruct(RANKED, params))
  frequent = np.argsort(-counts, kind='stable')[:20]
  np.testing.assert_array_equal(words[frequent], table[frequent])
  rest = np.setdiff1d(np.arange(300), frequent)
  mean = np.average(table[rest], axis=0, weights=counts[rest] + 1)
  np.testing.assert_allclose(
    words[rest], np.broadcast_to(mean, (280, 8)), atol=1e-6
  )
  params = embedcomp.fit(table, HALVES, counts, progress=False)
  words = np.asarray(embedcomp.reconstruct(HALVES, params))
  np.testing.assert_array_equal(words[:20], table[:20])


def test_words_of_no_importance_are_fitted_alike():
  table, _ = make_table()
  importance = np.where(np.arange(300) < 20, 1.0, 0.0)
  params = embedcomp.fit(table, HALVES, importance=importance, progress=False)
  words = np.asarray(embedcomp.reconstruct(HALVES, params))
  np.testing.assert_allclose(words[299], table[20:].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize('name', methods.names())
def test_every_method_fits_tables_of_any_magnitude_alike(name):
  table, _ = make_table(60)
  graded = methods.GradedCodes(3, '2x1+1x4', 8)  # has no options
  option = (graded, *methods.get(name).options(Shape(60, 8)))[-1]
  scheme = scheme_of((60, option))
  usual = embedcomp.fit(table, scheme, progress=False)
  words = np.asarray(embedcomp.reconstruct(scheme, usual))
  expected = plain_error(table, words, np.ones(60))
  for exponent in (-80, 70):
    scaled = np.ldexp(table, exponent)
    params = embedcomp.fit(scaled, scheme, progress=False)
    found = np.asarray(embedcomp.reconstruct(scheme, params))
    np.testing.assert_allclose(np.ldexp(found, -exponent), words, rtol=1e-6)
    error = embedcomp.relative_error(scaled, scheme, params)
    assert error == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('exponent', [-60, 17, 70])
def test_numbers_that_float16_does_not_hold_are_refused(exponent):
  table, _ = make_table(60)
  scheme = scheme_of((60, methods.Dense('float16')))
  with pytest.raises(ValueError, match="numbers do not fit into 'float16'"):
    embedcomp.fit(np.ldexp(table, exponent), scheme, progress=False)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_error_against_plain_words(dtype):
  table, counts = make_table()
  params = embedcomp.fit(table, RANKED, counts, progress=False)
  words = np.asarray(embedcomp.reconstruct(RANKED, params), np.float64)
  table = table.astype(dtype)
  for importance in (None, counts, counts + 0.5):
    found = embedcomp.relative_error(table, RANKED, params, importance)
    weights = np.ones(300) if importance is None else importance
    expected = plain_error(table, words, weights)
    assert found == pytest.approx(expected, rel=1e-9)


def test_error_is_measured_in_blocks_alike(monkeypatch):
  table, counts = make_table()
  params = embedcomp.fit(table, RANKED, counts, progress=False)
  whole = embedcomp.relative_error(table, RANKED, params, counts)
  monkeypatch.setattr(fitting, '_ERROR_BLOCK', 64)
  blocked = embedcomp.relative_error(table, RANKED, params, counts)
  assert blocked == pytest.approx(whole, rel=1e-12)


def test_error_of_the_largest_importance_and_of_zeros():
  table, counts = make_table()
  params = embedcomp.fit(table, RANKED, counts, progress=False)
  usual = embedcomp.relative_error(table, RANKED, params)
  huge = embedcomp.relative_error(table, RANKED, params, np.full(300, 1e308))
  assert huge == pytest.approx(usual, rel=1e-12)
  zeros = np.zeros_like(table)
  assert embedcomp.relative_error(zeros, RANKED, params) == 1.0
  kept = embedcomp.fit(zeros, RANKED, counts, progress=False)
  assert embedcomp.relative_error(zeros, RANKED, kept) == 0.0


def test_swapped_arguments_are_named():
  table, counts = make_table()
  params = embedcomp.fit(table, RANKED, counts, progress=False)
  with pytest.raises(TypeError, match=r'got ndarray: call fit\(table, scheme,'):
    embedcomp.fit(RANKED, table, progress=False)
  with pytest.raises(TypeError, match=r'got ndarray: call relative_error\('):
    embedcomp.relative_error(RANKED, table, params)
  with pytest.raises(TypeError, match='got dict: call relative_error'):
    embedcomp.relative_error(table, params, RANKED)


def test_tables_and_weights_of_another_size_are_refused():
  table, counts = make_table()
  params = embedcomp.fit(table, RANKED, counts, progress=False)
  size = r'table of \(300, 8\), got \(299, 8\)'
  with pytest.raises(ValueError, match=size):
    embedcomp.fit(table[1:], RANKED, progress=False)
  with pytest.raises(ValueError, match=size):
    embedcomp.relative_error(table[1:], RANKED, params)
  with pytest.raises(
    ValueError, match=r'importance must .* 300 words, got 299'
  ):
    embedcomp.relative_error(table, RANKED, params, counts[1:])
  with pytest.raises(ValueError, match='importance must be finite'):
    embedcomp.relative_error(table, RANKED, params, -counts)
  with pytest.raises(ValueError, match=r'table must be finite.* row 0'):
    embedcomp.relative_error(table * np.nan, RANKED, params)
  with pytest.raises(ValueError, match='seed must be an int of at least 0'):
    embedcomp.fit(table, RANKED, seed=-1, progress=False)


def test_groups_on_other_axes_are_fitted_beside_each_other():
  """Some share stored axes, one has the features themselves."""
  table, counts = make_table()
  coded = methods.GradedCodes(0, '8x1', 16)
  shared = [methods.GradedCodes(3, blocks, 16) for blocks in ('8x1', '1x1+1x2')]
  scheme = scheme_of((60, coded), (40, shared[0]), (200, shared[1]))
  params = embedcomp.fit(table, scheme, counts, progress=False)
  words = np.asarray(embedcomp.reconstruct(scheme, params))
  errors = np.square(table - words).sum(axis=1)
  assert errors[:100].sum() < 0.1 * np.square(table[:100]).sum()
  assert errors[100:].sum() < 0.9 * np.square(table[100:]).sum()
