"""Rows of results as tables for a terminal or a Markdown page."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.benchmarks.record import Row


def cell(value: Any) -> str:
  """A value in few characters: 1,024 or 0.0123 or text.

  Example:
    >>> cell(12345), cell(0.012345), cell(123.4567), cell(None)
    ('12,345', '0.0123', '123', '')
  """
  if value is None:
    return ''
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    return str(value)
  if isinstance(value, int):
    return f'{value:,}'
  return f'{value:,.0f}' if 100 <= abs(value) < 1e9 else f'{value:.3g}'


def mean_and_deviation(values: Sequence[float], digits: int) -> str:
  """Of figures that differ by their seed; one alone has no deviation.

  Example:
    >>> mean_and_deviation([81.0, 82.0], 2), mean_and_deviation([81.25], 1)
    ('81.50 ± 0.50', '81.2')
  """
  mean = f'{np.mean(values):.{digits}f}'
  return f'{mean} ± {np.std(values):.{digits}f}' if len(values) > 1 else mean


def _grid(rows: Sequence[Row]) -> list[list[str]]:
  """Headings and cells; columns in order of appearance."""
  headings = list(dict.fromkeys(key for row in rows for key in row))
  return [headings] + [[cell(row.get(h)) for h in headings] for row in rows]


def _is_number(rows: Sequence[Row], heading: str) -> bool:
  values = [row[heading] for row in rows if row.get(heading) is not None]
  return all(isinstance(value, (int, float)) for value in values)


def text_table(rows: Sequence[Row]) -> str:
  """Rows as aligned text."""
  grid = _grid(rows)
  widths = [max(map(len, column)) for column in zip(*grid)]
  numeric = [_is_number(rows, heading) for heading in grid[0]]
  return '\n'.join(
    '  '.join(
      value.rjust(width) if right else value.ljust(width)
      for value, width, right in zip(line, widths, numeric)
    ).rstrip()
    for line in grid
  )


def markdown_table(rows: Sequence[Row]) -> str:
  """Rows as a Markdown table, numbers to the right."""
  grid = _grid(rows)
  rule = ['--:' if _is_number(rows, heading) else '---' for heading in grid[0]]
  lines = [[h.replace('_', ' ') for h in grid[0]], rule, *grid[1:]]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
