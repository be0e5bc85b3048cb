"""Losses of distillation: distances of a student from its teacher.

  logits      T^2 KL(softmax(z_T / T) || softmax(z_S / T))
  numbers     (y_S - y_T)^2
  states      |H_S W - H_T|^2 / (variance of H_T), means over features
  sentences   1 - cos(s, t), and (cos(s_i, s_j) - cos(t_i, t_j))^2

All are a `Mean` over the texts, tokens or pairs that a mask calls real, never
over padding or classes. All compute in float32, and no gradient reaches the
teacher. Values that the mask leaves out may be anything, even NaN.

References:
  Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (logits).
  Sun et al., Patient Knowledge Distillation for BERT, EMNLP 2019 (states).
  Jiao et al., TinyBERT, Findings of EMNLP 2020 (states through a projection,
    output of the embeddings).
  Park et al., Relational Knowledge Distillation, CVPR 2019 (pairs).
"""

import jax
import jax.numpy as jnp

from embedcomp.distillation.weighted_mean import (
  EXACT,
  TINY,
  Mean,
  divergence,
  mean_over,
  prepare,
)
from embedcomp.types import Array


def logits_loss(
  student: Array, teacher: Array, mask: Array, temperature: float = 1.0
) -> Mean:
  """Divergence of the student's probabilities from the teacher's.

  It is summed over classes; those that the teacher rules out, by a logit of
  minus infinity, contribute nothing. The factor T^2 keeps gradients alike in
  size at all temperatures.

  Args:
    student: [..., C] float, logits of texts or of tokens.
    teacher: [..., C] float.
    mask: [...] bool, True where logits count.
    temperature: positive; logits are divided by it.

  Returns:
    The mean over logits that count, in nats.

  Raises:
    ValueError: if shapes do not agree or the temperature is not positive.

  Example:
    >>> log_probs = jnp.log(jnp.array([[1 / 4, 3 / 4]]))
    >>> loss = logits_loss(log_probs, jnp.zeros((1, 2)), jnp.ones(1, bool))
    >>> print(f'{loss.value:.4f} {jnp.log(4 / 3) / 2:.4f}')
    0.1438 0.1438
  """
  if not temperature > 0:
    raise ValueError(f'temperature must be positive, got {temperature}.')
  student, teacher, mask = prepare(student, teacher, mask, 1)
  _check_widths(student, teacher, 'as many classes as the teacher')
  student, teacher = (
    jax.nn.log_softmax(logits / temperature) for logits in (student, teacher)
  )
  return mean_over(temperature**2 * divergence(student, teacher), mask)


def regression_loss(student: Array, teacher: Array, mask: Array) -> Mean:
  """Squared error of predicted numbers.

  Args:
    student: [...] float.
    teacher: [...] float.
    mask: [...] bool, True where numbers count.

  Returns:
    The mean over numbers that count.

  Raises:
    ValueError: if shapes do not agree.

  Example:
    >>> student, teacher = jnp.array([1.0, 5.0]), jnp.array([3.0, 0.0])
    >>> print(regression_loss(student, teacher, jnp.array([True, False])).value)
    4.0
  """
  student, teacher, mask = prepare(student, teacher, mask, 0)
  return mean_over(jnp.square(student - teacher), mask)


def hidden_state_loss(
  student: Array,
  teacher: Array,
  mask: Array,
  variance: Array | float,
  projection: Array | None = None,
) -> Mean:
  """Squared error of hidden states, as a share of the teacher's variance.

  A student whose states are all the teacher's mean has a loss of one. The
  output of the embeddings is a hidden state like that of any layer.

  Args:
    student: [B, T, Ds] float.
    teacher: [B, T, D] float.
    mask: [B, T] bool, True where there is a token.
    variance: [] float, see `teacher_variance`. If it is measured once, losses
      of parts of a batch add up to that of the whole batch.
    projection: [Ds, D] float, learned; only needed by students of other widths.

  Returns:
    The mean over tokens.

  Raises:
    ValueError: if shapes do not agree.

  Example:
    >>> ones, mask = jnp.ones((1, 3, 2)), jnp.array([[True, True, False]])
    >>> print(hidden_state_loss(3 * ones, ones, mask, 8.0).value)
    0.5
  """
  student, teacher, mask = prepare(student, teacher, mask, 1)
  student = _project(student, teacher, projection)
  errors = jnp.square(student - teacher).mean(-1)  # [B, T]
  variance = jax.lax.stop_gradient(jnp.asarray(variance, jnp.float32))
  return mean_over(errors / jnp.maximum(variance, TINY), mask)


def teacher_variance(teacher: Array, mask: Array) -> jax.Array:
  """Computes the variance of hidden states over tokens.

  Args:
    teacher: [B, T, D] float, of many tokens.
    mask: [B, T] bool, True where there is a token.

  Returns:
    [] float32, the mean over features of their variances over tokens.

  Raises:
    ValueError: if shapes do not agree.

  Example:
    >>> states = jnp.array([[[1.0, 0.0], [3.0, 0.0]]])
    >>> print(teacher_variance(states, jnp.ones((1, 2), bool)))
    0.5
  """
  _, teacher, mask = prepare(teacher, teacher, mask, 1)
  count = jnp.maximum(mask.sum(dtype=jnp.float32), 1)
  mean = teacher.sum((0, 1), keepdims=True) / count
  distances = jnp.where(mask[..., None], teacher - mean, 0)
  return jnp.square(distances).mean(-1).sum() / count


def cosine_loss(
  student: Array, teacher: Array, mask: Array, projection: Array | None = None
) -> Mean:
  """One minus the cosine of student's and teacher's sentence vectors.

  Args:
    student: [B, Ds] float, pooled over the tokens of each text.
    teacher: [B, D] float.
    mask: [B] bool, True where there is a text.
    projection: [Ds, D] float, learned; only needed by students of other widths.

  Returns:
    The mean over texts.

  Raises:
    ValueError: if shapes do not agree.

  Example:
    >>> student, teacher = jnp.array([[3.0, 0.0]]), jnp.array([[0.6, 0.8]])
    >>> print(f'{cosine_loss(student, teacher, jnp.ones(1, bool)).value:.4f}')
    0.4000
  """
  student, teacher, mask = prepare(student, teacher, mask, 1)
  student = _project(student, teacher, projection)
  # As half of a squared distance it keeps its digits where vectors are alike.
  errors = jnp.square(_unit(student) - _unit(teacher)).sum(-1) / 2
  return mean_over(errors, mask)


def similarity_loss(student: Array, teacher: Array, mask: Array) -> Mean:
  """Squared error of the cosines between the sentence vectors of a batch.

  Only vectors of the same model are compared, so that widths may differ.

  Args:
    student: [B, Ds] float, pooled over the tokens of each text.
    teacher: [B, D] float.
    mask: [B] bool, True where there is a text.

  Returns:
    The mean over ordered pairs of two texts of the batch; parts of a batch have
    fewer pairs than the whole.

  Raises:
    ValueError: if shapes do not agree.

  Example:
    >>> student, teacher = jnp.eye(2), jnp.ones((2, 3))
    >>> loss = similarity_loss(student, teacher, jnp.ones(2, bool))
    >>> print(f'{loss.value:.4f}')
    1.0000
  """
  student, teacher, mask = prepare(student, teacher, mask, 1)
  pairs = mask[:, None] & mask[None] & ~jnp.eye(mask.size, dtype=bool)
  errors = jnp.square(_similarities(student) - _similarities(teacher))
  return mean_over(errors, pairs)


def _unit(vectors: jax.Array) -> jax.Array:
  """Scales [B, D] to length one, but for zeros."""
  squares = jnp.square(vectors).sum(-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(squares, TINY))


def _similarities(vectors: jax.Array) -> jax.Array:
  """[B, B] cosines of vectors [B, D]."""
  units = _unit(vectors)
  return jnp.matmul(units, units.T, precision=EXACT)


def _project(
  student: jax.Array, teacher: jax.Array, projection: Array | None
) -> jax.Array:
  """Maps the student's features to the teacher's width."""
  if projection is not None:
    projection = jnp.asarray(projection, jnp.float32)
    needed = (student.shape[-1], teacher.shape[-1])
    if projection.shape != needed:
      raise ValueError(
        f'projection must be {list(needed)}, as wide as the student and the '
        f'teacher, got {list(projection.shape)}.'
      )
    student = jnp.matmul(student, projection, precision=EXACT)
  _check_widths(student, teacher, 'a projection or the width of the teacher')
  return student


def _check_widths(student: jax.Array, teacher: jax.Array, needed: str) -> None:
  if student.shape[-1] != teacher.shape[-1]:
    raise ValueError(
      f'the student must have {needed}, {teacher.shape[-1]}, got '
      f'{student.shape[-1]}.'
    )
