"""Rate-distortion curves: measured options turned into schemes of any size."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from embedcomp.compression import dynamic_program
from embedcomp.compression.budget import check_tolerance, parse_budget
from embedcomp.compression.distortion import measure_group
from embedcomp.compression.fitting import fit_groups, relative_error
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.table.scheme import Scheme
from embedcomp.types import Params

# Sizes that a curve reports.
_CURVE_POINTS = 200
# Of a size, what groups of whole bins may take before the rest is spent.
_BIN_SHARES = (1, 0.95, 0.9, 0.8)
# Words that are looked at together where the whole table has to be.
_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class RateDistortionCurve:
  """Least errors of a table at every size, from one pass over the options.

  Made by `embedcomp.rate_distortion_curve`. Its errors are those measured on
  samples.

  Attributes:
    table: with importance, in the order of its ranks.
    space: of as many words.
    segments: as from `distortion.measure_segments`.
    seed: of whatever is random in fitting.
    is_measured: whether losses are those that a fit leaves, which schemes may
      then be measured by.

  Example:
    >>> import embedcomp
    >>> table = np.random.default_rng(0).normal(size=(500, 8))
    >>> counts = 500 // np.arange(1, 501)
    >>> curve = embedcomp.rate_distortion_curve(table, counts, progress=False)
    >>> scheme, params = curve.compress('8x', progress=False)
    >>> curve.error('8x') > curve.error('4x')
    True
  """

  table: WeightedTable
  space: SearchSpace
  segments: Sequence[dynamic_program.Segment]
  seed: int = 0
  is_measured: bool = True

  def adjusted(self, losses: np.ndarray) -> 'RateDistortionCurve':
    """Returns the curve with something added to the losses of options.

    Args:
      losses: [B, O] float, for each bin.

    Returns:
      A curve whose errors are not those of reconstruction any more.
    """
    before = np.zeros((self.space.num_bins + 1, len(self.space.options)))
    before[1:] = losses.cumsum(axis=0)
    segments = [
      dataclasses.replace(
        segment,
        losses=segment.losses + before[segment.stop] - before[segment.start],
      )
      for segment in self.segments
    ]
    return dataclasses.replace(self, segments=segments, is_measured=False)

  @property
  def dense_bytes(self) -> int:
    """Bytes of the uncompressed table in its own dtype."""
    return self.space.dense_bytes

  @property
  def smallest_bytes(self) -> int:
    """Bytes of the smallest scheme."""
    return self.space.smallest_bytes

  @functools.cached_property
  def num_bytes(self) -> np.ndarray:
    """[S] int64 sizes, evenly spaced in log, from smallest to dense."""
    largest = max(self.dense_bytes, self.smallest_bytes)
    sizes = np.geomspace(self.smallest_bytes, largest, _CURVE_POINTS)
    return np.unique(np.ceil(sizes).astype(np.int64))

  @functools.cached_property
  def errors(self) -> np.ndarray:
    """[S] expected relative errors, as `relative_error`, at `num_bytes`."""
    errors, divisions, solved = [], None, 0
    for size in self.num_bytes.tolist()[::-1]:
      if divisions is None or 2 * size < solved:  # one serves an octave
        divisions, solved = self.space.solve(self.segments, size), size
      errors.append(self._error(divisions.best(size)))
    return np.array(errors[::-1])

  def error(self, budget: float | int | str) -> float:
    """The expected relative error within a budget, before slack is spent."""
    size = parse_budget(budget, self.dense_bytes)
    return self._error(self.choices(size))

  def loss(self, size: int) -> float:
    """The expected weighted squared error of the best scheme within a size."""
    return self._measured_loss(self._scheme(size))

  def _loss(self, choices: list[dynamic_program.Choice]) -> float:
    losses = (self.segment(c.start, c.stop).losses[c.option] for c in choices)
    return float(sum(losses))

  def _error(self, choices: list[dynamic_program.Choice]) -> float:
    return float(np.sqrt(self._loss(choices) / max(self._energy[-1], 1e-300)))

  def scheme(self, budget: float | int | str) -> Scheme:
    """The best scheme within a budget.

    Raises:
      ValueError: if the budget is malformed or too small for any scheme.
    """
    return self._scheme(parse_budget(budget, self.dense_bytes))

  def _scheme(self, size: int) -> Scheme:
    """The best scheme within a size in bytes.

    What whole bins leave over may be worth more than what they take: divisions
    of smaller sizes, and of each method alone, are given the rest, too, and
    what comes of them is measured.
    """
    if not self.is_measured:
      return self._candidates(size, _BIN_SHARES[:1]).pop()
    schemes = self._candidates(size, _BIN_SHARES)
    for curve in self._by_method:
      try:
        schemes |= curve._candidates(size, _BIN_SHARES)
      except ValueError:  # too large, or for none of the groups, by itself
        continue
    if len(schemes) == 1:
      return schemes.pop()
    # In order, lest the hash decides between two that lose the same.
    return min(sorted(schemes, key=repr), key=self._measured_loss)

  def _candidates(self, size: int, bin_shares: Sequence[float]) -> set[Scheme]:
    """Schemes within a size, whose whole bins take a share of it at first."""
    divisions = self.space.solve(self.segments, size)
    sizes = [
      max(int(share * size), self.smallest_bytes) for share in bin_shares
    ]
    found = [divisions.best(size) for size in sizes]
    return {
      self.space.spend_slack(choices, size, self._expected_loss)
      for choices in found
    }

  @functools.cached_property
  def _by_method(self) -> list['RateDistortionCurve']:
    """Curves of each method alone; none if there is but one."""
    names = np.array([option.name for option in self.space.options])
    curves = []
    for name in sorted(set(names)) if len(set(names)) > 1 else ():
      own = np.flatnonzero(names == name)
      options = tuple(self.space.options[index] for index in own)
      segments = [
        dataclasses.replace(
          segment, num_bytes=segment.num_bytes[own], losses=segment.losses[own]
        )
        for segment in self.segments
      ]
      space = dataclasses.replace(self.space, options=options)
      curves.append(dataclasses.replace(self, space=space, segments=segments))
    return curves

  def _measured_loss(self, scheme: Scheme) -> float:
    """Weighted squared error of a scheme, group by group."""
    total = 0.0
    for (start, stop), group in zip(
      itertools.pairwise(scheme.splits), scheme.groups
    ):
      key = (start, stop, self.space.options.index(group.method))
      if key not in self._group_losses:
        self._group_losses[key] = measure_group(
          self.table, self.space, *key, self.seed
        )
      total += self._group_losses[key]
    return total

  @functools.cached_property
  def _group_losses(self) -> dict[tuple[int, int, int], float]:
    """Measured losses by first rank, last rank + 1 and option."""
    return {}

  def choices(self, size: int) -> list[dynamic_program.Choice]:
    """The best groups of whole bins within a size in bytes."""
    return self.space.solve(self.segments, size).best(size)

  def compress(
    self, budget: float | int | str, *, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """Fits the best scheme within a budget; see `embedcomp.compress`."""
    return self._fitted(self.scheme(budget), progress)

  def _fitted(self, scheme: Scheme, progress: bool) -> tuple[Scheme, Params]:
    params = fit_groups(self.table, scheme, seed=self.seed, progress=progress)
    return scheme, params

  def compress_within(
    self, tolerance: float, *, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """Fits the smallest scheme of at most this relative error.

    Sizes are searched by bisection, each step fits a scheme and measures it.

    Raises:
      ValueError: if the tolerance is malformed or no size is good enough.
    """
    found, error = self.fit_within(tolerance, progress=progress)
    if found is None:
      raise ValueError(
        f'no scheme of these methods has a relative error of {tolerance} or '
        f'less: the largest leaves {error:.3g}. Allow more error or methods.'
      )
    return found

  def fit_within(
    self, tolerance: float, *, progress: bool = True
  ) -> tuple[tuple[Scheme, Params] | None, float]:
    """As `compress_within`, None if no size is good enough, and the last error.

    Raises:
      ValueError: if the tolerance is malformed.
    """
    tolerance = check_tolerance(tolerance)
    sizes = self.num_bytes
    low, high, found, error = 0, len(sizes), None, np.inf
    while low < high:
      middle = (low + high) // 2
      scheme, params = self._fitted(self._scheme(int(sizes[middle])), progress)
      error = relative_error(
        self.table.values, scheme, params, self.table.importance
      )
      if error <= tolerance:
        high, found = middle, (scheme, params)
      else:
        low = middle + 1
    return found, error

  @functools.cached_property
  def _energy(self) -> np.ndarray:
    """[V + 1] weighted squared norms of the words before each rank."""
    energy = np.zeros(self.space.vocab_size + 1)
    for start in range(0, self.space.vocab_size, _BLOCK):
      ids = self.table.ids[start : start + _BLOCK]
      norms = np.square(self.table.vectors(ids)).sum(axis=1)
      energy[start + 1 : start + 1 + len(ids)] = (
        norms * self.table.importance[ids]
      )
    return np.cumsum(energy)

  def _expected_loss(self, start: int, stop: int, option: int) -> float:
    """Loss of some words, at the rate of the bins that they are in.

    An option that needs more words than these have is looked up where the
    fewest further bins are added.
    """
    first = int(np.searchsorted(self.space.bins, start, side='right')) - 1
    through = int(np.searchsorted(self.space.bins, stop))
    for last in range(max(through, first + 1), len(self.space.bins)):
      loss = self.segment(first, last).losses[option]
      if np.isfinite(loss):
        low, high = self._energy[
          [self.space.bins[first], self.space.bins[last]]
        ]
        share = loss / max(high - low, 1e-300)
        return share * (self._energy[stop] - self._energy[start])
    return np.inf

  def segment(self, start: int, stop: int) -> dynamic_program.Segment:
    """Measured bytes and losses of bins [start, stop) as one group."""
    return self._by_ends[start, stop]

  @functools.cached_property
  def _by_ends(self) -> dict[tuple[int, int], dynamic_program.Segment]:
    return {(s.start, s.stop): s for s in self.segments}
