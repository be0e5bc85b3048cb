"""Means over what a mask calls real, and what all losses begin and end with."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from embedcomp.types import Array

# Keeps quotients of nothing by nothing finite.
TINY = 1e-12
# Some devices would otherwise round the factors of a product to ten bits.
EXACT = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean as a sum and a weight, so that those of parts of a batch add up.

  Attributes:
    total: [] float32, the sum.
    weight: [] float32, of how many; it does not depend on the student.

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
    """The mean, [] float32; zero of nothing."""
    return self.total / jnp.maximum(self.weight, 1)


def mean_over(losses: Array, mask: Array) -> Mean:
  """The mean of the losses that count.

  Args:
    losses: [...] float.
    mask: [...] bool, True where they count.

  Returns:
    Their mean.
  """
  total = jnp.where(mask, losses, 0).sum(dtype=jnp.float32)
  return Mean(total, mask.sum(dtype=jnp.float32))


def masked(array: Array, mask: Array) -> jax.Array:
  """An array in float32 with zeros for what does not count.

  Whatever stood there, even NaN, then reaches neither sums nor gradients.

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
  """What both models say, ready to be compared.

  Args:
    student: [..., feature axes] float.
    teacher: [..., feature axes] float, perhaps with other features.
    mask: [...] bool or integers, not zero where there is something real.
    feature_axes: how many axes there are behind those of the mask.

  Returns:
    Student and teacher as `masked` gives them, no gradient reaching the
    teacher, and the mask as bool.

  Raises:
    ValueError: if the axes before the features are not those of the mask.
  """
  mask = jnp.asarray(mask).astype(bool)
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
  """How far the student's odds are from the teacher's, KL(teacher || student).

  Args:
    student: [..., C] float32, finite logarithms of odds.
    teacher: [..., C] float32, finite logarithms of odds.

  Returns:
    [...] float32, in nats, summed over C.
  """
  return (jnp.exp(teacher) * (teacher - student)).sum(-1)
