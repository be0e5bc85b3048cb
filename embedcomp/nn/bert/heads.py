"""What a BERT is used for: models that put a head on `Bert`.

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

from embedcomp.attention import dot_product as attention
from embedcomp.nn.bert.config import ACTIVATIONS, BertConfig
from embedcomp.nn.bert.encoder import AttentionFns, Bert, dense_embedder
from embedcomp.nn.bert.int8 import check_weights
from embedcomp.nn.bert.layers import layer_norm, linear, pool_first
from embedcomp.nn.classifiers import masked_mean
from embedcomp.types import Array


class BertModel(nn.Module):
  """What all heads share; by itself, hidden states [B, T, D] and no more.

  A head says in `_head` what it makes of them.

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
  attention_fn: AttentionFns = attention.dense_attention
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
    """What the class says of each text, float32; see `Bert` for arguments."""
    input_ids = jnp.asarray(input_ids)
    if attention_mask is None:
      attention_mask = input_ids != self.config.pad_token_id
    mask = jnp.asarray(attention_mask).astype(bool)
    hidden = self._encode(input_ids, mask, token_type_ids, deterministic)
    return self._head(hidden, mask, deterministic)

  def _encode(self, input_ids, mask, token_type_ids, deterministic):
    """Hidden states [B, T, D]; to be called inside of a compact method."""
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
    """The output of hidden states [B, T, D] where `mask` [B, T] is True.

    To be called inside of a compact method.
    """
    del mask, deterministic
    return hidden.astype(jnp.float32)

  def _score(self, features, num_labels) -> jax.Array:
    """Logits [..., labels] float32 of features [..., D]."""
    logits = linear(self.config, num_labels, 'classifier', dtype=self.dtype)
    return logits(features).astype(jnp.float32)


class BertClassifier(BertModel):
  """Logits [B, labels] of a text or a pair of texts; one of a regression.

  Attributes:
    num_labels: number of logits.
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
    """Features [B, D] of texts, of which `mask` tells the tokens."""
    del mask
    return features


class BertTokenClassifier(BertModel):
  """Logits [B, T, labels] of every token.

  Attributes:
    num_labels: number of logits.
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
  """Logits of the word at every place, by the table that embeds the words."""

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
    """
    hidden = self._encode(
      input_ids, attention_mask, token_type_ids, deterministic
    )
    if mask_positions is not None:
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
    logits = self.embedder.attend(flat).astype(jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, logits.shape[-1:])
    return (logits + bias[None]).reshape(*hidden.shape[:-1], -1)


class SentenceEncoder(BertModel):
  """Vectors [B, D] of texts: the mean of the tokens' hidden states.

  Attributes:
    normalize: whether to make their length one.
  """

  normalize: bool = True

  def _head(self, hidden, mask, deterministic):
    del deterministic
    pooled = masked_mean(hidden.astype(jnp.float32), mask)
    if not self.normalize:
      return pooled
    length = jnp.linalg.norm(pooled, axis=-1, keepdims=True)
    return pooled / jnp.maximum(length, 1e-12)
