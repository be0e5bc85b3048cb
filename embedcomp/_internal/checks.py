"""Checks of arguments that many functions take."""

import dataclasses
import numbers
import operator
from typing import Any

import ml_dtypes
import numpy as np


def check_int(name: str, value: Any, least: int) -> int:
  """Checks an integer, which may be one of NumPy's.

  Args:
    name: of the argument, for errors.
    value: to be checked.
    least: smallest value allowed.

  Returns:
    The value as Python's int.

  Raises:
    ValueError: if it is no integer, is a bool, or is below `least`.
  """
  try:
    number = operator.index(value)
  except TypeError:
    number = least - 1
  if isinstance(value, (bool, np.bool_)) or number < least:
    raise ValueError(
      f'{name} must be an int of at least {least}, got {value!r}.'
    )
  return number


def check_share(name: str, value: Any) -> float:
  """Checks a number in [0, 1], which may be one of NumPy's.

  Args:
    name: of the argument, for errors.
    value: to be checked.

  Returns:
    The value as Python's float.

  Raises:
    ValueError: if it is no number, is a bool, or is out of range.
  """
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number or not 0 <= value <= 1:
    raise ValueError(f'{name} must be a number in [0, 1], got {value!r}.')
  return float(value)


def check_numbers(name: str, shape: str, values: Any) -> np.ndarray:
  """Checks that an array, or nested lists, are of real numbers.

  Args:
    name: of the argument, for errors.
    shape: as errors write it.
    values: integers or floats, also bfloat16, in any byte order.

  Returns:
    Float64.

  Raises:
    ValueError: if they are of anything else, or ragged.
  """
  try:
    values = np.asarray(values)
  except ValueError as error:  # a ragged list
    raise ValueError(f'{name} must be {shape} numbers: {error}.') from None
  if values.dtype.kind not in 'uif' and values.dtype != ml_dtypes.bfloat16:
    raise ValueError(f'{name} must be numbers, got dtype {values.dtype}.')
  return values.astype(np.float64)


def take_plain_ints(config: Any) -> None:
  """Turns integers of NumPy into Python's, which JSON knows.

  Args:
    config: a frozen dataclass that is being made.
  """
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, np.integer):
      object.__setattr__(config, field.name, int(value))
