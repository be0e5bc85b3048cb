"""Checks of budgets and tolerances that users state.

The command line calls them before anything large is loaded: no NumPy here.
"""

import fractions
import numbers
import re

_FACTOR = re.compile(r'([0-9]+\.?[0-9]*|\.[0-9]+)x')


def parse_budget(budget: float | int | str, dense_bytes: int) -> int:
  """Returns the bytes that a budget allows.

  Args:
    budget: a share of the dense table (float in (0, 1)), a number of bytes
      (int), or a factor of at least 1 (`'40x'`).
    dense_bytes: bytes of the dense table.

  Returns:
    Bytes, at most those of the dense table.

  Raises:
    ValueError: for anything else.

  Example:
    >>> parse_budget(0.25, 1000), parse_budget(250, 1000)
    (250, 250)
    >>> parse_budget('4x', 1000)
    250
  """
  num_bytes = _budget_bytes(budget, dense_bytes)
  if num_bytes is None:
    raise ValueError(
      'budget must be a share in (0, 1), a number of bytes, or a factor of at '
      f"least 1 as '40x', got {budget!r}."
    )
  if num_bytes > dense_bytes:
    raise ValueError(
      f"budget must be at most the dense table's {dense_bytes} bytes, "
      f'got {budget!r}, which is {num_bytes} bytes: nothing is left to save.'
    )
  return num_bytes


def _budget_bytes(budget: float | int | str, dense_bytes: int) -> int | None:
  """Bytes of a budget; None if it is of no form that is understood."""
  if isinstance(budget, str):
    found = _FACTOR.fullmatch(budget)
    factor = fractions.Fraction(found[1] if found else 0)
    return int(dense_bytes / factor) if factor >= 1 else None
  if isinstance(budget, bool):
    return None
  if isinstance(budget, numbers.Integral):  # of NumPy, too
    return int(budget) if budget > 0 else None
  if isinstance(budget, numbers.Real) and 0 < budget < 1:
    return int(dense_bytes * float(budget))
  return None


def check_tolerance(tolerance: float) -> float:
  """Checks the largest relative error that is allowed.

  Args:
    tolerance: number in (0, 1).

  Returns:
    The same as Python's float.

  Raises:
    ValueError: if it is no number or out of range.
  """
  if not isinstance(tolerance, numbers.Real) or not 0 < tolerance < 1:
    raise ValueError(f'tolerance must be in (0, 1), got {tolerance!r}.')
  return float(tolerance)
