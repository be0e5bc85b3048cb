"""Batches against plain Python: each item once, pure, sharded and resumable."""

import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import (
  ClassificationBatches,
  LanguageModelBatches,
  RenumberedBatches,
  token_stream,
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
      *args, buckets=(3, 5, 8), num_shards=num_shards, shard=shard
    )
    for shard in range(num_shards)
  ]
  for step in reversed(steps):
    assert_equal(again.at(step), found[step])
    assert_equal(join([shard.at(step) for shard in shards]), found[step])
  whole = list(batches.for_evaluation())
  for parts, batch in zip(zip(*(s.for_evaluation() for s in shards)), whole):
    assert_equal(join(parts), batch)


@hypothesis.given(
  size=st.integers(2, 60),
  per_shard=st.integers(1, 3),
  num_shards=st.integers(1, 3),
  length=st.integers(1, 9),
  seed=st.integers(0, 5),
)
def test_language_model(size, per_shard, num_shards, length, seed):
  tokens = np.arange(1, size + 1)
  args = (tokens, per_shard * num_shards, length, seed)
  batches = LanguageModelBatches(*args)
  steps = range(2 * batches.num_batches)
  found = [batches.at(step) for step in steps]
  epochs = [found[: len(found) // 2], found[len(found) // 2 :]]
  for epoch in [*epochs, list(batches.for_evaluation())]:
    joined = join(epoch)
    assert joined['ids'].shape[1] == length
    real = joined['weights'] == 1
    # Token n is followed by n + 1, each once.
    assert sorted(joined['labels'][real].tolist()) == list(range(2, size + 1))
    np.testing.assert_array_equal(
      joined['labels'][real], joined['ids'][real] + 1
    )
    for name in joined:
      assert not joined[name][~real].any(), f'{name} of a filler is not 0'
    starts = joined['ids'][real.any(axis=1), 0]
    np.testing.assert_array_equal(np.sort(starts) % length, 1 % length)
  again = LanguageModelBatches(*args)
  shards = [
    LanguageModelBatches(*args, num_shards=num_shards, shard=shard)
    for shard in range(num_shards)
  ]
  for step in reversed(steps):
    assert_equal(again.at(step), found[step])
    assert_equal(join([shard.at(step) for shard in shards]), found[step])


def test_language_model_by_hand():
  batches = LanguageModelBatches([5, 6, 7, 8, 9], 3, 3)
  (batch,) = batches.for_evaluation()
  assert batch['ids'].tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]]
  assert batch['labels'].tolist() == [[6, 7, 8], [9, 0, 0], [0, 0, 0]]
  assert batch['weights'].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
  assert batch['weights'].dtype == np.float32


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


def test_token_stream():
  assert token_stream([[1, 2], [], [3]]).tolist() == [1, 2, 3]
  assert token_stream([[1, 2], [], [3]], separator=9).tolist() == [
    *(1, 2, 9, 9, 3, 9),
  ]
  assert token_stream([]).dtype == np.int32


@pytest.mark.parametrize('document', [[0.5], [[1]], 3])
def test_wrong_documents(document):
  with pytest.raises(ValueError, match='a document must be a list of ids'):
    token_stream([document])


@pytest.mark.parametrize('id', [-1, 2**31])
def test_wrong_ids(id):
  with pytest.raises(ValueError, match=r'ids must be in \[0, 2\*\*31\), got'):
    token_stream([[3, id]])


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'batch_size': 0}, 'got 0'),
    ({'batch_size': 3, 'num_shards': 2}, 'multiple of the 2 shards, got 3'),
    ({'num_shards': 2, 'shard': 2}, r'shard must be in \[0, 2\), got 2'),
    ({'seed': -1}, 'seed must not be negative, got -1'),
    ({'buckets': ()}, 'rising lengths'),
    ({'buckets': (4, 4)}, r'rising lengths, got \(4, 4\)'),
    ({'buckets': (0, 4)}, 'rising lengths'),
    ({'labels': [0]}, r'got 2 documents, labels int64\[1\]'),
    ({'labels': [0.0, 1.0]}, 'must be integers, got float64'),
    ({'documents': [], 'labels': []}, 'one or more'),
  ],
)
def test_wrong_arguments(options, message):
  given = {'documents': [[1], [2]], 'labels': [0, 1], 'batch_size': 2}
  with pytest.raises(ValueError, match=message):
    ClassificationBatches(**(given | options))


@pytest.mark.parametrize(('tokens', 'length'), [([1], 2), ([1, 2], 0)])
def test_wrong_streams(tokens, length):
  with pytest.raises(ValueError, match='two words or more'):
    LanguageModelBatches(tokens, 1, length)


def test_negative_step():
  with pytest.raises(ValueError, match='step must not be negative, got -1'):
    LanguageModelBatches([1, 2], 1, 1).at(-1)


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


def test_renumbered_batches_spell_the_same_words():
  tokens = np.arange(2, 30)
  batches = LanguageModelBatches(tokens, batch_size=2, length=4)
  new_ids = np.r_[0, 1, np.random.default_rng(0).permutation(28) + 2]
  moved = RenumberedBatches(batches, new_ids, ('ids', 'labels'))
  assert moved.num_batches == batches.num_batches
  pairs = [(batches.at(step), moved.at(step)) for step in range(5)]
  pairs += zip(batches.for_evaluation(), moved.for_evaluation())
  for old, new in pairs:
    assert set(old) == set(new)
    for field in ('ids', 'labels'):
      assert new[field].dtype == np.int32
      np.testing.assert_array_equal(new[field], new_ids[old[field]])
    np.testing.assert_array_equal(new['weights'], old['weights'])
