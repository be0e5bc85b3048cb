"""The attention that a config names."""

from ml_collections import ConfigDict

from embedcomp.attention import dot_product
from embedcomp.nn.bert.encoder import AttentionFns
from embedcomp.nn.sparse_attention import (
  LocalAttention,
  RecursiveAttention,
  SlidingWindowAttention,
)


def from_config(config: ConfigDict) -> AttentionFns:
  """Makes the attention of a BERT.

  Args:
    config: the section `bert`; see `configs/common.py`.

  Returns:
    One for all layers, or several that these take in turn.

  Raises:
    ValueError: for a name or a size that cannot be.
  """
  size = config.chunk_size
  makers = {
    'dense': lambda: dot_product.dense_attention,
    'recursive': lambda: RecursiveAttention(
      chunk_size=size,
      num_summaries=config.num_summaries,
      num_levels=config.num_levels,
      learned=config.learned_summaries,
    ),
    'sliding_window': lambda: SlidingWindowAttention(size),
    'local': lambda: (
      LocalAttention(size),
      LocalAttention(size, shift=size // 2),
    ),
    'windows': lambda: LocalAttention(size),
  }
  if config.attention not in makers:
    raise ValueError(
      f'bert.attention must be one of {[*makers]}, got {config.attention!r}.'
    )
  return makers[config.attention]()
