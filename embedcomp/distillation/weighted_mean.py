"""Weighted means, and the first and last steps that all losses share."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from embedcomp.attention.inputs import as_mask
from embedcomp.types import Array

# Keeps quotients finite where the divisor is zero.
TINY = 1e-12
# Some devices would otherwise round the factors of a product to ten bits.
EXACT = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """Mean as a sum and a weight, so that those of parts of a batch add up.

  Attributes:
    total: [] float32, the sum.
    weight: [] float32, the number of terms; it does not depend on the student.

  Example:
    >>> float((Mean(6.0, 2.0) + Mean(1.0, 5.0)).value)
    1.0
  """

  total: jax.Array
  weight: jax.Array

  def __add__(self, other: Mean) -> Mean:
    return Mean(self.total + other.total, self.weight + other.weight)

  @property
  def value(self) -> jax.Array:
    """Mean, [] float32; zero if there is no term."""
    return self.total / jnp.maximum(self.weight, 1)


def mean_over(losses: Array, mask: Array) -> Mean:
  """Computes the mean of losses where a mask is True.

  Args:
    losses: [...] float.
    mask: [...] bool.

  Returns:
    Their mean.
  """
  total = jnp.where(mask, losses, 0).sum(dtype=jnp.float32)
  return Mean(total, mask.sum(dtype=jnp.float32))


def masked(array: Array, mask: Array) -> jax.Array:
  """Converts an array to float32, with zeros where a mask is False.

  The values there, even NaN, then reach neither sums nor gradients.

  Args:
    array: [..., any other axes].
    mask: [...] bool.

  Returns:
    [..., the other axes] float32.
  """
  other_axes = (1,) * (array.ndim - mask.ndim)
  mask = mask.reshape(*mask.shape, *other_axes)
  return jnp.where(mask, array.astype(jnp.float32), 0)


def prepare(
  student: Array, teacher: Array, mask: Array, feature_axes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Makes outputs of both models comparable.

  Args:
    student: [..., feature axes] float.
    teacher: [..., feature axes] float, perhaps with other features.
    mask: [...] bool or integers of 0 and 1, 1 for what is not padding.
    feature_axes: number of axes behind those of the mask.

  Returns:
    Student and teacher as `masked` gives them, no gradient reaching the
    teacher, and the mask as bool.

  Raises:
    ValueError: if the axes before the features are not those of the mask, or
      for a mask of floats.
  """
  mask = as_mask(mask, allow_integers=True)
  arrays = {'student': jnp.asarray(student), 'teacher': jnp.asarray(teacher)}
  for name, array in arrays.items():
    if (
      array.ndim != mask.ndim + feature_axes
      or array.shape[: mask.ndim] != mask.shape
    ):
      raise ValueError(
        f'{name} must have the axes of the mask {list(mask.shape)} and '
        f'{feature_axes} more of features, got {list(array.shape)}.'
      )
  student, teacher = (masked(array, mask) for array in arrays.values())
  return student, jax.lax.stop_gradient(teacher), mask


def divergence(student: Array, teacher: Array) -> jax.Array:
  """Computes KL(teacher || student) of probabilities.

  Args:
    student: [..., C] float32, logarithms of probabilities.
    teacher: [..., C] float32, logarithms of probabilities; classes of none,
      minus infinity, contribute nothing.

  Returns:
    [...] float32, in nats, summed over C. Infinite where the student rules out
    a class that the teacher does not.
  """
  probs = jnp.exp(teacher)
  # Zero times infinity is no number.
  distances = jnp.where(probs > 0, teacher - student, 0)
  return (probs * distances).sum(-1)
