"""Batches that hold each text a second time, with other words in it.

A teacher's outputs for a text and for one that differs from it in a few words
tell a student more than those for two texts that have nothing in common; and
words that the texts lack come to be read. Replacing words is an idea of
TinyBERT's augmentation (Jiao et al., Findings of EMNLP 2020); here any word may
come, and there is no need for labels.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from embedcomp.data.batches.interface import Batch, WrappedBatches


@dataclasses.dataclass(frozen=True, eq=False)
class ReplacedBatches(WrappedBatches):
  """Batches of 2 B rows: those of others, then copies with words replaced.

  Which words are replaced, and by which, depends on seed and step alone.

  Attributes:
    batches: dicts of [B, ...] arrays with `ids`, such as `TokenBatches`.
    share: of the words of a copy, in (0, 1), that are replaced.
    words: [N] ids that replace them; all are as likely. Only these are
      replaced, so that padding and special tokens stay.
    seed: of what is replaced.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> from embedcomp.data import Encoded, TokenBatches
    >>> one = Encoded(np.array([1, 5, 6, 2]), np.zeros(4, int))
    >>> batches = TokenBatches([one], [0], 1, buckets=(4,))
    >>> words = np.arange(3, 99)
    >>> ReplacedBatches(batches, 0.5, words).at(0)['ids'].shape
    (2, 4)
  """

  share: float
  words: np.ndarray
  seed: int = 0

  def __post_init__(self) -> None:
    if not 0 < self.share < 1:
      raise ValueError(
        f'share must be between 0 and 1, neither of them, got {self.share}.'
      )
    if np.ndim(self.words) != 1 or not len(self.words):
      raise ValueError(
        f'words must be [N] ids, one at least, got {np.shape(self.words)}.'
      )

  def at(self, step: int) -> Batch:
    """Returns the batch of a step."""
    batch = self.batches.at(step)
    rng = np.random.default_rng((self.seed, step))
    ids = batch['ids']
    is_replaced = rng.random(ids.shape) < self.share
    is_replaced &= np.isin(ids, self.words)
    drawn = rng.choice(self.words, ids.shape).astype(ids.dtype)
    copies = {**batch, 'ids': np.where(is_replaced, drawn, ids)}
    return {
      name: np.concatenate([array, copies[name]])
      for name, array in batch.items()
    }

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once, as it is."""
    return self.batches.for_evaluation()
