"""Batches of plain text, in which each word predicts the next one."""

import numpy as np

from embedcomp.data.batches.interface import WHOLE, Batch, Batches, Shard
from embedcomp.data.batches.stream import token_stream
from embedcomp.data.vocabulary import PADDING


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
    shard: this host's part; the number of hosts must divide B.

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
    shard: Shard = WHOLE,
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
    super().__init__(classes, batch_size, seed, shard)

  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    return {
      'ids': self._ids[rows],
      'labels': self._labels[rows],
      'weights': self._weights[rows],
    }
