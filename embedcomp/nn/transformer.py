"""Common parts of models of text: words and their mask, a pre-LN transformer.

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

from embedcomp.types import Array

PADDING = 0


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
  """
  kept = jnp.asarray(ids) != PADDING
  dropout = nn.Dropout(word_dropout, name='word_dropout')
  kept &= dropout(jnp.ones(kept.shape), deterministic=deterministic) > 0
  return jnp.where(kept[..., None], embedder(ids), 0), kept


def sinusoids(length: int, features: int) -> np.ndarray:
  """Positions as waves whose lengths are from 2 pi to nearly 20,000 pi.

  Args:
    length: T.
    features: D.

  Returns:
    [T, D] float32: sines first, then cosines.
  """
  lengths = 10_000 ** (np.arange((features + 1) // 2) * 2 / features)
  angles = np.arange(length)[:, None] / lengths[None]
  waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
  return waves[:, :features].astype(np.float32)


class EncoderBlock(nn.Module):
  """Self-attention and a two-layer perceptron, each normalised before.

  Attributes:
    num_heads: N, a divisor of D.
    mlp_size: width of the perceptron's hidden layer.
    dropout: of what both add to the input.
    causal: True lets a token see itself and those before it only.
  """

  num_heads: int
  mlp_size: int
  dropout: float = 0.0
  causal: bool = False

  @nn.compact
  def __call__(
    self, hidden: Array, mask: Array, *, deterministic: bool = True
  ) -> jax.Array:
    """One layer.

    Args:
      hidden: [B, T, D] float.
      mask: [B, T] bool, True where attention is allowed; other places neither
        see nor are seen.
      deterministic: True turns dropout off.

    Returns:
      [B, T, D].

    Raises:
      ValueError: if the heads do not divide the features.
    """
    features = hidden.shape[-1]
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
    # A query that may see no key would get the mean of all of them.
    attended = jnp.where(mask[:, :, None, None], attended, 0)
    hidden += drop(
      nn.DenseGeneral(features, axis=(-2, -1), name='attention_out')(attended)
    )
    inner = nn.LayerNorm(name='mlp_norm')(hidden)
    inner = jax.nn.gelu(nn.Dense(self.mlp_size, name='mlp_in')(inner))
    return hidden + drop(nn.Dense(features, name='mlp_out')(inner))


class Encoder(nn.Module):
  """A pre-LN transformer over word vectors, with sinusoidal positions.

  Attributes:
    num_layers: number of blocks.
    features: width of the blocks; words are projected to it.
    num_heads: a divisor of it.
    dropout: of the input and in the blocks.
    causal: True lets a token see itself and those before it only.
  """

  num_layers: int
  features: int
  num_heads: int
  dropout: float = 0.0
  causal: bool = False

  @nn.compact
  def __call__(
    self, words: Array, mask: Array, *, deterministic: bool = True
  ) -> jax.Array:
    """Words in context.

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
