"""The files of a workdir, checked.

Only `result.json` has to be there. A file that is not what it should be is an
error that names it: a report must not be silently incomplete.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embedcomp import data, training
from embedcomp.table.scheme import Scheme
from experiments.report.comparison_page import Comparison, compare, number

_RESULT_NUMBERS = (
  'value',
  'embedding_bytes',
  'dense_embedding_bytes',
  'model_bytes',
  'ratio',
)
_RESULT_TEXTS = ('task', 'split', 'metric', 'command', 'method')


@dataclasses.dataclass(frozen=True, eq=False)
class Probabilities:
  """History of the probabilities of a search.

  Attributes:
    steps: [T] int.
    mixture: [T, B, O] probabilities of each option in each bin.
    splits: [T, S, B] probabilities of each split, the last "unused"; None if
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


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """Contents of a workdir; None or empty where a file is missing."""

  result: dict[str, Any]
  config: dict[str, Any] | None
  metrics: list[dict[str, Any]]
  counts: np.ndarray | None
  scheme: Scheme | None
  budget: float | None
  probabilities: Probabilities | None
  deciles: Deciles | None
  comparison: Comparison | None

  @property
  def is_classification(self) -> bool:
    """True if labels are of documents, not of words."""
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
  probabilities = None
  if space:
    probabilities = _read(
      workdir / 'architecture.jsonl', lambda text: _probabilities(text, space)
    )
  return Run(
    result=result,
    config=_read(workdir / 'config.json', _fields),
    metrics=training.read_metrics(workdir),
    counts=_counts(workdir / 'vocabulary.json', scheme),
    scheme=scheme,
    budget=space.get('budget'),
    probabilities=probabilities,
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
  """Reads a file, None if there is none."""
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


def _result(text: str) -> dict[str, Any]:
  result = _fields(text)
  for name in _RESULT_NUMBERS:
    number(result[name], name)
  for name in ('embedding_bytes', 'dense_embedding_bytes'):
    if result[name] <= 0:
      raise ValueError(f'{name} must be positive, got {result[name]!r}.')
  for name in _RESULT_TEXTS:
    if not isinstance(result[name], str):
      raise ValueError(f'{name} must be text, got {result[name]!r}.')
  if result.get('dense_value') is not None:
    number(result['dense_value'], 'dense_value')
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
    'budget': number(space['budget'], 'budget'),
  }


def _probabilities(text: str, space: Mapping[str, Any]) -> Probabilities | None:
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
  return Probabilities(
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
  return [np.nan if v is None else number(v, name) for v in values]


def _comparison(text: str) -> Comparison | None:
  fields = _fields(text)
  rows = fields['rows']
  if not isinstance(rows, list):
    raise ValueError(f'rows must be a list, got {rows!r}.')
  dense = None
  if fields.get('dense_value') is not None:
    value = number(fields['dense_value'], 'dense_value')
    spread = fields.get('dense_std')
    spread = np.nan if spread is None else number(spread, 'dense_std')
    dense = (value, spread)
  return (
    compare(rows, bool(fields['higher_is_better']), dense) if rows else None
  )
