"""Batches by step, losses as sums, and when a search refreshes its state."""

import types

import numpy as np
import pytest

from embedcomp import search
from embedcomp.search.searcher import as_sums, batch_at
from tests.search import rare_words
from tests.search.rare_words import D, V

BATCHES = [{'ids': np.full((4, 2), number)} for number in range(3)]


def numbers(batches):
  return [int(batch['ids'][0, 0]) for batch in batches]


def test_batches_are_taken_in_turns():
  found = [batch_at(BATCHES, step) for step in range(7)]
  assert numbers(found) == [0, 1, 2, 0, 1, 2, 0]
  assert batch_at(lambda step: step + 10, 5) == 15


def test_some_batches_are_spread_over_all():
  def some(train, num):
    return search.SearchData(train, BATCHES).some(num)

  assert numbers(some(BATCHES, 1)) == [0]
  assert numbers(some(BATCHES, 2)) == [0, 2]
  assert numbers(some(BATCHES, 9)) == [0, 1, 2]
  assert some(lambda step: step + 10, 2) == [10, 11]


def test_a_mean_is_a_sum_over_the_examples():
  mean = as_sums(lambda params, embed, batch, key: params * embed)
  loss, weight, metrics = mean(0.5, 3.0, BATCHES[0], None)
  assert (float(loss), float(weight), metrics) == (6.0, 4.0, {})
  sums = (np.float32(2), np.float32(8), {'hits': np.float32(1)})
  assert as_sums(lambda *_: sums)(0.5, 3.0, BATCHES[0], None) is sums


@pytest.mark.parametrize(
  ('dtype', 'itemsize'), [('float16', 2), ('float32', 4), ('float64', 4)]
)
def test_dense_bytes_are_those_of_at_most_float32(dtype, itemsize):
  loss_fn, params, table = rare_words.trained(rare_words.bare)
  problem = search.SearchProblem(
    loss_fn, params, table.astype(dtype), rare_words.DATA, rare_words.COUNTS
  )
  assert problem.dense_bytes == itemsize * V * D


class FakeStep:
  """A step that counts; placing marks what was refreshed."""

  def place(self, state):
    return types.SimpleNamespace(**vars(state), is_placed=True)

  def shard(self, batch):
    return batch

  def __call__(self, state, *batches):
    del batches
    return types.SimpleNamespace(step=state.step + 1), {}


@pytest.mark.parametrize(
  ('first', 'expected'), [(0, [3, 6]), (1, [3, 6]), (3, [3, 6]), (5, [6])]
)
def test_states_are_refreshed_on_the_same_steps_wherever_they_begin(
  first, expected
):
  """Every third step, not before the first: a resumed search does the same."""
  refreshed = []

  def refresh(state):
    refreshed.append(state.step)
    return types.SimpleNamespace(step=state.step)

  searcher = types.SimpleNamespace(refresh_every=3, refresh=refresh)
  step = search.RefreshedStep(FakeStep(), searcher)
  state = types.SimpleNamespace(step=first)
  for _ in range(first, 8):
    state, _ = step(state, BATCHES[0])
  assert refreshed == expected
  assert step.refresh(state).is_placed
