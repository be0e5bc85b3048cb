"""Spending the bytes that a choice of whole bins and options leaves over.

Two moves, both along the order of words: a split between two groups shifts so
that words join the group that spends more on a word, and the first words of a
group become a group of their own with a dearer option.
"""

import dataclasses
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Division:
  """Groups as the dynamic programme leaves them.

  Attributes:
    splits: the G + 1 ranks at which groups start and end.
    options: the G options, by number.
  """

  splits: tuple[int, ...]
  options: tuple[int, ...]

  def moved(self, split: int, rank: int) -> 'Division':
    """One inner split moved to a rank."""
    splits = (*self.splits[:split], rank, *self.splits[split + 1 :])
    return Division(splits, self.options)

  def with_head_group(self, group: int, size: int, option: int) -> 'Division':
    """The first `size` words of a group made a group of another option."""
    rank = self.splits[group] + size
    splits = (*self.splits[: group + 1], rank, *self.splits[group + 1 :])
    options = (*self.options[:group], option, *self.options[group:])
    return Division(splits, options)


@dataclasses.dataclass(frozen=True)
class Prices:
  """What a division costs and what words gain.

  Attributes:
    num_bytes: takes a division to its bytes, infinite if it is not valid.
    bytes_per_word: of each option, shared arrays not counted.
    loss: takes first rank, last rank + 1 and option to the expected loss.
  """

  num_bytes: Callable[[Division], float]
  bytes_per_word: Sequence[float]
  loss: Callable[[int, int, int], float]


def spend(
  division: Division, prices: Prices, budget: int, max_groups: int
) -> Division:
  """Spends what is left of a budget on further words.

  Args:
    division: within budget.
    prices: of its options.
    budget: bytes.
    max_groups: most groups.

  Returns:
    A division within budget that is expected to lose no more.
  """
  division = _shift(division, prices, budget)
  while len(division.options) < max_groups:
    headed = _best_head(division, prices, budget)
    if headed is None:
      break
    division = headed
  return _shift(division, prices, budget)


def _furthest(fits: Callable[[int], bool], limit: int) -> int:
  """The largest distance in [0, limit] that fits, by bisection."""
  low, high = 0, limit + 1
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  return low


def _shift(division: Division, prices: Prices, budget: int) -> Division:
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
      moved = start.moved(split, start.splits[split] + step * distance)
      return prices.num_bytes(moved) <= budget

    division = division.moved(split, here + direction * _furthest(fits, room))
  return division


def _best_head(
  division: Division, prices: Prices, budget: int
) -> Division | None:
  """The new head of a group that saves most, if any fits and saves."""
  best, most_saved = None, 0.0
  for group, current in enumerate(division.options):
    start, stop = division.splits[group : group + 2]
    for option, per_word in enumerate(prices.bytes_per_word):
      if per_word <= prices.bytes_per_word[current]:
        continue

      def fits(size, group=group, option=option):
        headed = division.with_head_group(group, size, option)
        return prices.num_bytes(headed) <= budget

      size = _furthest(fits, stop - start - 1)
      if not size:
        continue
      head = (start, start + size)
      saved = prices.loss(*head, current) - prices.loss(*head, option)
      if saved > most_saved:
        best, most_saved = division.with_head_group(group, size, option), saved
  return best
