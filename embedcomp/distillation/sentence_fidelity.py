"""How close a compressed model stays to the one that it was made from.

Of a student and its teacher, fidelity is how well the one agrees with the
other, whatever either knows of a task (Stanton et al., "Does Knowledge
Distillation Really Work?", NeurIPS 2021). Let a_i be the vector of text i, b_i
that of the compressed model, both scaled to length one:

  damage          mean over i of 1 - a_i . b_i
  similarity_rms  root of the mean over i < j of (a_i . a_j - b_i . b_j)^2

Both are 0 where nothing has changed. Damage says how far texts have moved, the
other what becomes of the cosines that they are compared by: texts that all move
the same way do it no harm. No labels are needed, and thousands of texts are
cheap, so that small differences show which no task of a few scores can tell.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from embedcomp.compression import frequency
from embedcomp.compression.weighted_table import check_table
from embedcomp.types import Array

# Texts to [N, D] vectors of any length but 0.
VectorFn = Callable[[Sequence[str]], Any]

_ONE_SOURCE = 'texts'  # the name of a source that has none
# Rows of pairs that are compared at once, so that no [N, N] array exists.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class SourceFidelity:
  """Fidelity on the texts of one source.

  Attributes:
    num_texts: N.
    damage: mean of 1 - cosine between both models' vectors of a text, in
      [0, 2].
    similarity_rms: root mean square of the difference of the cosines of pairs,
      in [0, 2].
  """

  num_texts: int
  damage: float
  similarity_rms: float


@dataclasses.dataclass(frozen=True)
class Fidelity:
  """How close a compressed model stays to the model it was made from.

  Attributes:
    damage: mean over all texts of 1 - cosine between both models' vectors.
    similarity_rms: root of the mean over sources of the mean squared difference
      of the cosines of pairs inside each source.
    by_source: the same of each source, by its name.
  """

  damage: float
  similarity_rms: float
  by_source: Mapping[str, SourceFidelity]


def fidelity(
  model: VectorFn,
  compressed: VectorFn,
  texts: Sequence[str] | Mapping[str, Sequence[str]],
) -> Fidelity:
  """Measures how close a compressed model stays to the one it was made from.

  Texts should be held out: of the kinds that will be read, and none of those
  whose words were counted to compress the model.

  Args:
    model: from a list of N texts to their [N, D] vectors, of any length but 0.
    compressed: likewise, of the compressed model; the same D.
    texts: at least two; or several sources, at least two texts of each by the
      name of the source. Models get all of them at once.

  Returns:
    The damage and what becomes of similarities, in all and by source. Texts
    count alike, and so do sources where their pairs are compared.

  Raises:
    ValueError: if texts are too few or no str; for vectors of other numbers or
      widths, and for vectors that are zero, infinite or NaN.

  Example:
    >>> vectors = {'a': [1, 0], 'b': [0, 2]}
    >>> found = fidelity(
    ...   lambda texts: [vectors[text] for text in texts],
    ...   lambda texts: [[1, 1] for _ in texts],
    ...   ['a', 'b'],
    ... )
    >>> round(found.damage, 4), round(found.similarity_rms, 4)
    (0.2929, 1.0)
  """
  sources = _check_texts(texts)
  one = _unit_vectors('model', model, sources)
  two = _unit_vectors('compressed', compressed, sources)
  if one.shape != two.shape:
    raise ValueError(
      f'both models must give vectors of one width, got {one.shape[1]} of '
      f'model and {two.shape[1]} of compressed.'
    )
  # 1 - a . b would lose its digits where vectors hardly differ.
  damages = np.square(one - two).sum(axis=1) / 2
  by_source, squares, start = {}, [], 0
  for source, lines in sources.items():
    rows = slice(start, start + len(lines))
    squares.append(_mean_square_of_pairs(one[rows], two[rows]))
    by_source[source] = SourceFidelity(
      len(lines), float(damages[rows].mean()), float(np.sqrt(squares[-1]))
    )
    start += len(lines)
  return Fidelity(
    float(damages.mean()), float(np.sqrt(np.mean(squares))), by_source
  )


def fidelity_by_class(
  model_of: Callable[[np.ndarray], VectorFn],
  tables: tuple[Array, Array],
  counts: Array,
  texts: Sequence[str] | Mapping[str, Sequence[str]],
  splits: Sequence[int] = (200, 3000),
) -> tuple[Fidelity, ...]:
  """Measures what each class of words costs, by how often they occur.

  Words are ranked by their counts and cut into classes. For each, only its own
  words are compressed. Damage of classes adds up, nearly, to that of all words.

  Args:
    model_of: from a [V, D] table of word vectors to a function as `fidelity`
      takes it.
    tables: the dense [V, D] table and the compressed one, unpacked.
    counts: [V] how often words occur.
    texts: as for `fidelity`.
    splits: rising ranks at which a new class begins.

  Returns:
    What `fidelity` finds for each of the len(splits) + 1 classes, that of the
    most frequent words first.

  Raises:
    ValueError: as `fidelity`; for tables or counts that do not go together, and
      for splits that do not rise from 1 to V - 1.

  Example:
    >>> dense, compressed = np.eye(3), np.ones((3, 3))
    >>> model_of = lambda table: lambda texts: table[[int(t) for t in texts]]
    >>> found = fidelity_by_class(
    ...   model_of, (dense, compressed), [9, 1, 4], ['0', '1'], splits=[2]
    ... )
    >>> [round(one.damage, 4) for one in found]
    [0.2113, 0.2113]
  """
  dense, other = map(check_table, tables)
  if dense.shape != other.shape:
    raise ValueError(
      f'tables must have one shape, got {dense.shape} and {other.shape}.'
    )
  counts = frequency.check_counts(counts, len(dense))
  points = [0, *splits, len(dense)]
  if any(b <= a for a, b in itertools.pairwise(points)):
    raise ValueError(
      f'splits must rise, above 0 and below {len(dense)}, got {[*splits]}.'
    )
  order = frequency.rank_order(counts)
  model = reading_once(model_of(dense))
  found = []
  for start, stop in itertools.pairwise(points):
    mixed = dense.copy()
    mixed[order[start:stop]] = other[order[start:stop]]
    found.append(fidelity(model, model_of(mixed), texts))
  return tuple(found)


def reading_once(model: VectorFn) -> VectorFn:
  """Makes a model keep its vectors, for many to be compared with it.

  Args:
    model: as `fidelity` takes it.

  Returns:
    A function that asks the model only for texts that it has not seen as a
    whole.

  Example:
    >>> model = reading_once(lambda texts: print('reads') or [[1.0]])
    >>> model(['a']), model(['a'])
    reads
    ([[1.0]], [[1.0]])
  """
  kept: dict[tuple[str, ...], Any] = {}

  def read(texts: Sequence[str]) -> Any:
    key = tuple(texts)
    if key not in kept:
      kept[key] = model(texts)
    return kept[key]

  return read


def _check_texts(
  texts: Sequence[str] | Mapping[str, Sequence[str]],
) -> dict[str, list[str]]:
  """Texts by source."""
  sources = texts if isinstance(texts, Mapping) else {_ONE_SOURCE: texts}
  if not sources:
    raise ValueError('texts must have one source or more, got none.')
  found = {}
  for source, lines in sources.items():
    if isinstance(lines, str):
      raise ValueError(f'{source!r} must be several texts, got one str.')
    lines = list(lines)
    wrong = [line for line in lines if not isinstance(line, str)]
    if wrong:
      raise ValueError(f'texts of {source!r} must be str, got {wrong[0]!r}.')
    if len(lines) < 2:
      raise ValueError(
        f'{source!r} must have at least 2 texts, for pairs to be compared, '
        f'got {len(lines)}.'
      )
    found[source] = lines
  return found


def _unit_vectors(
  name: str, model: VectorFn, sources: dict[str, list[str]]
) -> np.ndarray:
  """[N, D] float64 vectors of all sources, of length one."""
  texts = [text for lines in sources.values() for text in lines]
  vectors = np.asarray(model(texts), np.float64)
  if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.shape[1]:
    raise ValueError(
      f'{name} must give [{len(texts)}, D], a vector for each text, '
      f'got shape {vectors.shape}.'
    )
  # Divided first, so that no square is too large or too small.
  largest = np.abs(vectors).max(axis=1)
  wrong = ~(np.isfinite(largest) & (largest > 0))
  if wrong.any():
    row = int(wrong.argmax())
    raise ValueError(
      f'vectors of {name} must be finite and not zero, got one whose largest '
      f'number is {largest[row]} for text {row}, {texts[row][:80]!r}.'
    )
  vectors = vectors / largest[:, None]
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _mean_square_of_pairs(one: np.ndarray, two: np.ndarray) -> float:
  """Mean squared difference of the cosines of all pairs, i < j."""
  num, total = len(one), 0.0
  for start in range(0, num, _BLOCK):
    rows = slice(start, start + _BLOCK)
    # Pairs with texts before this block have been counted.
    differences = one[rows] @ one[start:].T - two[rows] @ two[start:].T
    total += float(np.square(np.triu(differences, 1)).sum())
  return total / (num * (num - 1) / 2)
