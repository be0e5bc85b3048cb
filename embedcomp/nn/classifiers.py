"""Classifiers of texts by their words.

All take any embedder (`flax.linen.Embed`, `embedcomp.nn.GroupedEmbed`), compute
masks from the ids themselves (0 is padding) and give logits in float32. A
document without words has the logits of a zero vector.

References:
  Joulin et al., Bag of Tricks for Efficient Text Classification, EACL 2017.
  Shen et al., Baseline Needs More Love, ACL 2018 (SWEM).
  Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.nn.transformer import Encoder, check_rates, embed_words
from embedcomp.types import Array

POOLS = ('mean', 'max')


def masked_mean(hidden: Array, mask: Array) -> jax.Array:
  """Computes the mean over tokens where the mask is True; zero if none.

  Args:
    hidden: [B, T, D] float.
    mask: [B, T] bool.

  Returns:
    [B, D].
  """
  total = jnp.where(mask[..., None], hidden, 0).sum(axis=1)
  return total / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)


def masked_max(hidden: Array, mask: Array) -> jax.Array:
  """Computes the maximum over tokens where the mask is True; zero if none.

  Args:
    hidden: [B, T, D] float.
    mask: [B, T] bool.

  Returns:
    [B, D].
  """
  largest = jnp.where(mask[..., None], hidden, -jnp.inf).max(axis=1)
  return jnp.where(mask.any(axis=1, keepdims=True), largest, 0)


class PooledClassifier(nn.Module):
  """Perceptron on pooled word vectors, as fastText and SWEM.

  Attributes:
    embedder: of words, ids [B, T] to vectors [B, T, D].
    num_classes: number of logits.
    hidden_sizes: of the perceptron's hidden layers; () makes it linear.
    pools: 'mean', 'max' or both, one beside the other.
    dropout: of the pooled vectors and the perceptron's hidden layers.
    word_dropout: share of the words that training leaves out.

  Raises:
    ValueError: for another pool, or a rate that is not in [0, 1).

  Example:
    >>> model = PooledClassifier(nn.Embed(9, 4), num_classes=3)
    >>> ids = jnp.array([[5, 2, 0]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3)
  """

  embedder: nn.Module
  num_classes: int
  hidden_sizes: Sequence[int] = ()
  pools: Sequence[str] = ('mean',)
  dropout: float = 0.0
  word_dropout: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    if not self.pools or set(self.pools) - set(POOLS):
      raise ValueError(f'pools must be out of {POOLS}, got {self.pools}.')
    check_rates(dropout=self.dropout, word_dropout=self.word_dropout)

  @nn.compact
  def __call__(self, ids: Array, *, deterministic: bool = True) -> jax.Array:
    """Classifies texts.

    Args:
      ids: [B, T] integers, 0 is padding.
      deterministic: True turns dropout off.

    Returns:
      [B, classes] float32 logits.

    Raises:
      ValueError: for ids that are not [B, T] integers, B and T at least 1.
    """
    words, kept = embed_words(
      self.embedder, ids, self.word_dropout, deterministic=deterministic
    )
    pool_fns = {'mean': masked_mean, 'max': masked_max}
    hidden = jnp.concatenate(
      [pool_fns[pool](words, kept) for pool in self.pools], axis=-1
    )
    drop = nn.Dropout(self.dropout, deterministic=deterministic)
    for layer, size in enumerate(self.hidden_sizes):
      hidden = nn.Dense(size, name=f'hidden_{layer}')(drop(hidden))
      hidden = jax.nn.relu(hidden)
    logits = nn.Dense(self.num_classes, name='head')(drop(hidden))
    return logits.astype(jnp.float32)


class ConvolutionalClassifier(nn.Module):
  """Convolutions over words, and the maximum of each over the text.

  Attributes:
    embedder: of words, ids [B, T] to vectors [B, T, D].
    num_classes: number of logits.
    num_filters: number of filters of each width.
    widths: of the convolutions, in words.
    dropout: of the pooled values.
    word_dropout: share of the words that training leaves out (as zeros: the
      others keep their positions).

  Raises:
    ValueError: for a rate that is not in [0, 1).

  Example:
    >>> model = ConvolutionalClassifier(nn.Embed(9, 4), num_classes=3)
    >>> ids = jnp.array([[5, 2, 0]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3)
  """

  embedder: nn.Module
  num_classes: int
  num_filters: int = 64
  widths: Sequence[int] = (1, 2, 3)
  dropout: float = 0.0
  word_dropout: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    check_rates(dropout=self.dropout, word_dropout=self.word_dropout)

  @nn.compact
  def __call__(self, ids: Array, *, deterministic: bool = True) -> jax.Array:
    """Classifies texts.

    Args:
      ids: [B, T] integers, 0 is padding.
      deterministic: True turns dropout off.

    Returns:
      [B, classes] float32 logits.

    Raises:
      ValueError: for ids that are not [B, T] integers, B and T at least 1.
    """
    words, _ = embed_words(
      self.embedder, ids, self.word_dropout, deterministic=deterministic
    )
    is_word = jnp.asarray(ids) != 0
    pooled = []
    for width in self.widths:
      conv = nn.Conv(self.num_filters, (width,), name=f'width_{width}')
      pooled.append(masked_max(jax.nn.relu(conv(words)), is_word))
    hidden = jnp.concatenate(pooled, axis=-1)
    hidden = nn.Dropout(self.dropout, deterministic=deterministic)(hidden)
    return nn.Dense(self.num_classes, name='head')(hidden).astype(jnp.float32)


class TransformerClassifier(nn.Module):
  """Small transformer, whose mean output is classified.

  Attributes:
    embedder: of words, ids [B, T] to vectors [B, T, D].
    num_classes: number of logits.
    num_layers: number of blocks.
    hidden_size: width of the blocks.
    num_heads: a divisor of it.
    dropout: of the blocks and of the pooled vectors.
    word_dropout: share of the words that training leaves out.

  Raises:
    ValueError: for a rate that is not in [0, 1).

  Example:
    >>> model = TransformerClassifier(nn.Embed(9, 4), num_classes=3)
    >>> ids = jnp.array([[5, 2, 0]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3)
  """

  embedder: nn.Module
  num_classes: int
  num_layers: int = 1
  hidden_size: int = 64
  num_heads: int = 4
  dropout: float = 0.0
  word_dropout: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    check_rates(dropout=self.dropout, word_dropout=self.word_dropout)

  @nn.compact
  def __call__(self, ids: Array, *, deterministic: bool = True) -> jax.Array:
    """Classifies texts.

    Args:
      ids: [B, T] integers, 0 is padding.
      deterministic: True turns dropout off.

    Returns:
      [B, classes] float32 logits.

    Raises:
      ValueError: for ids that are not [B, T] integers, B and T at least 1.
    """
    words, kept = embed_words(
      self.embedder, ids, self.word_dropout, deterministic=deterministic
    )
    hidden = Encoder(
      self.num_layers,
      self.hidden_size,
      self.num_heads,
      self.dropout,
      name='encoder',
    )(words * words.shape[-1] ** 0.5, kept, deterministic=deterministic)
    hidden = masked_mean(hidden, kept)
    hidden = nn.Dropout(self.dropout, deterministic=deterministic)(hidden)
    return nn.Dense(self.num_classes, name='head')(hidden).astype(jnp.float32)
