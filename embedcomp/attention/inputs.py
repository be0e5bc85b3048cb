"""Checks of the arguments of attentions, made once at the public edge."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.types import PRNGKey


def check_heads(**arrays: jax.Array) -> None:
  """Refuses arrays that are not of heads, or not of the same ones.

  Args:
    **arrays: [B, T, N, H] float, the query first; T may differ.

  Raises:
    ValueError: naming the first array that does not fit.
  """
  first, *_ = arrays
  for name, array in arrays.items():
    found = f'{array.dtype}{list(array.shape)}'
    if not jnp.issubdtype(array.dtype, jnp.floating):
      raise ValueError(f'{name} must hold floats, got {found}: cast it.')
    if array.ndim != 4 or 0 in array.shape:
      raise ValueError(
        f'{name} must be [batch, tokens, heads, features], at least one of '
        f'each, got {found}.'
      )
    shape = arrays[first].shape
    if (array.shape[0], *array.shape[2:]) != (shape[0], *shape[2:]):
      raise ValueError(
        f'{name} must have the batch, heads and features of {first} '
        f'{list(shape)}, got {list(array.shape)}.'
      )


def check_lengths(**arrays: jax.Array) -> None:
  """Refuses arrays of heads that differ in their number of tokens.

  Args:
    **arrays: [B, T, N, H].

  Raises:
    ValueError: naming the first one that differs.
  """
  first, *others = arrays
  length = arrays[first].shape[1]
  for name in others:
    if arrays[name].shape[1] != length:
      raise ValueError(
        f'{name} must have the {length} tokens of {first}, got '
        f'{list(arrays[name].shape)}.'
      )


def as_mask(
  mask: Any,
  shape: tuple[int, ...] | None = None,
  *,
  name: str = 'mask',
  allow_integers: bool = False,
) -> jax.Array:
  """Converts a mask to booleans where it cannot be mistaken.

  A mask that is added to scores (0 where a token may be read, -10,000
  elsewhere) would mean the opposite if it were read as booleans, so that floats
  are refused.

  Args:
    mask: [B, S] bool, True where a token may be read.
    shape: B and S; any other axes if not given.
    name: of the argument.
    allow_integers: whether integers of 0 and 1 are taken as well. Others are
      found in NumPy arrays only: traced ones have no values yet.

  Returns:
    [B, S] bool.

  Raises:
    ValueError: for another dtype, rank, shape or value.

  Example:
    >>> as_mask(np.array([[1, 0]]), (1, 2), allow_integers=True)
    Array([[ True, False]], dtype=bool)
  """
  array = mask if hasattr(mask, 'dtype') else jnp.asarray(mask)
  found = f'{array.dtype}{list(array.shape)}'
  is_integer = jnp.issubdtype(array.dtype, jnp.integer)
  if array.dtype != bool and not (is_integer and allow_integers):
    wanted = 'bool or integers of 0 and 1' if allow_integers else 'bool'
    raise ValueError(
      f'{name} must be {wanted}, True where a token may be read, got {found}: '
      f'pass {name} > -1 if it is to be added to scores (0 and -10,000), '
      f'{name} > 0 if it is of zeros and ones.'
    )
  if shape is not None and array.shape != tuple(shape):
    raise ValueError(
      f'{name} must be [batch, tokens] {list(shape)}, got {found}.'
    )
  if isinstance(array, np.ndarray) and ((array != 0) & (array != 1)).any():
    raise ValueError(
      f'{name} must be of 0 and 1, got values from {array.min()} to '
      f'{array.max()}: pass {name} > -1 if it is to be added to scores.'
    )
  return jnp.asarray(array).astype(bool)


def check_rate(name: str, rate: Any) -> None:
  """Refuses a share to leave out that is not in [0, 1).

  Args:
    name: of the argument.
    rate: a number.

  Raises:
    ValueError: for anything else.

  Example:
    >>> check_rate('dropout', 1.5)
    Traceback (most recent call last):
    ValueError: dropout must be a number in [0, 1), got 1.5.
  """
  if not isinstance(rate, numbers.Real) or not 0 <= float(rate) < 1:
    raise ValueError(f'{name} must be a number in [0, 1), got {rate!r}.')


def check_dropout(rate: Any, dropout_key: PRNGKey | None) -> None:
  """Refuses a rate of dropout that is out of range or has no key.

  Args:
    rate: a number.
    dropout_key: of its random numbers.

  Raises:
    ValueError: for a rate out of [0, 1), or one above 0 without a key.
  """
  check_rate('dropout_rate', rate)
  if rate and dropout_key is None:
    raise ValueError(
      f'dropout_rate {rate} needs a dropout_key: pass one, or a rate of 0.'
    )
