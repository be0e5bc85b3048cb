"""Ranks of words by their ids: strings, starts of the order, agreement."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from embedcomp.compression import rank_prior
from tests.data.tiny_tokenizers import KINDS, TEXTS, tiny

ALPHABET = [chr(code) for code in range(ord('!'), ord('~') + 1)]


def test_shares_by_hand():
  found = rank_prior.zipf_shares(np.array([1.0, 1.0, 2.3, 7.3]))
  expected = np.array([1 / 3.7, 1 / 3.7, 1 / 5, 1 / 10])
  np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_ranks_of_a_vocabulary_like_that_of_bert():
  """Specials and the two alphabets take no ranks from what is in order."""
  special = ['[PAD]', '[unused0]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  pieces = ['the', '##ing', 'of', 'ab']
  behind = [f'##{character}' for character in ALPHABET]
  tokens = [*special, *ALPHABET, 'é', '—', '\u2019', '龍', *pieces, *behind, '']
  size = len(tokens)
  rank = dict(zip(tokens, rank_prior.expected_ranks(tokens).tolist()))
  assert [rank[piece] for piece in pieces] == [1, 2, 3, 4]
  assert rank['[CLS]'] == rank['[SEP]'] == 1
  assert {rank[mark] for mark in [*ALPHABET, '—', '\u2019']} == {30}
  assert rank['é'] == rank['龍'] == rank['##a'] == rank['##,'] == size
  for token in ('[PAD]', '[unused0]', '[UNK]', '[MASK]', ''):
    assert rank[token] == 10 * size


def test_ranks_of_a_vocabulary_without_an_alphabet():
  """As those of SentencePiece and word2vec: marks stand among the words."""
  words = [f'word{number}' for number in range(50)]
  tokens = ['<s>', '<pad>', '</s>', ',', '▁the', '##', '.', *words, '?', 'ж']
  ranks = rank_prior.expected_ranks(tokens)
  assert ranks[:7].tolist() == [1, 10 * len(tokens), 1, 1, 2, 3, 4]
  np.testing.assert_array_equal(ranks[7:57], np.arange(5, 55))
  assert ranks[57:].tolist() == [30, 56]  # '?' is more frequent than its place


def test_letters_in_no_order_are_no_alphabet():
  few = ALPHABET[:15]
  mixed = np.random.default_rng(0).permutation(
    [chr(0x4E00 + i) for i in range(20)]
  )
  for characters in (few, mixed.tolist()):
    ranks = rank_prior.expected_ranks([*characters, 'the'])
    assert ranks[-1] == len(characters) + 1


@pytest.mark.parametrize('kind', KINDS)
def test_ranks_of_tokenizers_agree_with_what_they_were_trained_on(kind):
  tokenizer = tiny(kind)
  counts = tokenizer.count(TEXTS, special=True)
  ranks = rank_prior.expected_ranks(tokenizer.tokens)
  assert len(ranks) == len(tokenizer)
  assert (ranks >= 1).all()
  most_frequent = np.argsort(-counts)[:10]
  assert np.median(ranks[most_frequent]) < np.median(ranks)


@pytest.mark.parametrize('start', [0, 1, 70, 400])
def test_the_start_of_a_falling_order_is_found(start, rng):
  ranks = np.arange(1, 1001 - start)
  law = 1 / (ranks + 2.7)
  before = np.full(start, 0.02 / max(start, 1))
  shares = np.concatenate([before, 0.98 * law / law.sum()])
  counts = rng.multinomial(20_000, shares / shares.sum())
  found = rank_prior.ranks_by_counts(counts)
  first = int(found.argmin())
  assert abs(first - start) <= 1
  assert (found[:first] == first).all()
  np.testing.assert_array_equal(found[first:], np.arange(1, 1001 - first))


def test_one_word_has_a_rank():
  assert rank_prior.ranks_by_counts([3]).tolist() == [1]
  with pytest.raises(ValueError, match='not all be zero'):
    rank_prior.ranks_by_counts([0, 0])


@pytest.mark.parametrize('num_tokens', [60, 1_000, 100_000])
def test_agreement_is_told_from_chance(num_tokens, rng):
  """A short text has few words, but these have low ranks."""
  ranks = np.arange(1.0, 5001)
  counts = rng.multinomial(num_tokens, rank_prior.zipf_shares(ranks))
  assert rank_prior.agrees(ranks, counts)
  assert not rank_prior.agrees(ranks[::-1], counts)
  for _ in range(5):
    assert not rank_prior.agrees(rng.permutation(ranks), counts)


@hypothesis.given(st.data())
def test_correlation_is_spearman_s(data):
  values = st.lists(st.integers(0, 4), min_size=8, max_size=8)
  one, other = (np.array(data.draw(values), float) for _ in range(2))
  found = rank_prior._rank_correlation(one, other)
  if min(np.ptp(one), np.ptp(other)) == 0:
    assert found == 0
  else:
    assert found == pytest.approx(stats.spearmanr(one, other).statistic)


def test_ranks_agree_with_nothing_where_all_words_are_alike():
  ranks = np.arange(1.0, 101)
  assert not rank_prior.agrees(ranks, np.ones(100))
  assert not rank_prior.agrees(np.ones(100), ranks)


@hypothesis.given(st.lists(st.text(max_size=3), min_size=1, max_size=60))
def test_any_strings_have_ranks(tokens):
  ranks = rank_prior.expected_ranks(tokens)
  assert ranks.shape == (len(tokens),)
  assert ((ranks >= 1) & (ranks <= 10 * len(tokens))).all()
  shares = rank_prior.zipf_shares(ranks)
  assert (shares > 0).all()
  assert shares.sum() == pytest.approx(1)
