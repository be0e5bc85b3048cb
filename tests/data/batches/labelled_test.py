"""Batches against plain Python: each item once, pure, sharded and resumable."""

import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import (
  ClassificationBatches,
  Encoded,
  RenumberedBatches,
  Shard,
  TokenBatches,
)


def make_documents(lengths) -> list[np.ndarray]:
  """Documents whose ids tell them apart: document n repeats the id n + 1."""
  return [np.full(n, i + 1, np.int32) for i, n in enumerate(lengths)]


def assert_equal(one, other):
  assert set(one) == set(other) == {'ids', 'labels', 'weights'}
  for name in one:
    np.testing.assert_array_equal(one[name], other[name])
    assert one[name].dtype == other[name].dtype


def join(shards):
  return {name: np.concatenate([s[name] for s in shards]) for name in shards[0]}


def rows_of(batches):
  """(ids without padding, label, weight) of the rows that are no fillers."""
  rows = []
  for batch in batches:
    for ids, label, weight in zip(*(batch[k].tolist() for k in batch)):
      if weight or any(ids):
        rows.append((tuple(i for i in ids if i), label, weight))
  return rows


def test_batches_by_hand():
  documents = [[5], [6, 7, 8], [9, 10], [11, 12, 13, 14, 15]]
  batches = ClassificationBatches(documents, [0, -1, 2, 1], 2, buckets=(2, 4))
  first, second = batches.for_evaluation()
  assert first['ids'].tolist() == [[5, 0], [9, 10]]
  assert first['labels'].tolist() == [0, 2]
  assert first['weights'].tolist() == [1, 1]
  assert second['ids'].tolist() == [[6, 7, 8, 0], [11, 12, 13, 14]]
  assert second['labels'].tolist() == [0, 1]
  assert second['weights'].tolist() == [0, 1]
  dtypes = {name: array.dtype.name for name, array in first.items()}
  assert dtypes == {'ids': 'int32', 'labels': 'int32', 'weights': 'float32'}


def test_left_over_documents_join_the_next_bucket():
  documents = make_documents([1, 1, 1, 3, 3])
  batches = ClassificationBatches(documents, [0] * 5, 2, buckets=(2, 4, 8))
  found = list(batches.for_evaluation())
  assert [batch['ids'].tolist() for batch in found] == [
    [[1, 0], [2, 0]],
    [[3, 0, 0, 0], [4, 4, 4, 0]],
    [[5, 5, 5, 0], [0, 0, 0, 0]],
  ]
  assert found[2]['weights'].tolist() == [1, 0]
  assert batches.num_batches == 3


@hypothesis.given(
  lengths=st.lists(st.integers(0, 12), min_size=1, max_size=30),
  per_shard=st.integers(1, 3),
  num_shards=st.integers(1, 3),
  seed=st.integers(0, 5),
  data=st.data(),
)
def test_classification(lengths, per_shard, num_shards, seed, data):
  size = len(lengths)
  labels = data.draw(st.lists(st.integers(-1, 3), min_size=size, max_size=size))
  documents = make_documents(lengths)
  batch_size = per_shard * num_shards
  args = (documents, np.array(labels), batch_size, seed)
  batches = ClassificationBatches(*args, buckets=(3, 5, 8))
  assert batches.num_batches == -(-size // batch_size)
  # Empty documents of weight 0 look like fillers.
  expected = sorted(
    (tuple(document[:8].tolist()), max(label, 0), float(label >= 0))
    for document, label in zip(documents, labels)
    if label >= 0 or len(document)
  )
  steps = range(2 * batches.num_batches)
  found = [batches.at(step) for step in steps]
  for epoch in (0, 1):
    start = epoch * batches.num_batches
    epoch_rows = rows_of(found[start : start + batches.num_batches])
    assert sorted(epoch_rows) == expected
  assert sorted(rows_of(batches.for_evaluation())) == expected
  for batch in found:
    longest = max(np.count_nonzero(batch['ids'], axis=1))
    assert batch['ids'].shape[1] in (3, 5, 8)
    assert batch['ids'].shape[0] == batch_size
    assert batch['ids'].shape[1] == next(b for b in (3, 5, 8) if b >= longest)
  again = ClassificationBatches(*args, buckets=(3, 5, 8))
  shards = [
    ClassificationBatches(
      *args, buckets=(3, 5, 8), shard=Shard(index, num_shards)
    )
    for index in range(num_shards)
  ]
  for step in reversed(steps):
    assert_equal(again.at(step), found[step])
    assert_equal(join([shard.at(step) for shard in shards]), found[step])
  whole = list(batches.for_evaluation())
  for parts, batch in zip(zip(*(s.for_evaluation() for s in shards)), whole):
    assert_equal(join(parts), batch)


def test_epochs_and_seeds_have_orders_of_their_own():
  documents = make_documents([1] * 64)
  orders = set()
  for seed in (0, 1):
    batches = ClassificationBatches(documents, [0] * 64, 8, seed, buckets=(1,))
    for epoch in (0, 1):
      steps = range(epoch * 8, epoch * 8 + 8)
      ids = np.concatenate([batches.at(step)['ids'] for step in steps])
      orders.add(tuple(ids.ravel().tolist()))
  assert len(orders) == 4


def test_batches_of_all_lengths_are_mixed():
  lengths = [1] * 160 + [9] * 160
  documents = make_documents(lengths)
  batches = ClassificationBatches(documents, [0] * 320, 8, buckets=(1, 9))
  widths = [batches.at(step)['ids'].shape[1] for step in range(40)]
  assert widths.count(1) == 20
  assert 0 < widths[:20].count(1) < 20


def test_extreme_documents():
  documents = [np.arange(100_000) % 7 + 2, np.zeros(0, np.int32), []]
  batches = ClassificationBatches(documents, [0, 0, 0], 2, buckets=(4, 16))
  first, second = batches.for_evaluation()
  assert first['ids'].tolist() == [[0] * 4] * 2
  assert first['weights'].tolist() == [1, 1], 'empty documents count'
  assert second['ids'][0].tolist() == documents[0][:16].tolist()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'batch_size': 0}, 'got 0'),
    (
      {'batch_size': 3, 'shard': Shard(0, 2)},
      'multiple of the 2 shards, got 3',
    ),
    ({'seed': -1}, 'seed must not be negative, got -1'),
    ({'buckets': ()}, 'rising lengths'),
    ({'buckets': (4, 4)}, r'rising lengths, got \(4, 4\)'),
    ({'buckets': (0, 4)}, 'rising lengths'),
    ({'labels': [0]}, r'got 2 documents, labels int64\[1\]'),
    ({'labels': [0.0, 1.0]}, 'must be integers, got float64'),
    ({'documents': [], 'labels': []}, 'one or more'),
  ],
)
def test_wrong_arguments_of_classification(options, message):
  given = {'documents': [[1], [2]], 'labels': [0, 1], 'batch_size': 2}
  with pytest.raises(ValueError, match=message):
    ClassificationBatches(**(given | options))


def test_reading_is_fast(rng):
  lengths = rng.integers(50, 300, 2048)
  documents = [rng.integers(2, 9999, length) for length in lengths]
  batches = ClassificationBatches(documents, [0] * 2048, 64, buckets=(64, 256))
  times = []
  for step in range(128):
    start = time.perf_counter()
    batches.at(step)
    times.append(time.perf_counter() - start)
  # About 0.1 ms; the median, and tenfold, for machines that are busy.
  assert np.median(times) < 1e-3


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
    TokenBatches(texts, *args, buckets=(3, 8), shard=Shard(index, 2))
    for index in (0, 1)
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
    ({'batch_size': 3, 'shard': Shard(0, 2)}, 'multiple of the 2 shards'),
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
