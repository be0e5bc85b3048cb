"""The learned search: from a dense model to a scheme of any budget.

A dense model is trained on all but the held-out data. Its gradients say how
much the task needs each word: words are sorted by that, and options are
measured on runs of them. From this prior the odds of splits and options start;
they learn from held-out data, while a supernet learns to live with what they
draw. Dynamic programming decides by prior and odds, the supernet's weights
carry over into the scheme, and the model is fine-tuned on all data.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from embedcomp.compression import RateDistortionCurve, frequency
from embedcomp.compression.distortion import measure_segments
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.nn import GroupedEmbed
from embedcomp.search import discretize as decide_lib
from embedcomp.search import options as options_lib
from embedcomp.search.controller import Controller
from embedcomp.search.prior import Prior
from embedcomp.search.sensitivity import (
  GatedEmbed,
  Sensitivity,
  measure_sensitivity,
)
from embedcomp.search.step import with_mixture
from embedcomp.search.supernet import Supernet, SupernetEmbed
from embedcomp.table.scheme import Scheme
from embedcomp.training.state import TrainState
from experiments.problems import Problem
from experiments.results import Clock, Outcome, dense, final, fitted, with_table
from experiments.trainer import Stages, Variables

_SMALLEST_BIN = 64
_KNOWN = {
  'start': ('dense', 'noise'),
  'order': ('sensitivity', 'frequency'),
  'score': ('both', 'prior', 'odds'),
  'carry': ('dense', 'supernet', 'noise'),
  'discretise': ('exact', 'argmax'),
}


def _check(config: ConfigDict) -> None:
  """Refuses values that are unknown or do not go together."""
  for field, values in _KNOWN.items():
    if config[field] not in values:
      raise ValueError(
        f'search.{field} must be one of {values}, got {config[field]!r}.'
      )
  if config.discretise == 'argmax' and config.score != 'odds':
    raise ValueError("search.discretise='argmax' needs search.score='odds'.")
  needs_dense = (
    config.order == 'sensitivity'
    or config.score != 'odds'
    or config.carry == 'dense'
  )
  if config.score == 'prior' and config.carry == 'supernet':
    raise ValueError(
      "search.score='prior' trains no supernet: set search.carry='dense'."
    )
  if config.options == 'contextual' and config.score != 'prior':
    raise ValueError(
      "search.options='contextual' needs search.score='prior': a supernet has "
      'no codes of coefficients.'
    )
  if not 0 <= config.by_counts <= 1:
    raise ValueError(
      f'search.by_counts must be in [0, 1], got {config.by_counts!r}.'
    )
  if config.start == 'noise' and needs_dense:
    raise ValueError(
      "search.start='noise' needs order='frequency', score='odds' and carry "
      "'supernet' or 'noise': the others are made from a dense model."
    )


def search_space(stages: Stages, max_groups: int | None = None) -> SearchSpace:
  """Bins and options as the config says."""
  config, problem = stages.config.search, stages.problem
  if config.options not in options_lib.OPTION_SETS:
    raise ValueError(
      f'search.options must be one of {sorted(options_lib.OPTION_SETS)}, '
      f'got {config.options!r}.'
    )
  smallest = min(_SMALLEST_BIN, problem.vocab_size)
  mass = problem.counts
  if problem.sensitivity is not None and config.order == 'sensitivity':
    mass = np.sort(problem.sensitivity.drops)[::-1]
  bins = frequency.log_bins(mass, config.num_bins, min_size=smallest)
  options = options_lib.OPTION_SETS[config.options](problem.features)
  largest = max(smallest, problem.vocab_size // 4)
  fitting = tuple(o for o in options if getattr(o, 'codewords', 1) <= largest)
  most = max_groups or config.max_groups
  return SearchSpace(problem.features, bins, fitting, most)


def starting_model(stages: Stages) -> Outcome:
  """A dense model that has not seen the held-out data, if these are used."""
  if not stages.config.search.held_out:
    return dense(stages)
  return dense(stages, 'start', stages.problem.weights)


def _sensitivity(stages: Stages, start: Outcome) -> Sensitivity:
  """How much a dense model needs each word, measured unless counts say all."""
  problem, config = stages.problem, stages.config.search
  importance = problem.importance_of(problem.counts)
  if config.by_counts == 1:
    return Sensitivity(importance, importance)
  batches = list(problem.weights.for_evaluation())
  rows = np.linspace(0, len(batches) - 1, config.measured_batches).round()
  measured = [batches[row] for row in np.unique(rows.astype(int))]
  task = problem.task(GatedEmbed())
  sensitivity = measure_sensitivity(
    functools.partial(task.drawn_log_likelihood, chance=config.measured_chance),
    start.variables,
    measured,
    problem.counts,
    seed=stages.config.seed,
    progress=stages.progress,
  )
  if len(measured) < len(batches):
    seen = _occurrences(problem, measured)
    sensitivity = sensitivity.extrapolate(seen, problem.counts)
  return sensitivity.blended(importance, config.by_counts)


def _occurrences(problem: Problem, batches) -> np.ndarray:
  """[V] how often each word occurs in some batches."""
  seen = np.zeros(problem.vocab_size)
  for batch in batches:
    for field in {'ids', 'pair_ids'} & batch.keys():
      seen += np.bincount(batch[field].ravel(), minlength=len(seen))
  seen[problem.padding] = 0
  return seen


def sorted_by_need(stages: Stages, start: Outcome) -> tuple[Stages, Outcome]:
  """Words sorted by how much a dense model needs them, in all that there is."""
  problem, config = stages.problem, stages.config.search
  sensitivity = _sensitivity(stages, start)
  if config.order == 'frequency':
    known = dataclasses.replace(problem, sensitivity=sensitivity)
    stages = dataclasses.replace(stages, problem=known)
    return stages, dataclasses.replace(start, stages=stages)
  sorted_problem, order = problem.sorted_by(sensitivity)
  stages = dataclasses.replace(stages, problem=sorted_problem)
  variables = problem.renumbered_variables(start.variables, order)
  return stages, dataclasses.replace(start, stages=stages, variables=variables)


@dataclasses.dataclass(frozen=True, eq=False)
class Groundwork:
  """What searches for all budgets have in common.

  Attributes:
    stages: of the experiment, words in the order of the search.
    controller: of the odds.
    supernet: of the weights; None if the prior alone decides.
    clock: that ran so far.
    start: the dense model to start from, if any.
    prior: measured options, if there are any.
  """

  stages: Stages
  controller: Controller
  supernet: Supernet | None
  clock: Clock
  start: Outcome | None
  prior: Prior | None

  def learn(
    self,
    budget: int,
    keep: Callable[[Controller, int, Any], None] = lambda *_: None,
  ) -> 'Search':
    """Learns odds for a budget, with the weights of a supernet.

    Args:
      budget: bytes.
      keep: called with the controller, step and log-odds as the search goes
        on.

    Returns:
      What schemes can be taken from.
    """
    clock = self.clock.copy()
    log_odds = self.controller.init()
    if self.prior is not None:
      log_odds = self.prior.log_odds(budget)
    if self.stages.config.search.score == 'prior':
      nothing = np.zeros_like(self.controller.log_odds(log_odds))
      return Search(self, budget, None, clock, nothing)
    work = self.stages.plan_search(
      self.controller,
      self.supernet,
      budget,
      log_odds,
      self.start and self.start.variables,
    )
    state = clock.time(
      'search',
      self.stages.search,
      work,
      lambda step, odds: keep(self.controller, step, odds),
    )
    evidence = self.controller.log_odds(state.params['architecture'])
    if self.prior is not None:
      evidence -= self.controller.log_odds(log_odds)
    return Search(self, budget, state, clock, evidence)


def prepare(stages: Stages, *, learn_splits: bool = True) -> Groundwork:
  """All that comes before odds are learned.

  Args:
    stages: of the experiment.
    learn_splits: False searches over bins, each by itself.
  """
  clock, config = Clock(), stages.config.search
  _check(config)
  start = prior = None
  if config.start == 'dense':
    start = starting_model(stages)
    clock.seconds.update(start.seconds)
    stages, start = clock.time('measure', sorted_by_need, stages, start)
  space = search_space(stages, None if learn_splits else config.num_bins)
  if config.score != 'odds':
    prior = clock.time('measure', _prior, stages, start, space)
  controller = Controller(space, learn_splits)
  supernet = None
  if config.score != 'prior':
    supernet = Supernet(space, stages.problem.features)
  return Groundwork(stages, controller, supernet, clock, start, prior)


def _prior(stages: Stages, start: Outcome, space: SearchSpace) -> Prior:
  """Options measured on the table of a dense model."""
  table = np.asarray(start.variables['params']['embedder']['embedding'])
  weighted = WeightedTable.create(
    table, importance=stages.problem.importance
  ).in_id_order()
  seed = stages.config.seed
  segments = measure_segments(
    weighted, space, seed=seed, progress=stages.progress
  )
  curve = RateDistortionCurve(weighted, space, segments, seed)
  return Prior(curve, stages.config.search.prior)


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
  """A trained supernet with its odds.

  Attributes:
    ground: that it stands on.
    budget: bytes that the odds were learned for.
    state: after the search; None if the prior alone decides.
    clock: that ran so far.
    evidence: [B, O] log-odds learned beyond the prior.
  """

  ground: Groundwork
  budget: int
  state: TrainState | None
  clock: Clock
  evidence: np.ndarray

  def scheme(self, budget: int) -> Scheme:
    """The scheme that the search decides for.

    What the odds have learned counts less for other budgets than theirs, in
    proportion.
    """
    config, prior = self.ground.stages.config.search, self.ground.prior
    controller = self.ground.controller
    if prior is None:
      space, losses = controller.space, -self.evidence
      if config.discretise == 'argmax':
        return decide_lib.decide_greedily(space, self.evidence, budget)
      merge = controller.learn_splits
      return decide_lib.decide(space, losses, budget, merge_bins=merge)
    share = min(budget / self.budget, self.budget / budget)
    learned = -self.evidence * share * prior.temperature(budget)
    return prior.curve.adjusted(learned).scheme(budget)

  def finish(self, budget: int | None = None, suffix: str = '') -> Outcome:
    """Decides for a scheme, carries weights over, and fine-tunes it.

    Args:
      budget: bytes; that of the search if not given.
      suffix: of the name of the stage, where one search serves many budgets.
    """
    stages, controller = self.ground.stages, self.ground.controller
    scheme = self.scheme(budget or self.budget)
    embedder, variables = self._carried(scheme)
    carried = stages.evaluate(embedder, variables, 'validation')
    metric = stages.problem.task(embedder).metric
    notes = {'carried': carried[metric]}
    if self.state is not None:
      odds = controller.odds(self.state.params['architecture'])
      notes['expected_bytes'] = float(controller.expected_bytes(odds))
      notes['relaxed'] = self._relaxed(odds)[metric]
    if stages.config.search.carry == 'noise':
      variables = None
    return final(stages, scheme, self.clock.copy(), variables, notes, suffix)

  def _relaxed(self, odds) -> dict[str, float]:
    """Validation figures of the supernet before anything is decided."""
    ground = self.ground
    mixed = with_mixture(self.state.buffers, ground.controller.mixture(odds))
    variables = {'params': self.state.params['weights'], **mixed}
    embedder = SupernetEmbed(ground.supernet)
    return ground.stages.evaluate(embedder, variables, 'validation')

  def _carried(self, scheme: Scheme) -> tuple[GroupedEmbed, Variables]:
    """A model of a scheme before any training of its own."""
    stages = self.ground.stages
    if stages.config.search.carry == 'dense':
      return fitted(stages, self.ground.start, scheme)
    weights = jax.device_get(self.state.params['weights'])
    params = self.ground.supernet.extract(
      weights['embedder'],
      scheme,
      stages.problem.importance,
      stages.config.seed,
    )
    return with_table({'params': weights}, scheme, params)
