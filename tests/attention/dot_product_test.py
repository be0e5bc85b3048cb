"""Dense attention: against NumPy in float64, masks, gradients, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import embedcomp
from embedcomp.attention import dot_product

SHAPE = (2, 5, 3, 4)  # B, S, N, H


def plain_attention(query, key, value, mask):
  """One query after another, in float64."""
  result = np.zeros((*query.shape[:3], value.shape[-1]))
  for batch, place, head in np.ndindex(*query.shape[:3]):
    seen = np.flatnonzero(mask[batch])
    keys = key[batch, seen, head].astype(np.float64)
    scores = keys @ query[batch, place, head] / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    result[batch, place, head] = weights @ value[batch, seen, head]
  return result


@pytest.fixture
def arrays(rng):
  query = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
  key, value = rng.normal(size=(2, *SHAPE)).astype(np.float32)
  mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)
  return query, key, value, mask


def test_it_is_the_textbook_formula(arrays):
  found = embedcomp.dense_attention(*arrays)
  np.testing.assert_allclose(found, plain_attention(*arrays), atol=1e-6)
  whole = embedcomp.dense_attention(*arrays[:3])
  mask = np.ones_like(arrays[3])
  expected = plain_attention(*arrays[:3], mask)
  np.testing.assert_allclose(whole, expected, atol=1e-6)


def test_weights_sum_to_one_over_what_may_be_seen(arrays):
  query, key, _, mask = arrays
  weights = np.asarray(dot_product.attention_weights(query, key, mask))
  assert weights.shape == (2, 3, 3, 5)
  assert weights.dtype == np.float32
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
  hidden = np.broadcast_to(~mask[:, None, None], weights.shape)
  assert (weights[hidden] == 0).all()


def test_who_may_see_nothing_reads_all_alike(arrays):
  query, key, value, _ = arrays
  found = embedcomp.dense_attention(query, key, value, np.zeros((2, 5), bool))
  mean = np.broadcast_to(value.mean(axis=1, keepdims=True), found.shape)
  np.testing.assert_allclose(found, mean, atol=1e-6)


def test_scores_of_a_thousand_stay_finite(arrays):
  query, key, value, mask = arrays
  query, key = query * 1e3, key * 1e3

  def total(query, key, value):
    return embedcomp.dense_attention(query, key, value, mask).sum()

  gradients = jax.grad(total, argnums=(0, 1, 2))(query, key, value)
  assert all(np.isfinite(gradient).all() for gradient in gradients)
  found = embedcomp.dense_attention(query, key, value, mask)
  expected = plain_attention(query, key, value, mask)
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_derivatives_are_those_of_the_values(arrays):
  query, key, value, mask = arrays

  def attend(query, key, value):
    return embedcomp.dense_attention(query, key, value, mask)

  check_grads(attend, (query, key, value), order=2, atol=2e-2, rtol=2e-2)


def test_derivatives_are_those_of_the_plain_softmax(arrays):
  query, key, value, mask = arrays

  def plain(query, key, value):
    scores = jnp.einsum('BTNH,BSNH->BNTS', query, key) / 2
    seen = jnp.where(mask[:, None, None], scores, -jnp.inf)
    return jnp.einsum('BNTS,BSNH->BTNH', jax.nn.softmax(seen), value)

  def attend(query, key, value):
    return embedcomp.dense_attention(query, key, value, mask)

  wanted, pull_plain = jax.vjp(plain, query, key, value)
  found, pull = jax.vjp(attend, query, key, value)
  np.testing.assert_allclose(found, wanted, atol=1e-6)
  for one, other in zip(pull(wanted), pull_plain(wanted)):
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_half_precision_is_close_and_stays_so(arrays):
  half = [jnp.asarray(array, jnp.bfloat16) for array in arrays[:3]]
  found = embedcomp.dense_attention(*half, arrays[3])
  assert found.dtype == jnp.bfloat16
  expected = plain_attention(*arrays)
  np.testing.assert_allclose(found.astype(np.float32), expected, atol=0.03)


def test_dropout_leaves_out_a_share_and_keeps_the_mean():
  weights = np.ones((100, 100), np.float32)
  dropped = np.asarray(
    dot_product.drop_weights(weights, 0.25, jax.random.key(0))
  )
  assert set(np.unique(dropped)) == {0, np.float32(4 / 3)}
  assert abs((dropped == 0).mean() - 0.25) < 0.02
  assert abs(dropped.mean() - 1) < 0.02


def test_only_a_rate_above_zero_drops_anything(arrays):
  kept = embedcomp.dense_attention(*arrays, dropout_key=jax.random.key(0))
  np.testing.assert_array_equal(kept, embedcomp.dense_attention(*arrays))
  noisy = embedcomp.dense_attention(
    *arrays, dropout_rate=0.5, dropout_key=jax.random.key(0)
  )
  assert not np.allclose(noisy, kept)
