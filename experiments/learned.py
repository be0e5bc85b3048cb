"""The library's search on the problem of an experiment.

A dense model is trained on all but the held-out data, and its words are sorted
by how much it needs them. Since the vocabulary is the experiment's own, words
take the ids of that order and no scheme has to store it. The rest is that of
`embedcomp.search.OptionSearch`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from embedcomp._internal.timer import Timer
from embedcomp.search import (
  Controller,
  EmbedModule,
  OptionSearch,
  Schedule,
  SearchConfig,
  Sensitivity,
  StartingPoint,
  measure_sensitivity,
)
from embedcomp.table.scheme import Scheme
from embedcomp.training.state import TrainState
from experiments.results import Outcome, dense, final, untrained, with_table
from experiments.trainer import Trainer, steps_of

# Fields of `config.search` that are those of a `SearchConfig` or a `Schedule`.
_PLAN = (
  *('start', 'order', 'measured_batches', 'by_counts', 'num_bins'),
  *('max_groups', 'options', 'score', 'prior', 'carry', 'discretize'),
  *('learning_rate', 'weights_learning_rate', 'refresh_every'),
)
_CARRY = ('dense', 'supernet', 'noise')
_SCHEDULE = ('warmup', 'every', 'entropy', 'penalty', 'multiplier_rate')


def search_config(trainer: Trainer, learn_splits: bool = True) -> SearchConfig:
  """Maps a config to the library's.

  Raises:
    ValueError: for values that are unknown or do not go together.
  """
  config = trainer.config.search
  fields = {name: config[name] for name in _PLAN}
  if config.carry not in _CARRY:
    raise ValueError(
      f'config.search: carry must be one of {_CARRY}, got {config.carry!r}.'
    )
  if config.carry == 'noise':  # what it would be is measured all the same
    fields['carry'] = 'dense' if config.score == 'prior' else 'supernet'
  try:
    schedule = Schedule(
      num_steps=max(1, steps_of(config.epochs, trainer.problem.weights)),
      plain=0.5 if config.start == 'noise' else 0.0,
      temperature=tuple(config.temperature),
      **{name: config[name] for name in _SCHEDULE},
    )
    return SearchConfig(
      schedule, seed=trainer.config.seed, learn_splits=learn_splits, **fields
    )
  except ValueError as error:
    raise ValueError(f'config.search: {error}') from None


def starting_model(trainer: Trainer) -> Outcome:
  """Trains a dense model, without the held-out data if these are used."""
  if not trainer.config.search.held_out:
    return dense(trainer)
  return dense(trainer, 'start', trainer.problem.weights)


def _sensitivity(trainer: Trainer, start: Outcome) -> Sensitivity:
  """Measures how much a dense model needs each word, unless counts say all."""
  problem, config = trainer.problem, trainer.config.search
  importance = problem.importance_by_frequency
  if config.by_counts == 1:
    return Sensitivity(importance, importance)
  batches = list(problem.weights.for_evaluation())
  rows = np.linspace(0, len(batches) - 1, config.measured_batches).round()
  measured = [batches[row] for row in np.unique(rows.astype(int))]

  def log_likelihood_fn(params, embed, batch, key):
    task = problem.task(EmbedModule(embed))
    drawn = task.drawn_log_likelihood(
      {'params': params}, batch, key, chance=config.measured_chance
    )
    return drawn, batch['weights'].sum()

  sensitivity, seen = measure_sensitivity(
    log_likelihood_fn,
    *_split_off_table(start),
    measured,
    problem.counts,
    seed=trainer.config.seed,
    progress=trainer.progress,
  )
  if len(measured) < len(batches):
    seen[problem.padding] = 0
    sensitivity = sensitivity.extrapolate(seen, problem.counts)
  return sensitivity.blended(importance, config.by_counts)


def _split_off_table(model: Outcome) -> tuple[dict[str, Any], np.ndarray]:
  """The params of a dense model but for its table, and the table."""
  params = dict(model.variables['params'])
  return params, np.asarray(params.pop('embedder')['embedding'])


def sorted_by_need(trainer: Trainer, start: Outcome) -> tuple[Trainer, Outcome]:
  """Sorts words by how much a dense model needs them, in all that there is."""
  problem, config = trainer.problem, trainer.config.search
  sensitivity = _sensitivity(trainer, start)
  if config.order == 'frequency':
    known = dataclasses.replace(problem, sensitivity=sensitivity)
    trainer = dataclasses.replace(trainer, problem=known)
    return trainer, dataclasses.replace(start, trainer=trainer)
  sorted_problem, order = problem.sorted_by(sensitivity)
  trainer = dataclasses.replace(trainer, problem=sorted_problem)
  variables = problem.renumbered_variables(start.variables, order)
  return trainer, dataclasses.replace(
    start, trainer=trainer, variables=variables
  )


def starting_point(trainer: Trainer, start: Outcome) -> StartingPoint:
  """Returns what a search knows of a dense model, whose ids are ranks."""
  problem, mass = trainer.problem, trainer.problem.counts
  by_need = trainer.config.search.order == 'sensitivity'
  if problem.sensitivity is not None and by_need:
    mass = np.sort(problem.sensitivity.drops)[::-1]
  return StartingPoint(*_split_off_table(start), problem.importance, mass)


@dataclasses.dataclass(frozen=True, eq=False)
class SearchSetup:
  """Everything that searches for all budgets share.

  Attributes:
    trainer: of the experiment, words in the order of the search.
    searcher: of the library.
    timer: that ran so far.
  """

  trainer: Trainer
  searcher: OptionSearch
  timer: Timer

  def learn(
    self,
    budget: int,
    keep: Callable[[Controller, int, Any], None] = lambda *_: None,
  ) -> 'Search':
    """Learns logits for a budget, with the weights of a supernet.

    Args:
      budget: bytes.
      keep: called with the controller, step and logits as the search goes on.

    Returns:
      A search that schemes can be taken from.
    """
    timer, controller = self.timer.copy(), self.searcher.controller
    if not self.searcher.num_steps:
      state = self.trainer.init_search(self.searcher, budget)
      return Search(self, budget, state, timer)
    job = self.trainer.plan_search(self.searcher, budget)
    state = timer.time(
      'search',
      self.trainer.search,
      job,
      lambda step, logits: keep(controller, step, logits),
    )
    return Search(self, budget, state, timer)


def set_up(trainer: Trainer, *, learn_splits: bool = True) -> SearchSetup:
  """Does all that comes before logits are learned.

  Args:
    trainer: of the experiment.
    learn_splits: False searches over bins, each by itself.
  """
  timer, config = Timer(), search_config(trainer, learn_splits)
  if config.start == 'dense':
    start = starting_model(trainer)
    timer.seconds.update(start.seconds)
    trainer, start = timer.time('measure', sorted_by_need, trainer, start)
  else:
    start = untrained(trainer)
  loss_fn, optimizer = trainer.searched_parts(config.schedule.num_steps)
  searcher = timer.time(
    'measure',
    OptionSearch.build,
    loss_fn,
    starting_point(trainer, start),
    config,
    weights_optimizer=optimizer,
    progress=trainer.progress,
  )
  return SearchSetup(trainer, searcher, timer)


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
  """A search after its last step.

  Attributes:
    setup: that it stands on.
    budget: bytes that logits were learned for.
    state: of the library's search.
    timer: that ran so far.
  """

  setup: SearchSetup
  budget: int
  state: TrainState
  timer: Timer

  def scheme(self, budget: int) -> Scheme:
    """Returns the scheme that the search decides for, for any budget."""
    return self.setup.searcher.scheme(self.state, budget)

  def finish(self, budget: int | None = None, suffix: str = '') -> Outcome:
    """Decides for a scheme, carries weights over, and fine-tunes it.

    Args:
      budget: bytes; that of the search if not given.
      suffix: of the name of the phase, where one search serves many budgets.
    """
    trainer, searcher = self.setup.trainer, self.setup.searcher
    decision = searcher.decide(self.state, budget or self.budget)
    embedder, variables = with_table(
      {'params': decision.params}, decision.scheme, decision.table
    )
    carried = trainer.evaluate(embedder, variables, 'validation')
    metric = trainer.problem.task(embedder).metric
    notes = {'carried': carried[metric]}
    if searcher.num_steps:
      notes['expected_bytes'] = searcher.expected_bytes(self.state)
      relaxed = trainer.evaluate_search(searcher, self.state, 'validation')
      notes['relaxed'] = relaxed[metric]
    if trainer.config.search.carry == 'noise':
      variables = None
    return final(
      trainer, decision.scheme, self.timer.copy(), variables, notes, suffix
    )
