"""Further axes beside given ones, orthogonal to all of them, at no bytes."""

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods.rounding import array_namespace
from embedcomp.types import Array


def full_axes(axes: Array) -> jax.Array:
  """All axes: those given and an orthonormal complement.

  The complement is where the product of Householder reflections takes the last
  unit vectors that takes the first ones to the given axes, made orthonormal one
  by one and negated. Signs are not chosen by the numbers, as in LAPACK, so
  that the complement moves with the axes when they are trained. The product is
  I + Y Y1^-T Y', where Y = Q1 - [I; 0] (Ballard et al., "Reconstructing
  Householder vectors from tall-skinny QR", 2015).

  Args:
    axes: [R, D] float32 of rank R; see `oriented`.

  Returns:
    [D, D] float32, the given axes first. No gradient passes through the others.
  """
  rank, features = axes.shape
  if rank == features:
    return jnp.asarray(axes)
  if not rank:
    return jnp.eye(features, dtype=jnp.float32)
  numpy = array_namespace(axes)
  fixed = numpy.asarray(axes).T
  if numpy is jnp:
    fixed = jax.lax.stop_gradient(fixed)
  basis, upper = numpy.linalg.qr(fixed)  # [D, R], [R, R]
  basis = basis * -numpy.where(numpy.diagonal(upper) < 0, -1.0, 1.0)[None]
  # Below the diagonal, Y is the basis itself.
  moved = basis - numpy.eye(features, rank, dtype=basis.dtype)
  others = numpy.linalg.solve(moved[:rank].T, basis[rank:].T)  # Y1^-T Q21'
  with jax.default_matmul_precision('highest'):
    others = others.T @ moved.T
  others = others + numpy.eye(features, dtype=basis.dtype)[rank:]
  others = jnp.asarray(others.astype(np.float32))
  return jnp.concatenate([jnp.asarray(axes), others])


def oriented(axes: np.ndarray) -> np.ndarray:
  """Axes turned around where that keeps their complement well-conditioned.

  Args:
    axes: [R, D] float.

  Returns:
    [R, D], some rows negated: each points away from where its reflection would
    have to cancel.
  """
  axes, left = np.array(axes), np.array(axes.T, np.float64)
  for k in range(len(axes)):
    if left[k, k] < 0:
      axes[k] *= -1
      left[:, k] *= -1
    v = left[k:, k].copy()
    v[0] += np.linalg.norm(v)
    scale = float(v @ v) or 1.0
    left[k:, k:] -= np.outer(2 / scale * v, v @ left[k:, k:])
  return axes
