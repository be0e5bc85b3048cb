"""Attention of chunks of queries to lists of blocks of keys.

What a chunk reads is a row of a static table, and that row's keys share one
softmax. The table is the whole pattern: recursive chunks, sliding windows and
local blocks (`embedcomp.recursive`) differ in nothing else.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.attention import drop_weights
from embedcomp.types import Array, PRNGKey

_CPU_CHUNKS = 4


def attend_blocks(
  query: Array,
  key: Array,
  value: Array,
  bias: Array,
  table: np.ndarray,
  *,
  chunks_at_once: int | None = None,
  dropout_rate: float = 0.0,
  dropout_key: PRNGKey | None = None,
) -> jax.Array:
  """Attends chunks to the blocks that a table lists for them.

  Scores and lists of keys exist only of the chunks that are worked off at once,
  and are made again for the gradient.

  Args:
    query: [R, M, C, H] float: M chunks of C queries, scaled already; R are the
      heads of all texts.
    key: [R, S, P, H] float: S blocks of P keys.
    value: [R, S, P, H] float.
    bias: [R, S, P] float32, added to the scores of a key.
    table: [M, F] integers below S: which blocks a chunk reads.
    chunks_at_once: the most of all R M; None for four on CPUs, whose scores
      stay in the cache, and all elsewhere.
    dropout_rate: share of the weights that is left out.
    dropout_key: of that share; None leaves nothing out.

  Returns:
    [R, M, C, H] in the dtype of the values.

  Example:
    >>> ones = jnp.ones((1, 2, 3, 4))
    >>> table = np.array([[0], [1]])
    >>> value = jnp.arange(2.0)[None, :, None, None] * ones
    >>> attend_blocks(ones, ones, value, jnp.zeros((1, 2, 3)), table)[0, 1, 0]
    Array([1., 1., 1., 1.], dtype=float32)
  """
  if dropout_rate == 0:
    dropout_key = None
  num_heads, num_chunks = query.shape[:2]
  if chunks_at_once is None:
    on_cpu = jax.default_backend() == 'cpu'
    chunks_at_once = _CPU_CHUNKS if on_cpu else num_heads * num_chunks
  elif type(chunks_at_once) is not int or chunks_at_once < 1:
    raise ValueError(
      f'chunks_at_once must be an int of at least 1, got {chunks_at_once!r}.'
    )
  # All chunks of several heads, or some of one.
  chunks = _divisor(num_chunks, chunks_at_once)
  heads = _divisor(num_heads, chunks_at_once // num_chunks)
  table = jnp.asarray(table)

  def attend(group):
    number, query, blocks = group
    keys = None
    if dropout_key is not None:
      keys = jax.random.fold_in(dropout_key, number)
    return _attend(chunks, dropout_rate, query, blocks, table, keys)

  blocks = {'key': key, 'value': value, 'bias': bias}
  groups = jax.tree.map(
    lambda array: array.reshape(-1, heads, *array.shape[1:]), (query, blocks)
  )
  numbers = jnp.arange(num_heads // heads)
  return jax.lax.map(attend, (numbers, *groups)).reshape(query.shape)


def _divisor(number: int, most: int) -> int:
  """The largest divisor that is at most so much, or 1."""
  return max(
    d for d in range(1, max(1, min(number, most)) + 1) if number % d == 0
  )


def _attend_group(query, blocks, drop) -> jax.Array:
  """[R, G, C, H] queries to [R, G, F, P, H] keys; `drop` takes weights."""
  key, value, bias = (
    blocks[name].reshape(*query.shape[:2], -1, *blocks[name].shape[4:])
    for name in ('key', 'value', 'bias')
  )
  scores = jnp.einsum(
    'RGCH,RGKH->RGCK', query, key, preferred_element_type=jnp.float32
  )
  scores += bias[:, :, None]
  top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
  weights = jnp.exp(scores - top)
  total = weights.sum(axis=-1)[..., None]
  attended = jnp.einsum(
    'RGCK,RGKH->RGCH',
    drop(weights).astype(value.dtype),
    value,
    preferred_element_type=jnp.float32,
  )
  return (attended / total).astype(value.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(size, rate, query, blocks, table, dropout_key):
  """`attend_blocks`, so many chunks of all heads at a time."""

  def step(_, group):
    number, query, rows = group
    drop = _dropper(rate, dropout_key, number)
    return None, _attend_group(query, _take(blocks, rows), drop)

  groups = _split(size, query), _split(size, table, axis=0)
  _, attended = jax.lax.scan(step, None, _numbered(*groups))
  return _joined(attended, query.shape)


def _attend_forward(size, rate, query, blocks, table, dropout_key):
  inputs = query, blocks, table, dropout_key
  return _attend(size, rate, *inputs), inputs


def _attend_backward(size, rate, inputs, cotangent):
  query, blocks, table, dropout_key = inputs

  def step(total, group):
    number, query, cotangent, rows = group
    drop = _dropper(rate, dropout_key, number)
    _, pull = jax.vjp(
      lambda query, blocks: _attend_group(query, blocks, drop),
      query,
      _take(blocks, rows),
    )
    query, parts = pull(cotangent)
    # The same blocks stand in many lists.
    total = jax.tree.map(lambda t, part: t.at[:, rows].add(part), total, parts)
    return total, query

  # Long sums: in half precision, a block that many read would lose a share.
  zeros = jax.tree.map(lambda array: jnp.zeros(array.shape), blocks)
  groups = _split(size, query), _split(size, cotangent)
  totals, queries = jax.lax.scan(
    step, zeros, _numbered(*groups, _split(size, table, axis=0))
  )
  totals = jax.tree.map(lambda t, array: t.astype(array.dtype), totals, blocks)
  return _joined(queries, query.shape), totals, None, None


_attend.defvjp(_attend_forward, _attend_backward)


def _split(size: int, array: Array, axis: int = 1) -> jax.Array:
  """Groups of so many along an axis, which is then the second; groups first."""
  shape = array.shape
  array = array.reshape(*shape[:axis], -1, size, *shape[axis + 1 :])
  return jnp.moveaxis(array, axis, 0)


def _joined(groups: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """What `_split` has split."""
  return jnp.moveaxis(groups, 0, 1).reshape(shape)


def _numbered(*groups: jax.Array) -> tuple[jax.Array, ...]:
  return jnp.arange(len(groups[0])), *groups


def _take(blocks, rows):
  return jax.tree.map(
    lambda array: jnp.take(array, rows, axis=1, mode='clip'), blocks
  )


def _dropper(rate, dropout_key, number):
  if dropout_key is None:
    return lambda weights: weights
  group_key = jax.random.fold_in(dropout_key, number)
  return lambda weights: drop_weights(weights, rate, group_key)
