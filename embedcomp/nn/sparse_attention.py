"""Attentions that read few of the keys, to be given to a BERT.

    Bert(config, attention_fn=RecursiveAttention(chunk_size=128))

Each is a function with its sizes. A BERT's weights suit it as they are.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax

from embedcomp.attention.block_patterns import Pattern
from embedcomp.attention.recursive import SummaryParams, recursive_attention
from embedcomp.types import Array, PRNGKey

# Levels with a bias of their own; larger blocks share the last one's.
_NUM_BIASES = 8


class LearnedSummaries(nn.Module):
  """Params by which summaries leave the mean query's tangent.

  They are zeros at first, so that nothing changes before training.
  """

  @nn.compact
  def __call__(self, heads: int, features: int) -> SummaryParams:
    """Makes the params of a layer.

    Args:
      heads: N.
      features: H.

    Returns:
      `anchor` [N, H] and `level_bias` [8, N], float32.
    """
    zeros = nn.initializers.zeros
    return SummaryParams(
      anchor=self.param('anchor', zeros, (heads, features)),
      level_bias=self.param('level_bias', zeros, (_NUM_BIASES, heads)),
    )


@dataclasses.dataclass(frozen=True)
class ChunkedAttention:
  """Attention in chunks, by the fields that all kinds of it have.

  Attributes:
    chunk_size: C, tokens.
    num_global: first tokens that read, and are read by, all others.

  Raises:
    ValueError: naming the field, its value and the rule that it breaks.
  """

  chunk_size: int = 256
  num_global: int = 1

  def __post_init__(self):
    Pattern(**self.sizes())

  def sizes(self) -> dict[str, Any]:
    """Returns the sizes that `recursive_attention` takes."""
    return dataclasses.asdict(self)

  @property
  def pattern(self) -> Pattern:
    """Tokens that each token reads."""
    return Pattern(**self.sizes())

  def __call__(
    self,
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    *,
    dropout_rate: float = 0.0,
    dropout_key: PRNGKey | None = None,
  ) -> jax.Array:
    """Attends; see `recursive_attention`.

    Args:
      query: [B, T, N, H] float.
      key: [B, T, N, H] float.
      value: [B, T, N, H] float.
      mask: [B, T] bool, True where a token may be read; all if not given.
      dropout_rate: share of the attention weights that is left out.
      dropout_key: of its random numbers; needed if the rate is above 0.

    Returns:
      [B, T, N, H] in the dtype of the values.

    Raises:
      ValueError: naming the argument whose dtype, shape or value is wrong.
    """
    return recursive_attention(
      query,
      key,
      value,
      mask,
      **self.sizes(),
      dropout_rate=dropout_rate,
      dropout_key=dropout_key,
    )


@dataclasses.dataclass(frozen=True)
class RecursiveAttention(ChunkedAttention):
  """Attention to all tokens, far ones in summaries.

  See `embedcomp.recursive_attention`.

  Attributes:
    num_summaries: P, keys that stand for a block; a divisor of C.
    num_levels: levels of summaries; None for as many as a text has use for.
    learned: whether a layer learns `SummaryParams`. It must be called inside of
      a compact method then: it makes a module, `attention`.

  Example:
    >>> import jax.numpy as jnp
    >>> attention_fn = RecursiveAttention(chunk_size=128)
    >>> texts = jnp.ones((3, 1, 1000, 2, 8))
    >>> attention_fn(*texts).shape
    (1, 1000, 2, 8)
  """

  num_summaries: int = 16
  num_levels: int | None = None
  learned: bool = False

  def sizes(self) -> dict[str, Any]:
    sizes = super().sizes()
    del sizes['learned']
    return sizes

  def __call__(
    self,
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    **dropout: Any,
  ) -> jax.Array:
    if not self.learned:
      return super().__call__(query, key, value, mask, **dropout)
    learned = LearnedSummaries(name='attention')(*query.shape[2:])
    return recursive_attention(
      query, key, value, mask, learned=learned, **self.sizes(), **dropout
    )


@dataclasses.dataclass(frozen=True)
class SlidingWindowAttention(ChunkedAttention):
  """Attention to a token's chunk, its neighbours and global tokens.

  Reference: Beltagy et al., Longformer, 2020.

  Attributes:
    reach: neighbours on each side.

  Example:
    >>> SlidingWindowAttention(chunk_size=64).pattern.num_keys(1024)
    193
  """

  reach: int = 1

  def sizes(self) -> dict[str, Any]:
    size = _block_size(self.chunk_size)
    return {**super().sizes(), 'num_levels': 0, 'num_summaries': size}


@dataclasses.dataclass(frozen=True)
class LocalAttention(ChunkedAttention):
  """Attention to a token's chunk and global tokens.

  Layers that take turns with two shifts pass on what crosses chunks.

  Attributes:
    shift: tokens by which the first chunk is shorter.

  Example:
    >>> LocalAttention(chunk_size=64, shift=32).pattern.num_keys(1024)
    65
  """

  shift: int = 0

  def sizes(self) -> dict[str, Any]:
    return {
      **super().sizes(),
      'reach': 0,
      'num_levels': 0,
      'num_summaries': _block_size(self.chunk_size),
    }


def _block_size(chunk_size: int) -> int:
  """Returns the keys of a block where none is a summary, 16 if they divide."""
  # A `Pattern` refuses what is no integer, by its name.
  return math.gcd(chunk_size, 16) if type(chunk_size) is int else 1
