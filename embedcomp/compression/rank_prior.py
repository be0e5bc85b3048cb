"""How often words occur, judged by their ids alone.

The ids of most vocabularies fall by frequency: lists of word vectors by the
words' counts, WordPiece and byte-pair encoding by the order of their merges,
SentencePiece's Unigram by probability. By the Zipf-Mandelbrot law a word then
has a share of 1 / (rank + 2.7) of a text, but for a factor (Mandelbrot, "An
informational theory of the statistical structure of language", 1953).

Not all of a vocabulary is in that order. Tokenizers put an alphabet in front
of the pieces or behind them, by code point, and special tokens anywhere:
`expected_ranks` tells them by their strings, `ranks_by_counts` by counts.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from embedcomp.compression.counts import check_counts
from embedcomp.types import Array

# Exponent 1 and this shift, which Mandelbrot found for English, gave eight
# corpora as much likelihood as laws that were fitted to another one of them.
_SHIFT = 2.7
# Expected rank of a digit, a letter or a mark of ASCII, a dash or a quotation
# mark. Some 80 of them make up a tenth to a quarter of most texts, whatever
# their place in a vocabulary.
_CHARACTER_RANK = 30
_MARKS = {'Pd', 'Pi', 'Pf'}  # categories of Unicode
# Fewer characters by code point than this may be so by chance.
_SMALLEST_ALPHABET = 16
# What tokenizers put around each text, as frequent as any word.
_AROUND_TEXTS = {'[CLS]', '[SEP]', '<s>', '</s>', '<bos>', '<eos>'}
# Special and unused tokens and bytes: [MASK], [unused7], <pad>, <0x0A>.
_SPECIAL = re.compile(r'\[\w+\]|<\S+>')
_CONTINUED = '##'
# How many times further down than the last word those are.
_RARELY = 10
# Most frequent words that are tried as the first of a falling order.
_NUM_STARTS = 30
# What ranks and counts have to agree by, see `agrees`. Vocabularies of models
# agree with any text by 0.3 to 0.8.
_LEAST_AGREEMENT = 0.2
_LEAST_DEVIATIONS = 4


def zipf_shares(ranks: np.ndarray) -> np.ndarray:
  """Shares of a text that words of some ranks have.

  Args:
    ranks: [V] float64, from 1 on.

  Returns:
    [V] float64 that sum to 1: 1 / (rank + 2.7), but for a factor.
  """
  shares = 1 / (ranks + _SHIFT)
  return shares / shares.sum()


def expected_ranks(tokens: Sequence[str]) -> np.ndarray:
  """Ranks by frequency of the tokens of a vocabulary whose ids fall by it.

  What stands in alphabetical order, and special tokens, take no rank from the
  others. The tokens around each text come first; single characters of ASCII,
  dashes and quotation marks are at least the 30th; the rest of an alphabet
  comes last. Special and unused tokens and ids without a token count for a
  tenth of that.

  Args:
    tokens: [V] by id; '' for ids without one.

  Returns:
    [V] float64 ranks from 1 on, some of them equal.

  Example:
    >>> expected_ranks(['[PAD]', '[CLS]', 'the', 'of', ',', 'and']).tolist()
    [60.0, 1.0, 1.0, 2.0, 3.0, 4.0]
  """
  size = len(tokens)
  bare = [_without_mark(token) for token in tokens]
  special = np.array(
    [not token or bool(_SPECIAL.fullmatch(token)) for token in tokens]
  )
  in_alphabet = _in_alphabets(bare)
  ranks = np.cumsum(~(special | in_alphabet)).astype(np.float64)
  ranks[in_alphabet] = size
  ranks[special] = _RARELY * size
  frequent = [_is_frequent_character(token) for token in tokens]
  ranks[frequent] = np.minimum(ranks[frequent], _CHARACTER_RANK)
  ranks[[token in _AROUND_TEXTS for token in tokens]] = 1
  return ranks


def _is_frequent_character(token: str) -> bool:
  """Whether this is a character of ASCII, a dash or a quotation mark."""
  return len(token) == 1 and (
    token.isascii() or unicodedata.category(token) in _MARKS
  )


def _without_mark(token: str) -> str:
  """A piece without the mark of those that go on with a word."""
  return token.removeprefix(_CONTINUED) or token


def _in_alphabets(tokens: Sequence[str]) -> np.ndarray:
  """[V] whether a token is in a run of characters by rising code point."""
  found = np.zeros(len(tokens), bool)
  start = 0
  for id in range(1, len(tokens) + 1):
    before, token = tokens[id - 1], tokens[id] if id < len(tokens) else ''
    if len(before) == len(token) == 1 and before < token:
      continue
    if id - start >= _SMALLEST_ALPHABET:
      found[start:id] = True
    start = id
  return found


def ranks_by_counts(counts: Array) -> np.ndarray:
  """Ranks by frequency where ids fall by it from some id on.

  The first word of the falling order is the one of the most frequent that
  makes the counts most likely. The words before it, which may be an alphabet or
  unused, share a rank: as many as they are.

  Args:
    counts: [V] tokens of each word, by id.

  Returns:
    [V] float64 ranks from 1 on.

  Raises:
    ValueError: if counts are not valid.

  Example:
    >>> ranks_by_counts([0, 0, 2, 0, 60, 30, 21, 14, 13, 9]).tolist()
    [4.0, 4.0, 4.0, 4.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
  """
  counts = check_counts(counts)
  counts = counts / counts.max()
  most_frequent = np.argsort(-counts, kind='stable')[:_NUM_STARTS]
  starts = {0, *most_frequent[most_frequent <= len(counts) // 2].tolist()}

  def log_likelihood(start: int) -> float:
    shares = zipf_shares(_ranks_from(start, len(counts)))
    return float(counts @ np.log(shares))

  return _ranks_from(max(sorted(starts), key=log_likelihood), len(counts))


def _ranks_from(start: int, size: int) -> np.ndarray:
  """[V] ranks of ids that fall by frequency from `start` on."""
  ids = np.arange(size, dtype=np.float64)
  return np.where(ids < start, start, ids - start + 1)


def agrees(ranks: np.ndarray, counts: Array) -> bool:
  """Whether counts fall with ranks, so that these say something of words.

  Spearman's correlation, as a share of what it would be if the words were
  sorted by their counts: ties, of which there are many where a text is short
  and most words do not occur, limit that.

  Args:
    ranks: [V] float64 ranks.
    counts: [V] tokens of each word.

  Returns:
    True if the share is 0.2 or more, and not by chance.

  Raises:
    ValueError: if counts are not valid.

  Example:
    >>> agrees(np.arange(1, 41), 100 // np.arange(1, 41))
    True
  """
  counts = check_counts(counts)
  correlation = _rank_correlation(-ranks, counts)
  largest = _rank_correlation(np.sort(-ranks), np.sort(counts))
  by_chance = 1 / np.sqrt(len(counts))  # its standard deviation, nearly
  least = max(_LEAST_AGREEMENT * largest, _LEAST_DEVIATIONS * by_chance)
  return bool(correlation > least)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
  """Spearman's correlation; 0 where one of both is constant."""
  one, other = _centred_ranks(first), _centred_ranks(second)
  norms = np.sqrt((one @ one) * (other @ other))
  return float(one @ other / norms) if norms else 0.0


def _centred_ranks(values: np.ndarray) -> np.ndarray:
  """Ranks by size, less their mean; equal values share the mean of theirs."""
  _, places, sizes = np.unique(values, return_inverse=True, return_counts=True)
  ranks = np.cumsum(sizes) - (sizes - 1) / 2
  return ranks[places] - (len(values) + 1) / 2
