"""Rows of single runs as methods, with means and deviations over seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Sizes of one label within this factor are one size, reached with other seeds.
_SAME_SIZE = 1.12


@dataclasses.dataclass(frozen=True)
class Method:
  """Runs of one label at one size.

  Attributes:
    method: its name in configs.
    label: its name for readers.
    num_bytes: mean.
    ratio: mean, of the dense table's bytes.
    values: of the metric on test data, one a seed.
    validations: the same on validation data; empty if not known.
  """

  method: str
  label: str
  num_bytes: float
  ratio: float
  values: tuple[float, ...]
  validations: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Methods in the order of their rows, and the dense model if known.

  Attributes:
    metric: name.
    higher_is_better: whether it is.
    dense: mean and standard deviation of the uncompressed model.
    methods: all but that one.
    rows: of single runs.
  """

  metric: str
  higher_is_better: bool
  dense: tuple[float, float] | None
  methods: list[Method]
  rows: list[Mapping[str, Any]]

  def label_of(self, name: str) -> str | None:
    """The first label of a method, None if there is none."""
    found = [m.label for m in self.methods if name in (m.method, m.label)]
    return found[0] if found else None


def number(value: Any, name: str) -> float:
  """The value, a ValueError if it is not a number."""
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    raise ValueError(f'{name} must be a number, got {value!r}.')
  return value


def compare(
  rows: Sequence[Mapping[str, Any]],
  higher_is_better: bool,
  dense: tuple[float, float] | None = None,
) -> Comparison:
  """A comparison from rows of single runs.

  Args:
    rows: with `label`, `embedding_bytes`, `ratio`, `metric`, `value`, `seed`,
      and perhaps `method` and `validation`; at least one.
    higher_is_better: whether values are.
    dense: mean and deviation of the uncompressed model; those of the rows with
      the label 'dense', if not given and there are any.

  Returns:
    The comparison.

  Raises:
    KeyError: for a field that a row lacks.
    ValueError: for a field that is no positive number, or no number.
  """
  for row in rows:
    for name in ('embedding_bytes', 'ratio', 'value', 'seed'):
      number(row[name], name)
    if row['ratio'] <= 0:
      raise ValueError(f'ratio must be positive, got {row["ratio"]!r}.')
  values = [row['value'] for row in rows if row['label'] == 'dense']
  if dense is None and values:
    dense = (float(np.mean(values)), deviation(values))
  return Comparison(
    metric=str(rows[0]['metric']),
    higher_is_better=higher_is_better,
    dense=dense,
    methods=aggregate([row for row in rows if row['label'] != 'dense']),
    rows=list(rows),
  )


def aggregate(rows: Sequence[Mapping[str, Any]]) -> list[Method]:
  """Rows of one label and one size as one, see `by_size`.

  Args:
    rows: of single runs.

  Returns:
    Labels in order of appearance, each from its smallest size to its largest.
  """
  methods = []
  for label in dict.fromkeys(row['label'] for row in rows):
    ours = [row for row in rows if row['label'] == label]
    methods += [_mean(same) for same in by_size(ours)]
  return methods


def by_size(
  rows: Sequence[Mapping[str, Any]],
) -> list[list[Mapping[str, Any]]]:
  """Rows of one label, those of one size together.

  What is searched has a size of its own for each seed. Rows are of one size if
  they have the same `budget`; without one, if they are within 12 % of the
  smallest one and none of them shares a seed.

  Args:
    rows: of single runs of one label.

  Returns:
    Rows of each size, from the smallest to the largest on average.
  """
  sizes: list[list[Mapping[str, Any]]] = []
  for row in sorted(rows, key=lambda r: (r['embedding_bytes'], r['seed'])):
    same = [size for size in sizes if _is_same_size(size, row)]
    if same:
      same[-1].append(row)
    else:
      sizes.append([row])
  return sorted(
    sizes, key=lambda size: np.mean([r['embedding_bytes'] for r in size])
  )


def _is_same_size(
  size: Sequence[Mapping[str, Any]], row: Mapping[str, Any]
) -> bool:
  budgets = size[0].get('budget'), row.get('budget')
  if budgets != (None, None):
    return budgets[0] == budgets[1]
  is_near = row['embedding_bytes'] <= _SAME_SIZE * size[0]['embedding_bytes']
  return is_near and row['seed'] not in {other['seed'] for other in size}


def _mean(rows: Sequence[Mapping[str, Any]]) -> Method:
  validations = [row.get('validation') for row in rows]
  return Method(
    str(rows[0].get('method', rows[0]['label'])),
    str(rows[0]['label']),
    float(np.mean([row['embedding_bytes'] for row in rows])),
    float(np.mean([row['ratio'] for row in rows])),
    tuple(float(row['value']) for row in rows),
    tuple(float(v) for v in validations if v is not None),
  )


def deviation(values: Sequence[float]) -> float:
  """Standard deviation of a sample, NaN for a single value."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
