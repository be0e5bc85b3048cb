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
  """Rows of one label and one size as one.

  What is searched has a size of its own for each seed. Rows are of one size if
  they have the same `budget`; without one, if they are within 12 % of the
  smallest one and none of them shares a seed.

  Args:
    rows: of single runs.

  Returns:
    Labels in order of appearance, each from its smallest size to its largest.
  """
  methods = []
  for label in dict.fromkeys(row['label'] for row in rows):
    ours = [row for row in rows if row['label'] == label]
    by_budget: dict[Any, list[Mapping[str, Any]]] = {}
    for row in ours:
      by_budget.setdefault(row.get('budget'), []).append(row)
    sizes = _by_size(by_budget.pop(None, []))
    found = [_mean(same) for same in (*sizes, *by_budget.values())]
    methods += sorted(found, key=lambda method: method.num_bytes)
  return methods


def _by_size(
  rows: Sequence[Mapping[str, Any]],
) -> list[list[Mapping[str, Any]]]:
  sizes: list[list[Mapping[str, Any]]] = []
  for row in sorted(rows, key=lambda r: (r['embedding_bytes'], r['seed'])):
    same = sizes[-1] if sizes else []
    if not same or (
      row['seed'] in {other['seed'] for other in same}
      or row['embedding_bytes'] > _SAME_SIZE * same[0]['embedding_bytes']
    ):
      sizes.append([row])
    else:
      same.append(row)
  return sizes


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
