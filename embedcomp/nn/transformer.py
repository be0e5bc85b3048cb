"""Parts that models of text share: words, masks and a pre-LN transformer.

Padding has id 0. Masks are made from the ids inside of the models, so that a
row may be padded to any length, or be empty, and nothing else changes.

  H <- H + Attention(LN(H)),  H <- H + MLP(LN(H))

Reference: Xiong et al., On Layer Normalization in the Transformer
Architecture, ICML 2020.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.attention.inputs import as_mask, check_rate
from embedcomp.types import Array

PADDING = 0


def check_rates(**rates: float) -> None:
  """Refuses shares to leave out that are not in [0, 1).

  Args:
    **rates: by the names of the attributes.

  Raises:
    ValueError: naming the first one.
  """
  for name, rate in rates.items():
    check_rate(name, rate)


def embed_words(
  embedder: nn.Module,
  ids: Array,
  word_dropout: float = 0.0,
  *,
  deterministic: bool = True,
) -> tuple[jax.Array, jax.Array]:
  """Embeds words and leaves a share of them out.

  To be called inside of a compact method: it draws from the stream 'dropout'.

  Args:
    embedder: maps ids [B, T] to vectors [B, T, D].
    ids: [B, T] integers, 0 is padding.
    word_dropout: share of the words that training leaves out.
    deterministic: True leaves no word out.

  Returns:
    words: [B, T, D], zero where there is none.
    kept: [B, T] bool, True where there is a word.

  Raises:
    ValueError: for ids that are not [B, T] integers, B and T at least 1.
  """
  ids = jnp.asarray(ids)
  if (
    ids.ndim != 2
    or 0 in ids.shape
    or not jnp.issubdtype(ids.dtype, jnp.integer)
  ):
    raise ValueError(
      'ids must be [batch, tokens] integers, at least one of each, got '
      f'{ids.dtype}{list(ids.shape)}.'
    )
  kept = ids != PADDING
  dropout = nn.Dropout(word_dropout, name='word_dropout')
  kept &= dropout(jnp.ones(kept.shape), deterministic=deterministic) > 0
  return jnp.where(kept[..., None], embedder(ids), 0), kept


def sinusoids(length: int, features: int) -> np.ndarray:
  """Encodes positions as waves of lengths from 2 pi to nearly 20,000 pi.

  Args:
    length: T.
    features: D.

  Returns:
    [T, D] float32: sines first, then cosines.

  Reference: Vaswani et al., Attention Is All You Need, NeurIPS 2017.
  """
  lengths = 10_000 ** (np.arange((features + 1) // 2) * 2 / features)
  angles = np.arange(length)[:, None] / lengths[None]
  waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
  return waves[:, :features].astype(np.float32)


class EncoderBlock(nn.Module):
  """Pre-LN layer of self-attention and a two-layer perceptron.

  Attributes:
    num_heads: N, a divisor of D.
    mlp_size: width of the perceptron's hidden layer.
    dropout: of what both add to the input.
    causal: True lets a token read itself and those before it only.
  """

  num_heads: int
  mlp_size: int
  dropout: float = 0.0
  causal: bool = False

  def __post_init__(self):
    super().__post_init__()
    check_rates(dropout=self.dropout)

  @nn.compact
  def __call__(
    self, hidden: Array, mask: Array, *, deterministic: bool = True
  ) -> jax.Array:
    """Applies the layer.

    Args:
      hidden: [B, T, D] float.
      mask: [B, T] bool, True where attention is allowed; other positions
        neither read nor are read.
      deterministic: True turns dropout off.

    Returns:
      [B, T, D].

    Raises:
      ValueError: if the heads do not divide the features, or for a mask of
        another dtype or shape.
    """
    features = hidden.shape[-1]
    mask = as_mask(mask, hidden.shape[:2])
    if features % self.num_heads:
      raise ValueError(
        f'num_heads must divide the {features} features, got {self.num_heads}.'
      )
    drop = nn.Dropout(self.dropout, deterministic=deterministic)
    head_shape = (self.num_heads, features // self.num_heads)
    query, key, value = jnp.unstack(
      nn.DenseGeneral((3, *head_shape), name='query_key_value')(
        nn.LayerNorm(name='attention_norm')(hidden)
      ),
      axis=2,
    )  # [B, T, N, H] each
    attended = jax.nn.dot_product_attention(
      query, key, value, mask=mask[:, None, None], is_causal=self.causal
    )
    # A query that may read no key would get the mean of all of them.
    attended = jnp.where(mask[:, :, None, None], attended, 0)
    hidden += drop(
      nn.DenseGeneral(features, axis=(-2, -1), name='attention_out')(attended)
    )
    inner = nn.LayerNorm(name='mlp_norm')(hidden)
    inner = jax.nn.gelu(nn.Dense(self.mlp_size, name='mlp_in')(inner))
    return hidden + drop(nn.Dense(features, name='mlp_out')(inner))


class Encoder(nn.Module):
  """Pre-LN transformer over word vectors, with sinusoidal positions.

  Attributes:
    num_layers: number of blocks.
    features: width of the blocks; words are projected to it.
    num_heads: a divisor of it.
    dropout: of the input and in the blocks.
    causal: True lets a token read itself and those before it only.

  Raises:
    ValueError: for a rate that is not in [0, 1).

  Example:
    >>> words, mask = jnp.ones((1, 3, 4)), jnp.ones((1, 3), bool)
    >>> encoder = Encoder(num_layers=1, features=8, num_heads=2)
    >>> encoder.init_with_output(jax.random.key(0), words, mask)[0].shape
    (1, 3, 8)
  """

  num_layers: int
  features: int
  num_heads: int
  dropout: float = 0.0
  causal: bool = False

  def __post_init__(self):
    super().__post_init__()
    check_rates(dropout=self.dropout)

  @nn.compact
  def __call__(
    self, words: Array, mask: Array, *, deterministic: bool = True
  ) -> jax.Array:
    """Encodes words in context.

    Args:
      words: [B, T, D] float.
      mask: [B, T] bool, True where there is a word.
      deterministic: True turns dropout off.

    Returns:
      [B, T, features].
    """
    hidden = nn.Dense(self.features, name='project_in')(words)
    hidden += sinusoids(hidden.shape[1], self.features)[None]
    hidden = nn.Dropout(self.dropout, deterministic=deterministic)(hidden)
    for layer in range(self.num_layers):
      hidden = EncoderBlock(
        self.num_heads,
        4 * self.features,
        self.dropout,
        self.causal,
        name=f'block_{layer}',
      )(hidden, mask, deterministic=deterministic)
    return nn.LayerNorm(name='norm')(hidden)
