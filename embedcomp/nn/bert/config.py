"""Sizes of a BERT, by the names in Hugging Face's `config.json`."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from embedcomp._internal.checks import take_plain_ints
from embedcomp.types import Array


def gelu(x: Array) -> jax.Array:
  """Computes x P(z < x) of a standard normal z, the Gaussian error linear unit.

  Args:
    x: [...] float.

  Returns:
    [...].

  Reference: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.

  Example:
    >>> print(gelu(jnp.array([0.0, 9.0])))
    [0. 9.]
  """
  x = jnp.asarray(x)
  # By erf, as in PyTorch: `jax.nn.gelu` takes erfc, which XLA makes of more
  # operations on a CPU.
  return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


ACTIVATIONS: dict[str, Callable[[Array], jax.Array]] = {
  'gelu': gelu,
  'gelu_new': jax.nn.gelu,
  'gelu_pytorch_tanh': jax.nn.gelu,
  'relu': jax.nn.relu,
  'silu': jax.nn.silu,
  'swish': jax.nn.silu,
  'tanh': jnp.tanh,
}
# By family: the activation of a layer on the first token.
FAMILIES = {
  'bert': 'tanh',
  'roberta': 'tanh',
  'xlm-roberta': 'tanh',
  'distilbert': 'relu',
}
_LEAST_SIZES = {
  'vocab_size': 1,
  'hidden_size': 1,
  'num_hidden_layers': 1,
  'num_attention_heads': 1,
  'intermediate_size': 1,
  'max_position_embeddings': 1,
  'type_vocab_size': 0,
  'pad_token_id': 0,
}
_SHARE = (lambda value: 0 <= value < 1, 'a number in [0, 1)')
_RATES = (
  ('hidden_dropout_prob', *_SHARE),
  ('attention_probs_dropout_prob', *_SHARE),
  ('classifier_dropout', *_SHARE),
  ('layer_norm_eps', lambda value: 0 < value < 1, 'a number in (0, 1)'),
  ('initializer_range', lambda value: 0 < value < math.inf, 'positive'),
)


@dataclasses.dataclass(frozen=True)
class BertConfig:
  """Sizes of a model of the BERT family.

  Attributes:
    vocab_size: V.
    hidden_size: D.
    num_hidden_layers: L.
    num_attention_heads: N, a divisor of D.
    intermediate_size: width of the perceptrons' hidden layers.
    hidden_act: one of `ACTIVATIONS`.
    max_position_embeddings: rows of the table of positions.
    type_vocab_size: rows of the table of token types; 0 for none.
    pad_token_id: of padding; RoBERTa's positions are counted from it on.
    layer_norm_eps: added to variances.
    hidden_dropout_prob: of embeddings and of what a layer adds.
    attention_probs_dropout_prob: of attention weights.
    classifier_dropout: of the features of the classifiers;
      `hidden_dropout_prob` if not given.
    model_type: one of `FAMILIES`.
    initializer_range: standard deviation of initial weights.

  Raises:
    ValueError: naming the field, its value and the rule that it breaks.

  Example:
    >>> BertConfig(vocab_size=100, hidden_size=8, num_attention_heads=3)
    Traceback (most recent call last):
    ValueError: num_attention_heads must divide hidden_size 8, got 3.
  """

  vocab_size: int
  hidden_size: int = 768
  num_hidden_layers: int = 12
  num_attention_heads: int = 12
  intermediate_size: int = 3072
  hidden_act: str = 'gelu'
  max_position_embeddings: int = 512
  type_vocab_size: int = 2
  pad_token_id: int = 0
  layer_norm_eps: float = 1e-12
  hidden_dropout_prob: float = 0.1
  attention_probs_dropout_prob: float = 0.1
  classifier_dropout: float | None = None
  model_type: str = 'bert'
  initializer_range: float = 0.02

  def __post_init__(self):
    take_plain_ints(self)
    for name, least in _LEAST_SIZES.items():
      value = getattr(self, name)
      if type(value) is not int or value < least:
        raise ValueError(
          f'{name} must be an int of at least {least}, got {value!r}.'
        )
    for name, is_allowed, rule in _RATES:
      value = getattr(self, name)
      if name == 'classifier_dropout' and value is None:
        continue
      if type(value) not in (int, float) or not is_allowed(value):
        raise ValueError(f'{name} must be {rule}, got {value!r}.')
    for name, allowed in (
      ('hidden_act', ACTIVATIONS),
      ('model_type', FAMILIES),
    ):
      value = getattr(self, name)
      if not isinstance(value, str) or value not in allowed:
        raise ValueError(
          f'{name} must be one of {sorted(allowed)}, got {value!r}.'
        )
    if self.hidden_size % self.num_attention_heads:
      raise ValueError(
        f'num_attention_heads must divide hidden_size {self.hidden_size}, '
        f'got {self.num_attention_heads}.'
      )
    if self.pad_token_id >= self.vocab_size:
      raise ValueError(
        f'pad_token_id must be below vocab_size {self.vocab_size}, '
        f'got {self.pad_token_id}.'
      )
    if self.longest_input < 1:
      raise ValueError(
        f'{self.max_position_embeddings} positions leave no room for a token '
        f'behind pad_token_id {self.pad_token_id}.'
      )

  @property
  def counts_positions(self) -> bool:
    """True if positions are counted from behind `pad_token_id` on."""
    return 'roberta' in self.model_type

  @property
  def first_position(self) -> int:
    """Row of the table of positions that the first token reads."""
    return self.pad_token_id + 1 if self.counts_positions else 0

  @property
  def longest_input(self) -> int:
    """Tokens that the table of positions has rows for."""
    return self.max_position_embeddings - self.first_position

  def position_ids(self, input_ids: Array) -> jax.Array:
    """Returns the rows of the table of positions that tokens read.

    Args:
      input_ids: [B, T] integers.

    Returns:
      [B, T] int32, or [1, T] where they do not depend on the tokens.
    """
    if not self.counts_positions:
      return jnp.arange(input_ids.shape[1], dtype=jnp.int32)[None]
    is_token = (jnp.asarray(input_ids) != self.pad_token_id).astype(jnp.int32)
    return jnp.cumsum(is_token, axis=1) * is_token + self.pad_token_id
