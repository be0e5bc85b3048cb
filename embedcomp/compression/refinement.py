"""Spending of the bytes that a choice of whole bins and options leaves over.

Two moves, both along the order of words: a split between two groups shifts so
that words join the group that spends more on a word, and the first words of a
group become a group of their own with a dearer option.
"""

import dataclasses
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Division:
  """Consecutive groups of words, each with an option.

  Attributes:
    splits: the G + 1 ranks at which groups start and end.
    options: the G options, by number.
  """

  splits: tuple[int, ...]
  options: tuple[int, ...]

  def with_split(self, split: int, rank: int) -> 'Division':
    """Returns the division with one inner split moved to a rank."""
    splits = (*self.splits[:split], rank, *self.splits[split + 1 :])
    return Division(splits, self.options)

  def with_head_group(self, group: int, size: int, option: int) -> 'Division':
    """Returns the division with the first words of a group as a group.

    Args:
      group: number of the group that is cut in two.
      size: words of the new group.
      option: of the new group; the rest keeps its own.
    """
    rank = self.splits[group] + size
    splits = (*self.splits[: group + 1], rank, *self.splits[group + 1 :])
    options = (*self.options[:group], option, *self.options[group:])
    return Division(splits, options)


@dataclasses.dataclass(frozen=True)
class Prices:
  """Bytes and losses that moves are judged by.

  Attributes:
    num_bytes: takes a division to its bytes, infinite if it is not valid.
    bytes_per_word: of each option, shared arrays not counted.
    loss: takes first rank, last rank + 1 and option to the expected loss.
  """

  num_bytes: Callable[[Division], float]
  bytes_per_word: Sequence[float]
  loss: Callable[[int, int, int], float]


def spend_slack(
  division: Division, prices: Prices, budget: int, max_groups: int
) -> Division:
  """Spends what a division leaves of a budget on further words.

  Args:
    division: within budget.
    prices: of its options.
    budget: bytes.
    max_groups: most groups.

  Returns:
    A division within budget that is expected to lose no more.
  """
  division = _shift_splits(division, prices, budget)
  while len(division.options) < max_groups:
    refined = _add_best_head(division, prices, budget)
    if refined is None:
      break
    division = refined
  return _shift_splits(division, prices, budget)


def _largest_fitting(fits: Callable[[int], bool], limit: int) -> int:
  """The largest number in [0, limit] that fits, by bisection."""
  low, high = 0, limit + 1
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  return low


def _shift_splits(division: Division, prices: Prices, budget: int) -> Division:
  """Moves each split towards the cheaper side as far as bytes last."""

  def gain(split):
    """Saved loss for each byte when the next tenth of the words moves."""
    before, after = division.options[split - 1 : split + 1]
    here = division.splits[split]
    if prices.bytes_per_word[before] > prices.bytes_per_word[after]:
      dear, cheap = before, after
      words = -(-(division.splits[split + 1] - here) // 10)
      span = (here, here + words)
    else:
      dear, cheap = after, before
      words = -(-(here - division.splits[split - 1]) // 10)
      span = (here - words, here)
    step = prices.bytes_per_word[dear] - prices.bytes_per_word[cheap]
    saved = prices.loss(*span, cheap) - prices.loss(*span, dear)
    return saved / max(step * words, 1e-9)

  def differs(split):
    before, after = division.options[split - 1 : split + 1]
    return prices.bytes_per_word[before] != prices.bytes_per_word[after]

  splits = filter(differs, range(1, len(division.options)))
  for split in sorted(splits, key=gain, reverse=True):
    here = division.splits[split]
    before, after = division.options[split - 1 : split + 1]
    dearer = prices.bytes_per_word[before] > prices.bytes_per_word[after]
    direction = 1 if dearer else -1
    room = abs(division.splits[split + direction] - here) - 1

    def fits(distance, start=division, split=split, step=direction):
      shifted = start.with_split(split, start.splits[split] + step * distance)
      return prices.num_bytes(shifted) <= budget

    distance = _largest_fitting(fits, room)
    division = division.with_split(split, here + direction * distance)
  return division


def _add_best_head(
  division: Division, prices: Prices, budget: int
) -> Division | None:
  """Adds the head group that saves most; None if none fits and saves."""
  best, most_saved = None, 0.0
  for group, current in enumerate(division.options):
    start, stop = division.splits[group : group + 2]
    for option, per_word in enumerate(prices.bytes_per_word):
      if per_word <= prices.bytes_per_word[current]:
        continue

      def fits(size, group=group, option=option):
        refined = division.with_head_group(group, size, option)
        return prices.num_bytes(refined) <= budget

      size = _largest_fitting(fits, stop - start - 1)
      if not size:
        continue
      head = (start, start + size)
      saved = prices.loss(*head, current) - prices.loss(*head, option)
      if saved > most_saved:
        best, most_saved = division.with_head_group(group, size, option), saved
  return best
