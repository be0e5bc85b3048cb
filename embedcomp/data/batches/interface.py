"""Interface of all batches: static shapes, pure in the data, seed and step.

A reader has no state: `batches.at(step)` is the same in a run that was never
interrupted, in one that resumes at `step` and on every host. Each epoch visits
every document (or every word of a stream) exactly once, in an order of its own.
With shards, each host gets its rows of the same global batch.

A batch is a dict of some of these arrays, which mean the same for all readers:

  ids             [B, T] int32, words
  token_types     [B, T] int32, which text of a pair each word is of
  pair_ids        [B, T] int32, words of second texts that are encoded apart
  mask_positions  [B, P] int32, which of the T words are to be guessed
  labels          [B], [B, T] or [B, P], int32 or float32
  weights         float32 in the shape of the labels, 0 where none counts
"""

import abc
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
FILLER = -1  # the row of a batch that no item is left for


@dataclasses.dataclass(frozen=True)
class Shard:
  """One host's part of each batch.

  Attributes:
    index: of the host, from 0 on.
    count: of hosts that share a batch.

  Raises:
    ValueError: if the index is not below the count.
  """

  index: int = 0
  count: int = 1

  def __post_init__(self) -> None:
    if not 0 <= self.index < self.count:
      raise ValueError(
        f'the index of a shard must be in [0, {self.count}), got {self.index}.'
      )


WHOLE = Shard()


class Batches(abc.ABC):
  """Items 0 .. N - 1, each with a size class, put into batches.

  Args:
    classes: [N] integers from 0 on; items of one class go together, what is
      left over of one joins the next.
    batch_size: B, of all shards together.
    seed: of the order of items.
    shard: this host's part.

  Attributes:
    num_batches: how many batches an epoch has, ceil(N / B).
    word_fields: of a batch that hold words.

  Raises:
    ValueError: if the shards cannot share a batch alike, or for a negative
      seed.
  """

  word_fields: tuple[str, ...] = ('ids',)

  def __init__(
    self,
    classes: np.ndarray,
    batch_size: int,
    seed: int,
    shard: Shard,
  ):
    if batch_size < 1 or batch_size % shard.count:
      raise ValueError(
        f'batch_size must be a multiple of the {shard.count} shards, '
        f'got {batch_size}.'
      )
    if seed < 0:
      raise ValueError(f'seed must not be negative, got {seed}.')
    self._classes = classes
    self._batch_size = batch_size
    self._seed = seed
    share = batch_size // shard.count
    self._own = slice(shard.index * share, (shard.index + 1) * share)
    self.num_batches = -(-len(classes) // batch_size)
    # Two, so that a look ahead over the end of an epoch costs nothing.
    self._epoch = functools.lru_cache(maxsize=2)(self._shuffled_epoch)

  def at(self, step: int) -> Batch:
    """Returns the batch of a step.

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
    """Draws [num_batches, B] rows and [num_batches] size classes."""
    rng = np.random.default_rng([self._seed, epoch])
    rows = self._rows(rng.permutation(len(self._classes)))
    rows = rows[rng.permutation(len(rows))]
    return rows, self._largest(rows)

  def _rows(self, order: np.ndarray) -> np.ndarray:
    """Groups items of like size: [num_batches, B], fillers at the end.

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
    """Returns the arrays of a batch."""


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
    """Number of batches of an epoch."""
    return self.batches.num_batches
