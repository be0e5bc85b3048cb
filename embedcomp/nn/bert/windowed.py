"""Chunk and pool: a BERT for long texts, which it reads window by window.

  logits = classifier(pool_w features(window_w))

A mean counts each window by its tokens: the last one of a text may hold a few
words only, and would spoil it else.

Reference: Pappagari et al., Hierarchical Transformers for Long Document
Classification, ASRU 2019.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.nn.bert.heads import BertClassifier
from embedcomp.nn.classifiers import masked_max


def _mean(features: jax.Array, num_tokens: jax.Array) -> jax.Array:
  """[B, D] mean of [B, W, D] by [B, W] tokens; zero if there are none."""
  total = jnp.maximum(num_tokens.sum(axis=1, keepdims=True), 1)
  shares = (num_tokens / total).astype(features.dtype)
  return jnp.einsum('BW,BWD->BD', shares, features)


def _max(features: jax.Array, num_tokens: jax.Array) -> jax.Array:
  """[B, D] largest of [B, W, D] where there are tokens; zero if none."""
  return masked_max(features, num_tokens > 0)


POOLS = {'mean': _mean, 'max': _max}


class WindowClassifier(BertClassifier):
  """Logits [B, labels] of texts, of windows that do not attend to each other.

  `input_ids` [B, T] hold windows one after another, each with special tokens of
  its own; T is a multiple of the window, or less than one. Windows of nothing
  but padding do not count. Params are those of `BertClassifier`, which gives
  the same logits for texts of one window.

  Attributes:
    window: tokens of each.
    pool: 'mean', by tokens, or 'max' of the features of all windows.

  Raises:
    ValueError: for another pool, or if T holds no whole number of windows.

  Example:
    >>> from embedcomp.nn.bert.config import BertConfig
    >>> model = WindowClassifier(BertConfig(9, 8, 1, 2, 16), window=2)
    >>> ids = jnp.array([[2, 5, 2, 6, 0, 0]])
    >>> logits, _ = model.init_with_output(jax.random.key(0), ids)
    >>> logits.shape
    (1, 2)
  """

  window: int = 512
  pool: str = 'mean'

  def __post_init__(self):
    if self.pool not in POOLS:
      raise ValueError(f'pool must be one of {[*POOLS]}, got {self.pool!r}.')
    super().__post_init__()

  @classmethod
  def around(
    cls, model: BertClassifier, window: int = 512, pool: str = 'mean'
  ) -> 'WindowClassifier':
    """Makes the classifier of windows that has the params of another one.

    Args:
      model: which reads texts as a whole.
      window: tokens of each window.
      pool: 'mean' or 'max'.

    Returns:
      A classifier with the attributes of the other.
    """
    return cls(**_attributes(model), window=window, pool=pool, parent=None)

  @nn.nowrap
  def of_one_window(self) -> BertClassifier:
    """Returns the classifier of texts that are no longer than a window."""
    attributes = _attributes(self)
    del attributes['window'], attributes['pool']
    return BertClassifier(**attributes, parent=None)

  def _encode(self, input_ids, mask, token_type_ids, deterministic):
    """Computes hidden states [B, W, T, D] of W windows."""
    batch, length = input_ids.shape
    window = min(self.window, length)
    if length % window:
      raise ValueError(
        f'input_ids must hold whole windows of {window} tokens, got {length} '
        'tokens.'
      )
    if token_type_ids is not None:
      token_type_ids = token_type_ids.reshape(-1, window)
    hidden = super()._encode(
      input_ids.reshape(-1, window),
      mask.reshape(-1, window),
      token_type_ids,
      deterministic,
    )
    return hidden.reshape(batch, -1, *hidden.shape[1:])

  def _of_text(self, features, mask):
    """Pools features [B, W, D] of windows into those of texts, [B, D]."""
    num_tokens = mask.reshape(*features.shape[:2], -1).sum(axis=2)
    return POOLS[self.pool](features, num_tokens)


def _attributes(model: nn.Module) -> dict:
  """Returns the attributes that a module was made with."""
  return {
    field.name: getattr(model, field.name)
    for field in dataclasses.fields(model)
    if field.name not in ('parent', 'name')
  }
