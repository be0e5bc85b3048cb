"""The files of a workdir, checked, and rows of many seeds as means.

Only `result.json` has to be there. A file that is not what it should be is an
error that names it: a report must not be silently incomplete.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedcomp import data, training
from embedcomp.scheme import Scheme

_RESULT_NUMBERS = (
  'value',
  'embedding_bytes',
  'dense_embedding_bytes',
  'model_bytes',
  'ratio',
)
_RESULT_TEXTS = ('task', 'split', 'metric', 'command', 'method')
# Sizes of one label within this factor are one size, reached with other seeds.
_SAME_SIZE = 1.12


@dataclasses.dataclass(frozen=True, eq=False)
class Odds:
  """How the odds of a search moved.

  Attributes:
    steps: [T] int.
    mixture: [T, B, O] odds of each option in each bin.
    splits: [T, S, B] odds of each split, the last outcome "unused"; None if
      splits were not learned.
    bins: the B + 1 ranks between which bins lie.
    options: O names.
    bytes_per_word: [O].
  """

  steps: np.ndarray
  mixture: np.ndarray
  splits: np.ndarray | None
  bins: list[int]
  options: list[str]
  bytes_per_word: np.ndarray


@dataclasses.dataclass(frozen=True)
class Deciles:
  """Losses by frequency, [10] each.

  Attributes:
    metric: what the losses are.
    edges: first rank of each tenth of the tokens.
    dense: of the uncompressed model, None if it was not trained.
    compressed: of the final model.
  """

  metric: str
  edges: list[float]
  dense: list[float] | None
  compressed: list[float]


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


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """What a workdir tells; None or empty where a file is missing."""

  result: dict[str, Any]
  config: dict[str, Any] | None
  metrics: list[dict[str, Any]]
  counts: np.ndarray | None
  scheme: Scheme | None
  budget: float | None
  odds: Odds | None
  deciles: Deciles | None
  comparison: Comparison | None

  @property
  def is_classification(self) -> bool:
    """Whether labels are of documents, not of words."""
    return self.result['metric'] == 'accuracy'


def read_run(workdir: Path) -> Run:
  """Reads all files of a workdir.

  Raises:
    ValueError: naming a file that is missing or damaged, and why.
  """
  result = _read(workdir / 'result.json', _result)
  if result is None:
    raise ValueError(
      f'{workdir / "result.json"} does not exist: a report needs a run that '
      'has ended; run the same command again to go on.'
    )
  space = _read(workdir / 'space.json', _space) or {}
  scheme = _read(workdir / 'scheme.json', Scheme.from_json)
  odds = None
  if space:
    odds = _read(
      workdir / 'architecture.jsonl', lambda text: _odds(text, space)
    )
  return Run(
    result=result,
    config=_read(workdir / 'config.json', _fields),
    metrics=training.read_metrics(workdir),
    counts=_counts(workdir / 'vocabulary.json', scheme),
    scheme=scheme,
    budget=space.get('budget'),
    odds=odds,
    deciles=_read(workdir / 'deciles.json', _deciles),
    comparison=_read(workdir / 'comparison.json', _comparison),
  )


def _counts(path: Path, scheme: Scheme | None) -> np.ndarray | None:
  """[V] counts of a vocabulary, which has to be that of the scheme."""
  if not path.exists():
    return None
  counts = data.Vocabulary.load(path).counts
  if scheme is not None and len(counts) != scheme.vocab_size:
    raise ValueError(
      f'{path} has {len(counts)} words and {path.with_name("scheme.json")} '
      f'{scheme.vocab_size}: they must be of the same run.'
    )
  return counts


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
  """What a file holds, None if there is none."""
  try:
    return parse(path.read_bytes().decode())
  except FileNotFoundError:
    return None
  except KeyError as error:
    raise ValueError(f'{path} is damaged: no field {error}.') from error
  except (ValueError, TypeError, AttributeError, RecursionError) as error:
    raise ValueError(f'{path} is damaged: {error}') from error


def _fields(text: str) -> dict[str, Any]:
  fields = json.loads(text)
  if not isinstance(fields, dict):
    raise ValueError(f'must be a JSON object, got {text[:80]!r}.')
  return fields


def _number(value: Any, name: str) -> float:
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    raise ValueError(f'{name} must be a number, got {value!r}.')
  return value


def _result(text: str) -> dict[str, Any]:
  result = _fields(text)
  for name in _RESULT_NUMBERS:
    _number(result[name], name)
  for name in ('embedding_bytes', 'dense_embedding_bytes'):
    if result[name] <= 0:
      raise ValueError(f'{name} must be positive, got {result[name]!r}.')
  for name in _RESULT_TEXTS:
    if not isinstance(result[name], str):
      raise ValueError(f'{name} must be text, got {result[name]!r}.')
  if result.get('dense_value') is not None:
    _number(result['dense_value'], 'dense_value')
  return result


def _space(text: str) -> dict[str, Any]:
  space = _fields(text)
  bins, prices = np.array(space['bins']), np.array(space['bytes_per_word'])
  if bins.ndim != 1 or len(bins) < 2 or (np.diff(bins) < 1).any():
    raise ValueError(f'bins must increase from 0 to V, got {space["bins"]}.')
  if prices.shape != (len(space['options']),):
    raise ValueError(
      f'{len(space["options"])} options need as many bytes_per_word, got '
      f'{len(prices)}.'
    )
  return {
    'bins': bins.astype(int).tolist(),
    'options': [str(option) for option in space['options']],
    'bytes_per_word': prices.astype(float),
    'budget': _number(space['budget'], 'budget'),
  }


def _odds(text: str, space: Mapping[str, Any]) -> Odds | None:
  """The last life of every step; a last line that is half there is left out."""
  lines: list[dict[str, Any]] = []
  for line in text.split('\n')[:-1]:
    fields = _fields(line)
    # A run that was resumed writes the steps again that were lost.
    while lines and lines[-1]['step'] >= fields['step']:
      lines.pop()
    lines.append(fields)
  if not lines:
    return None
  num_bins = len(space['bins']) - 1
  mixture = np.array([line['mixture'] for line in lines], float)
  if mixture.shape[1:] != (num_bins, len(space['options'])):
    raise ValueError(
      f'mixture must be {num_bins} bins x {len(space["options"])} options, '
      f'got {mixture.shape[1:]}.'
    )
  splits = None
  if lines[-1].get('splits'):
    splits = np.array([line['splits'] for line in lines], float)
    if splits.ndim != 3 or splits.shape[-1] != num_bins:
      raise ValueError(
        f'splits must have {num_bins} outcomes, got {splits.shape[1:]}.'
      )
  return Odds(
    np.array([line['step'] for line in lines]),
    mixture,
    splits,
    space['bins'],
    space['options'],
    space['bytes_per_word'],
  )


def _deciles(text: str) -> Deciles:
  fields = _fields(text)
  edges = _numbers(fields['edges'], 'edges')
  compressed = _numbers(fields['compressed'], 'compressed', len(edges))
  dense = fields.get('dense')
  if dense is not None:
    dense = _numbers(dense, 'dense', len(edges))
  return Deciles(str(fields['metric']), edges, dense, compressed)


def _numbers(values: Any, name: str, length: int | None = None) -> list[float]:
  """Numbers of a list, NaN for null."""
  if not isinstance(values, list) or not values:
    raise ValueError(f'{name} must be a list of numbers, got {values!r}.')
  if length not in (None, len(values)):
    raise ValueError(f'{name} must have {length} numbers, got {len(values)}.')
  return [np.nan if v is None else _number(v, name) for v in values]


def _comparison(text: str) -> Comparison | None:
  fields = _fields(text)
  rows = fields['rows']
  if not isinstance(rows, list):
    raise ValueError(f'rows must be a list, got {rows!r}.')
  dense = None
  if fields.get('dense_value') is not None:
    value = _number(fields['dense_value'], 'dense_value')
    spread = fields.get('dense_std')
    spread = np.nan if spread is None else _number(spread, 'dense_std')
    dense = (value, spread)
  return (
    compare(rows, bool(fields['higher_is_better']), dense) if rows else None
  )


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
      _number(row[name], name)
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
  they are within 12 % of the smallest one and none of them shares a seed.

  Args:
    rows: of single runs.

  Returns:
    Labels in order of appearance, each from its smallest size to its largest.
  """
  methods = []
  for label in dict.fromkeys(row['label'] for row in rows):
    ours = [row for row in rows if row['label'] == label]
    ours.sort(key=lambda row: (row['embedding_bytes'], row['seed']))
    same: list[Mapping[str, Any]] = []
    for row in ours:
      seeds = {other['seed'] for other in same}
      if same and (
        row['seed'] in seeds
        or row['embedding_bytes'] > _SAME_SIZE * same[0]['embedding_bytes']
      ):
        methods.append(_mean(same))
        same = []
      same.append(row)
    methods.append(_mean(same))
  return methods


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
