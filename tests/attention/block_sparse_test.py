"""Chunks that attend to lists of blocks: against one plain gather."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp.attention.block_sparse import attend_blocks

R, M, C, S, P, H = 2, 6, 3, 5, 2, 10
TABLE = np.array(
  [[0, 4, 1], [1, 0, 0], [2, 2, 4], [2, 0, 1], [1, 2, 0], [4, 1, 2]]
)
UNREAD = 3


def attend_heads(*arrays, dropout_key=None, **kwargs):
  """`attend_blocks` of R heads, each with a dropout of its own."""
  *arrays, table = map(jnp.asarray, arrays)

  def attend(number, *head):
    key = dropout_key
    if key is not None:
      key = jax.random.fold_in(key, number)
    return attend_blocks(*head, table, dropout_key=key, **kwargs)

  return jax.vmap(attend)(jnp.arange(len(arrays[0])), *arrays)


def gather_blocks(query, key, value, bias, table):
  """All lists of keys at once, in the order of the textbook."""
  key, value, bias = (
    array[:, table].reshape(*query.shape[:2], -1, *array.shape[3:])
    for array in (key, value, bias)
  )  # [R, M, F P, H]
  scores = jnp.einsum('RMCH,RMKH->RMCK', query, key) + bias[:, :, None]
  return jnp.einsum('RMCK,RMKH->RMCH', jax.nn.softmax(scores), value)


@functools.partial(jax.jit, static_argnums=(0, 3))
def attend_and_pull(function, arrays, cotangent, kwargs=()):

  def attend(*arrays):
    return function(*arrays, TABLE, **dict(kwargs))

  attended, pull = jax.vjp(attend, *arrays)
  return attended, pull(cotangent.astype(attended.dtype))


@pytest.fixture
def arrays(rng):
  shapes = (R, M, C, H), (R, S, P, H), (R, S, P, H), (R, S, P)
  return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


@pytest.fixture
def cotangent(rng):
  return rng.normal(size=(R, M, C, H)).astype(np.float32)


@pytest.mark.parametrize('kwargs', [(), (('chunks_per_step', 2),)])
def test_it_is_a_gather_and_so_are_its_gradients(arrays, cotangent, kwargs):
  found = attend_and_pull(attend_heads, arrays, cotangent, kwargs)
  wanted = attend_and_pull(gather_blocks, arrays, cotangent)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(one, other, atol=2e-6)


def test_blocks_that_no_list_has_get_no_gradient(arrays, cotangent):
  _, gradients = attend_and_pull(attend_heads, arrays, cotangent)
  for gradient in gradients[1:]:
    read = np.abs(gradient).reshape(R, S, -1).sum(axis=(0, 2)) > 0
    np.testing.assert_array_equal(read, np.arange(S) != UNREAD)


def test_scores_of_thousands_keep_the_largest(arrays, cotangent):
  query, key, value, bias = arrays
  large = query * 1e3, key, value, bias
  found, gradients = attend_and_pull(attend_heads, large, cotangent)
  wanted, _ = attend_and_pull(gather_blocks, large, cotangent)
  np.testing.assert_allclose(found, wanted, atol=1e-3)
  assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_bias_is_the_log_of_how_often_a_block_is_listed(arrays):
  query, key, value, bias = arrays
  heavy = np.zeros_like(bias)
  heavy[:, 0] = np.log(3)
  blocks = query[:, :1], key, value
  once, thrice = np.array([[0, 1]]), np.array([[0, 0, 0, 1]])
  found = attend_heads(*blocks, heavy, once)
  wanted = attend_heads(*blocks, 0 * bias, thrice)
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_gradients_of_half_precision_are_summed_in_single():
  """A block that 600 chunks read equally: bfloat16 stops counting at 256."""
  ones = jnp.ones((600, 1, 1), jnp.bfloat16)
  block = jnp.ones((1, 1, 1), jnp.bfloat16)
  table = np.zeros((600, 1), int)

  def total(value):
    attended = attend_blocks(ones, block, value, jnp.zeros((1, 1)), table)
    return attended.astype(jnp.float32).sum()

  gradient = jax.jit(jax.grad(total))(block)
  assert gradient.dtype == jnp.bfloat16
  assert gradient.item() == 600


def test_a_key_alone_drops_nothing(arrays):
  found = attend_heads(*arrays, TABLE, dropout_key=jax.random.key(0))
  np.testing.assert_array_equal(found, attend_heads(*arrays, TABLE))


def test_dropout_leaves_out_each_weight_by_itself(arrays):
  """Values that tell the keys apart: outputs are weights."""
  query, key, _, bias = arrays
  count = S * P
  value = np.eye(count, dtype=np.float32).reshape(1, S, P, count)
  value = value.repeat(R, axis=0)
  table = np.arange(S)[None].repeat(M, axis=0)

  @jax.jit
  def ratio(dropout_key):
    weights, kept = (
      attend_heads(
        query, key, value, bias, table, dropout_rate=0.25, dropout_key=one
      )
      for one in (dropout_key, None)
    )
    return weights / kept  # [R, M, C, S P]

  found = np.asarray(ratio(jax.random.key(0)))
  is_kept = found > 0
  np.testing.assert_allclose(found[is_kept], 4 / 3, rtol=1e-5)
  assert abs(is_kept.mean() - 0.75) < 0.06  # 2.6 deviations
  shares = is_kept.reshape(-1, count).mean(axis=0)  # of 36 queries
  assert shares.min() > 0.4
  assert shares.max() < 1
  rows = np.unique(is_kept.reshape(-1, count), axis=0)
  assert len(rows) > 30
  np.testing.assert_array_equal(ratio(jax.random.key(0)), found)
  assert (ratio(jax.random.key(1)) != found).any()
