"""Summaries of blocks of keys, level by level; `recursive` has the formula."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.attention.dot_product import MASKED_SCORE
from embedcomp.types import Array


class Keys(NamedTuple):
  """Tokens or summaries that are read, of one head.

  Attributes:
    key: [S, H].
    value: [S, H].
    bias: [S] float32, added to their scores.
  """

  key: jax.Array
  value: jax.Array
  bias: jax.Array


def padded(keys: Keys, padding: tuple[int, int]) -> Keys:
  """Adds masked keys, `padding` of them in front and behind."""
  return Keys(
    jnp.pad(keys.key, (padding, (0, 0))),
    jnp.pad(keys.value, (padding, (0, 0))),
    jnp.pad(keys.bias, padding, constant_values=MASKED_SCORE),
  )


def mean_query(query: Array, mask: Array) -> jax.Array:
  """[B, N, H] float32, over the tokens that may be read."""
  shares = mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
  return jnp.einsum(
    'BTNH,BT->BNH', query, shares, preferred_element_type=jnp.float32
  )


def summaries(
  tokens: Keys,
  anchor: jax.Array,
  levels: int,
  group: int,
  level_bias: Array | None,
) -> Keys:
  """Summaries of all levels, one after the other.

  Args:
    tokens: S tokens.
    anchor: [H] float32, scaled.
    levels: number of levels, at least one.
    group: tokens that a summary of the first level stands for.
    level_bias: [levels] float32, added to their scores; or None.
  """

  def scores(key):
    return jnp.einsum(
      'SH,H->S', key, anchor, preferred_element_type=jnp.float32
    )

  found = [tokens._replace(bias=tokens.bias + scores(tokens.key))]  # masses
  for level in range(levels):
    key, value, mass = found[-1]
    mass, weights = _merged(mass, 2 if level else group)
    found.append(Keys(_mean(weights, key), _mean(weights, value), mass))
  sizes = [len(level.bias) for level in found[1:]]
  key, value, mass = map(jnp.concatenate, zip(*found[1:]))
  bias = mass - scores(key)
  if level_bias is not None:
    bias += level_bias[np.repeat(np.arange(levels), sizes)]
  dtype = tokens.key.dtype
  return Keys(key.astype(dtype), value.astype(dtype), bias)


def _merged(mass: Array, group: int) -> tuple[jax.Array, jax.Array]:
  """The mass of every `group` of [S] keys, and the share that each has.

  Returns:
    [S / group] and [S / group, group].
  """
  mass = mass.reshape(-1, group)
  top = jax.lax.stop_gradient(mass.max(axis=-1, keepdims=True))
  terms = jnp.exp(mass - top)
  total = terms.sum(axis=-1, keepdims=True)
  return (top + jnp.log(total))[:, 0], terms / total


def _mean(weights: Array, array: Array) -> jax.Array:
  """[S / group, H] float32 of [S, H] and the weights of `_merged`."""
  array = array.reshape(*weights.shape, -1)
  return jnp.einsum(
    'SG,SGH->SH', weights, array, preferred_element_type=jnp.float32
  )


def blocks(parts: list[Keys], size: int) -> Keys:
  """All keys in one list of blocks of `size`, the last of them masked."""
  joined = Keys(*map(jnp.concatenate, zip(*parts)))
  missing = size + -len(joined.bias) % size
  return Keys(
    *(
      array.reshape(-1, size, *array.shape[1:])
      for array in padded(joined, (0, missing))
    )
  )
