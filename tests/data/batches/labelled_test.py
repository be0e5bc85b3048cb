"""Batches of encoded texts by hand, and against those of documents."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import (
  ClassificationBatches,
  Encoded,
  RenumberedBatches,
  TokenBatches,
)


def encode(*documents) -> list[Encoded]:
  """Encoded texts; what stands behind a 3 is of the second type."""
  found = []
  for ids in documents:
    ids = np.array(ids, np.int32)
    found.append(Encoded(ids, (np.cumsum(ids == 3) > 0).astype(np.int32)))
  return found


def as_lists(batch):
  return {name: array.tolist() for name, array in batch.items()}


def test_texts_by_hand():
  texts = encode([2, 8, 3, 9], [2, 5], [2, 6, 7, 3, 9])
  batches = TokenBatches(texts, [1, -1, 0], 2, padding=1, buckets=(4, 6))
  first, second = batches.for_evaluation()
  assert as_lists(first) == {
    'ids': [[2, 8, 3, 9], [2, 5, 1, 1]],
    'token_types': [[0, 0, 1, 1], [0, 0, 0, 0]],
    'labels': [1, 0],
    'weights': [1, 0],
  }
  assert as_lists(second) == {
    'ids': [[2, 6, 7, 3, 9, 1], [1] * 6],
    'token_types': [[0, 0, 0, 1, 1, 0], [0] * 6],
    'labels': [0, 0],
    'weights': [1, 0],
  }
  dtypes = {name: array.dtype.name for name, array in first.items()}
  assert dtypes == {
    'ids': 'int32',
    'token_types': 'int32',
    'labels': 'int32',
    'weights': 'float32',
  }


def test_texts_apart_by_hand():
  """The longer of two texts says which bucket both go into."""
  texts, pairs = encode([4], [5, 6, 7], [8]), encode([9], [10], [11, 12, 13])
  batches = TokenBatches(texts, [-0.5, 1, 0.25], 2, pairs=pairs, buckets=(1, 3))
  first, second = batches.for_evaluation()
  assert as_lists(first) == {
    'ids': [[4, 0, 0], [5, 6, 7]],
    'pair_ids': [[9, 0, 0], [10, 0, 0]],
    'labels': [-0.5, 1],
    'weights': [1, 1],
  }
  assert as_lists(second) == {
    'ids': [[8, 0, 0], [0, 0, 0]],
    'pair_ids': [[11, 12, 13], [0, 0, 0]],
    'labels': [0.25, 0],
    'weights': [1, 0],
  }
  assert first['labels'].dtype == np.float32
  assert first['pair_ids'].dtype == np.int32


@hypothesis.given(
  lengths=st.lists(st.integers(1, 8), min_size=1, max_size=20),
  per_shard=st.integers(1, 3),
  seed=st.integers(0, 5),
)
def test_batches_are_those_of_documents(lengths, per_shard, seed):
  """In the same order, whatever the shards, and resumed anywhere."""
  documents = [np.full(n, i + 1) for i, n in enumerate(lengths)]
  texts = [Encoded(ids, ids % 2) for ids in documents]
  labels = np.arange(len(lengths)) - 1
  args = (labels, 2 * per_shard, seed)
  shards = [
    TokenBatches(texts, *args, buckets=(3, 8), num_shards=2, shard=shard)
    for shard in (0, 1)
  ]
  plain = ClassificationBatches(documents, *args, buckets=(3, 8))
  for step in reversed(range(2 * plain.num_batches)):
    parts = [shard.at(step) for shard in shards]
    joined = {
      name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    types = joined.pop('token_types')
    expected = plain.at(step)
    assert set(joined) == set(expected)
    for name, array in expected.items():
      np.testing.assert_array_equal(joined[name], array)
    np.testing.assert_array_equal(types, expected['ids'] % 2)


def test_all_words_are_renumbered():
  new_ids = np.array([0, 3, 1, 2])
  texts, pairs = encode([1, 2], [3]), encode([2], [3, 1])
  alone = TokenBatches(texts, [0, 1], 2, buckets=(2,))
  (batch,) = RenumberedBatches(alone, new_ids).for_evaluation()
  assert batch['ids'].tolist() == [[3, 1], [2, 0]]
  assert batch['token_types'].tolist() == [[0, 0], [1, 0]]
  apart = TokenBatches(texts, [0, 1], 2, pairs=pairs, buckets=(2,))
  moved = RenumberedBatches(apart, new_ids)
  (batch,) = moved.for_evaluation()
  assert batch['ids'].tolist() == [[3, 1], [2, 0]]
  assert batch['pair_ids'].tolist() == [[1, 0], [2, 3]]
  back = RenumberedBatches(moved, np.argsort(new_ids))
  assert as_lists(back.at(0)) == as_lists(apart.at(0))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'encoded': encode([1] * 5, [2])}, 'largest bucket, 4 tokens, got 5'),
    ({'pairs': encode([1] * 6, [2])}, 'got 6: encode them with max_length=4'),
    ({'pairs': encode([1])}, 'each of 2 texts must have a second one, got 1'),
    (
      {'encoded': [Encoded(np.array([1, 2]), np.array([0]))], 'labels': [0]},
      'each token of a text must have a type',
    ),
    ({'labels': [1]}, r'a label each, got 2 documents, labels int64\[1\]'),
    ({'labels': ['a', 'b']}, 'a label each, got 2 documents, labels <U1'),
    ({'labels': [0.5, np.inf]}, 'labels must be finite'),
    ({'encoded': [], 'labels': []}, 'one or more'),
    ({'buckets': (3, 2)}, 'rising lengths'),
    ({'batch_size': 3, 'num_shards': 2}, 'multiple of the 2 shards'),
  ],
)
def test_wrong_arguments(options, message):
  given = {
    'encoded': encode([1], [2]),
    'labels': [0, 1],
    'batch_size': 2,
    'buckets': (4,),
  }
  with pytest.raises(ValueError, match=message):
    TokenBatches(**(given | options))
