"""Expected counts: of any text, or of none."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import optimize

from embedcomp.compression import frequency, rank_prior
from embedcomp.compression.frequency import expected_counts

COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=60).filter(any)


def zipf(size: int) -> np.ndarray:
  shares = 1 / (np.arange(1, size + 1) + 2.7)
  return shares / shares.sum()


def cross_entropy(shares, counts):
  """Bits a token of some text under shares of words."""
  return -(counts @ np.log2(shares / shares.sum())) / counts.sum()


def test_long_texts_are_mixed_by_hand():
  """Where all words occur often, no text leaves anything open."""
  tokens = [f'word{number}' for number in range(2000)]
  counts = 1e9 * zipf(2000)
  wide = 1e9 * zipf(2000)[::-1]
  found = expected_counts(wide, tokens=tokens, falling_ids=True)
  by_hand = 0.6 * zipf(2000)[::-1] + 0.4 * zipf(2000)
  np.testing.assert_allclose(found, 1e6 * by_hand, rtol=1e-3)
  found = expected_counts(
    counts, wide_counts=wide, tokens=tokens, falling_ids=True
  )
  by_hand = 0.75 * zipf(2000) + 0.25 * zipf(2000)[::-1]
  np.testing.assert_allclose(found, 1e6 * by_hand, rtol=1e-3)
  found = expected_counts(counts, wide_counts=wide, falling_ids=False)
  by_hand = 0.8 * (2 * zipf(2000) + zipf(2000)[::-1]) / 3 + 0.2 / 2000
  np.testing.assert_allclose(found, 1e6 * by_hand, rtol=1e-3)


@pytest.mark.parametrize('falling', [True, False])
def test_likeness_leads_from_the_prior_to_the_text(falling):
  tokens = [f'word{number}' for number in range(500)]
  text = zipf(500)[::-1]
  ids = {'tokens': tokens, 'falling_ids': falling}
  prior = 1e6 * (zipf(500) if falling else np.full(500, 1 / 500))
  found = expected_counts(1e12 * text, **ids, likeness=1)
  np.testing.assert_allclose(found, 1e6 * text, rtol=1e-6)
  most = 0.8 if falling else 0.4
  for likeness in (0.0, 0.25, 0.9):
    share = most * (1 - likeness)
    found = expected_counts(1e12 * text, **ids, likeness=likeness)
    by_hand = (1 - share) * 1e6 * text + share * prior
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
  found = expected_counts(
    1e12 * text, wide_counts=1e12 * zipf(500), **ids, likeness=1
  )
  np.testing.assert_allclose(found, 1e6 * text, rtol=1e-6)


def test_a_short_text_is_trusted_by_its_leave_one_out_likelihood(rng):
  prior, counts = zipf(200), rng.multinomial(150, zipf(200)[::-1])
  tokens = [f'word{number}' for number in range(200)]
  others = np.maximum(counts - 1, 0) / 149

  def negative_log_likelihood(share):
    return -(
      counts[counts > 0]
      @ np.log(((1 - share) * others + share * prior)[counts > 0])
    )

  share = optimize.minimize_scalar(
    negative_log_likelihood, bounds=(0, 1), method='bounded'
  ).x
  assert 0.2 < share < 0.9
  known = 0.6 * (1 - share) * counts / 150
  found = expected_counts(counts, tokens=tokens, falling_ids=True)
  expected = known + (1 - known.sum()) * prior
  np.testing.assert_allclose(found, 1e6 * expected, rtol=1e-3)


def test_text_in_which_no_word_is_repeated_says_nothing():
  tokens = ['some', 'words', 'in', 'order']
  found = expected_counts([0, 1, 1, 0], tokens=tokens, falling_ids=True)
  np.testing.assert_allclose(found, 1e6 * zipf(4), rtol=1e-6)


def test_without_text_ids_decide():
  np.testing.assert_allclose(
    expected_counts(vocab_size=100), 1e6 * zipf(100), rtol=1e-12
  )
  alike = expected_counts(vocab_size=100, falling_ids=False)
  np.testing.assert_allclose(alike, np.full(100, 1e4), rtol=1e-12)
  tokens = ['[PAD]', 'the', 'of', ',']
  ranks = rank_prior.expected_ranks(tokens)
  expected = 1e6 * rank_prior.zipf_shares(ranks)
  np.testing.assert_allclose(expected_counts(tokens=tokens), expected)


def test_what_a_text_lacks_by_accident_is_not_ruined(rng):
  """Marks and digits are left out of the counted text, and very frequent."""
  marks = [chr(code) for code in range(ord('!'), ord('@'))]
  tokens = ['[PAD]', *marks, *(f'word{number}' for number in range(2000))]
  shares = np.concatenate([[0], np.full(len(marks), 0.005), zipf(2000)])
  read = rng.multinomial(100_000, shares / shares.sum())
  counts = np.where(np.arange(len(tokens)) <= len(marks), 0, read)
  expected = expected_counts(counts, tokens=tokens)
  rare = expected[len(marks) + 500 :]
  assert (expected[1 : len(marks) + 1] > rare.max()).all()
  assert expected[0] < expected[1:].min()
  # In bits a token of the whole text.
  naive = cross_entropy(counts + 0.05, read)
  assert cross_entropy(expected, read) < naive - 0.5
  # And of other counts than those of words alone.
  assert cross_entropy(expected_counts(counts), read) < naive - 0.5


def test_foreign_text_is_foreseen_better_than_by_its_counts(rng):
  """Two texts of one law, each with favourite words of its own."""
  texts = []
  for _ in range(3):
    own = zipf(3000) * rng.gamma(0.3, size=3000)
    texts.append(rng.multinomial(50_000, own / own.sum()))
  base, wide, foreign = texts
  plain = cross_entropy(base + 1.0, foreign)
  expected = expected_counts(base)
  both = expected_counts(base, wide_counts=wide)
  none = expected_counts(vocab_size=3000)
  assert cross_entropy(expected, foreign) < plain - 0.3
  assert cross_entropy(both, foreign) < plain - 0.3
  assert cross_entropy(none, foreign) < plain
  # Of like text it costs less than a bit, as much as it may count.
  assert cross_entropy(expected, base) < cross_entropy(base + 1.0, base) + 0.74


def test_ids_that_do_not_fall_are_noticed(rng):
  counts = rng.multinomial(30_000, zipf(2000))
  mixed = rng.permutation(counts)
  for given, is_falling in ((counts, True), (mixed, False)):
    np.testing.assert_array_equal(
      expected_counts(given), expected_counts(given, falling_ids=is_falling)
    )


@hypothesis.given(COUNTS, st.sampled_from([None, True, False]))
def test_words_keep_their_order_but_for_what_the_prior_says(counts, falling):
  found = expected_counts(counts, falling_ids=falling)
  assert found.sum() == pytest.approx(1e6)
  assert (found > 0).all()
  if falling is False:
    by_count = np.argsort(counts, kind='stable')
    assert (np.diff(found[by_count]) >= -1e-6).all()


@pytest.mark.parametrize('unit', [1e-310, 1e-6, 0.37])
def test_counts_may_be_shares(unit, rng):
  counts = np.append(rng.multinomial(5_000, zipf(500)), 1) * 1.0
  np.testing.assert_allclose(
    expected_counts(counts * unit), expected_counts(counts), rtol=1e-3
  )


def test_large_numbers_are_a_long_text(rng):
  counts = np.append(rng.multinomial(5_000, zipf(500)), 1) * 1.0
  long = expected_counts(counts * 1e6)
  np.testing.assert_allclose(expected_counts(counts * 1e304), long, rtol=1e-6)
  assert long.max() > expected_counts(counts).max()


@pytest.mark.parametrize(
  ('arguments', 'rule'),
  [
    ({}, 'give counts, wide_counts, tokens or vocab_size'),
    ({'counts': [1, -1]}, 'counts must be finite and not negative, got -1'),
    ({'wide_counts': [0, 0]}, 'wide_counts must not all be zero'),
    ({'counts': [1], 'vocab_size': 2}, r'of the same words.* \[1, 2\]'),
    ({'counts': [1, 2], 'tokens': ['a']}, r'of the same words.* \[2, 1\]'),
    ({'counts': [1, 2], 'wide_counts': [1]}, r'of the same words.* \[2, 1\]'),
    ({'tokens': 'the'}, "tokens must be several str.*got 'the'"),
    ({'tokens': ['the', None]}, 'tokens must be several str'),
    ({'tokens': []}, 'at least one'),
    ({'vocab_size': 0}, 'vocab_size must be an int of at least 1, got 0'),
    (
      {'vocab_size': 3, 'likeness': 1.5},
      r'likeness must be a number in .*got 1.5',
    ),
    ({'vocab_size': 3, 'likeness': float('nan')}, 'likeness.*got nan'),
    ({'vocab_size': 3, 'falling_ids': 'yes'}, "falling_ids must be.*'yes'"),
  ],
)
def test_what_is_wrong_is_refused(arguments, rule):
  with pytest.raises(ValueError, match=rule):
    expected_counts(**arguments)


def test_contextual_importance_of_expected_counts_is_their_root():
  expected = expected_counts(vocab_size=50)
  found = frequency.contextual_importance(expected)
  np.testing.assert_allclose(found, np.sqrt(expected), rtol=1e-4)
