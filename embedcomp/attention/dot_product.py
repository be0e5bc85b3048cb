"""Attention of every token to every token: softmax(Q K^T / sqrt(H)) V.

Arrays have the layout of `jax.nn.dot_product_attention`. Scores and softmax
are computed in float32, results have the dtype of the values.

Reference: Vaswani et al., Attention Is All You Need, NeurIPS 2017.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from embedcomp.attention.inputs import (
  as_mask,
  check_dropout,
  check_heads,
  check_lengths,
)
from embedcomp.types import Array, PRNGKey

# A large finite negative number, which swallows any score that it is added to:
# the scores of a query that may read no key stay finite, and are all alike.
MASKED_SCORE = -1e30

# (query, key, value, mask, dropout_rate=, dropout_key=) -> attended
AttentionFn = Callable[..., jax.Array]


def attention_weights(
  query: Array, key: Array, mask: Array | None = None
) -> jax.Array:
  """Returns the share of each key in each query's average.

  Args:
    query: [B, T, N, H] float.
    key: [B, S, N, H] float.
    mask: [B, S] bool, True where a key may be read; all if not given.

  Returns:
    [B, N, T, S] float32, which sums to one over the keys. A query that may read
    none reads all alike.

  Raises:
    ValueError: naming the argument that is no array of heads, or no mask.

  Example:
    >>> query = jnp.ones((1, 1, 1, 2))
    >>> key = jnp.ones((1, 2, 1, 2))
    >>> attention_weights(query, key)
    Array([[[[0.5, 0.5]]]], dtype=float32)
  """
  query, key = jnp.asarray(query), jnp.asarray(key)
  check_heads(query=query, key=key)
  return _weights(query, key, mask)


def _weights(query: jax.Array, key: jax.Array, mask: Array | None) -> jax.Array:
  if mask is not None:
    mask = as_mask(mask, key.shape[:2])
  # Heads next to the batch: XLA's products of one head are much slower on CPUs
  # where it has to find that order by itself.
  query, key = (jnp.swapaxes(array, 1, 2) for array in (query, key))
  scores = jnp.einsum(
    'BNTH,BNSH->BNTS', query, key, preferred_element_type=jnp.float32
  )
  scores *= query.shape[-1] ** -0.5
  if mask is not None:
    scores += jnp.where(mask, 0, MASKED_SCORE)[:, None, None, :]
  return _softmax(scores)


@jax.custom_jvp
def _softmax(scores: jax.Array) -> jax.Array:
  """As `jax.nn.softmax`, whose derivative reads more arrays than this one's."""
  shifted = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
  return shifted / shifted.sum(axis=-1, keepdims=True)


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
  weights = _softmax(*primals)
  moved = weights * tangents[0]
  return weights, moved - weights * moved.sum(axis=-1, keepdims=True)


def dense_attention(
  query: Array,
  key: Array,
  value: Array,
  mask: Array | None = None,
  *,
  dropout_rate: float = 0.0,
  dropout_key: PRNGKey | None = None,
) -> jax.Array:
  """Attention of all queries to all keys.

  Args:
    query: [B, T, N, H] float.
    key: [B, S, N, H] float.
    value: [B, S, N, H] float.
    mask: [B, S] bool, True where a key may be read; all if not given.
    dropout_rate: share of the weights that is left out, in [0, 1).
    dropout_key: of its random numbers; needed if the rate is above 0.

  Returns:
    [B, T, N, H] in the dtype of the values.

  Raises:
    ValueError: naming the argument whose dtype, shape or value is wrong.

  Example:
    >>> ones = jnp.ones((1, 3, 1, 2))
    >>> mask = jnp.array([[True, True, False]])
    >>> dense_attention(ones, ones, ones, mask)[0, 0]
    Array([[1., 1.]], dtype=float32)
  """
  check_dropout(dropout_rate, dropout_key)
  query, key, value = map(jnp.asarray, (query, key, value))
  check_heads(query=query, key=key, value=value)
  check_lengths(key=key, value=value)
  weights = _weights(query, key, mask)
  weights = drop_weights(weights, dropout_rate, dropout_key)
  value = jnp.swapaxes(value, 1, 2)  # [B, N, S, H]
  attended = jnp.einsum('BNTS,BNSH->BNTH', weights.astype(value.dtype), value)
  return jnp.swapaxes(attended, 1, 2)


def drop_weights(
  weights: Array, rate: float, dropout_key: PRNGKey | None
) -> jax.Array:
  """Leaves out a share of attention weights and scales the others up.

  Args:
    weights: [...] float.
    rate: share to leave out, in [0, 1).
    dropout_key: None leaves nothing out.

  Returns:
    [...].
  """
  weights = jnp.asarray(weights)
  if dropout_key is None or rate == 0:
    return weights
  kept = jax.random.bernoulli(dropout_key, 1 - rate, weights.shape)
  return jnp.where(kept, weights / (1 - rate), 0)
