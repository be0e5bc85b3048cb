"""BERT and its family, read from checkpoints by `embedcomp.from_pretrained`.

Params are `embedder`, `embeddings`, `layer_0`, `layer_1`, ... and `pooler`.

References:
  Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2019.
  Liu et al., RoBERTa, 2019.  Sanh et al., DistilBERT, 2019.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from embedcomp.attention.dot_product import AttentionFn, dense_attention
from embedcomp.attention.inputs import as_mask
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.int8 import check_weights
from embedcomp.nn.bert.layers import BertEmbeddings, BertLayer, pool_first
from embedcomp.nn.bert.outputs import sow_hidden_state
from embedcomp.nn.bert.remat import recomputed_layer
from embedcomp.types import Array

AttentionFns = AttentionFn | tuple[AttentionFn, ...]


@flax.struct.dataclass
class BertOutput:
  """Output of a `Bert` for a batch.

  Attributes:
    last_hidden_state: [B, T, D].
    pooler_output: [B, D] of the first token; None without a pooler.
    hidden_states: L + 1 of [B, T, D], embeddings first; None if not asked for.
    attentions: L of [B, N, T, T] float32; None if not asked for.
  """

  last_hidden_state: jax.Array
  pooler_output: jax.Array | None = None
  hidden_states: tuple[jax.Array, ...] | None = None
  attentions: tuple[jax.Array, ...] | None = None


class Bert(nn.Module):
  """An encoder of the BERT family.

  Attributes:
    config: sizes.
    embedder: of words, ids [B, T] to [B, T, D]; `nn.Embed` if not given. A
      `GroupedEmbed` takes its place as it is.
    attention_fn: see `embedcomp.attention`; or several, which layers take in
      turn. It is called inside of a layer, where one with a true attribute
      `learned` makes a module of the name 'attention'.
    add_pooler: True computes `pooler_output`.
    dtype: of the arithmetic, such as `jnp.bfloat16`; params stay in float32.
    remat: whether layers are rematerialised: gradients compute each one again
      instead of keeping its activations, which takes less memory, and the time
      of one more forward pass. Such gradients have no forward derivative.
    weights: how kernels and the tables of positions and token types are stored,
      'float32' or 'int8' (see `quantize_encoder`). With 'int8' params may be
      floats, which are rounded as they are read, gradients passed straight
      through, or the stored integers, which have no gradient.

  Example:
    >>> config = BertConfig(20, 8, 1, 2, 16)
    >>> ids = jnp.array([[2, 5, 3]])
    >>> output, _ = Bert(config).init_with_output(jax.random.key(0), ids)
    >>> output.last_hidden_state.shape, output.pooler_output.shape
    ((1, 3, 8), (1, 8))
  """

  config: BertConfig
  embedder: nn.Module | None = None
  attention_fn: AttentionFns = dense_attention
  add_pooler: bool = True
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
    output_hidden_states: bool = False,
    output_attentions: bool = False,
  ) -> BertOutput:
    """Encodes texts.

    Args:
      input_ids: [B, T] integers.
      attention_mask: [B, T] bool or integers of 0 and 1, 1 where there is a
        token; all but `pad_token_id` if not given.
      token_type_ids: [B, T] integers; zeros if not given.
      deterministic: True turns dropout off.
      output_hidden_states: whether to return those of all layers.
      output_attentions: whether to return the weights of dense attention.

    Returns:
      A `BertOutput`.

    Raises:
      ValueError: for more tokens than there are positions, dtypes or shapes
        that do not agree, a mask of floats, a batch of no texts or no tokens,
        or an empty tuple of attentions.
    """
    config, attention_fns = self.config, per_layer(self.attention_fn)
    input_ids, mask, token_type_ids = as_inputs(
      config, input_ids, attention_mask, token_type_ids
    )
    if input_ids.shape[1] > config.longest_input:
      raise ValueError(
        f'the model has positions for {config.longest_input} tokens, got '
        f'{input_ids.shape[1]}: cut the texts.'
      )
    embedder: Any = self.embedder  # of `__post_init__` at the latest
    hidden = BertEmbeddings(
      config, self.dtype, self.weights, name='embeddings'
    )(
      embedder(input_ids),
      input_ids,
      token_type_ids,
      deterministic=deterministic,
    )
    sow_hidden_state(self, hidden)
    hidden_states, attentions = [hidden], []
    for index in range(config.num_hidden_layers):
      attention_fn = attention_fns[index % len(attention_fns)]
      layer = BertLayer(
        config, attention_fn, self.dtype, self.weights, name=f'layer_{index}'
      )
      encode: Callable[..., Any] = layer
      if self.remat and not self.is_initializing():
        encode = recomputed_layer(layer)
      hidden, weights = encode(
        hidden,
        mask,
        deterministic=deterministic,
        output_attentions=output_attentions,
      )
      sow_hidden_state(self, hidden)
      hidden_states.append(hidden)
      if weights is not None:
        attentions.append(weights)
    pooled = None
    if self.add_pooler:
      pooled = pool_first(
        config, hidden[:, 0], 'pooler', self.dtype, self.weights
      )
    return BertOutput(
      hidden,
      pooled,
      tuple(hidden_states) if output_hidden_states else None,
      tuple(attentions) if output_attentions else None,
    )


def per_layer(attention_fn: AttentionFns) -> tuple[AttentionFn, ...]:
  """Returns the attentions that layers take in turn, as a tuple.

  Args:
    attention_fn: a function, or a tuple of several.

  Returns:
    All of them; layer i takes number i modulo how many there are.

  Raises:
    ValueError: if there is none.
  """
  if not isinstance(attention_fn, tuple):
    return (attention_fn,)
  if not attention_fn:
    raise ValueError('attention_fn must be one or several, got ().')
  return attention_fn


def is_lower(path: tuple[str, ...], num_layers: int) -> bool:
  """Returns whether params belong to the embeddings or the lowest layers.

  A table of words does as long as it is dense: a compressed one is not that of
  the pretrained model.

  Args:
    path: keys that lead to them, in a `Bert` or a model with a head.
    num_layers: number of layers that count as low.

  Returns:
    True if they do.

  Example:
    >>> is_lower(('bert', 'layer_2', 'mlp_in', 'kernel'), 3)
    True
  """
  lower = {'embeddings', *(f'layer_{index}' for index in range(num_layers))}
  return path[-2:] == ('embedder', 'embedding') or not lower.isdisjoint(path)


def dense_embedder(config: BertConfig) -> nn.Embed:
  """Makes a dense table of words, [V, D], to be given to a model."""
  return nn.Embed(
    config.vocab_size,
    config.hidden_size,
    embedding_init=_normal(config.initializer_range),
    parent=None,
  )


# One function for each deviation, so that models of equal configs are equal and
# jit compiles them once.
_normal = functools.cache(nn.initializers.normal)


def as_inputs(
  config: BertConfig,
  input_ids: Array,
  attention_mask: Array | None,
  token_type_ids: Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Checks the inputs of a `Bert` and makes arrays of them.

  Args:
    config: sizes; of it the id of padding.
    input_ids: [B, T] integers.
    attention_mask: [B, T] bool or integers of 0 and 1; all but padding if None.
    token_type_ids: [B, T] integers, or None.

  Returns:
    The ids, the mask as bool, and the types as they are.

  Raises:
    ValueError: naming the argument whose dtype, shape or value is wrong.
  """
  input_ids = jnp.asarray(input_ids)
  given = {'input_ids': input_ids}
  if token_type_ids is not None:
    given['token_type_ids'] = token_type_ids = jnp.asarray(token_type_ids)
  for name, ids in given.items():
    found = f'{ids.dtype}{list(ids.shape)}'
    if ids.ndim != 2 or not jnp.issubdtype(ids.dtype, jnp.integer):
      raise ValueError(f'{name} must be [B, T] integers, got {found}.')
    if 0 in ids.shape:
      raise ValueError(f'{name} must hold a text and a token, got {found}.')
    if ids.shape != input_ids.shape:
      raise ValueError(
        f'{name} must have the shape of input_ids {list(input_ids.shape)}, '
        f'got {list(ids.shape)}.'
      )
  if attention_mask is None:
    mask = input_ids != config.pad_token_id
  else:
    mask = as_mask(
      attention_mask,
      input_ids.shape,
      name='attention_mask',
      allow_integers=True,
    )
  return input_ids, mask, token_type_ids
