"""Batches of documents with a label each, put together by length."""

import itertools
from collections.abc import Sequence

import numpy as np

from embedcomp.data.batches.interface import (
  FILLER,
  WHOLE,
  Batch,
  Batches,
  Shard,
)
from embedcomp.data.batches.stream import token_stream
from embedcomp.data.subword_tokenizer import Encoded
from embedcomp.data.vocabulary import PADDING

BUCKETS = (64, 256, 1024)
TOKEN_BUCKETS = (32, 128, 512)


class PaddedRows:
  """Documents of any lengths, padded batch by batch.

  Attributes:
    lengths: [N] how long they are.
  """

  def __init__(self, documents: Sequence[np.ndarray]):
    self._tokens = token_stream(documents)
    self.lengths = np.array([len(document) for document in documents], int)
    ends = np.cumsum(self.lengths)
    # Python's integers make quicker slices than NumPy's.
    self._spans = list(zip((ends - self.lengths).tolist(), ends.tolist()))

  def take(self, rows: np.ndarray, length: int, padding: int) -> np.ndarray:
    """Returns [B, T] int32 documents, padded; a filler is all padding."""
    ids = np.full((len(rows), length), padding, np.int32)
    for target, row in zip(ids, rows.tolist()):
      if row != FILLER:
        start, end = self._spans[row]
        target[: end - start] = self._tokens[start:end]
    return ids


class LabelledBatches(Batches):
  """Batches of documents with a label each, put together by length.

  Args:
    lengths: [N] of documents, none above the largest bucket.
    labels: [N] integers, negative where the label is unseen, or real numbers.
    batch_size: B, of all shards together.
    seed: of the order of documents.
    buckets: lengths to pad to, rising.
    shard: this host's part; the number of hosts must divide B.

  Raises:
    ValueError: if there are no documents or an argument is out of range.
  """

  def __init__(
    self,
    lengths: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    buckets: Sequence[int],
    shard: Shard,
  ):
    is_real = np.issubdtype(labels.dtype, np.floating)
    is_number = is_real or np.issubdtype(labels.dtype, np.integer)
    if not len(lengths) or labels.shape != lengths.shape or not is_number:
      raise ValueError(
        'documents must be one or more with a label each, got '
        f'{len(lengths)} documents, labels {labels.dtype}{list(labels.shape)}.'
      )
    if is_real and not np.isfinite(labels).all():
      raise ValueError('labels must be finite.')
    self.buckets = buckets
    seen = np.ones(len(labels), bool) if is_real else labels >= 0
    self._weights = seen.astype(np.float32)
    dtype = np.float32 if is_real else np.int32
    self._labels = np.where(seen, labels, 0).astype(dtype)
    classes = np.searchsorted(buckets, lengths)
    super().__init__(classes, batch_size, seed, shard)

  def _labels_of(self, rows: np.ndarray) -> Batch:
    """Returns the labels and weights of a batch; fillers have none."""
    is_filler = rows == FILLER
    return {
      'labels': np.where(
        is_filler, self._labels.dtype.type(0), self._labels[rows]
      ),
      'weights': np.where(is_filler, np.float32(0), self._weights[rows]),
    }


def check_buckets(buckets: Sequence[int]) -> tuple[int, ...]:
  """Returns lengths to pad to, or raises ValueError unless they rise."""
  buckets = tuple(buckets)
  rising = all(a < b for a, b in itertools.pairwise(buckets))
  if not buckets or buckets[0] < 1 or not rising:
    raise ValueError(f'buckets must be rising lengths, got {buckets}.')
  return buckets


class ClassificationBatches(LabelledBatches):
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
    shard: this host's part; the number of hosts must divide B.

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
    shard: Shard = WHOLE,
  ):
    buckets = check_buckets(buckets)
    labels = np.asarray(labels)
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
      raise ValueError(f'labels must be integers, got {labels.dtype}.')
    # Cut here, so that what no batch reads takes no memory.
    self._ids = PaddedRows([document[: buckets[-1]] for document in documents])
    super().__init__(
      self._ids.lengths, labels, batch_size, seed, buckets, shard
    )

  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    ids = self._ids.take(rows, self.buckets[size_class], PADDING)
    return {'ids': ids, **self._labels_of(rows)}


class TokenBatches(LabelledBatches):
  """Batches of encoded texts, or pairs of texts, with labels.

  A batch is a dict of

    ids          [B, T] int32, padded
    token_types  [B, T] int32; without `pairs` only
    pair_ids     [B, T] int32, padded; with `pairs` only
    labels       [B] int32 or float32; 0 in rows of weight 0
    weights      [B] float32; 0 in rows that only fill up the last batch (their
                 ids are all padding) and where a label is unseen, else 1

  T is one of the buckets: the smallest that holds all texts of the batch. Texts
  of one bucket go together; the few that are left over join those of the next.

  Args:
    encoded: N texts, or pairs of texts in one, of `SubwordTokenizer.encode`.
    labels: [N] integers, negative where the label is unseen, or real numbers.
    batch_size: B, of all shards together.
    seed: of the order of texts.
    pairs: N second texts for models that read each text by itself.
    padding: id of padding.
    buckets: lengths to pad to, rising; each one used is a shape to compile.
    shard: this host's part; the number of hosts must divide B.

  Raises:
    ValueError: if there are no texts, if one is longer than all buckets, or if
      an argument is out of range.

  Example:
    >>> one = Encoded(np.array([2, 7, 3]), np.array([0, 0, 0]))
    >>> batches = TokenBatches([one], [0.5], 2, padding=1, buckets=(4,))
    >>> next(batches.for_evaluation())['ids']
    array([[2, 7, 3, 1],
           [1, 1, 1, 1]], dtype=int32)
  """

  def __init__(
    self,
    encoded: Sequence[Encoded],
    labels: np.ndarray,
    batch_size: int,
    seed: int = 0,
    *,
    pairs: Sequence[Encoded] | None = None,
    padding: int = 0,
    buckets: Sequence[int] = TOKEN_BUCKETS,
    shard: Shard = WHOLE,
  ):
    buckets = check_buckets(buckets)
    ids = PaddedRows([text.ids for text in encoded])
    self._fields = {'ids': (ids, padding)}
    lengths = ids.lengths
    if pairs is None:
      types = PaddedRows([text.token_types for text in encoded])
      self._fields['token_types'] = (types, 0)
      if (types.lengths != lengths).any():
        raise ValueError('each token of a text must have a type.')
    else:
      others = PaddedRows([text.ids for text in pairs])
      self._fields['pair_ids'] = (others, padding)
      self.word_fields = ('ids', 'pair_ids')
      if others.lengths.shape != lengths.shape:
        raise ValueError(
          f'each of {len(lengths)} texts must have a second one, '
          f'got {len(others.lengths)}.'
        )
      lengths = np.maximum(lengths, others.lengths)
    if lengths.size and lengths.max() > buckets[-1]:
      raise ValueError(
        f'texts must fit into the largest bucket, {buckets[-1]} tokens, got '
        f'{lengths.max()}: encode them with max_length={buckets[-1]}.'
      )
    labels = np.asarray(labels)
    super().__init__(lengths, labels, batch_size, seed, buckets, shard)

  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    length = self.buckets[size_class]
    arrays = {
      name: values.take(rows, length, padding)
      for name, (values, padding) in self._fields.items()
    }
    return {**arrays, **self._labels_of(rows)}
