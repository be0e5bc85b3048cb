"""Relations between tokens: similarities of their queries, keys and values.

  R(A) = softmax(A A^T / sqrt(d)),  loss = KL(R(A_T) || R(A_S)), A of Q, K, V

They do not depend on the attention function, nor on the number of its heads:
features are split anew into relation heads. So they suit students with other
heads, other widths or recursive attention. All pairs of a long text would cost
too much, so that a sample of its tokens is compared.

Reference: Wang et al., MiniLMv2: Multi-Head Self-Attention Relation
Distillation for Compressing Pretrained Transformers, Findings of ACL 2021.
"""

import jax
import jax.numpy as jnp

from embedcomp.attention.dot_product import MASKED_SCORE
from embedcomp.attention.inputs import as_mask
from embedcomp.distillation.weighted_mean import (
  EXACT,
  Mean,
  divergence,
  mean_over,
  prepare,
)
from embedcomp.types import Array, PRNGKey


def sample_tokens(
  key: PRNGKey, mask: Array, num_tokens: int
) -> tuple[jax.Array, jax.Array]:
  """Draws tokens of each text without replacement.

  Args:
    key: random key.
    mask: [B, T] bool, True where there is a token.
    num_tokens: P, the number to draw; all T if those are fewer.

  Returns:
    positions: [B, P] int32, increasing.
    mask: [B, P] bool, True for tokens. Only texts of fewer than P tokens have
      padding among theirs.

  Raises:
    ValueError: if there is nothing to draw, or the mask is not [B, T] bool.

  Example:
    >>> mask = jnp.array([[True, False, True, False]])
    >>> positions, drawn = sample_tokens(jax.random.key(0), mask, 2)
    >>> positions.tolist(), drawn.tolist()
    ([[0, 2]], [[True, True]])
  """
  mask = as_mask(mask, allow_integers=True)
  if mask.ndim != 2:
    raise ValueError(f'mask must be [B, T], got {list(mask.shape)}.')
  if num_tokens < 1:
    raise ValueError(f'num_tokens must be at least 1, got {num_tokens}.')
  noise = jnp.where(mask, jax.random.uniform(key, mask.shape), -1)
  _, positions = jax.lax.top_k(noise, min(num_tokens, mask.shape[1]))
  positions = jnp.sort(positions, axis=1)
  return positions, jnp.take_along_axis(mask, positions, axis=1)


def take_tokens(arrays: Array, positions: Array) -> jax.Array:
  """Takes arrays of some tokens of each text.

  Args:
    arrays: [B, T, ...].
    positions: [B, P] integers, less than T.

  Returns:
    [B, P, ...].

  Example:
    >>> take_tokens(jnp.array([[5.0, 6.0, 7.0]]), jnp.array([[0, 2]]))
    Array([[5., 7.]], dtype=float32)
  """
  return jax.vmap(lambda text, row: text[row])(arrays, positions)


def relation_loss(
  student: Array, teacher: Array, mask: Array, num_heads: int
) -> Mean:
  """Divergence of the student's relations from the teacher's.

  Args:
    student: [B, T, N, H] float, the queries of a layer, or its keys, or its
      values; of all tokens, or of some (see `take_tokens`).
    teacher: [B, T, N, H] float, the same of the teacher and of the same tokens;
      N and H may be others.
    mask: [B, T] bool, True where there is a token.
    num_heads: number of relation heads, a divisor of the N * H features of both
      models.

  Returns:
    The mean over tokens and relation heads, in nats.

  Raises:
    ValueError: if shapes do not agree or heads do not divide the features.

  Example:
    >>> student, teacher = jnp.ones((1, 3, 2, 4)), jnp.ones((1, 3, 4, 4))
    >>> loss = relation_loss(student, teacher, jnp.ones((1, 3), bool), 2)
    >>> print(loss.value)
    0.0
  """
  student, teacher, mask = prepare(student, teacher, mask, 2)
  losses = divergence(
    _log_relations(student, mask, num_heads),
    _log_relations(teacher, mask, num_heads),
  )  # [B, R, T]
  return mean_over(losses.mean(1), mask)


def _log_relations(
  states: jax.Array, mask: jax.Array, num_heads: int
) -> jax.Array:
  """Computes [B, R, T, T] logarithms of R(A), very low for padding."""
  batch, length, *heads = states.shape
  features = heads[0] * heads[1]
  if num_heads < 1 or features % num_heads:
    raise ValueError(
      f'num_heads must divide all {features} features, got {num_heads}.'
    )
  states = states.reshape(batch, length, num_heads, -1).swapaxes(1, 2)
  scores = jnp.matmul(states, states.swapaxes(2, 3), precision=EXACT)
  scores *= states.shape[-1] ** -0.5
  scores += jnp.where(mask, 0, MASKED_SCORE)[:, None, None]
  return jax.nn.log_softmax(scores)
