"""How often words are going to be read, of whatever text has been counted.

Counts say little of other text: a corpus lacks words by accident and, where it
was cleaned, whole kinds of them, such as marks and digits. What is expected is
a mixture of multinomials,

  p(word) = a * counts / N + b * wide counts / N' + (1 - a - b) * prior(word),

the last one by the word's rank where ids fall by frequency (`rank_prior`), and
the same for all words where they do not: linear interpolation (Jelinek and
Mercer, "Interpolated estimation of Markov source parameters from sparse data",
1980). Of how much a short text leaves open, a and b are told by its leave-one-
out likelihood. More than that it cannot say, for a text is always most like
itself: the largest a and b are those that predicted foreign text and the
counted one best together, see `_PRIOR_SHARE`.
"""

from collections.abc import Sequence

import numpy as np

from embedcomp._internal.checks import check_int, check_share
from embedcomp.compression import rank_prior
from embedcomp.compression.counts import check_counts, with_room_for_sums
from embedcomp.types import Array

# Shares of the prior beside a long text, and of wide text in what is left, if
# nothing that is read is like the text; they fall to none where all of it is.
# Found by cross-entropy, of MiniLM-L6's pieces in news, newsgroups, reviews,
# captions, novels, manuals and licences, each in turn counted and each read:
# where half is like the text, 10.62 bits (11.39 by counts + 0.05), 10.58 beside
# wide text, and 11.0 where a prior by rank says nothing.
_PRIOR_SHARE = 0.8
_PRIOR_SHARE_BESIDE_WIDE = 0.5
_UNIFORM_SHARE = 0.4
_WIDE_SHARE = 2 / 3
# Tokens of the text that counts are expected in.
_NUM_TOKENS = 1e6


def expected_counts(
  counts: Array | None = None,
  *,
  wide_counts: Array | None = None,
  tokens: Sequence[str] | None = None,
  vocab_size: int | None = None,
  falling_ids: bool | None = None,
  likeness: float = 0.5,
) -> np.ndarray:
  """Expects how often words occur in text that is unlike what was counted.

  Without any text, words are judged by their ids; give `tokens` then, for most
  vocabularies begin with what is not in order. Where there are counts, the
  order of the ids is looked for in them.

  Args:
    counts: [V] tokens of each word in text like what is going to be read;
      other weights as well, in any unit. None for no text.
    wide_counts: [V] likewise of other text, the more mixed the better.
    tokens: [V] strings of words or word pieces by id, '' for ids without one.
      They tell special and unused tokens, which are worth little, and
      alphabets, whose characters are worth more than their ids say.
    vocab_size: V, where nothing else says it.
    falling_ids: whether ids fall by frequency, as those of WordPiece, BPE,
      SentencePiece and word2vec do; None looks at the counts, and takes it as
      given where there are none.
    likeness: in [0, 1], how much of what is going to be read is like the text
      of `counts`.

  Returns:
    [V] float64, expected occurrences in a million tokens.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> tokens = ['[PAD]', 'the', 'of', ',', '7', 'zebra']
    >>> expected_counts(tokens=tokens).round(-3).tolist()
    [17000.0, 283000.0, 223000.0, 184000.0, 157000.0, 136000.0]
  """
  texts = [
    check_counts(text, name=name)
    for text, name in ((counts, 'counts'), (wide_counts, 'wide_counts'))
    if text is not None
  ]
  size = _vocab_size(texts, tokens, vocab_size)
  if falling_ids is not None and not isinstance(falling_ids, (bool, np.bool_)):
    raise ValueError(
      f'falling_ids must be True, False or None, got {falling_ids!r}.'
    )
  likeness = check_share('likeness', likeness)
  shares = [with_room_for_sums(text) for text in texts]
  shares = [text / text.sum() for text in shares]
  prior, prior_share = _prior(shares, tokens, size, falling_ids)
  prior_share *= 1 - likeness
  expected = np.zeros(size)
  for share, text, text_share in zip(
    _shares_of_texts(len(texts), prior_share, likeness), texts, shares
  ):
    known = share * (1 - _share_left_open(text, prior))
    expected += known * text_share
  expected += (1 - expected.sum()) * prior
  return _NUM_TOKENS * expected


def _vocab_size(
  texts: Sequence[np.ndarray],
  tokens: Sequence[str] | None,
  vocab_size: int | None,
) -> int:
  """V, on which all arguments have to agree."""
  sizes = [len(text) for text in texts]
  if tokens is not None:
    if isinstance(tokens, str) or not all(isinstance(t, str) for t in tokens):
      raise ValueError(
        'tokens must be several str, one a word, and empty for ids without '
        f'one, got {tokens!r:.80}.'
      )
    sizes.append(len(tokens))
  if vocab_size is not None:
    sizes.append(check_int('vocab_size', vocab_size, 1))
  if not sizes:
    raise ValueError('give counts, wide_counts, tokens or vocab_size.')
  if len(set(sizes)) > 1 or not sizes[0]:
    raise ValueError(
      'counts, wide_counts, tokens and vocab_size must be of the same words, '
      f'at least one, got {sizes} of them.'
    )
  return sizes[0]


def _prior(
  shares: Sequence[np.ndarray],
  tokens: Sequence[str] | None,
  size: int,
  falling_ids: bool | None,
) -> tuple[np.ndarray, float]:
  """[V] shares of words by their ids, and theirs if nothing is like a text."""
  counts = np.sum(shares, axis=0) if shares else None
  if tokens is not None:
    ranks = rank_prior.expected_ranks(tokens)
  elif counts is not None:
    ranks = rank_prior.ranks_by_counts(counts)
  else:
    ranks = np.arange(1.0, size + 1)
  if falling_ids is None:
    falling_ids = counts is None or rank_prior.agrees(ranks, counts)
  if not falling_ids:
    return np.full(size, 1 / size), _UNIFORM_SHARE
  beside_wide = len(shares) > 1
  share = _PRIOR_SHARE_BESIDE_WIDE if beside_wide else _PRIOR_SHARE
  return rank_prior.zipf_shares(ranks), share


def _shares_of_texts(
  num_texts: int, prior_share: float, likeness: float
) -> list[float]:
  """The share of each text in the mixture, if it is long."""
  left = 1 - prior_share
  if num_texts < 2:
    return [left] * num_texts
  wide = _WIDE_SHARE * (1 - likeness)
  return [left * (1 - wide), left * wide]


def _share_left_open(counts: np.ndarray, prior: np.ndarray) -> float:
  """Share of the prior that makes each token of a text likely by the others.

  argmax_s sum_i n_i log((1 - s) (n_i - 1) / (N - 1) + s prior_i). Counts below
  one are shares or weights: the smallest of them is taken for one token.

  Args:
    counts: [V] float64, not all zero.
    prior: [V] float64 shares of words, all positive.

  Returns:
    The share s in [0, 1]; 1 where no word occurs twice.
  """
  seen = counts > 0
  tokens = with_room_for_sums(counts[seen])
  one = min(1, counts[seen].min()) * (tokens.max() / counts.max())
  total = tokens.sum()
  others = (tokens - one) / (total - one) if total > one else 0 * tokens
  by_prior = prior[seen]
  low, high = 0.0, 1.0
  for _ in range(40):  # the likelihood is concave: bisection by its slope
    share = (low + high) / 2
    mixed = (1 - share) * others + share * by_prior
    if tokens @ ((by_prior - others) / mixed) > 0:
      low = share
    else:
      high = share
  return high
