"""Left-over bytes: hand-worked moves, and bounds that always hold."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from embedcomp.compression import refinement

BYTES_PER_WORD = (1, 4, 10)
# The share of a word's energy that each option loses.
RATES = (0.9, 0.3, 0.0)


def make_prices(num_words, energy, rates=RATES, bytes_per_word=BYTES_PER_WORD):
  before = np.concatenate([[0.0], np.cumsum(energy)])

  def num_bytes(division):
    sizes = np.diff(division.splits)
    if (sizes < 1).any():
      return np.inf
    return sum(
      size * bytes_per_word[option]
      for size, option in zip(sizes, division.options)
    )

  def loss(start, stop, option):
    return rates[option] * (before[stop] - before[start])

  return refinement.Prices(num_bytes, bytes_per_word, loss)


def total_loss(division, prices):
  ends = zip(division.splits, division.splits[1:])
  return sum(
    prices.loss(*span, option) for span, option in zip(ends, division.options)
  )


def test_split_moves_until_the_bytes_are_spent():
  prices = make_prices(10, np.ones(10))
  division = refinement.Division((0, 2, 10), (1, 0))  # 2 * 4 + 8 * 1 = 16
  moved = refinement.spend_slack(division, prices, budget=24, max_groups=2)
  assert moved == refinement.Division((0, 4, 10), (1, 0))  # 4 * 4 + 6 * 1 = 22


def test_split_moves_left_where_the_later_group_is_dearer():
  prices = make_prices(10, np.ones(10))
  division = refinement.Division((0, 8, 10), (0, 1))  # 8 * 1 + 2 * 4 = 16
  moved = refinement.spend_slack(division, prices, budget=22, max_groups=2)
  assert moved == refinement.Division((0, 6, 10), (0, 1))


def test_one_group_gets_a_dearer_head():
  prices = make_prices(10, np.arange(10, 0, -1.0))
  division = refinement.Division((0, 10), (0,))  # 10 bytes
  headed = refinement.spend_slack(division, prices, budget=22, max_groups=2)
  # Four words at 4 bytes save 0.6 of 34; one at 10 bytes saves 0.9 of 10.
  assert headed == refinement.Division((0, 4, 10), (1, 0))


def test_split_of_equal_options_stays():
  prices = make_prices(10, np.ones(10))
  division = refinement.Division((0, 5, 10), (1, 1))
  assert (
    refinement.spend_slack(division, prices, budget=41, max_groups=2)
    == division
  )


def test_no_more_groups_than_allowed():
  prices = make_prices(10, np.ones(10))
  division = refinement.Division((0, 10), (0,))
  assert (
    refinement.spend_slack(division, prices, budget=99, max_groups=1)
    == division
  )


@pytest.mark.parametrize('is_mirrored', [False, True])
@pytest.mark.parametrize(
  'between',
  [
    # A tenth of ten words is one: 5 beside 4.
    [5, 0, 1, 1, 1, 1, 1, 4, 4, 4],
    # A tenth of eleven words is two: 4.5 on average beside 4.
    [3, 6, 0, 1, 1, 1, 1, 1, 4, 4, 4],
    # A tenth of twenty words is two as well.
    [3, 6, 0, *[1] * 14, 4, 4, 4],
  ],
)
def test_the_split_whose_next_words_save_most_moves_first(between, is_mirrored):
  energy, stop = np.array([9, 9, *between, 9, 9]), len(between) + 4
  splits, moved = (0, 2, stop - 2, stop), (0, 3, stop - 2, stop)
  if is_mirrored:
    energy, moved = energy[::-1], (0, 2, stop - 3, stop)
  prices = make_prices(stop, energy)
  division = refinement.Division(splits, (1, 0, 1))
  budget = int(prices.num_bytes(division)) + 3  # for a single word
  found = refinement.spend_slack(division, prices, budget, max_groups=3)
  assert found == refinement.Division(moved, (1, 0, 1))


def test_dearer_options_that_save_nothing_are_not_taken():
  division = refinement.Division((0, 10), (0,))
  prices = make_prices(10, np.ones(10), rates=(0.9, 0.9, 0.95))
  assert refinement.spend_slack(division, prices, 99, 3) == division


def test_heads_cost_more_by_the_word():
  division = refinement.Division((0, 10), (0,))
  prices = make_prices(10, np.ones(10), (0.9, 0.3), bytes_per_word=(1, 1))
  assert refinement.spend_slack(division, prices, 99, 3) == division


@hypothesis.given(
  st.lists(st.floats(0, 100), min_size=4, max_size=30),
  st.integers(0, 2),
  st.integers(0, 2),
  st.integers(0, 300),
  st.integers(2, 5),
)
def test_never_over_budget_and_never_worse(
  energy, first, second, extra, max_groups
):
  num_words = len(energy)
  prices = make_prices(num_words, energy)
  division = refinement.Division(
    (0, num_words // 2, num_words), (first, second)
  )
  budget = int(prices.num_bytes(division)) + extra
  spent = refinement.spend_slack(division, prices, budget, max_groups)
  assert prices.num_bytes(spent) <= budget
  assert total_loss(spent, prices) <= total_loss(division, prices) + 1e-9
  assert len(spent.options) <= max_groups
  assert (spent.splits[0], spent.splits[-1]) == (0, num_words)
