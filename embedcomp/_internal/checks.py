"""Checks of arguments that many functions take."""

import operator
from typing import Any

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
