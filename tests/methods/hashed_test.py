"""Hash embeddings: the hashes and the two least-squares steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import methods
from embedcomp.methods import hashed
from embedcomp.types import Shape
from tests.methods.plain_tables import fmix32, hashed_buckets


def test_mix_is_the_finaliser_of_murmur_hash(rng):
  keys = rng.integers(2**32, size=50, dtype=np.uint32)
  wanted = [fmix32(int(key)) for key in keys]
  assert hashed.mix(keys).tolist() == wanted
  assert hashed.mix(jnp.asarray(keys)).tolist() == wanted


@pytest.mark.parametrize('num', [1, 2, 3, 64, 1000])
def test_buckets_differ_and_numpy_agrees_with_jax(num):
  rows = np.arange(3000)
  pairs = hashed.bucket_pairs(rows, num)
  np.testing.assert_array_equal(
    pairs, [hashed_buckets(row, num) for row in range(3000)]
  )
  np.testing.assert_array_equal(
    pairs, hashed.bucket_pairs(jnp.asarray(rows), num)
  )
  assert pairs.max() < num
  if num > 1:
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_buckets_are_used_evenly():
  pairs = hashed.bucket_pairs(np.arange(50_000), 100)
  for h in range(2):
    counts = np.bincount(pairs[:, h], minlength=100)
    # Chi-squared with 99 degrees of freedom: mean 99, deviation 14.
    assert np.square(counts - 500).sum() / 500 < 170


def test_lookup_by_hand():
  method = methods.Hashed(2)
  params = {
    'weights': np.array([[2.0, 3.0]], np.float32),
    'buckets': np.array([[1.0, 0.0], [0.0, 10.0]], np.float32),
  }
  first, _ = hashed_buckets(0, 2)
  word = method.lookup(params, np.array([0]), Shape(1, 2))[0]
  np.testing.assert_allclose(word, [[2, 30], [3, 20]][first])


def test_shares_are_least_squares(rng):
  table = rng.normal(size=(30, 6)).astype(np.float32)
  buckets = rng.normal(size=(5, 6)).astype(np.float32)
  pairs = hashed.bucket_pairs(np.arange(30), 5)
  found = hashed.solve_shares(table, pairs, buckets)
  for word in range(30):
    design = buckets[pairs[word]].T  # [D, 2]
    ridge = hashed._RIDGE * np.square(design).sum() / 2
    wanted = np.linalg.solve(
      design.T @ design + ridge * np.eye(2), design.T @ table[word]
    )
    np.testing.assert_allclose(found[word], wanted, rtol=1e-3, atol=1e-4)


def test_buckets_become_weighted_least_squares(rng):
  table = rng.normal(size=(60, 4)).astype(np.float32)
  weights = rng.exponential(size=60)
  pairs = hashed.bucket_pairs(np.arange(60), 7)
  shares = rng.normal(size=(60, 2)).astype(np.float32)
  found = np.zeros((7, 4), np.float32)
  for _ in range(3):
    found = hashed.solve_buckets(table, weights, pairs, shares, found)
  design = np.zeros((60, 7))
  for h in range(2):
    design[np.arange(60), pairs[:, h]] += shares[:, h]
  root = np.sqrt(weights / weights.mean())[:, None]
  normal = (design * root).T @ (design * root)
  ridge = hashed._RIDGE * np.diag(normal).mean()
  wanted = np.linalg.solve(
    normal + ridge * np.eye(7), (design * root).T @ (table * root)
  )
  np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_words_that_two_buckets_can_express_are_found(rng):
  buckets = rng.normal(size=(5, 6)).astype(np.float32)
  pairs = hashed.bucket_pairs(np.arange(30), 5)
  shares = rng.normal(size=(30, 2)).astype(np.float32)
  table = np.einsum('Wh,WhD->WD', shares, buckets[pairs])
  found = hashed.solve_shares(table, pairs, buckets)
  words = np.einsum('Wh,WhD->WD', found, buckets[pairs])
  # The ridge keeps the solution near, not at, the one without any error.
  errors = np.linalg.norm(words - table, axis=1)
  assert (errors < 0.02 * np.linalg.norm(table, axis=1)).all()


def test_logits_by_hand():
  method = methods.Hashed(2)
  params = {
    'weights': np.array([[2.0, 3.0]], np.float32),
    'buckets': np.array([[1.0, 0.0], [0.0, 10.0]], np.float32),
  }
  first, _ = hashed_buckets(0, 2)
  scores = method.logits(params, np.array([[1.0, 0.5]]), Shape(1, 2))
  np.testing.assert_allclose(scores, [[[17], [13]][first]])


def test_options_by_hand():
  # A 64th to a quarter of the words; of few words, some are no bucket at all.
  found = methods.Hashed.options(Shape(1000, 8))
  assert [o.buckets for o in found] == [15, 31, 62, 125, 250]
  assert {o.storage for o in found} == {'int8'}
  assert [o.buckets for o in methods.Hashed.options(Shape(20, 8))] == [1, 2, 5]


@pytest.mark.parametrize('num', [0, 9])
def test_wrong_sizes_are_refused(num):
  with pytest.raises(ValueError, match=f"group's 8 words, got {num}"):
    methods.Hashed(num).validate(Shape(8, 2))
