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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.checks import check_int
from embedcomp.attention.block_patterns import Pattern
from embedcomp.attention.block_sparse import attend_blocks
from embedcomp.attention.dot_product import MASKED_SCORE, dense_attention
from embedcomp.attention.inputs import (
  as_mask,
  check_dropout,
  check_heads,
  check_lengths,
)
from embedcomp.attention.summaries import (
  Keys,
  blocks,
  mean_query,
  padded,
  summaries,
)
from embedcomp.types import Array, PRNGKey

# Chunks that are processed per step on a CPU: their scores stay in its cache.
_CPU_CHUNKS = 4


class SummaryParams(NamedTuple):
  """Learned params of the summaries of a layer; zeros change nothing.

  Attributes:
    anchor: [N, H] float, added to the mean query of a text, where summaries are
      exact; None for zeros.
    level_bias: [levels, N] float, added to the scores of summaries; the last
      row is that of all higher levels too. None for zeros.
  """

  anchor: Array | None = None
  level_bias: Array | None = None


class _Texts(NamedTuple):
  """Inputs of `recursive_attention`, checked.

  Attributes:
    query: [B, T, N, H].
    key: [B, T, N, H].
    value: [B, T, N, H].
    mask: [B, T] bool.
    learned: params of the summaries.
  """

  query: jax.Array
  key: jax.Array
  value: jax.Array
  mask: jax.Array
  learned: SummaryParams


class _Head(NamedTuple):
  """One head of a text; or many, one in each row.

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
  learned: SummaryParams | None = None,
  chunks_per_step: int | None = None,
  dropout_rate: float = 0.0,
  dropout_key: PRNGKey | None = None,
  **sizes: Any,
) -> jax.Array:
  """Softmax attention at a cost of n log n.

  Args:
    query: [B, T, N, H] float.
    key: [B, T, N, H] float.
    value: [B, T, N, H] float.
    mask: [B, T] bool, True where a token may be read; all if not given.
    learned: params of the summaries; zeros if not given.
    chunks_per_step: the most of all heads and texts whose scores exist at the
      same time; None for four on CPUs, and all elsewhere.
    dropout_rate: share of the attention weights that is left out, in [0, 1).
    dropout_key: of its random numbers; needed if the rate is above 0.
    **sizes: fields of a `Pattern`: `chunk_size` (256), `num_summaries` (16),
      `num_levels`, `reach`, `shift` and `num_global`. Texts of at most two
      chunks have dense attention.

  Returns:
    [B, T, N, H] in the dtype of the values. The output of a token that the mask
    leaves out is finite and of no use.

  Raises:
    TypeError: for a size that no `Pattern` has.
    ValueError: naming the argument whose dtype, shape or value is wrong.

  Example:
    >>> texts = jax.random.normal(jax.random.key(0), (3, 1, 64, 2, 4))
    >>> recursive_attention(*texts, chunk_size=16, num_summaries=4).shape
    (1, 64, 2, 4)
  """
  pattern = Pattern(**sizes)
  arrays = {
    'query': jnp.asarray(query),
    'key': jnp.asarray(key),
    'value': jnp.asarray(value),
  }
  check_heads(**arrays)
  check_lengths(**arrays)
  learned = learned or SummaryParams()
  _check_learned(learned, arrays['query'])
  _check_chunks(chunks_per_step)
  check_dropout(dropout_rate, dropout_key)
  if dropout_rate == 0:
    dropout_key = None
  shape = _, length = arrays['query'].shape[:2]
  mask = as_mask(np.ones(shape, bool) if mask is None else mask, shape)
  if pattern.is_dense(length):
    return dense_attention(
      **arrays,
      mask=mask,
      dropout_rate=dropout_rate,
      dropout_key=dropout_key,
    )

  def attend(texts, dropout_key):
    dropout = {'dropout_rate': dropout_rate, 'dropout_key': dropout_key}
    return _attend_texts(pattern, texts, chunks_per_step, dropout)

  sharding = jax.typeof(arrays['query']).sharding
  if jax.sharding.AxisType.Explicit in sharding.mesh.axis_types:
    # No loop may run over heads that are on several devices by their type.
    attend = jax.sharding.auto_axes(attend, out_sharding=sharding)
  return attend(_Texts(**arrays, mask=mask, learned=learned), dropout_key)


def _check_learned(learned: SummaryParams, query: jax.Array) -> None:
  heads, features = query.shape[2:]
  if learned.anchor is not None:
    shape = np.shape(learned.anchor)
    if shape != (heads, features):
      raise ValueError(
        f'anchor must be [heads, features] {[heads, features]}, got '
        f'{list(shape)}.'
      )
  if learned.level_bias is not None:
    shape = np.shape(learned.level_bias)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != heads:
      raise ValueError(
        f'level_bias must be [levels, heads], at least one level of {heads} '
        f'heads, got {list(shape)}.'
      )


def _check_chunks(chunks_per_step: int | None) -> None:
  if chunks_per_step is not None:
    check_int('chunks_per_step', chunks_per_step, 1)


def _attend_texts(
  pattern: Pattern, texts: _Texts, chunks_per_step: int | None, dropout
) -> jax.Array:
  """[B, T, N, H] of texts whose chunks are not all near each other."""
  batch, length, heads, features = texts.query.shape
  anchors = mean_query(texts.query, texts.mask)
  if texts.learned.anchor is not None:
    anchors += texts.learned.anchor[None]
  levels = np.arange(pattern.count_levels(length))
  level_bias = texts.learned.level_bias
  if level_bias is not None and len(levels):
    level_bias = level_bias[np.minimum(levels, len(level_bias) - 1)]
    level_bias = jnp.tile(level_bias.T, (batch, 1))
  else:
    level_bias = None
  bias = jnp.where(texts.mask, 0.0, MASKED_SCORE)
  rows = _Head(
    _by_heads(texts.query),
    Keys(
      _by_heads(texts.key),
      _by_heads(texts.value),
      jnp.repeat(bias, heads, axis=0),
    ),
    anchors.reshape(-1, features),
    level_bias,
  )
  attended = _attend_heads(pattern, rows, chunks_per_step, dropout)
  attended = attended.reshape(batch, heads, length, features)
  return jnp.swapaxes(attended, 1, 2)


def _attend_heads(
  pattern: Pattern, heads: _Head, chunks_per_step: int | None, dropout
) -> jax.Array:
  """[R, T, H] of R heads, a few per step.

  Copies and summaries of the others are not in memory then, nor are they kept
  for the gradient.
  """
  num_heads, length, _ = heads.query.shape
  num_chunks = pattern.num_chunks(length)
  if chunks_per_step is None:
    on_cpu = jax.default_backend() == 'cpu'
    chunks_per_step = _CPU_CHUNKS if on_cpu else num_heads * num_chunks
  # All chunks of several heads, or some of one.
  heads_per_step = _divisor(num_heads, chunks_per_step // num_chunks)
  chunks = _divisor(num_chunks, chunks_per_step)
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
    batch_size=heads_per_step if heads_per_step > 1 else None,
  )


def _attend_head(
  pattern: Pattern, head: _Head, chunks_per_step: int, dropout
) -> jax.Array:
  """[T, H], the output of a head."""
  length, features = head.query.shape
  size, shift = pattern.chunk_size, pattern.shift
  num_chunks = pattern.num_chunks(length)
  padding = (shift, num_chunks * size - length - shift)
  scaled = head._replace(
    query=head.query * features**-0.5, anchor=head.anchor * features**-0.5
  )
  near_key, first_key = _split(dropout['dropout_key'])
  query = jnp.pad(scaled.query, (padding, (0, 0)))
  key, value, bias = blocks(
    _parts(pattern, scaled, padding), pattern.num_summaries
  )
  attended = attend_blocks(
    query.reshape(num_chunks, size, features),
    key,
    value,
    bias,
    pattern.table(length),
    chunks_per_step=chunks_per_step,
    **dropout | {'dropout_key': near_key},
  )
  attended = attended.reshape(-1, features)[shift : shift + length]
  if not (first := pattern.num_global):
    return attended
  # All tokens are one block, and these tokens the chunk that reads it.
  everything = attend_blocks(
    scaled.query[None, :first],
    head.tokens.key[None],
    head.tokens.value[None],
    head.tokens.bias[None],
    np.zeros((1, 1), int),
    **dropout | {'dropout_key': first_key},
  )
  return jnp.concatenate([everything[0], attended[first:]])


def _split(dropout_key: PRNGKey | None) -> Any:
  return (None, None) if dropout_key is None else jax.random.split(dropout_key)


def _parts(
  pattern: Pattern, head: _Head, padding: tuple[int, int]
) -> list[Keys]:
  """Keys that chunks of a head may read: tokens, summaries, global tokens."""
  length = len(head.tokens.bias)
  is_global = np.arange(length) < pattern.num_global
  bias = jnp.where(is_global, MASKED_SCORE, head.tokens.bias)
  tokens = padded(head.tokens._replace(bias=bias), padding)
  parts = [tokens]
  if levels := pattern.count_levels(length):
    group = pattern.chunk_size // pattern.num_summaries
    parts.append(summaries(tokens, head.anchor, levels, group, head.level_bias))
  parts.append(Keys(*(array[: pattern.num_global] for array in head.tokens)))
  return parts


def _divisor(number: int, most: int) -> int:
  """Returns the largest divisor of a number that is at most `most`, or 1."""
  return max(
    d for d in range(1, max(1, min(number, most)) + 1) if number % d == 0
  )


def _by_heads(array: Array) -> jax.Array:
  """[B N, T, H] of [B, T, N, H]."""
  batch, length, heads, features = array.shape
  return jnp.swapaxes(array, 1, 2).reshape(batch * heads, length, features)
