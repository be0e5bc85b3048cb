"""Language models whose logits use the table of their inputs.

  logits = E (W h + c) + b

with E [V, D] the embedder's table, read through `attend`, h the hidden state,
W its projection to D features and b an optional bias [V]. Vectors of a table
have lengths near one, so inputs are scaled by the root of D.

Padding has id 0. A word's logits depend on the words up to it alone; how long
a row is padded changes nothing. Weights of padded positions are the
caller's.

Reference: Press and Wolf, Using the Output Embedding to Improve Language
Models, EACL 2017.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.nn.transformer import Encoder, check_rates, embed_words
from embedcomp.types import Array


class _TiedHead(nn.Module):
  """Projects hidden states [B, T, H] to D and scores every word: [B, T, V]."""

  embedder: nn.Module
  features: int
  use_bias: bool

  @nn.compact
  def __call__(self, hidden: Array) -> jax.Array:
    query = nn.Dense(self.features, name='project')(hidden)
    logits = self.embedder.attend(query).astype(jnp.float32)
    if not self.use_bias:
      return logits
    bias = self.param('bias', nn.initializers.zeros, logits.shape[-1:])
    return logits + bias[None, None]


class RecurrentLanguageModel(nn.Module):
  """LSTM language model with a tied table.

  Attributes:
    embedder: of words, with `attend`.
    hidden_size: of each layer.
    num_layers: number of layers.
    dropout: of the input of each layer and of the last one's output.
    word_dropout: share of the input words that training replaces by zeros.
    use_bias: True adds a bias to each word's logit.

  Raises:
    ValueError: for a rate that is not in [0, 1).

  Example:
    >>> model = RecurrentLanguageModel(nn.Embed(9, 4), hidden_size=8)
    >>> ids = jnp.array([[5, 2, 0]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3, 9)
  """

  embedder: nn.Module
  hidden_size: int = 128
  num_layers: int = 1
  dropout: float = 0.0
  word_dropout: float = 0.0
  use_bias: bool = True

  def __post_init__(self):
    super().__post_init__()
    check_rates(dropout=self.dropout, word_dropout=self.word_dropout)

  @nn.compact
  def __call__(self, ids: Array, *, deterministic: bool = True) -> jax.Array:
    """Scores the next words.

    Args:
      ids: [B, T] integers, 0 is padding.
      deterministic: True turns dropout off.

    Returns:
      [B, T, V] float32 logits.

    Raises:
      ValueError: for ids that are not [B, T] integers, B and T at least 1.
    """
    words, _ = embed_words(
      self.embedder, ids, self.word_dropout, deterministic=deterministic
    )
    features = words.shape[-1]
    drop = nn.Dropout(self.dropout, deterministic=deterministic)
    hidden = words * features**0.5
    for layer in range(self.num_layers):
      cell = nn.OptimizedLSTMCell(self.hidden_size, name=f'lstm_{layer}')
      hidden = nn.RNN(cell)(drop(hidden))
    return _TiedHead(self.embedder, features, self.use_bias, name='head')(
      drop(hidden)
    )


class TransformerLanguageModel(nn.Module):
  """Causal transformer language model with a tied table.

  Attributes:
    embedder: of words, with `attend`.
    num_layers: number of blocks.
    hidden_size: width of the blocks.
    num_heads: a divisor of it.
    dropout: of the input, in the blocks and of the output.
    word_dropout: share of the input words that training replaces by zeros.
    use_bias: True adds a bias to each word's logit.

  Raises:
    ValueError: for a rate that is not in [0, 1).

  Example:
    >>> model = TransformerLanguageModel(nn.Embed(9, 4), hidden_size=8)
    >>> ids = jnp.array([[5, 2, 0]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3, 9)
  """

  embedder: nn.Module
  num_layers: int = 2
  hidden_size: int = 128
  num_heads: int = 4
  dropout: float = 0.0
  word_dropout: float = 0.0
  use_bias: bool = True

  def __post_init__(self):
    super().__post_init__()
    check_rates(dropout=self.dropout, word_dropout=self.word_dropout)

  @nn.compact
  def __call__(self, ids: Array, *, deterministic: bool = True) -> jax.Array:
    """Scores the next words.

    Args:
      ids: [B, T] integers, 0 is padding.
      deterministic: True turns dropout off.

    Returns:
      [B, T, V] float32 logits.

    Raises:
      ValueError: for ids that are not [B, T] integers, B and T at least 1.
    """
    words, _ = embed_words(
      self.embedder, ids, self.word_dropout, deterministic=deterministic
    )
    features = words.shape[-1]
    hidden = Encoder(
      self.num_layers,
      self.hidden_size,
      self.num_heads,
      self.dropout,
      causal=True,
      name='encoder',
    )(words * features**0.5, ids != 0, deterministic=deterministic)
    hidden = nn.Dropout(self.dropout, deterministic=deterministic)(hidden)
    return _TiedHead(self.embedder, features, self.use_bias, name='head')(
      hidden
    )
