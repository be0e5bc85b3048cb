"""Counts of words, or other weights of theirs: checked and scaled."""

import numpy as np

from embedcomp._internal.checks import check_numbers
from embedcomp.types import Array


def check_counts(
  counts: Array, vocab_size: int | None = None, name: str = 'counts'
) -> np.ndarray:
  """Checks the counts, or other weights, of words.

  Args:
    counts: [V] non-negative numbers, not all zero: tokens of each word.
    vocab_size: V, where it is known.
    name: of the argument, for errors.

  Returns:
    [V] float64 counts.

  Raises:
    ValueError: naming the value and the rule that it breaks.
  """
  counts = check_numbers(name, '[V]', counts)
  if counts.ndim != 1 or not counts.size:
    raise ValueError(
      f'{name} must be [V], one number a word, got shape {counts.shape}.'
    )
  if vocab_size is not None and len(counts) != vocab_size:
    raise ValueError(
      f'{name} must hold one number for each of {vocab_size} words, '
      f'got {len(counts)}.'
    )
  wrong = ~(np.isfinite(counts) & (counts >= 0))
  if wrong.any():
    word = int(wrong.argmax())
    raise ValueError(
      f'{name} must be finite and not negative, '
      f'got {counts[word]} for word {word}.'
    )
  if not counts.any():
    raise ValueError(
      f'{name} must not all be zero, got {len(counts)} zeros; leave {name} '
      'out to weigh all words alike.'
    )
  return counts


def with_room_for_sums(counts: np.ndarray) -> np.ndarray:
  """Counts divided by a power of two, so that no sum of them is infinite.

  Args:
    counts: [V] float64, as from `check_counts`.

  Returns:
    [V] float64, the largest of them in [1/2, 1).
  """
  return np.ldexp(counts, -np.frexp(counts.max())[1])
