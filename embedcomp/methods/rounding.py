"""Rounding of numbers to grids of integers and to short floats.

Gradients are passed straight through (Bengio et al., 2013, arXiv:1308.3432).
"""

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from embedcomp.types import Array

SCALE_DTYPE = np.dtype(ml_dtypes.bfloat16)


def straight_through(hard: Array, soft: Array) -> jax.Array:
  """The first argument, with the gradient of the second.

  Args:
    hard: [...] float, taken to the bit.
    soft: float of the same shape, finite.

  Returns:
    [...] of the dtype that both promote to. What gradient `hard` has is kept:
    stop it where there is to be none.

  Example:
    >>> jax.grad(lambda x: straight_through(jnp.round(3 * x), x))(0.4)
    Array(1., dtype=float32, weak_type=True)
  """
  # The bracket is exactly 0.
  return jnp.asarray(hard + (soft - jax.lax.stop_gradient(soft)))


def quantize(values: Array, scale: Array, bits: int) -> jax.Array:
  """Rounds to the symmetric integer grid, gradients passed straight through.

  Args:
    values: [...] float.
    scale: float, broadcastable to `values`: the distance of two grid points.
    bits: 8 or 4; the grid is -(2**(bits-1) - 1) ... 2**(bits-1) - 1.

  Returns:
    [...] float32, integral.
  """
  limit = 2.0 ** (bits - 1) - 1
  ratio = jnp.clip(values / scale, -limit, limit)
  return straight_through(jnp.round(ratio), ratio)


def cast(values: Array, dtype: np.dtype) -> jax.Array:
  """Casts to another dtype of floats; known values without any compilation.

  Args:
    values: [...] float.
    dtype: of floats.

  Returns:
    [...] of the dtype, infinite where a number is too large for it.
  """
  with np.errstate(over='ignore'):
    return jnp.asarray(array_namespace(values).asarray(values).astype(dtype))


def grid_points(values: Array, scale: Array, bits: int) -> jax.Array:
  """The integers that `quantize` rounds to; known values are not compiled for.

  Args:
    values: [...] float.
    scale: bfloat16, broadcastable to `values`.
    bits: as for `quantize`.

  Returns:
    [...] int8, 0 where a value is not a number.
  """
  numpy = array_namespace(values)
  limit = 2 ** (bits - 1) - 1
  with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
    ratio = numpy.asarray(values) / numpy.asarray(scale).astype(np.float32)
    rounded = numpy.round(numpy.clip(ratio, -limit, limit))
  rounded = numpy.where(numpy.isnan(rounded), 0, rounded)
  return jnp.asarray(rounded.astype(np.int8))


def round_to(values: Array, dtype: np.dtype) -> jax.Array:
  """Rounds to a dtype, gradients passed straight through and not rounded.

  Args:
    values: [...] float; stored numbers, already of `dtype`, stay as they are.
    dtype: of floats.

  Returns:
    [...] float32.
  """
  rounded = jnp.asarray(values.astype(dtype).astype(jnp.float32))
  if values.dtype == dtype:
    return rounded
  return straight_through(jax.lax.stop_gradient(rounded), values)


def array_namespace(values: Array) -> Any:
  """NumPy for known values, which needs no compilation; else JAX's."""
  if isinstance(values, jax.core.Tracer):
    return jnp
  is_elsewhere = isinstance(values, jax.Array) and (
    not values.is_fully_addressable
  )
  return jnp if is_elsewhere else np


def absmax_scale(values: Array, axes: tuple[int, ...], bits: int) -> Array:
  """The scale at which the largest number is the last one of the grid.

  It is a bfloat16, so that what has been rounded with it gives it again.

  Args:
    values: [...] float.
    axes: those that share a scale.
    bits: of the integers.

  Returns:
    Float32, NumPy's for known values; `axes` have length 1. It is 1 where all
    numbers are 0.
  """
  largest = array_namespace(values).abs(values).max(axis=axes, keepdims=True)
  return _scale_of(largest, bits, 1.0)


def _scale_of(largest: Array, bits: int, shrink: float) -> Array:
  """The scale for numbers up to a share of the largest ones."""
  numpy = array_namespace(largest)
  limit = 2 ** (bits - 1) - 1
  scale = (largest * np.float32(shrink / limit)).astype(SCALE_DTYPE)
  scale = numpy.where(scale > 0, scale, SCALE_DTYPE.type(1))
  return scale.astype(np.float32)


def mse_scale(values: Array, axes: tuple[int, ...], bits: int) -> Array:
  """The scale of least squared rounding error among clipped ranges.

  Args:
    values: [...] float.
    axes: those that share a scale.
    bits: of the integers.

  Returns:
    As `absmax_scale`.
  """
  numpy = array_namespace(values)
  limit = 2 ** (bits - 1) - 1
  largest = numpy.abs(values).max(axis=axes, keepdims=True)
  best: Any = None
  best_error: Any = None
  for shrink in np.linspace(1.0, 0.6 if bits == 4 else 0.9, 7):
    scale = _scale_of(largest, bits, shrink)
    rounded = numpy.clip(numpy.round(values / scale), -limit, limit) * scale
    error = numpy.square(values - rounded).sum(axis=axes, keepdims=True)
    if best is None:
      best, best_error = scale, error
    else:
      best = numpy.where(error < best_error, scale, best)
      best_error = numpy.minimum(error, best_error)
  return best
