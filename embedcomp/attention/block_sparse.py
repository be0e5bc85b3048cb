"""Attention of chunks of queries to lists of blocks of keys.

A row of a static table lists the blocks that a chunk reads, and their keys
share one softmax. The table is the whole pattern: recursive chunks, sliding
windows and local blocks (`embedcomp.attention.recursive`) differ in nothing
else.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.attention.dot_product import drop_weights
from embedcomp.types import Array, PRNGKey


def attend_blocks(
  query: Array,
  key: Array,
  value: Array,
  bias: Array,
  table: np.ndarray,
  *,
  chunks_per_step: int | None = None,
  dropout_rate: float = 0.0,
  dropout_key: PRNGKey | None = None,
) -> jax.Array:
  """Attends chunks to the blocks that a table lists for them.

  Scores and lists of keys exist only of the chunks that are processed per step,
  and are made again for the gradient.

  Args:
    query: [M, C, H] float: M chunks of C queries of one head, scaled already.
    key: [S, P, H] float: S blocks of P keys.
    value: [S, P, H] float.
    bias: [S, P] float32, added to the scores of a key.
    table: [M, F] integers below S, the blocks that each chunk reads.
    chunks_per_step: a divisor of M; all if not given.
    dropout_rate: share of the weights that is left out.
    dropout_key: of its random numbers; None leaves nothing out.

  Returns:
    [M, C, H] in the dtype of the values.

  Example:
    >>> ones = jnp.ones((2, 3, 4))
    >>> table = np.array([[0], [1]])
    >>> value = jnp.arange(2.0)[:, None, None] * ones
    >>> attend_blocks(ones, ones, value, jnp.zeros((2, 3)), table)[1, 0]
    Array([1., 1., 1., 1.], dtype=float32)
  """
  blocks = {'key': key, 'value': value, 'bias': bias}
  size = chunks_per_step or len(query)
  return _attend(
    size, dropout_rate, query, blocks, jnp.asarray(table), dropout_key
  )


def _attend_group(query, blocks, drop) -> jax.Array:
  """[G, C, H] queries to [G, F, P, H] keys; `drop` takes weights."""
  key, value, bias = (
    blocks[name].reshape(len(query), -1, *blocks[name].shape[3:])
    for name in ('key', 'value', 'bias')
  )
  scores = jnp.einsum(
    'GCH,GKH->GCK', query, key, preferred_element_type=jnp.float32
  )
  scores += bias[:, None]
  top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
  weights = jnp.exp(scores - top)
  total = weights.sum(axis=-1)[..., None]
  attended = jnp.einsum(
    'GCK,GKH->GCH',
    drop(weights).astype(value.dtype),
    value,
    preferred_element_type=jnp.float32,
  )
  return (attended / total).astype(value.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(size, rate, query, blocks, table, dropout_key):
  """`attend_blocks`, `size` chunks per step."""

  def step(_, group):
    number, query, rows = group
    drop = _dropper(rate, dropout_key, number)
    return None, _attend_group(query, _take(blocks, rows), drop)

  _, attended = jax.lax.scan(step, None, _grouped(size, query, table))
  return attended.reshape(query.shape)


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
    # Many lists share a block, and each adds its part.
    total = jax.tree.map(lambda t, part: t.at[rows].add(part), total, parts)
    return total, query

  # Long sums: in half precision, a block that many read would lose a share.
  zeros = jax.tree.map(lambda array: jnp.zeros(array.shape), blocks)
  totals, queries = jax.lax.scan(
    step, zeros, _grouped(size, query, cotangent, table)
  )
  totals = jax.tree.map(lambda t, array: t.astype(array.dtype), totals, blocks)
  return queries.reshape(query.shape), totals, None, None


_attend.defvjp(_attend_forward, _attend_backward)


def _grouped(size: int, *arrays: Array) -> tuple[Array, ...]:
  """Numbers of groups of `size` rows, then the arrays in such groups."""
  groups = [array.reshape(-1, size, *array.shape[1:]) for array in arrays]
  return jnp.arange(len(groups[0])), *groups


def _take(blocks, rows):
  return jax.tree.map(
    lambda array: jnp.take(array, rows, axis=0, mode='clip'), blocks
  )


def _dropper(rate, dropout_key, number):
  if dropout_key is None:
    return lambda weights: weights
  group_key = jax.random.fold_in(dropout_key, number)
  return lambda weights: drop_weights(weights, rate, group_key)
