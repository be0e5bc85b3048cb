"""Needle in a haystack: one word of a long text says what its label is.

  0 17 c 1 key h 0 3 0 a 85 ...   has the label h

The needle is the word `key` and the value after it. All other values occur as
well, each once and anywhere, but without the key before them: which words a
text has, and how often, tells nothing of its label. The rest are filler words,
drawn by Zipf's law. The needle is as likely to be in any place. The words are
letters and numbers, most of which are in BERT's vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from embedcomp.data.documents import Documents

KEY = 'key'
LABELS = tuple('abcdefghij')
LENGTH_RANGE = (1000, 8000)
NUM_DOCUMENTS = (2_000, 500, 500)  # of training, validation and test
_FILLERS = np.array([str(n) for n in range(500)])
_SHORTEST = len(LABELS) + 1


def needle_documents(
  num: int,
  length_range: tuple[int, int] = LENGTH_RANGE,
  *,
  seed: int | Sequence[int] = 0,
) -> Documents:
  """Draws texts with a needle each.

  Args:
    num: how many.
    length_range: words of the shortest and of the longest text; all lengths
      between them are as likely.
    seed: the same seed draws the same texts.

  Returns:
    Texts of words with spaces between them, and labels, positions in `LABELS`.

  Raises:
    ValueError: for an argument out of range.

  Example:
    >>> text = needle_documents(1, (20, 30)).texts[0].split()
    >>> text[text.index('key') + 1]
    'i'
  """
  least, most = length_range
  if num < 1:
    raise ValueError(f'num must be at least 1, got {num}.')
  if not _SHORTEST <= least <= most:
    raise ValueError(
      f'length_range must be two numbers that rise from {_SHORTEST} on, '
      f'got {length_range}.'
    )
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, len(LABELS), num)
  # Of the word of rank r, 1 / r; as limits of numbers from 0 to 1.
  limits = np.cumsum(1 / np.arange(1, len(_FILLERS) + 1))
  limits /= limits[-1]
  texts = []
  for label in labels.tolist():
    length = rng.integers(least, most + 1)
    words = _FILLERS[np.searchsorted(limits, rng.random(length))]
    place = rng.integers(0, length - 1)
    words[place : place + 2] = KEY, LABELS[label]
    others = rng.choice(length - 2, len(LABELS) - 1, replace=False)
    others += 2 * (others >= place)  # around the needle
    words[others] = LABELS[:label] + LABELS[label + 1 :]
    texts.append(' '.join(words.tolist()))
  return Documents(tuple(texts), labels)
