"""Gathers of rows that are known to be in range, and of their scores."""

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata

from embedcomp.types import Array


def take(array: Array, rows: Array) -> jax.Array:
  """Gathers rows that are known to be in range, without a bounds check.

  Args:
    array: [W, ...].
    rows: [...] integers in [0, W).

  Returns:
    [..., *array.shape[1:]].
  """
  # Unsigned indices spare XLA the wrap-around of negative ones.
  rows = jnp.asarray(rows).astype(jnp.uint32)
  return jnp.asarray(array).at[rows].get(mode='promise_in_bounds')


def take_subvectors(subvectors: Array, rows: Array) -> jax.Array:
  """Gathers short rows as whole copies, whatever is done with them next.

  XLA fuses a gather with what surrounds it and then, on CPU, finds row and
  place of every single element anew; optimization barriers are gone by then. A
  call that is not inlined is fused with nothing and copies row by row, which
  is faster.

  Args:
    subvectors: [A, d].
    rows: [...] integers in [0, A).

  Returns:
    [..., d].
  """
  return jax.lax.platform_dependent(
    subvectors, rows, cpu=_take_uninlined, default=take
  )


def _take_uninlined(subvectors, rows):
  with set_xla_metadata(inlineable='false'):
    return _jitted_take(subvectors, rows)


_jitted_take = jax.jit(take)


def take_scores(vectors: Array, rows: Array, hidden: Array) -> jax.Array:
  """Inner products with gathered vectors, each vector scored only once.

  Args:
    vectors: [K, D] float.
    rows: [W] integers in [0, K), the vector of each word.
    hidden: [..., D] float.

  Returns:
    [..., W] inner products of each word's vector.
  """
  flat = hidden.reshape(-1, hidden.shape[-1])
  # Words lead, so that whole rows are gathered and, in the backward pass,
  # added up: on CPU that is much faster than along the last axis.
  products = jnp.matmul(vectors, flat.T, precision='highest')
  scores = take(products, rows)  # [W, T]
  return scores.T.reshape(*hidden.shape[:-1], rows.shape[0])
