"""From measured options to schemes of every size."""

import dataclasses
import functools

import numpy as np

from embedcomp.compression import distortion, dynamic_program
from embedcomp.compression.budget import parse_budget
from embedcomp.compression.fitting import fit, relative_error
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.table.scheme import Scheme
from embedcomp.types import Params

# Sizes that a curve reports.
_CURVE_POINTS = 200
# Words that are looked at together where the whole table has to be.
_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class RateDistortionCurve:
  """What every size of a table costs, from one pass over the options.

  Made by `embedcomp.rate_distortion_curve`. Its errors are those measured on
  samples.

  Example:
    >>> import embedcomp
    >>> table = np.random.default_rng(0).normal(size=(500, 8))
    >>> counts = 500 // np.arange(1, 501)
    >>> curve = embedcomp.rate_distortion_curve(table, counts, progress=False)
    >>> scheme, params = curve.compress('8x', progress=False)
    >>> curve.error('8x') > curve.error('4x')
    True
  """

  _words: WeightedTable
  space: SearchSpace
  _segments: list[dynamic_program.Segment]
  _seed: int

  @classmethod
  def measured(
    cls,
    words: WeightedTable,
    space: SearchSpace,
    seed: int,
    *,
    progress: bool = True,
  ) -> 'RateDistortionCurve':
    """Measures all options of a space.

    Args:
      words: a table with weights.
      space: of as many words.
      seed: of whatever is random.
      progress: whether to show a progress bar.
    """
    segments = distortion.measure(
      words.rows,
      words.weights[words.ids],
      space.options,
      space.bins,
      seed=seed,
      progress=progress,
    )
    return cls(words, space, segments, seed)

  def adjusted(self, losses: np.ndarray) -> 'RateDistortionCurve':
    """The curve with something added to what options lose.

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
      for segment in self._segments
    ]
    return RateDistortionCurve(self._words, self.space, segments, self._seed)

  @property
  def dense_bytes(self) -> int:
    """Bytes of the uncompressed table in its own dtype."""
    return self.space.dense_bytes

  @functools.cached_property
  def smallest_bytes(self) -> int:
    """Bytes of the smallest scheme."""
    return dynamic_program.smallest(
      self._segments,
      self.space.num_bins,
      self.space.max_groups,
      self.space.order_bytes,
    )[0]

  @functools.cached_property
  def num_bytes(self) -> np.ndarray:
    """[S] int64 sizes, evenly spaced in log, from smallest to dense."""
    largest = max(self.dense_bytes, self.smallest_bytes)
    sizes = np.geomspace(self.smallest_bytes, largest, _CURVE_POINTS)
    return np.unique(np.ceil(sizes).astype(np.int64))

  @functools.cached_property
  def errors(self) -> np.ndarray:
    """[S] expected relative errors, as `relative_error`, at `num_bytes`."""
    errors, table, solved = [], None, 0
    for size in self.num_bytes.tolist()[::-1]:
      if table is None or 2 * size < solved:  # one solution serves an octave
        table, solved = self.space.solve(self._segments, size), size
      errors.append(self._error(table.best(size)))
    return np.array(errors[::-1])

  def error(self, budget: float | int | str) -> float:
    """The expected relative error within a budget, before slack is spent."""
    size = parse_budget(budget, self.dense_bytes)
    return self._error(self.choices(size))

  def _error(self, choices: list[dynamic_program.Choice]) -> float:
    loss = sum(self._loss(choice) for choice in choices)
    return float(np.sqrt(loss / max(self._energy[-1], 1e-300)))

  def scheme(self, budget: float | int | str) -> Scheme:
    """The best scheme within a budget.

    Raises:
      ValueError: if the budget is malformed or too small for any scheme.
    """
    size = parse_budget(budget, self.dense_bytes)
    return self.space.spend_slack(self.choices(size), size, self._expected_loss)

  def choices(self, size: int) -> list[dynamic_program.Choice]:
    """The best groups of whole bins within a size in bytes."""
    return self.space.solve(self._segments, size).best(size)

  def compress(
    self, budget: float | int | str, *, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """The best scheme within a budget, fitted; see `embedcomp.compress`."""
    scheme = self.scheme(budget)
    return scheme, self.fit(scheme, progress=progress)

  def compress_within(
    self, tolerance: float, *, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """The smallest scheme of at most this relative error, fitted.

    Sizes are searched by bisection, each step fits a scheme and measures it.

    Raises:
      ValueError: if the tolerance is malformed or no size is good enough.
    """
    if not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
      raise ValueError(f'tolerance must be in (0, 1), got {tolerance!r}.')
    sizes = self.num_bytes
    low, high, found = 0, len(sizes), None
    while low < high:
      middle = (low + high) // 2
      scheme, params = self.compress(int(sizes[middle]), progress=progress)
      error = relative_error(
        self._words.table, scheme, params, self._words.weights
      )
      if error <= tolerance:
        high, found = middle, (scheme, params)
      else:
        low = middle + 1
    if found is None:
      raise ValueError(
        f'no scheme of these methods has a relative error of {tolerance} or '
        f'less: the largest leaves {error:.3g}. Allow more error or methods.'
      )
    return found

  def fit(self, scheme: Scheme, *, progress: bool = True) -> Params:
    """Fits a scheme for this table; see `embedcomp.fit`."""
    return fit(self._words, scheme, seed=self._seed, progress=progress)

  @functools.cached_property
  def _energy(self) -> np.ndarray:
    """[V + 1] weighted squared norms of the words before each rank."""
    energy = np.zeros(len(self._words.ids) + 1)
    for start in range(0, len(self._words.ids), _BLOCK):
      ids = self._words.ids[start : start + _BLOCK]
      norms = np.square(self._words.vectors(ids)).sum(axis=1)
      energy[start + 1 : start + 1 + len(ids)] = (
        norms * self._words.weights[ids]
      )
    return np.cumsum(energy)

  def _expected_loss(self, start: int, stop: int, option: int) -> float:
    """Loss of some words, at the rate of the first word's bin.

    An option that needs more words than the bin has is looked up where the
    fewest further bins are added.
    """
    first = int(np.searchsorted(self.space.bins, start, side='right')) - 1
    for last in range(first + 1, len(self.space.bins)):
      loss = self.segment(first, last).losses[option]
      if np.isfinite(loss):
        low, high = self._energy[
          [self.space.bins[first], self.space.bins[last]]
        ]
        share = loss / max(high - low, 1e-300)
        return share * (self._energy[stop] - self._energy[start])
    return np.inf

  def _loss(self, choice: dynamic_program.Choice) -> float:
    """The measured weighted squared error of a group."""
    return self.segment(choice.start, choice.stop).losses[choice.option]

  def segment(self, start: int, stop: int) -> dynamic_program.Segment:
    """What was measured on the bins from one to before another."""
    return self._by_ends[start, stop]

  @functools.cached_property
  def _by_ends(self) -> dict[tuple[int, int], dynamic_program.Segment]:
    return {(s.start, s.stop): s for s in self._segments}
