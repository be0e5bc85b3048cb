"""Exact choice of splits and options under a byte budget.

Bins of consecutive words are divided into at most G groups; each group takes
one option with a known cost and loss. Dynamic programming over bins x groups x
options finds, for every size up to the largest, the division of least total
loss. Both users of it share this file: post-training compression (losses are
measured errors) and the learned search (losses are negative log-probabilities).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Segment:
  """Bins [start, stop) as one group, with the bytes and loss of each option.

  Attributes:
    start: first bin.
    stop: bin after the last.
    num_bytes: [O] int, cost of each option; a negative cost marks an option
      that does not suit the segment.
    losses: [O] float, loss of each option; infinite where it is not known.
  """

  start: int
  stop: int
  num_bytes: np.ndarray
  losses: np.ndarray


@dataclasses.dataclass(frozen=True)
class Choice:
  """One group of a solution: bins [start, stop) with an option."""

  start: int
  stop: int
  option: int


@dataclasses.dataclass(frozen=True)
class BestDivisions:
  """Divisions of least loss for every size.

  Attributes:
    unit: bytes between two sizes; costs are rounded up to it.
    losses: [S] float, the least loss at a size of at most s * unit bytes;
      infinite where nothing is small enough.
    num_groups: [S] int, the groups of each solution.
    smallest: exact bytes and groups of the smallest division, which rounding
      may hide from the sizes.
  """

  unit: int
  losses: np.ndarray
  num_groups: np.ndarray
  smallest: tuple[int, list[Choice]]
  _last: '_LastChoices'

  def best(self, budget: int) -> list[Choice]:
    """Returns the division of least loss within `budget` bytes.

    Raises:
      ValueError: if nothing is that small.
    """
    size = min(budget // self.unit, len(self.losses) - 1)
    if size < 0 or not np.isfinite(self.losses[size]):
      check_fits(budget, self.smallest[0])
      return self.smallest[1]
    return self._last.backtrack(size, int(self.num_groups[size]))


@dataclasses.dataclass(frozen=True)
class _LastChoices:
  """Last choice of every best division of the leading bins."""

  segments: Sequence[Segment]
  steps: np.ndarray  # [O] units, one row a (segment, option)
  owners: np.ndarray  # [O] segment of each row
  offsets: np.ndarray  # first row of each segment
  taken: np.ndarray  # [G + 1, J + 1, S] row of the last choice, -1 for none
  fixed: np.ndarray  # [G + 1] units spent on the number of groups alone

  def backtrack(self, size: int, num_groups: int) -> list[Choice]:
    """Follows last choices from the last bin to the first."""
    size -= int(self.fixed[num_groups])
    stop = self.taken.shape[1] - 1
    found = []
    for groups in range(num_groups, 0, -1):
      row = int(self.taken[groups, stop, size])
      segment = self.segments[self.owners[row]]
      option = row - int(self.offsets[self.owners[row]])
      found.append(Choice(segment.start, segment.stop, option))
      size -= int(self.steps[row])
      stop = segment.start
    return found[::-1]


def solve(
  segments: Sequence[Segment],
  num_bins: int,
  max_bytes: int,
  *,
  max_groups: int,
  fixed_bytes: Callable[[int], int] = lambda num_groups: 0,
  num_sizes: int = 1 << 14,
) -> BestDivisions:
  """Finds the best division of bins into groups for every size at once.

  The result is exact for costs rounded up to `max_bytes / num_sizes`; it never
  exceeds a budget, and wastes at most one such unit a group.

  Args:
    segments: candidates for a group; together they must allow a division.
    num_bins: J.
    max_bytes: the largest size of interest.
    max_groups: G, the most groups of a division.
    fixed_bytes: cost that depends on the number of groups alone.
    num_sizes: resolution.

  Returns:
    The best divisions of sizes up to `max_bytes`.

  Raises:
    ValueError: if no division fits into `max_bytes`.

  Example:
    >>> halves = [Segment(0, 1, np.array([1, 4]), np.array([9.0, 1.0])),
    ...           Segment(1, 2, np.array([1, 4]), np.array([5.0, 2.0]))]
    >>> solve(halves, 2, 8, max_groups=2).best(5)
    [Choice(start=0, stop=1, option=1), Choice(start=1, stop=2, option=0)]
  """
  unit = max(1, -(-max_bytes // num_sizes))
  sizes = max_bytes // unit + 1
  counts = [len(segment.losses) for segment in segments]
  costs = np.concatenate([segment.num_bytes for segment in segments])
  fixed = [0] + [-(-fixed_bytes(g) // unit) for g in range(1, max_groups + 1)]
  least = smallest_division(segments, num_bins, max_groups, fixed_bytes)
  check_fits(max_bytes, least[0])
  last = _LastChoices(
    segments=segments,
    steps=np.where(costs < 0, sizes, -(-costs // unit)).astype(np.int64),
    owners=np.repeat(np.arange(len(segments)), counts),
    offsets=np.concatenate([[0], np.cumsum(counts)]),
    taken=np.full((max_groups + 1, num_bins + 1, sizes), -1, np.int32),
    fixed=np.array(fixed),
  )
  losses = np.full((max_groups + 1, num_bins + 1, sizes), np.inf)
  losses[0, 0] = 0
  for groups in range(1, max_groups + 1):
    for index, segment in enumerate(segments):
      _extend(losses, last, groups, index, segment)
  return _best_divisions(losses[:, num_bins], last, unit, least)


def smallest_division(
  segments: Sequence[Segment],
  num_bins: int,
  max_groups: int,
  fixed_bytes: Callable[[int], int] = lambda num_groups: 0,
) -> tuple[int, list[Choice]]:
  """Finds the smallest division, exactly, whatever it loses.

  Args:
    segments: as for `solve`, and all that follows.
    num_bins: J.
    max_groups: G.
    fixed_bytes: cost that depends on the number of groups alone.

  Returns:
    Its bytes and its groups.

  Raises:
    ValueError: if some bins have no option at all.
  """
  # By groups used and bins covered: the bytes and the groups that lead there.
  found: list[dict[int, tuple[int, list[Choice]]]] = [{0: (0, [])}]
  for _ in range(max_groups):
    reached: dict[int, tuple[int, list[Choice]]] = {}
    for segment in segments:
      sizes = np.where(segment.num_bytes < 0, np.inf, segment.num_bytes)
      option = int(sizes.argmin())
      if segment.start not in found[-1] or not np.isfinite(sizes[option]):
        continue
      before, choices = found[-1][segment.start]
      size = before + int(sizes[option])
      if size < reached.get(segment.stop, (np.inf,))[0]:
        last = Choice(segment.start, segment.stop, option)
        reached[segment.stop] = (size, [*choices, last])
    found.append(reached)
  complete = [
    (size + fixed_bytes(len(choices)), choices)
    for size, choices in (ends[num_bins] for ends in found if num_bins in ends)
  ]
  if not complete:
    raise ValueError(f'no division of {num_bins} bins has an option for all.')
  return min(complete, key=lambda division: division[0])


def check_fits(budget: int, smallest: int) -> None:
  """Raises ValueError if not even the smallest division fits into a budget."""
  if budget < smallest:
    raise ValueError(
      f'nothing fits into {budget} bytes: the smallest choice takes {smallest} '
      'bytes.'
    )


def _extend(losses, last, groups, index, segment) -> None:
  """Tries every option of a segment as the last of `groups` groups."""
  before = losses[groups - 1, segment.start]
  after = losses[groups, segment.stop]
  taken = last.taken[groups, segment.stop]
  if not np.isfinite(before[-1]):
    return
  first = last.offsets[index]
  steps = last.steps[first : first + len(segment.losses)]
  cheapest = np.inf
  for option in np.lexsort((segment.losses, steps)):
    step, loss = steps[option], segment.losses[option]
    if step >= len(after) or loss >= cheapest:
      continue  # another option is no larger and no worse
    cheapest, row = loss, first + option
    candidate = before[: len(before) - step] + loss
    better = candidate < after[step:]
    after[step:][better] = candidate[better]
    taken[step:][better] = row


def _best_divisions(finals, last, unit, least) -> BestDivisions:
  """Chooses the best number of groups at every size."""
  best = np.full_like(finals, np.inf)
  for groups, fixed in enumerate(last.fixed):
    if groups and fixed < finals.shape[1]:
      best[groups, fixed:] = finals[groups, : finals.shape[1] - fixed]
  num_groups = best.argmin(axis=0)
  losses = best.min(axis=0)
  return BestDivisions(unit, losses, num_groups, least, last)
