"""What a user may ask for: bytes, a share of the dense table, or a factor."""

import numpy as np


def parse_budget(budget: float | int | str, dense_bytes: int) -> int:
  """The bytes that a budget allows.

  Args:
    budget: a share of the dense table (float in (0, 1)), a number of bytes
      (int), or a factor (`'40x'`).
    dense_bytes: bytes of the dense table.

  Returns:
    Bytes.

  Raises:
    ValueError: for anything else.

  Example:
    >>> parse_budget(0.25, 1000), parse_budget(250, 1000)
    (250, 250)
    >>> parse_budget('4x', 1000)
    250
  """
  rule = (
    "budget must be a share in (0, 1), a number of bytes, or a factor as '40x'"
  )
  if isinstance(budget, str):
    try:
      factor = float(budget.removesuffix('x'))
    except ValueError:
      factor = 0.0
    if not budget.endswith('x') or not 0 < factor < float('inf'):
      raise ValueError(f'{rule}, got {budget!r}.')
    return int(dense_bytes / factor)
  if isinstance(budget, (bool, np.bool_)):
    raise ValueError(f'{rule}, got {budget!r}.')
  if isinstance(budget, (int, np.integer)) and budget > 0:
    return int(budget)
  if isinstance(budget, (float, np.floating)) and 0 < budget < 1:
    return int(dense_bytes * budget)
  raise ValueError(f'{rule}, got {budget!r}.')
