"""Batches of static shapes, each a pure function of the data, seed and step.

A reader has no state: `batches.at(step)` is the same in a run that was never
interrupted, in one that resumes at `step` and on every host. Each epoch visits
every document (or every word of a stream) exactly once, in an order of its own.
With shards, each host gets its rows of the same global batch.

A batch is a dict of some of these arrays, which mean the same for all readers:

  ids          [B, T] int32, words
  token_types  [B, T] int32, which text of a pair each word is of
  pair_ids     [B, T] int32, words of second texts that are encoded apart
  places       [B, P] int32, which of the T words are to be guessed
  labels       [B], [B, T] or [B, P], int32 or float32
  weights      float32 in the shape of the labels, 0 where none counts
"""

import abc
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from embedcomp.data.vocabulary import PADDING

Batch = dict[str, np.ndarray]
INPUT_FIELDS = frozenset({'ids', 'pair_ids'})  # words that a model reads
FILLER = -1  # the row of a batch that no item is left for


class Batches(abc.ABC):
  """Items 0 .. N - 1, each with a size class, put into batches.

  Attributes:
    num_batches: how many batches an epoch has, ceil(N / B).
    word_fields: of a batch that hold words.
  """

  word_fields: tuple[str, ...] = ('ids',)

  def __init__(
    self,
    classes: np.ndarray,
    batch_size: int,
    seed: int,
    num_shards: int,
    shard: int,
  ):
    if batch_size < 1 or num_shards < 1 or batch_size % num_shards:
      raise ValueError(
        f'batch_size must be a multiple of the {num_shards} shards, '
        f'got {batch_size}.'
      )
    if not 0 <= shard < num_shards:
      raise ValueError(f'shard must be in [0, {num_shards}), got {shard}.')
    if seed < 0:
      raise ValueError(f'seed must not be negative, got {seed}.')
    self._classes = classes
    self._batch_size = batch_size
    self._seed = seed
    share = batch_size // num_shards
    self._own = slice(shard * share, (shard + 1) * share)
    self.num_batches = -(-len(classes) // batch_size)
    # Two, so that a look ahead over the end of an epoch costs nothing.
    self._epoch = functools.lru_cache(maxsize=2)(self._shuffled_epoch)

  def at(self, step: int) -> Batch:
    """The batch of a step.

    Args:
      step: 0 or more; epochs follow each other without end.

    Returns:
      This shard's rows of the batch.

    Raises:
      ValueError: if step is negative.
    """
    if step < 0:
      raise ValueError(f'step must not be negative, got {step}.')
    epoch, position = divmod(step, self.num_batches)
    rows, classes = self._epoch(epoch)
    return self._batch(rows[position, self._own], classes[position])

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once, the short ones first, else in their order."""
    rows = self._rows(np.arange(len(self._classes)))
    for row, size_class in zip(rows, self._largest(rows)):
      yield self._batch(row[self._own], size_class)

  def _shuffled_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """[num_batches, B] rows and [num_batches] size classes of an epoch."""
    rng = np.random.default_rng([self._seed, epoch])
    rows = self._rows(rng.permutation(len(self._classes)))
    rows = rows[rng.permutation(len(rows))]
    return rows, self._largest(rows)

  def _rows(self, order: np.ndarray) -> np.ndarray:
    """[num_batches, B] items of like size, fillers at the end.

    What is left over of a size when its batches are full joins the next larger
    size, so that all batches but the last are full.
    """
    order = order[np.argsort(self._classes[order], kind='stable')]
    fillers = self.num_batches * self._batch_size - len(order)
    order = np.concatenate([order, np.full(fillers, FILLER)])
    return order.reshape(self.num_batches, self._batch_size)

  def _largest(self, rows: np.ndarray) -> np.ndarray:
    # A filler reads the class of the last item, so it must not count.
    return np.where(rows == FILLER, 0, self._classes[rows]).max(axis=1)

  @abc.abstractmethod
  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    """The arrays of a batch."""


class LanguageModelBatches(Batches):
  """Batches of contiguous spans of a stream, each with the words that follow.

  A batch is a dict of [B, T] arrays:

    ids      int32 words of a span
    labels   int32 the word after each
    weights  float32; 0 beyond the end of the stream (ids and labels are
             padding there), else 1

  Every word of the stream but the first is a label exactly once an epoch.

  Args:
    tokens: [N] integers, N >= 2; see `token_stream`.
    batch_size: B, of all shards together.
    length: T, of the spans.
    seed: of the order of spans.
    num_shards: how many hosts share a batch; must divide B.
    shard: which of them this is.

  Raises:
    ValueError: if the stream is too short or an argument is out of range.

  Example:
    >>> batch = LanguageModelBatches([5, 6, 7], batch_size=1, length=2).at(0)
    >>> batch['ids'].tolist(), batch['labels'].tolist()
    ([[5, 6]], [[6, 7]])
  """

  word_fields = ('ids', 'labels')

  def __init__(
    self,
    tokens: np.ndarray,
    batch_size: int,
    length: int,
    seed: int = 0,
    *,
    num_shards: int = 1,
    shard: int = 0,
  ):
    stream = token_stream([tokens])
    if len(stream) < 2 or length < 1:
      raise ValueError(
        'a language model needs two words or more and a length of at least '
        f'1, got {len(stream)} words and length {length}.'
      )
    num_labels = len(stream) - 1
    num_spans = -(-num_labels // length)
    # One row more, of padding alone, is what a filler (row -1) reads.
    size = (num_spans + 1) * length
    padded = np.full(size + 1, PADDING, np.int32)
    padded[: len(stream)] = stream
    self._labels = padded[1:].reshape(-1, length)
    ids = padded[:-1].copy()
    ids[num_labels] = PADDING  # the last word is only a label
    self._ids = ids.reshape(-1, length)
    weights = (np.arange(size) < num_labels).astype(np.float32)
    self._weights = weights.reshape(-1, length)
    classes = np.zeros(num_spans, np.int32)
    super().__init__(classes, batch_size, seed, num_shards, shard)

  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    return {
      'ids': self._ids[rows],
      'labels': self._labels[rows],
      'weights': self._weights[rows],
    }


@dataclasses.dataclass(frozen=True, eq=False)
class WrappedBatches:
  """Batches that are made of others, one of each.

  Attributes:
    batches: as they were, such as `ClassificationBatches`.
  """

  batches: Any

  @property
  def word_fields(self) -> tuple[str, ...]:
    """Fields of a batch that hold words."""
    return self.batches.word_fields

  @property
  def num_batches(self) -> int:
    """How many batches an epoch has."""
    return self.batches.num_batches


@dataclasses.dataclass(frozen=True, eq=False)
class RenumberedBatches(WrappedBatches):
  """Batches in which words have other ids.

  Attributes:
    batches: as they were, such as `ClassificationBatches`.
    new_ids: [V] integers, the new id of each old one.
    fields: of a batch that hold words; `batches.word_fields` if not given.
  """

  new_ids: np.ndarray
  fields: tuple[str, ...] | None = None

  @property
  def word_fields(self) -> tuple[str, ...]:
    """Fields of a batch that hold words."""
    return self.batches.word_fields if self.fields is None else self.fields

  def at(self, step: int) -> Batch:
    """The batch of a step."""
    return self._renumbered(self.batches.at(step))

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once."""
    return map(self._renumbered, self.batches.for_evaluation())

  def _renumbered(self, batch: Batch) -> Batch:
    words = {
      field: self.new_ids[batch[field]].astype(np.int32)
      for field in self.word_fields
    }
    return {**batch, **words}


def token_stream(
  documents: Sequence[np.ndarray], separator: int | None = None
) -> np.ndarray:
  """Joins documents into one stream.

  Args:
    documents: arrays of ids.
    separator: an id to put after each document; None for nothing.

  Returns:
    [N] int32.

  Raises:
    ValueError: if ids are not integers from 0 on.

  Example:
    >>> token_stream([[5, 6], [7]], separator=1).tolist()
    [5, 6, 1, 7, 1]
  """
  after = [] if separator is None else [np.array([separator])]
  parts = [np.zeros(0, np.int32)]
  for document in documents:
    ids = np.asarray(document)
    if not ids.size:
      ids = np.zeros(0, np.int32)  # NumPy takes an empty list for floats
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
      raise ValueError(
        f'a document must be a list of ids, got {ids.dtype}{list(ids.shape)}.'
      )
    parts += [ids, *after]
  stream = np.concatenate(parts)
  if stream.size and not 0 <= stream.min() <= stream.max() < 2**31:
    raise ValueError(
      f'ids must be in [0, 2**31), got {stream.min()} to {stream.max()}.'
    )
  return stream.astype(np.int32)
