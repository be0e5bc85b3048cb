"""Copies of texts with words replaced: which, how many, the same again."""

import numpy as np
import pytest

from embedcomp.data import Encoded, ReplacedBatches, TokenBatches

PADDING, FIRST, LAST = 0, 1, 2
WORDS = np.arange(10, 1010)


def batches(num=64, batch_size=32):
  rng = np.random.default_rng(0)
  texts = [rng.choice(WORDS, rng.integers(3, 14)) for _ in range(num)]
  rows = [np.array([FIRST, *text, LAST]) for text in texts]
  encoded = [Encoded(row, np.zeros_like(row)) for row in rows]
  return TokenBatches(
    encoded, np.arange(num), batch_size, padding=PADDING, buckets=(16,)
  )


def test_copies_follow_and_differ_by_the_share_of_words():
  plain = batches()
  replaced = ReplacedBatches(plain, 0.25, WORDS, seed=3)
  assert replaced.num_batches == plain.num_batches
  assert replaced.word_fields == plain.word_fields
  differ = words = 0
  for step in range(20):
    one, both = plain.at(step), replaced.at(step)
    assert set(one) == set(both)
    for name, array in one.items():
      assert both[name].dtype == array.dtype
      np.testing.assert_array_equal(both[name][:32], array)
      if name != 'ids':
        np.testing.assert_array_equal(both[name][32:], array)
    copies = both['ids'][32:]
    is_word = one['ids'] >= WORDS[0]
    np.testing.assert_array_equal(copies[~is_word], one['ids'][~is_word])
    assert np.isin(copies[is_word], WORDS).all()
    differ += (copies != one['ids']).sum()
    words += is_word.sum()
  # One draw in a thousand is the word itself; three deviations around that.
  expected = 0.25 * words * 0.999
  assert abs(differ - expected) < 3 * np.sqrt(0.25 * 0.75 * words)


def test_replacements_depend_on_seed_and_step_alone():
  one, again = (ReplacedBatches(batches(), 0.5, WORDS, 1) for _ in range(2))
  np.testing.assert_array_equal(one.at(7)['ids'], again.at(7)['ids'])
  other = ReplacedBatches(batches(), 0.5, WORDS, 2)
  assert (one.at(7)['ids'] != other.at(7)['ids']).any()
  of_next_epoch = one.at(7 + one.num_batches)
  assert (of_next_epoch['ids'] != one.at(7)['ids']).any()


def test_words_that_are_not_listed_are_neither_replaced_nor_drawn():
  few = WORDS[:5]
  plain = batches()
  copies = ReplacedBatches(plain, 0.99, few).at(0)['ids'][32:]
  ids = plain.at(0)['ids']
  assert ((copies == ids) | np.isin(ids, few)).all()


def test_evaluations_read_texts_as_they_are():
  plain = batches()
  replaced = ReplacedBatches(plain, 0.5, WORDS)
  for one, other in zip(
    plain.for_evaluation(), replaced.for_evaluation(), strict=True
  ):
    np.testing.assert_array_equal(one['ids'], other['ids'])


@pytest.mark.parametrize('share', [0, 1, -0.5, float('nan')])
def test_a_share_is_between_none_and_all(share):
  with pytest.raises(ValueError, match='share must be between 0 and 1'):
    ReplacedBatches(batches(), share, WORDS)


@pytest.mark.parametrize('words', [[], [[1, 2]]])
def test_there_are_words_to_draw(words):
  with pytest.raises(ValueError, match='words must be'):
    ReplacedBatches(batches(), 0.5, np.array(words))
