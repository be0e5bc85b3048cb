"""Codes on shared axes for a whole table and a budget.

The price of a byte at which all runs of words together use up the budget is
found by bisection, for each number of stored axes that may be worth its bytes.
Every run takes the codes that suit it best, of the methods that are allowed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from embedcomp.compression import (
  dynamic_program,
  graded_choice,
  scalar_choice,
)
from embedcomp.compression.axes_choice import AxesChoice, choose_axes
from embedcomp.compression.fitting import fit_groups, relative_error
from embedcomp.compression.rate_allocation import (
  Choice,
  Run,
  measure_runs,
  runs_of,
  word_costs,
)
from embedcomp.compression.shared_axes import Axes, StoredAxes
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.methods import storage
from embedcomp.methods.graded import GradedCodes
from embedcomp.methods.scalar import ScalarCodes
from embedcomp.table.scheme import Group, Scheme
from embedcomp.types import Params

# Of a run, the axes that are stored and the price of a byte.
_Choose = Callable[[Run, int, float], Choice]
PLANNED: Mapping[str, _Choose] = {
  GradedCodes.name: graded_choice.choose,
  ScalarCodes.name: scalar_choice.choose,
}
# The axes that are stored, as shares of the features.
_RANK_SHARES = (1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 5 / 12, 1 / 2, 3 / 4, 1)
# Prices of a byte in terms of the average, and the share of a budget that is
# enough to stop looking for a better one.
_PRICES = 1e-9, 1e3
_ENOUGH = 0.998
# Of the common price, at which single runs are offered what is left over.
_LOWER_PRICES = (0.95, 0.85, 0.7, 0.5, 0.3, 0.1, 0.01)
# Steps towards a size of which the error is as expected.
_CORRECTIONS = 5
_CORRECTION = 0.995
_CLOSE = 0.98


class Plan(NamedTuple):
  """A scheme that has not been fitted.

  Attributes:
    scheme: within the budget.
    table: the words in the order of the scheme's ranks.
    axes: as they are stored.
    loss: expected weighted squared error, in the metric.
  """

  scheme: Scheme
  table: WeightedTable
  axes: StoredAxes
  loss: float


class _Ordered(NamedTuple):
  """Words in one order, cut into runs."""

  table: WeightedTable
  runs: list[Run]
  order_bytes: int


class _Candidate(NamedTuple):
  """Choices for all runs at one rank."""

  loss: float
  axes: AxesChoice
  ordered: _Ordered
  choices: list[Choice]


class WaterFilling:
  """Codes of a table at any size, from one look at the table.

  Both orders of words are looked at: by what they cost, which has to be
  stored, and by id, which has not.
  """

  def __init__(
    self,
    table: WeightedTable,
    metric: np.ndarray | None = None,
    methods: Sequence[str] = tuple(PLANNED),
  ):
    """Takes a table's statistics.

    Args:
      table: with importance.
      metric: [D, D] symmetric and positive definite; None for the identity.
      methods: names, of `PLANNED`, of which a run may have any.
    """
    self._choosers = [PLANNED[name] for name in methods]
    self._axes = Axes.of(table, metric)
    self._features = table.values.shape[1]
    lengths = np.square(self._axes.from_axes).sum(axis=1)
    # What an error of an axis costs, as a share of its squared length.
    self._axis_costs = lengths * np.trace(self._axes.metric) / self._features
    coefficients = self._axes.coefficients(table)
    costs = word_costs(table.importance, coefficients)
    by_cost = dataclasses.replace(
      table, ids=np.argsort(-costs, kind='stable'), order='stored'
    )
    self._orders = []
    for ordered in (table.in_id_order(), by_cost):
      runs = measure_runs(ordered, coefficients, runs_of(costs[ordered.ids]))
      part = storage.Codes('order', (len(costs),), len(runs))
      order_bytes = part.num_bytes if ordered.order == 'stored' else 0
      self._orders.append(_Ordered(ordered, runs, order_bytes))

  @functools.cached_property
  def smallest_bytes(self) -> int:
    """Bytes of the smallest codes of which not all words are zero."""
    sizes = [
      (ordered.order_bytes, self._size(ordered.runs, rank, np.inf))
      for ordered in self._orders
      for rank in _ranks(self._features)[:2]
    ]
    return min(order_bytes + size for order_bytes, size in sizes if size)

  def _size(self, runs: list[Run], rank: int, price: float) -> int:
    """Bytes of axes and codes at a price."""
    choices = self._choices(runs, rank, price)
    axes = self._choose_axes(runs, rank, price)
    return axes.num_bytes + _total(choices)

  def _choices(self, runs: list[Run], rank: int, price: float) -> list[Choice]:
    return [self._choose(run, rank, price) for run in runs]

  def _choose(self, run: Run, rank: int, price: float) -> Choice:
    """The best choice of any of the methods."""
    found = [choose(run, rank, price) for choose in self._choosers]
    if price == np.inf:
      return min(found, key=lambda choice: choice.num_bytes)
    return min(found, key=lambda choice: choice.loss + price * choice.num_bytes)

  def fit(
    self, plan: Plan, *, seed: int = 0, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """Fits a plan's codes to all words.

    Args:
      plan: of this table.
      seed: of whatever is random.
      progress: whether to show a progress bar.

    Returns:
      The scheme and its params in stored form.
    """
    params = fit_groups(
      plan.table, plan.scheme, axes=plan.axes, seed=seed, progress=progress
    )
    return plan.scheme, params

  def fit_within(
    self, tolerance: float, *, seed: int = 0, progress: bool = True
  ) -> tuple[Scheme, Params] | None:
    """Fits about the smallest codes of at most a relative error.

    Args:
      tolerance: as for `embedcomp.compress`.
      seed: of whatever is random.
      progress: whether to show a progress bar.

    Returns:
      The scheme and its params; None if no size is good enough.
    """
    goal, best = tolerance, None
    table = self._orders[0].table
    for _ in range(_CORRECTIONS):
      plan = self._smallest_plan(goal)
      if plan is None:
        break
      found = self.fit(plan, seed=seed, progress=progress)
      error = relative_error(table.values, *found, table.importance)
      if error <= tolerance:
        if best is None or found[0].num_bytes < best[0].num_bytes:
          best = found
        if error > _CLOSE * tolerance:
          break
      goal *= _CORRECTION * tolerance / max(error, 1e-9)
    return best

  def _smallest_plan(self, error: float) -> Plan | None:
    """The smallest plan of an expected relative error, within a percent."""
    loss = error**2 * self._axes.energy
    best = self.plan(self._largest_bytes)
    if best.loss > loss:
      return None
    low, high = self.smallest_bytes - 1, best.scheme.num_bytes
    while high > max(1.01 * low, low + 1):
      size = min(max(math.isqrt(low * high), low + 1), high - 1)
      plan = self.plan(size)
      if plan.loss <= loss:
        high, best = plan.scheme.num_bytes, plan
      else:
        low = size
    return best

  @property
  def _largest_bytes(self) -> int:
    """Bytes that all codes together are worth at most."""
    return max(self.smallest_bytes, self._orders[0].table.dense_bytes)

  def plan(self, budget: int) -> Plan:
    """Finds the codes of least expected loss within a budget.

    Args:
      budget: in bytes.

    Raises:
      ValueError: if no codes are as small as that.
    """
    dynamic_program.check_fits(budget, self.smallest_bytes)
    found = [self._best_rank(ordered, budget) for ordered in self._orders]
    best = min(filter(None, found), key=lambda candidate: candidate.loss)
    ordered, choices = best.ordered, best.choices
    left = budget - ordered.order_bytes - best.axes.num_bytes - _total(choices)
    choices = _spend_on_scalars(choices, left)
    methods = [best.axes.stored_by(choice.method) for choice in choices]
    groups = tuple(
      Group(run.size, method) for run, method in zip(ordered.runs, methods)
    )
    order = ordered.table.order if len(groups) > 1 else 'identity'
    scheme = Scheme(self._features, groups, order, ordered.table.dtype)
    axes = self._axes.stored(methods[0])
    return Plan(scheme, ordered.table, axes, best.loss)

  def _choose_axes(
    self, runs: list[Run], rank: int, price: float
  ) -> AxesChoice:
    """How finely to store axes."""
    energies = sum(run.size * run.weight * run.energies[:rank] for run in runs)
    cost = float(energies @ self._axis_costs[:rank])
    return choose_axes(cost, rank, self._features, price)

  def _best_rank(self, ordered: _Ordered, budget: int) -> _Candidate | None:
    """The best choices at the best rank; None if none fits."""
    best = None
    for rank in _ranks(self._features):
      left = budget - ordered.order_bytes
      found = self._within(ordered.runs, rank, left)
      if found is None:
        if rank:
          break
        continue
      axes, choices = found
      loss = axes.loss + sum(choice.loss for choice in choices)
      if best is None or loss < best.loss:
        best = _Candidate(loss, axes, ordered, choices)
      elif best.axes.rank:
        break  # from the first stored axis on, the loss falls, then rises
    return best

  def _within(
    self, runs: list[Run], rank: int, budget: int
  ) -> tuple[AxesChoice, list[Choice]] | None:
    """Choices at the least price that keeps within a budget, None if none does.

    What is left over goes to single runs, at lower prices.
    """
    energy = sum(run.size * run.weight * run.energies.sum() for run in runs)
    scale = max(energy, np.finfo(np.float32).tiny) / max(budget, 1)
    choices = self._choices(runs, rank, np.inf)
    axes = self._choose_axes(runs, rank, np.inf)
    size = axes.num_bytes + _total(choices)
    if size > budget:
      return None
    low, high = _PRICES
    low_size, high_size = math.inf, float(size)
    while high > low * 1.01 and high_size < _ENOUGH * budget:
      price = _between((low, low_size), (high, high_size), budget)
      found = self._choices(runs, rank, price * scale)
      own = self._choose_axes(runs, rank, price * scale)
      size = own.num_bytes + _total(found)
      if size > budget:
        low, low_size = price, size
      else:
        high, high_size, axes, choices = price, size, own, found
    if not high_size:  # all words would be zero
      return None
    left = budget - axes.num_bytes
    return axes, self._spend(runs, rank, left, choices, high * scale)

  def _spend(
    self,
    runs: list[Run],
    rank: int,
    budget: int,
    choices: list[Choice],
    price: float,
  ) -> list[Choice]:
    """Spends what choices at a price leave of a budget on single runs."""
    choices = list(choices)
    if not any(isinstance(c.method, GradedCodes) for c in choices):
      return choices  # the others take any number of bytes
    candidates = [
      (index, self._choose(run, rank, price * factor))
      for index, run in enumerate(runs)
      for factor in _LOWER_PRICES
    ]
    while True:
      left = budget - _total(choices)
      gains = [
        choices[index].loss - option.loss
        if option.num_bytes - choices[index].num_bytes <= left
        else 0.0
        for index, option in candidates
      ]
      best = int(np.argmax(gains))
      if gains[best] <= 0:
        return choices
      index, option = candidates[best]
      choices[index] = option


def _ranks(features: int) -> list[int]:
  shares = {max(round(share * features), 1) for share in _RANK_SHARES}
  return [0, *sorted(shares)]


def _between(
  low: tuple[float, float], high: tuple[float, float], budget: int
) -> float:
  """A price between two, where sizes are as a power of it.

  Never near either end: sizes bend and jump.
  """
  step = math.log(high[0] / low[0])
  share = 0.5
  if math.isfinite(low[1]) and low[1] > high[1]:
    share = math.log(low[1] / budget) / math.log(low[1] / max(high[1], 1))
  return low[0] * math.exp(step * min(max(share, 0.1), 0.9))


def _total(choices: list[Choice]) -> int:
  return sum(choice.num_bytes for choice in choices)


def _spend_on_scalars(choices: list[Choice], left: int) -> list[Choice]:
  """Gives left-over bytes to the integers that take most, if there are any."""
  choices = list(choices)
  sizes = [getattr(choice.method, 'code_bytes', 0) for choice in choices]
  if max(sizes):
    index = int(np.argmax(sizes))
    one = choices[index]
    method = dataclasses.replace(one.method, code_bytes=sizes[index] + left)
    choices[index] = one._replace(method=method, num_bytes=one.num_bytes + left)
  return choices
