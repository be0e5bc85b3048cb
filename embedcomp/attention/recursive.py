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

from embedcomp.attention.block_patterns import Pattern
from embedcomp.attention.block_sparse import attend_blocks
from embedcomp.attention.dot_product import MASKED_SCORE, dense_attention
from embedcomp.types import Array, PRNGKey

# Chunks that are worked off at once on a CPU: their scores stay in its cache.
_CPU_CHUNKS = 4


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


class _Head(NamedTuple):
  """A head of a text, which attends by itself; or many, each in a row.

  Attributes:
    query: [T, H].
    tokens: the T tokens.
    anchor: [H] float32, the query at which summaries are exact.
    level_bias: [levels] float32, added to scores of summaries; or None.
  """

  query: jax.Array
  tokens: Keys
  anchor: jax.Array
  level_bias: jax.Array | None


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
    chunks_at_once: the most of all heads and texts whose scores exist at the
      same time; None for four on CPUs, and all elsewhere.
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

  anchors = _mean_query(query, mask)
  if anchor is not None:
    anchors += anchor[None]
  levels = np.arange(pattern.count_levels(length))
  if level_bias is not None and len(levels):
    level_bias = level_bias[np.minimum(levels, len(level_bias) - 1)]
    level_bias = jnp.tile(level_bias.T, (batch, 1))
  else:
    level_bias = None
  bias = jnp.where(mask, 0.0, MASKED_SCORE)
  all_heads = _Head(
    _by_heads(query),
    Keys(_by_heads(key), _by_heads(value), jnp.repeat(bias, heads, axis=0)),
    anchors.reshape(-1, features),
    level_bias,
  )
  attended = _attend_in_turn(pattern, all_heads, chunks_at_once, dropout)
  attended = attended.reshape(batch, heads, length, features)
  return jnp.swapaxes(attended, 1, 2)


def _attend_in_turn(
  pattern: Pattern, heads: _Head, chunks_at_once: int | None, dropout
) -> jax.Array:
  """[R, T, H] of R heads, a few at a time: copies and summaries of the others
  are not in memory then, nor are they kept for the gradient.
  """
  num_heads, length, _ = heads.query.shape
  num_chunks = pattern.num_chunks(length)
  if chunks_at_once is None:
    on_cpu = jax.default_backend() == 'cpu'
    chunks_at_once = _CPU_CHUNKS if on_cpu else num_heads * num_chunks
  elif type(chunks_at_once) is not int or chunks_at_once < 1:
    raise ValueError(
      f'chunks_at_once must be an int of at least 1, got {chunks_at_once!r}.'
    )
  # All chunks of several heads, or some of one.
  heads_at_once = _divisor(num_heads, chunks_at_once // num_chunks)
  chunks = _divisor(num_chunks, chunks_at_once)
  dropout_key = dropout['dropout_key']

  @jax.checkpoint
  def attend(numbered):
    number, head = numbered
    own = dict(dropout)
    if dropout_key is not None:
      own['dropout_key'] = jax.random.fold_in(dropout_key, number)
    return _attend_head(pattern, head, chunks, own)

  return jax.lax.map(
    attend,
    (jnp.arange(num_heads), heads),
    batch_size=heads_at_once if heads_at_once > 1 else None,
  )


def _attend_head(
  pattern: Pattern, head: _Head, chunks_at_once: int, dropout
) -> jax.Array:
  """[T, H]: what the tokens of a head read."""
  length, features = head.query.shape
  size, shift = pattern.chunk_size, pattern.shift
  num_chunks = pattern.num_chunks(length)
  padding = (shift, num_chunks * size - length - shift)
  scaled = head._replace(
    query=head.query * features**-0.5, anchor=head.anchor * features**-0.5
  )
  near_key, first_key = _split(dropout['dropout_key'])
  query = jnp.pad(scaled.query, (padding, (0, 0)))
  attended = attend_blocks(
    query.reshape(num_chunks, size, features),
    *_blocks(_parts(pattern, scaled, padding), pattern.num_summaries),
    pattern.table(length),
    chunks_at_once=chunks_at_once,
    **dropout | {'dropout_key': near_key},
  )
  attended = attended.reshape(-1, features)[shift : shift + length]
  if not (first := pattern.num_global):
    return attended
  # All tokens are one block, and these tokens the chunk that reads it.
  everything = attend_blocks(
    scaled.query[None, :first],
    *(array[None] for array in head.tokens),
    np.zeros((1, 1), int),
    **dropout | {'dropout_key': first_key},
  )
  return jnp.concatenate([everything[0], attended[first:]])


def _split(dropout_key: PRNGKey | None) -> tuple:
  return (None, None) if dropout_key is None else jax.random.split(dropout_key)


def _parts(
  pattern: Pattern, head: _Head, padding: tuple[int, int]
) -> list[Keys]:
  """What chunks read of a head: tokens, summaries and global tokens."""
  length = len(head.tokens.bias)
  is_global = np.arange(length) < pattern.num_global
  bias = jnp.where(is_global, MASKED_SCORE, head.tokens.bias)
  tokens = _padded(head.tokens._replace(bias=bias), padding)
  parts = [tokens]
  if levels := pattern.count_levels(length):
    group = pattern.chunk_size // pattern.num_summaries
    parts.append(
      _summaries(tokens, head.anchor, levels, group, head.level_bias)
    )
  parts.append(Keys(*(array[: pattern.num_global] for array in head.tokens)))
  return parts


def _divisor(number: int, most: int) -> int:
  """The largest divisor that is at most so much, or 1."""
  return max(
    d for d in range(1, max(1, min(number, most)) + 1) if number % d == 0
  )


def _by_heads(array: Array) -> jax.Array:
  """[B, T, N, H] to [B N, T, H]."""
  batch, length, heads, features = array.shape
  return jnp.swapaxes(array, 1, 2).reshape(batch * heads, length, features)


def _padded(keys: Keys, padding: tuple[int, int]) -> Keys:
  """With so many masked keys in front and behind."""
  return Keys(
    jnp.pad(keys.key, (padding, (0, 0))),
    jnp.pad(keys.value, (padding, (0, 0))),
    jnp.pad(keys.bias, padding, constant_values=MASKED_SCORE),
  )


def _mean_query(query: Array, mask: Array) -> jax.Array:
  """[B, N, H] float32, over the tokens that may be read."""
  shares = mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
  return jnp.einsum(
    'BTNH,BT->BNH', query, shares, preferred_element_type=jnp.float32
  )


def _summaries(
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
    levels: how many, at least one.
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


def _blocks(parts: list[Keys], size: int) -> Keys:
  """All keys in one list of blocks of `size`, the last of them masked."""
  joined = Keys(*map(jnp.concatenate, zip(*parts)))
  missing = size + -len(joined.bias) % size
  return Keys(
    *(
      array.reshape(-1, size, *array.shape[1:])
      for array in _padded(joined, (0, missing))
    )
  )
