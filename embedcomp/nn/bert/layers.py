"""The layers of a BERT: embeddings, and post-LN transformer layers.

H <- LN(H + Attention(H)),  H <- LN(H + MLP(H))
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.attention.dot_product import (
  AttentionFn,
  attention_weights,
  dense_attention,
)
from embedcomp.nn.bert.config import ACTIVATIONS, FAMILIES, BertConfig
from embedcomp.nn.bert.int8 import Int8Dense, Int8Embed
from embedcomp.nn.bert.outputs import sow_query_key_value
from embedcomp.types import Array


def linear(
  config: BertConfig,
  features: int | tuple[int, ...],
  name: str,
  *,
  axis: int | tuple[int, ...] = -1,
  dtype: Any = None,
  weights: str = 'float32',
) -> nn.DenseGeneral:
  """Makes a linear layer with BERT's initial weights.

  Args:
    config: sizes; of it the deviation of initial weights.
    features: F, of the output; several axes if it is a tuple.
    name: of the layer.
    axis: of the input, which the layer contracts.
    dtype: of the arithmetic; that of the params if not given.
    weights: see `Bert`.

  Returns:
    A module that maps [..., D] to [..., F].
  """
  init = nn.initializers.normal(config.initializer_range)
  kind = Int8Dense if weights == 'int8' else nn.DenseGeneral
  return kind(features, axis, dtype=dtype, kernel_init=init, name=name)


def layer_norm(config: BertConfig, name: str, dtype: Any) -> nn.LayerNorm:
  """Makes a layer normalisation, whose statistics are in float32."""
  # The quick formula of the variance loses half of the digits.
  return nn.LayerNorm(
    config.layer_norm_eps, dtype=dtype, name=name, use_fast_variance=False
  )


def pool_first(
  config: BertConfig,
  first: Array,
  name: str,
  dtype: Any = None,
  weights: str = 'float32',
) -> jax.Array:
  """Computes features of a text by a layer on its first token.

  To be called inside of a compact method: it makes a module.

  Args:
    config: sizes; its family determines the activation.
    first: [B, D] float, hidden states of the first tokens.
    name: of the layer.
    dtype: of the arithmetic.
    weights: see `Bert`.

  Returns:
    [B, D].
  """
  size = config.hidden_size
  dense = linear(config, size, name, dtype=dtype, weights=weights)
  return ACTIVATIONS[FAMILIES[config.model_type]](dense(first))


class BertEmbeddings(nn.Module):
  """Sum of words, positions and token types, normalised.

  Attributes:
    config: sizes.
    dtype: of the arithmetic; that of the params if not given.
    weights: see `Bert`.
  """

  config: BertConfig
  dtype: Any = None
  weights: str = 'float32'

  @nn.compact
  def __call__(
    self,
    words: Array,
    input_ids: Array,
    token_type_ids: Array | None,
    *,
    deterministic: bool,
  ) -> jax.Array:
    """Embeds tokens.

    Args:
      words: [B, T, D] float.
      input_ids: [B, T] integers, which tell padding from tokens.
      token_type_ids: [B, T] integers; zeros if not given.
      deterministic: True turns dropout off.

    Returns:
      [B, T, D].
    """
    config = self.config
    init = nn.initializers.normal(config.initializer_range)
    kind = Int8Embed if self.weights == 'int8' else nn.Embed

    def rows(num_rows, ids, name):
      return kind(num_rows, config.hidden_size, embedding_init=init, name=name)(
        ids
      )

    positions = config.position_ids(input_ids)
    hidden = words + rows(config.max_position_embeddings, positions, 'position')
    if config.type_vocab_size:
      if token_type_ids is None:
        token_type_ids = jnp.zeros((1, 1), jnp.int32)
      hidden += rows(config.type_vocab_size, token_type_ids, 'token_type')
    hidden = layer_norm(config, 'norm', self.dtype)(hidden)
    drop = nn.Dropout(config.hidden_dropout_prob)
    return drop(hidden, deterministic=deterministic)


class BertLayer(nn.Module):
  """Attention and a perceptron, each added and then normalised.

  Attributes:
    config: sizes.
    attention_fn: see `embedcomp.attention`.
    dtype: of the arithmetic; that of the params if not given.
    weights: see `Bert`.
  """

  config: BertConfig
  attention_fn: AttentionFn = dense_attention
  dtype: Any = None
  weights: str = 'float32'

  @nn.compact
  def __call__(
    self,
    hidden: Array,
    mask: Array | None,
    *,
    deterministic: bool,
    output_attentions: bool = False,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Applies the layer.

    Args:
      hidden: [B, T, D] float.
      mask: [B, T] bool, True where a token may be read; all if None.
      deterministic: True turns dropout off.
      output_attentions: whether to return the weights of dense attention.

    Returns:
      [B, T, D], and [B, N, T, T] float32 if asked for, else None.
    """
    config, dtype = self.config, self.dtype
    dense = functools.partial(linear, config, dtype=dtype, weights=self.weights)
    drop = nn.Dropout(config.hidden_dropout_prob, deterministic=deterministic)
    num_heads = config.num_attention_heads
    shape = (3, num_heads, config.hidden_size // num_heads)
    # Tokens in one axis: XLA's gradients of kernels are faster on CPUs.
    batch, length, features = hidden.shape
    hidden = hidden.reshape(-1, features)
    projected = dense(shape, 'query_key_value')(hidden)
    projected = projected.reshape(batch, length, *shape)
    sow_query_key_value(self, projected)
    query, key, value = jnp.unstack(projected, axis=2)  # [B, T, N, H] each
    rate = 0.0 if deterministic else config.attention_probs_dropout_prob
    dropout_key = self.make_rng('dropout') if rate else None
    attended = self.attention_fn(
      query, key, value, mask, dropout_rate=rate, dropout_key=dropout_key
    )
    attended = dense(config.hidden_size, 'attention_out', axis=(-2, -1))(
      attended.reshape(-1, *shape[1:])
    )
    if config.model_type != 'distilbert':
      attended = drop(attended)
    hidden = layer_norm(config, 'attention_norm', dtype)(hidden + attended)
    inner = dense(config.intermediate_size, 'mlp_in')(hidden)
    inner = ACTIVATIONS[config.hidden_act](inner)
    outer = dense(config.hidden_size, 'mlp_out')(inner)
    hidden = layer_norm(config, 'mlp_norm', dtype)(hidden + drop(outer))
    hidden = hidden.reshape(batch, length, features)
    weights = None
    if output_attentions:
      weights = attention_weights(query, key, mask)
    return jnp.asarray(hidden), weights
