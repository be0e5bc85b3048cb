"""Models that put a head on `Bert`.

All take `(input_ids, attention_mask=None, token_type_ids=None)`. Their params
are `embedder`, the rest of the encoder under `bert`, and the head's own. Logits
and sentence vectors are float32.

References:
  Devlin et al., BERT, 2019.
  Reimers and Gurevych, Sentence-BERT, EMNLP 2019 (mean-pooled embeddings).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.attention.dot_product import dense_attention
from embedcomp.nn.bert.config import ACTIVATIONS, BertConfig
from embedcomp.nn.bert.encoder import (
  AttentionFns,
  Bert,
  as_inputs,
  dense_embedder,
)
from embedcomp.nn.bert.int8 import check_weights
from embedcomp.nn.bert.layers import layer_norm, linear, pool_first
from embedcomp.nn.classifiers import masked_mean
from embedcomp.types import Array


class BertModel(nn.Module):
  """Base of all heads; by itself, hidden states [B, T, D] and no more.

  A head computes its output from them in `_head`.

  Attributes:
    config: sizes.
    embedder: see `Bert`.
    attention_fn: see `Bert`.
    dtype: see `Bert`.
    remat: see `Bert`.
    weights: see `Bert`; what scores labels is float32 in any case.
  """

  config: BertConfig
  embedder: nn.Module | None = None
  attention_fn: AttentionFns = dense_attention
  dtype: Any = None
  remat: bool = False
  weights: str = 'float32'

  def __post_init__(self):
    check_weights(self.weights)
    if self.embedder is None:
      self.embedder = dense_embedder(self.config)
    super().__post_init__()

  @nn.compact
  def __call__(
    self,
    input_ids: Array,
    attention_mask: Array | None = None,
    token_type_ids: Array | None = None,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """Computes the output of the class.

    Args:
      input_ids: [B, T] integers.
      attention_mask: [B, T] bool or integers of 0 and 1; see `Bert`.
      token_type_ids: [B, T] integers; zeros if not given.
      deterministic: True turns dropout off.

    Returns:
      float32, in the shape that the summary of the class gives.

    Raises:
      ValueError: as `Bert`.
    """
    input_ids, mask, token_type_ids = as_inputs(
      self.config, input_ids, attention_mask, token_type_ids
    )
    hidden = self._encode(input_ids, mask, token_type_ids, deterministic)
    return self._head(hidden, mask, deterministic)

  def _encode(self, input_ids, mask, token_type_ids, deterministic):
    """Computes hidden states [B, T, D], inside of a compact method."""
    bert = Bert(
      self.config,
      self.embedder,
      self.attention_fn,
      add_pooler=False,
      dtype=self.dtype,
      remat=self.remat,
      weights=self.weights,
      name='bert',
    )
    return bert(
      input_ids, mask, token_type_ids, deterministic=deterministic
    ).last_hidden_state

  def _head(self, hidden, mask, deterministic) -> jax.Array:
    """Computes the output from hidden states [B, T, D], masked by [B, T].

    To be called inside of a compact method.
    """
    del mask, deterministic
    return hidden.astype(jnp.float32)

  def _score(self, features, num_labels) -> jax.Array:
    """Computes logits [..., labels] float32 of features [..., D]."""
    logits = linear(self.config, num_labels, 'classifier', dtype=self.dtype)
    return logits(features).astype(jnp.float32)


class BertClassifier(BertModel):
  """Logits [B, labels] of a text or a pair of texts; one of a regression.

  Attributes:
    num_labels: number of logits.

  Example:
    >>> model = BertClassifier(BertConfig(20, 8, 1, 2, 16))
    >>> ids = jnp.array([[2, 5, 3]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 2)
  """

  num_labels: int = 2

  def _head(self, hidden, mask, deterministic):
    config = self.config
    rate = config.classifier_dropout
    rate = config.hidden_dropout_prob if rate is None else rate
    drop = nn.Dropout(rate, deterministic=deterministic)
    first = hidden[..., 0, :]
    if config.counts_positions:
      first = drop(first)
    features = pool_first(config, first, 'pooler', self.dtype, self.weights)
    return self._score(drop(self._of_text(features, mask)), self.num_labels)

  def _of_text(self, features, mask):
    """Computes features [B, D] of texts whose tokens `mask` marks."""
    del mask
    return features


class BertTokenClassifier(BertModel):
  """Logits [B, T, labels] of every token.

  Attributes:
    num_labels: number of logits.

  Example:
    >>> model = BertTokenClassifier(BertConfig(20, 8, 1, 2, 16))
    >>> ids = jnp.array([[2, 5, 3]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3, 2)
  """

  num_labels: int = 2

  def _head(self, hidden, mask, deterministic):
    del mask
    config = self.config
    rate = config.classifier_dropout
    if rate is None or config.model_type == 'distilbert':
      rate = config.hidden_dropout_prob
    drop = nn.Dropout(rate, deterministic=deterministic)
    return self._score(drop(hidden), self.num_labels)


class BertMaskedLM(BertModel):
  """Logits [B, T, V] of the word at every position, by the table of words.

  Example:
    >>> model = BertMaskedLM(BertConfig(20, 8, 1, 2, 16))
    >>> ids = jnp.array([[2, 5, 3]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 3, 20)
  """

  @nn.compact
  def __call__(
    self,
    input_ids: Array,
    attention_mask: Array | None = None,
    token_type_ids: Array | None = None,
    *,
    mask_positions: Array | None = None,
    deterministic: bool = True,
  ) -> jax.Array:
    """Scores the vocabulary.

    Args:
      input_ids: see `Bert`.
      attention_mask: see `Bert`.
      token_type_ids: see `Bert`.
      mask_positions: [B, P] integers, the tokens to score; all if not given.
      deterministic: True turns dropout off.

    Returns:
      [B, T, V] float32, or [B, P, V].

    Raises:
      ValueError: as `Bert`, or for positions that are not [B, P] integers.
    """
    hidden = self._encode(
      input_ids, attention_mask, token_type_ids, deterministic
    )
    if mask_positions is not None:
      mask_positions = jnp.asarray(mask_positions)
      _check_positions(mask_positions, len(hidden))
      hidden = jnp.take_along_axis(hidden, mask_positions[..., None], axis=1)
    return self._head(hidden, None, deterministic)

  def _head(self, hidden, mask, deterministic):
    del mask, deterministic
    config = self.config
    dense = linear(
      config,
      config.hidden_size,
      'transform',
      dtype=self.dtype,
      weights=self.weights,
    )
    # RoBERTa's head does not follow the config.
    act = 'gelu' if config.counts_positions else config.hidden_act
    hidden = ACTIVATIONS[act](dense(hidden))
    hidden = layer_norm(config, 'transform_norm', self.dtype)(hidden)
    # Tokens in one axis: XLA's gradient of the table is faster on CPUs.
    flat = hidden.reshape(-1, config.hidden_size)
    embedder: Any = self.embedder  # which scores words as well
    logits = embedder.attend(flat).astype(jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, logits.shape[-1:])
    return (logits + bias[None]).reshape(*hidden.shape[:-1], -1)


class SentenceEncoder(BertModel):
  """Vectors [B, D] of texts: the mean of the tokens' hidden states.

  Attributes:
    normalize: True scales them to length one.

  Example:
    >>> model = SentenceEncoder(BertConfig(20, 8, 1, 2, 16))
    >>> ids = jnp.array([[2, 5, 3]])
    >>> vectors, _ = model.init_with_output(jax.random.key(0), ids)
    >>> vectors.shape
    (1, 8)
  """

  normalize: bool = True

  def _head(self, hidden, mask, deterministic):
    del deterministic
    pooled = masked_mean(hidden.astype(jnp.float32), mask)
    if not self.normalize:
      return pooled
    length = jnp.linalg.norm(pooled, axis=-1, keepdims=True)
    return pooled / jnp.maximum(length, 1e-12)


def _check_positions(mask_positions: jax.Array, batch: int) -> None:
  shape, dtype = mask_positions.shape, mask_positions.dtype
  if (
    len(shape) != 2
    or shape[0] != batch
    or not jnp.issubdtype(dtype, jnp.integer)
  ):
    raise ValueError(
      f'mask_positions must be [{batch}, positions] integers, got '
      f'{dtype}{list(shape)}.'
    )
