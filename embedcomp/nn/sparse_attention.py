"""Attentions that read few of the keys, to be given to a BERT.

    Bert(config, attention_fn=RecursiveAttention(chunk_size=128))

Each is a function with its sizes, and a BERT's weights suit it as they are.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax

from embedcomp.attention import recursive
from embedcomp.attention.block_patterns import Pattern
from embedcomp.types import Array, PRNGKey

# Levels with a bias of their own; larger blocks share the last one's.
_NUM_BIASES = 8


class LearnedSummaries(nn.Module):
  """Params by which summaries leave the mean query's tangent.

  They are zeros at first, so that nothing changes before training.
  """

  @nn.compact
  def __call__(self, heads: int, features: int) -> dict[str, jax.Array]:
    """`anchor` [N, H] and `level_bias` [8, N] of `recursive_attention`."""
    zeros = nn.initializers.zeros
    return {
      'anchor': self.param('anchor', zeros, (heads, features)),
      'level_bias': self.param('level_bias', zeros, (_NUM_BIASES, heads)),
    }


@dataclasses.dataclass(frozen=True)
class ChunkedAttention:
  """What these attentions share.

  Attributes:
    chunk_size: C, tokens.
    num_global: so many first tokens read, and are read by, every other one.

  Raises:
    ValueError: naming the value and the rule that it breaks.
  """

  chunk_size: int = 256
  num_global: int = 1

  def __post_init__(self):
    Pattern(**self.arguments())

  def arguments(self) -> dict[str, Any]:
    """Of `recursive_attention`."""
    return dataclasses.asdict(self)

  @property
  def pattern(self) -> Pattern:
    """Which tokens read which others."""
    return Pattern(**self.arguments())

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
    """[B, T, N, H]; see `recursive_attention`."""
    return recursive.recursive_attention(
      query,
      key,
      value,
      mask,
      **self.arguments(),
      dropout_rate=dropout_rate,
      dropout_key=dropout_key,
    )


@dataclasses.dataclass(frozen=True)
class RecursiveAttention(ChunkedAttention):
  """All tokens, far ones in summaries; see `recursive_attention`.

  Attributes:
    num_summaries: P, keys that stand for a block; a divisor of C.
    num_levels: of summaries; None for as many as a text has use for.
    learned: whether a layer learns where its summaries are exact, and what is
      added to their scores. It must be called inside of a compact method then:
      it makes a module, `attention`.

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

  def arguments(self) -> dict[str, Any]:
    arguments = super().arguments()
    del arguments['learned']
    return arguments

  def __call__(self, query, key, value, mask=None, **dropout) -> jax.Array:
    if not self.learned:
      return super().__call__(query, key, value, mask, **dropout)
    learned = LearnedSummaries(name='attention')(*query.shape[2:])
    return recursive.recursive_attention(
      query, key, value, mask, **self.arguments(), **learned, **dropout
    )


@dataclasses.dataclass(frozen=True)
class SlidingWindowAttention(ChunkedAttention):
  """The chunk of a token and its neighbours, and global tokens.

  Reference: Beltagy et al., Longformer, 2020.

  Attributes:
    reach: neighbours on each side.
  """

  reach: int = 1

  def arguments(self) -> dict[str, Any]:
    size = _block_size(self.chunk_size)
    return {**super().arguments(), 'num_levels': 0, 'num_summaries': size}


@dataclasses.dataclass(frozen=True)
class LocalAttention(ChunkedAttention):
  """The chunk of a token, and global tokens.

  Layers that take turns with two shifts pass on what crosses chunks.

  Attributes:
    shift: tokens by which the first chunk is shorter.
  """

  shift: int = 0

  def arguments(self) -> dict[str, Any]:
    return {
      **super().arguments(),
      'reach': 0,
      'num_levels': 0,
      'num_summaries': _block_size(self.chunk_size),
    }


def _block_size(chunk_size: int) -> int:
  """Keys of a block where none is a summary: that of `RecursiveAttention`."""
  # What is no integer is refused by its name elsewhere.
  return math.gcd(chunk_size, 16) if type(chunk_size) is int else 1
