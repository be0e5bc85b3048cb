"""Search spaces: split points, options, and their exact bytes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from embedcomp import methods as methods_lib
from embedcomp._internal.checks import take_plain_ints
from embedcomp.compression import dynamic_program, refinement
from embedcomp.methods import storage
from embedcomp.table.scheme import Group, Scheme
from embedcomp.types import Shape


@dataclasses.dataclass(frozen=True)
class SearchSpace:
  """Bins of consecutive words, and the options a group of them may take.

  Attributes:
    features: D.
    bins: the B + 1 ranks 0, ..., V between which bins lie; groups are runs of
      whole bins until slack is spent.
    options: O method configs.
    max_groups: most groups of a scheme.
    order: 'identity' if ids are ranks, else 'stored'.
    dtype: of the dense table that ratios refer to.
  """

  features: int
  bins: tuple[int, ...]
  options: tuple[methods_lib.Method, ...]
  max_groups: int = 4
  order: str = 'identity'
  dtype: str = 'float32'

  def __post_init__(self) -> None:
    take_plain_ints(self)
    if (
      len(self.bins) < 2 or self.bins[0] != 0 or (np.diff(self.bins) < 1).any()
    ):
      raise ValueError(f'bins must increase from 0 to V, got {self.bins}.')
    if not self.options:
      raise ValueError('a search needs at least one option, got none.')
    if type(self.max_groups) is not int or self.max_groups < 1:
      raise ValueError(f'max_groups must be at least 1, got {self.max_groups}.')

  @property
  def num_bins(self) -> int:
    """B."""
    return len(self.bins) - 1

  @property
  def vocab_size(self) -> int:
    """V."""
    return self.bins[-1]

  @property
  def dense_bytes(self) -> int:
    """Bytes of the uncompressed table in its own dtype."""
    itemsize = storage.FLOAT_DTYPES[self.dtype].itemsize
    return self.vocab_size * self.features * itemsize

  @functools.cached_property
  def bin_sizes(self) -> np.ndarray:
    """[B] int64 words in each bin."""
    return np.diff(self.bins)

  @functools.cached_property
  def smallest_bytes(self) -> int:
    """Bytes of the smallest scheme of whole bins.

    Raises:
      ValueError: if no option suits some of the bins.
    """
    segments = self.segments(np.zeros((self.num_bins, len(self.options))))
    most = min(self.max_groups, self.num_bins)
    return dynamic_program.smallest_division(
      segments, self.num_bins, most, self.order_bytes
    )[0]

  @functools.cached_property
  def bytes_per_word(self) -> np.ndarray:
    """[O] float64 bytes that each option stores for a word alone."""
    once, twice = self._bytes_of_many(1), self._bytes_of_many(2)
    return (twice - once) / self._many

  @functools.cached_property
  def shared_bytes(self) -> np.ndarray:
    """[O] float64 bytes that each option stores once for all words of a group.

    Together with `bytes_per_word` less than a byte short of the exact size,
    but for tensor trains, whose bytes do not grow by the word.
    """
    return 2 * self._bytes_of_many(1) - self._bytes_of_many(2)

  @property
  def _many(self) -> int:
    # Enough words for every option; a multiple of 8, so that no bits are lost.
    return 8 * max(self.vocab_size, 1 << 20)

  def _bytes_of_many(self, times: int) -> np.ndarray:
    shape = Shape(times * self._many, self.features)
    return np.array([float(o.num_bytes(shape)) for o in self.options])

  def order_bytes(self, num_groups: int) -> int:
    """Bytes of the order map of a scheme of so many groups."""
    if self.order == 'identity':
      return 0
    return storage.Codes('order', (self.vocab_size,), num_groups).num_bytes

  def scheme(self, division: refinement.Division) -> Scheme:
    """The scheme of a division.

    Raises:
      ValueError: if a group has too few words for its option.
    """
    sizes = np.diff(division.splits).tolist()
    methods = [self.options[option] for option in division.options]
    groups = tuple(Group(n, method) for n, method in zip(sizes, methods))
    order = self.order if len(groups) > 1 else 'identity'
    return Scheme(self.features, groups, order, self.dtype)

  def num_bytes(self, division: refinement.Division) -> float:
    """Exact bytes of a division; infinite if it is not valid."""
    try:
      return self.scheme(division).num_bytes
    except ValueError:  # too few words for some option
      return np.inf

  def segments(self, losses: np.ndarray) -> list[dynamic_program.Segment]:
    """Every run of bins as a group, where losses of bins add up.

    Args:
      losses: [B, O] finite float, loss of each option in each bin.

    Returns:
      B (B + 1) / 2 segments, by first and then by last bin.
    """
    before = np.concatenate([np.zeros((1, len(self.options))), losses])
    before = before.cumsum(axis=0)
    return [
      dynamic_program.Segment(
        start,
        stop,
        self.option_bytes(self.bins[stop] - self.bins[start]),
        before[stop] - before[start],
      )
      for start in range(self.num_bins)
      for stop in range(start + 1, self.num_bins + 1)
    ]

  def option_bytes(self, num_words: int) -> np.ndarray:
    """[O] bytes of so many words as a group, -1 where an option cannot be."""
    shape = Shape(num_words, self.features)
    sizes = np.full(len(self.options), -1)
    for index, option in enumerate(self.options):
      try:
        option.validate(shape)
      except ValueError:
        continue
      sizes[index] = option.num_bytes(shape)
    return sizes

  def solve(
    self, segments: Sequence[dynamic_program.Segment], max_bytes: int
  ) -> dynamic_program.BestDivisions:
    """Finds the best divisions of all sizes; see `dynamic_program.solve`.

    Args:
      segments: as from `segments`.
      max_bytes: the largest size of interest.

    Raises:
      ValueError: if no division fits into `max_bytes`.
    """
    return dynamic_program.solve(
      segments,
      self.num_bins,
      max_bytes,
      max_groups=min(self.max_groups, self.num_bins),
      fixed_bytes=self.order_bytes,
    )

  def spend_slack(
    self,
    choices: Sequence[dynamic_program.Choice],
    budget: int,
    loss: Callable[[int, int, int], float],
  ) -> Scheme:
    """Makes a scheme of some choices and spends left-over bytes on more words.

    Args:
      choices: groups of whole bins, within budget.
      budget: bytes.
      loss: takes first rank, last rank + 1 and option to the expected loss.

    Returns:
      A scheme within budget that is expected to lose no more.
    """
    splits = (*(self.bins[c.start] for c in choices), self.bins[-1])
    division = refinement.Division(splits, tuple(c.option for c in choices))
    prices = refinement.Prices(
      self.num_bytes, self.bytes_per_word.tolist(), loss
    )
    division = refinement.spend_slack(division, prices, budget, self.max_groups)
    return self.scheme(division)
