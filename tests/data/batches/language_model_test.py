"""Each word is a label once an epoch, whatever the shards and the steps."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import LanguageModelBatches, Shard


def assert_equal(one, other):
  assert set(one) == set(other) == {'ids', 'labels', 'weights'}
  for name in one:
    np.testing.assert_array_equal(one[name], other[name])
    assert one[name].dtype == other[name].dtype


def join(shards):
  return {name: np.concatenate([s[name] for s in shards]) for name in shards[0]}


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
    LanguageModelBatches(*args, shard=Shard(index, num_shards))
    for index in range(num_shards)
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


@pytest.mark.parametrize(('tokens', 'length'), [([1], 2), ([1, 2], 0)])
def test_wrong_streams(tokens, length):
  with pytest.raises(ValueError, match='two words or more'):
    LanguageModelBatches(tokens, 1, length)
