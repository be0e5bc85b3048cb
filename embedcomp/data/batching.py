"""Batches of static shapes, each a pure function of the data, seed and step.

A reader has no state: `batches.at(step)` is the same in a run that was never
interrupted, in one that resumes at `step` and on every host. Each epoch visits
every document (or every word of a stream) exactly once, in an order of its own.
With shards, each host gets its rows of the same global batch.
"""

import abc
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

from embedcomp.data.vocabulary import PADDING

Batch = dict[str, np.ndarray]
FILLER = -1  # the row of a batch that no item is left for
BUCKETS = (64, 256, 1024)


class _Batches(abc.ABC):
  """Items 0 .. N - 1, each with a size class, put into batches.

  Attributes:
    num_batches: how many batches an epoch has, ceil(N / B).
  """

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


class ClassificationBatches(_Batches):
  """Batches of labelled documents.

  A batch is a dict of

    ids      [B, T] int32, `PADDING` after the end of a document
    labels   [B] int32; 0 in rows of weight 0
    weights  [B] float32; 0 in rows that only fill up the last batch (their ids
             are all padding) and where a label is unseen, else 1

  T is one of the buckets: the smallest that holds all documents of the batch.
  Longer documents are cut to the largest bucket. Documents of one bucket go
  together; the few that are left over join those of the next bucket.

  Args:
    documents: N arrays of ids, as `Vocabulary.encode` gives them.
    labels: [N] integers, negative where the label is unseen.
    batch_size: B, of all shards together.
    seed: of the order of documents.
    buckets: lengths to pad to, rising; each one used is a shape to compile.
    num_shards: how many hosts share a batch; must divide B.
    shard: which of them this is.

  Raises:
    ValueError: if there are no documents or an argument is out of range.

  Example:
    >>> batches = ClassificationBatches([[2, 3], [4]], [0, 1], 2, buckets=(4,))
    >>> next(batches.for_evaluation())['ids']
    array([[2, 3, 0, 0],
           [4, 0, 0, 0]], dtype=int32)
  """

  def __init__(
    self,
    documents: Sequence[np.ndarray],
    labels: np.ndarray,
    batch_size: int,
    seed: int = 0,
    *,
    buckets: Sequence[int] = BUCKETS,
    num_shards: int = 1,
    shard: int = 0,
  ):
    self.buckets = tuple(buckets)
    rising = all(a < b for a, b in zip(self.buckets, self.buckets[1:]))
    if not self.buckets or self.buckets[0] < 1 or not rising:
      raise ValueError(f'buckets must be rising lengths, got {buckets}.')
    labels = np.asarray(labels)
    if (
      not len(documents)
      or labels.shape != (len(documents),)
      or not np.issubdtype(labels.dtype, np.integer)
    ):
      raise ValueError(
        'documents must be one or more with an integer label each, got '
        f'{len(documents)} documents, labels {labels.dtype}'
        f'{list(labels.shape)}.'
      )
    # Cut here, so that what no batch reads takes no memory.
    cut = [document[: self.buckets[-1]] for document in documents]
    self._tokens = token_stream(cut)
    lengths = np.array([len(document) for document in cut])
    ends = np.cumsum(lengths)
    # Python's integers make quicker slices than NumPy's.
    self._spans = list(zip((ends - lengths).tolist(), ends.tolist()))
    self._weights = (labels >= 0).astype(np.float32)
    self._labels = np.maximum(labels, 0).astype(np.int32)
    classes = np.searchsorted(self.buckets, lengths)
    super().__init__(classes, batch_size, seed, num_shards, shard)

  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    ids = np.full((len(rows), self.buckets[size_class]), PADDING, np.int32)
    for target, row in zip(ids, rows.tolist()):
      if row != FILLER:
        start, end = self._spans[row]
        target[: end - start] = self._tokens[start:end]
    weights = np.where(rows == FILLER, np.float32(0), self._weights[rows])
    labels = np.where(rows == FILLER, np.int32(0), self._labels[rows])
    return {'ids': ids, 'labels': labels, 'weights': weights}


class LanguageModelBatches(_Batches):
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
class RenumberedBatches:
  """Batches in which words have other ids.

  Attributes:
    batches: as they were.
    new_ids: [V] integers, the new id of each old one.
    fields: of a batch that hold words.
  """

  batches: _Batches
  new_ids: np.ndarray
  fields: tuple[str, ...] = ('ids',)

  @property
  def num_batches(self) -> int:
    """How many batches an epoch has."""
    return self.batches.num_batches

  def at(self, step: int) -> Batch:
    """The batch of a step."""
    return self._renumbered(self.batches.at(step))

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once."""
    return map(self._renumbered, self.batches.for_evaluation())

  def _renumbered(self, batch: Batch) -> Batch:
    words = {
      field: self.new_ids[batch[field]].astype(np.int32)
      for field in self.fields
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
