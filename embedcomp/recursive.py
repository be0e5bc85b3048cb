"""Recursive chunked attention: near tokens one by one, far ones in summaries.

Chunks of C tokens merge pairwise, level by level, into blocks of C 2^l tokens,
each summarised by P keys. A chunk reads itself and its neighbours token by
token, and of every level the few blocks that are not part of a larger one that
is far as well: together they tile the text exactly once. The keys that a query
reads grow with the logarithm of the length, and texts of at most two chunks
have dense attention.

A summary is the tangent of log sum_j exp(q k_j) at an anchor query q0: with
w = softmax_j(q0 k_j), its key is K = sum w k, its value V = sum w v, and its
score q K + a - q0 K with a = logsumexp_j(q0 k_j). Summaries of summaries follow
the same rule, and are those of all their tokens.

References:
  Greengard and Rokhlin, A Fast Algorithm for Particle Simulations, 1987.
  Ye et al., BP-Transformer, 2019 (spans of a binary tree).
  Zhu and Soricut, H-Transformer-1D, ACL 2021 (a hierarchy of averages).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.attention import MASKED_SCORE, dense_attention
from embedcomp.block_tables import Pattern
from embedcomp.blocks import attend_blocks
from embedcomp.types import Array, PRNGKey


class Keys(NamedTuple):
  """Tokens or summaries that are read, of R heads.

  Attributes:
    key: [R, S, H].
    value: [R, S, H].
    bias: [R, S] float32, added to their scores.
  """

  key: jax.Array
  value: jax.Array
  bias: jax.Array


def recursive_attention(
  query: Array,
  key: Array,
  value: Array,
  mask: Array | None = None,
  *,
  chunk_size: int = 256,
  num_summaries: int = 16,
  num_levels: int | None = None,
  reach: int = 1,
  shift: int = 0,
  num_global: int = 1,
  anchor: Array | None = None,
  level_bias: Array | None = None,
  chunks_at_once: int | None = None,
  dropout_rate: float = 0.0,
  dropout_key: PRNGKey | None = None,
) -> jax.Array:
  """Softmax attention at a cost of n log n.

  Args:
    query: [B, T, N, H] float.
    key: [B, T, N, H] float.
    value: [B, T, N, H] float.
    mask: [B, T] bool, True where a token may be read; all if not given.
    chunk_size: C, tokens of a chunk. Texts of at most 2 C have dense attention.
    num_summaries: P, keys that stand for a block; a divisor of C.
    num_levels: of summaries; None for as many as the text has use for. With 0,
      what is far is not read: a sliding window of chunks.
    reach: neighbours on each side that a chunk reads token by token.
    shift: tokens by which the first chunk is shorter.
    num_global: so many first tokens read, and are read by, every other one.
    anchor: [N, H] float, added to the mean query of a text, where summaries are
      exact; zeros if not given.
    level_bias: [levels, N] float, added to the scores of summaries; the last
      row is that of all higher levels too. Zeros if not given.
    chunks_at_once: see `attend_blocks`.
    dropout_rate: share of the attention weights that is left out.
    dropout_key: of that share; None leaves nothing out.

  Returns:
    [B, T, N, H] in the dtype of the values. What a token reads that the mask
    leaves out is finite and of no use.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> texts = jax.random.normal(jax.random.key(0), (3, 1, 64, 2, 4))
    >>> recursive_attention(*texts, chunk_size=16, num_summaries=4).shape
    (1, 64, 2, 4)
  """
  chex.assert_rank(query, 4)
  chex.assert_equal_shape([query, key, value])
  pattern = Pattern(
    chunk_size, num_summaries, num_levels, reach, shift, num_global
  )
  batch, length, heads, features = query.shape
  if anchor is not None:
    chex.assert_shape(anchor, (heads, features))
  if level_bias is not None:
    chex.assert_shape(level_bias, (None, heads))
  if mask is None:
    mask = jnp.ones((batch, length), bool)
  dropout = {'dropout_rate': dropout_rate, 'dropout_key': dropout_key}
  if pattern.is_dense(length):
    return dense_attention(query, key, value, mask, **dropout)
  if dropout_key is not None:
    dropout['dropout_key'], global_key = jax.random.split(dropout_key)

  bias = jnp.where(mask, 0.0, MASKED_SCORE)
  bias = jnp.repeat(bias, heads, axis=0)  # [R, T], R the heads of all texts
  everything = Keys(_by_heads(key), _by_heads(value), bias)
  is_global = jnp.arange(length) < num_global
  tokens = Keys(
    everything.key,
    everything.value,
    jnp.where(is_global, MASKED_SCORE, bias),
  )
  num_chunks = pattern.num_chunks(length)
  padding = (shift, num_chunks * chunk_size - length - shift)
  tokens = _padded(tokens, padding)
  parts = [tokens, Keys(*(array[:, :num_global] for array in everything))]
  if levels := pattern.count_levels(length):
    anchors = _mean_query(query, mask)
    anchors = anchors if anchor is None else anchors + anchor[None]
    summaries = _summaries(
      tokens,
      anchors.reshape(-1, features) * features**-0.5,
      levels,
      chunk_size // num_summaries,
      level_bias,
    )
    parts.insert(1, summaries)
  chunks = jnp.pad(
    _by_heads(query * features**-0.5), ((0, 0), padding, (0, 0))
  ).reshape(-1, num_chunks, chunk_size, features)
  attended = attend_blocks(
    chunks,
    *_blocks(parts, num_summaries),
    pattern.table(length),
    chunks_at_once=chunks_at_once,
    **dropout,
  )
  attended = attended.reshape(batch, heads, -1, features)
  attended = jnp.swapaxes(attended, 1, 2)[:, shift : shift + length]
  if not num_global:
    return attended
  if dropout_key is not None:
    dropout['dropout_key'] = global_key
  first = dense_attention(query[:, :num_global], key, value, mask, **dropout)
  return jnp.concatenate([first, attended[:, num_global:]], axis=1)


def _by_heads(array: Array) -> jax.Array:
  """[B, T, N, H] to [B N, T, H]."""
  batch, length, heads, features = array.shape
  return jnp.swapaxes(array, 1, 2).reshape(batch * heads, length, features)


def _padded(keys: Keys, padding: tuple[int, int]) -> Keys:
  """With so many masked keys in front and behind."""
  pads = ((0, 0), padding)
  return Keys(
    jnp.pad(keys.key, (*pads, (0, 0))),
    jnp.pad(keys.value, (*pads, (0, 0))),
    jnp.pad(keys.bias, pads, constant_values=MASKED_SCORE),
  )


def _mean_query(query: Array, mask: Array) -> jax.Array:
  """[B, N, H] float32, over the tokens that may be read."""
  shares = mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
  return jnp.einsum(
    'BTNH,BT->BNH', query, shares, preferred_element_type=jnp.float32
  )


def _summaries(
  tokens: Keys,
  anchors: jax.Array,
  levels: int,
  group: int,
  level_bias: Array | None,
) -> Keys:
  """Summaries of all levels, one after the other.

  Args:
    tokens: [R, S] tokens.
    anchors: [R, H] float32, scaled.
    levels: how many, at least one.
    group: tokens that a summary of the first level stands for.
    level_bias: see `recursive_attention`.
  """

  def scores(key):
    return jnp.einsum(
      'RSH,RH->RS', key, anchors, preferred_element_type=jnp.float32
    )

  mass, weights = _merged(tokens.bias + scores(tokens.key), group)
  means = [_mean(weights, tokens.key), _mean(weights, tokens.value)]
  found = [(jnp.concatenate(means, axis=-1), mass)]  # key and value as one
  for _ in range(levels - 1):
    means, mass = found[-1]
    mass, weights = _merged(mass, 2)
    found.append((_mean(weights, means), mass))
  means, masses = zip(*found)
  key, value = jnp.split(jnp.concatenate(means, axis=1), 2, axis=-1)
  bias = jnp.concatenate(masses, axis=1) - scores(key)
  if level_bias is not None:
    rows = np.minimum(np.arange(levels), len(level_bias) - 1)
    sizes = np.array([mass.shape[1] for mass in masses])
    learned = level_bias[np.repeat(rows, sizes)].T  # [N, S]
    bias += jnp.tile(learned, (len(bias) // len(learned), 1))
  dtype = tokens.key.dtype
  return Keys(key.astype(dtype), value.astype(dtype), bias)


def _merged(mass: Array, group: int) -> tuple[jax.Array, jax.Array]:
  """The mass of every `group` of [R, S] keys, and the share that each has.

  Returns:
    [R, S / group] and [R, S / group, group].
  """
  mass = mass.reshape(len(mass), -1, group)
  return jax.nn.logsumexp(mass, axis=-1), jax.nn.softmax(mass)


def _mean(weights: Array, array: Array) -> jax.Array:
  """[R, S / group, H] float32 of [R, S, H] and the weights of `_merged`."""
  array = array.reshape(*weights.shape, -1)
  return jnp.einsum(
    'RSG,RSGH->RSH', weights, array, preferred_element_type=jnp.float32
  )


def _blocks(parts: list[Keys], size: int) -> Keys:
  """All keys in one list of blocks of `size`, the last of them masked."""
  joined = Keys(*(jnp.concatenate(arrays, axis=1) for arrays in zip(*parts)))
  missing = size + -joined.bias.shape[1] % size
  return Keys(
    *(
      array.reshape(len(array), -1, size, *array.shape[2:])
      for array in _padded(joined, (0, missing))
    )
  )
