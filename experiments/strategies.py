"""Ways to make a table smaller: the search, and all that it has to beat.

Each takes `Stages` and a budget in bytes and returns an `Outcome`. They share
data, models, steps and optimizer, and differ in `config.method.name` alone.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp import frequency
from embedcomp.nn import GroupedEmbed
from embedcomp.scheme import Scheme
from embedcomp.search import decide as decide_lib
from embedcomp.search import increments as increments_lib
from embedcomp.search import options as options_lib
from embedcomp.search.controller import Controller
from embedcomp.search.space import SearchSpace
from embedcomp.search.supernet import Supernet, SupernetEmbed
from embedcomp.training.search_step import with_mixture
from embedcomp.training.state import TrainState
from embedcomp.types import Shape
from experiments import hand_made, trials
from experiments.outcomes import Clock, Outcome, dense, final, fitted
from experiments.stages import Stages, Variables, with_table

_SMALLEST_BIN = 64


def _shape(stages: Stages) -> Shape:
  return Shape(stages.problem.vocab_size, stages.problem.features)


def _trained(stages: Stages, scheme: Scheme) -> Outcome:
  """A scheme that needed no search, from noise or from a dense model."""
  starts = ('noise', 'dense')
  if stages.config.method.start not in starts:
    raise ValueError(
      f'method.start must be one of {starts}, '
      f'got {stages.config.method.start!r}.'
    )
  if stages.config.method.start == 'noise':
    return final(stages, scheme, Clock())
  clock, start = Clock(), dense(stages)
  clock.seconds.update(start.seconds)
  return final(stages, scheme, clock, fitted(stages, start, scheme)[1])


def uniform(stages: Stages, budget: int) -> Outcome:
  """One method for all words."""
  method = stages.config.method
  scheme = hand_made.uniform(
    method.option, _shape(stages), budget, method.storage
  )
  return _trained(stages, scheme)


def hand_split(stages: Stages, budget: int) -> Outcome:
  """GroupReduce's groups and ranks."""
  scheme = hand_made.group_reduce(
    stages.problem.counts,
    _shape(stages),
    budget,
    stages.config.method.storage,
    order='identity',
  )
  return _trained(stages, scheme)


def mgqe(stages: Stages, budget: int) -> Outcome:
  """Learned codes, fewer codewords for rarer words."""
  return _trained(stages, hand_made.mgqe(_shape(stages), budget))


def compress_sizes(stages: Stages) -> Callable[[int], Outcome]:
  """A dense model, its table compressed afterwards, fine-tuned.

  Args:
    stages: of the experiment.

  Returns:
    Takes a budget to its outcome; the dense model and the measured options
    serve all budgets, and their time is counted in each.
  """
  clock, problem = Clock(), stages.problem
  start = dense(stages)
  clock.seconds.update(start.seconds)
  table = np.asarray(start.variables['params']['embedder']['embedding'])
  curve = clock.time(
    'compress',
    embedcomp.frontier,
    table,
    importance=problem.importance,
    seed=stages.config.seed,
    progress=stages.progress,
  )

  def compressed(budget: int) -> Outcome:
    own = Clock()
    own.seconds.update(clock.seconds)
    scheme, params = own.time(
      'compress', curve.compress, budget, progress=stages.progress
    )
    params = embedcomp.thaw(scheme, params)
    _, variables = with_table(start.variables, scheme, params)
    return final(stages, scheme, own, variables)

  return compressed


def search_space(stages: Stages, max_groups: int | None = None) -> SearchSpace:
  """Bins and options as the config says."""
  config, problem = stages.config.search, stages.problem
  if config.options not in options_lib.OPTION_SETS:
    raise ValueError(
      f'search.options must be one of {sorted(options_lib.OPTION_SETS)}, '
      f'got {config.options!r}.'
    )
  smallest = min(_SMALLEST_BIN, problem.vocab_size)
  bins = frequency.log_bins(problem.counts, config.num_bins, min_size=smallest)
  options = options_lib.OPTION_SETS[config.options](problem.features)
  largest = max(smallest, problem.vocab_size // 4)
  fitting = tuple(o for o in options if getattr(o, 'codewords', 1) <= largest)
  most = max_groups or config.max_groups
  return SearchSpace(problem.features, bins, fitting, most)


def search(
  stages: Stages,
  budget: int,
  *,
  learn_splits: bool = True,
  start: Outcome | None = None,
  keep: Callable[[Controller, int, Any], None] = lambda *_: None,
) -> 'Search':
  """The learned search, up to the trained supernet.

  Args:
    stages: of the experiment.
    budget: bytes that the odds are learned for.
    learn_splits: False searches over bins, each by itself.
    start: a dense model, if there is one already; trained if the config needs
      it.
    keep: called with the controller, step and log-odds as the search goes on.

  Returns:
    What schemes of any budget can be taken from.
  """
  clock, config = Clock(), stages.config.search
  known = {'start': ('dense', 'noise'), 'carry': ('dense', 'supernet', 'noise')}
  for field, values in known.items():
    if config[field] not in values:
      raise ValueError(
        f'search.{field} must be one of {values}, got {config[field]!r}.'
      )
  if start is None and 'dense' in (config.start, config.carry):
    start = dense(stages)
  if start is not None:
    clock.seconds.update(start.seconds)
  num_bins = config.num_bins
  space = search_space(stages, None if learn_splits else num_bins)
  controller = Controller(space, learn_splits)
  supernet = Supernet(space, stages.problem.features)
  state = clock.time(
    'search',
    stages.search,
    controller,
    supernet,
    budget,
    start.variables if config.start == 'dense' else None,
    lambda step, odds: keep(controller, step, odds),
  )
  return Search(stages, controller, supernet, state, clock, start)


@dataclasses.dataclass(eq=False)
class Search:
  """A trained supernet with its odds.

  Attributes:
    stages: of the experiment.
    controller: of the odds.
    supernet: of the weights.
    state: after the search.
    clock: that ran so far.
    start: the dense model that it started from, if it did.
  """

  stages: Stages
  controller: Controller
  supernet: Supernet
  state: TrainState
  clock: Clock
  start: Outcome | None

  @functools.cached_property
  def losses(self) -> np.ndarray:
    """[B, O] what each option loses in each bin."""
    score = self.stages.config.search.score
    if score == 'odds':
      return -self.controller.log_odds(self.state.params['architecture'])
    if score != 'losses':
      raise ValueError(
        f"search.score must be 'losses' or 'odds', got {score!r}."
      )
    return self.clock.time(
      'measure',
      increments_lib.measure_increments,
      self._divergence(),
      self.controller.space,
      progress=self.stages.progress,
    )

  def _divergence(self) -> Callable[[np.ndarray], float]:
    """The mean divergence of a choice's outputs on held-out data."""
    model = self.stages.problem.task(SupernetEmbed(self.supernet)).model
    weights, buffers = self.state.params['weights'], self.state.buffers
    most = self.stages.config.search.measured_batches
    batches = list(self.stages.problem.splits['held_out'].for_evaluation())
    rows = np.linspace(0, len(batches) - 1, min(most, len(batches)))
    batches = [
      {k: jnp.asarray(batches[i][k]) for k in ('ids', 'weights')}
      for i in np.unique(rows.round().astype(int))
    ]

    @jax.jit
    def log_odds(choice, ids):
      collections = with_mixture(buffers, choice)
      logits = model.apply({'params': weights, **collections}, ids)
      return jax.nn.log_softmax(logits)

    @jax.jit
    def divergence(choice, batch, reference):
      log_ratio = reference - log_odds(choice, batch['ids'])
      by_label = (jnp.exp(reference) * log_ratio).sum(-1)
      return (by_label * batch['weights']).sum()

    largest = increments_lib.largest_choice(self.controller.space)
    references = [log_odds(largest, batch['ids']) for batch in batches]
    total = sum(float(batch['weights'].sum()) for batch in batches)

    def mean_divergence(choice):
      sums = [divergence(choice, *b) for b in zip(batches, references)]
      return float(sum(sums)) / total

    return mean_divergence

  def scheme(self, budget: int) -> Scheme:
    """The scheme that the search decides for."""
    config, space = self.stages.config.search, self.controller.space
    if config.discretise == 'argmax':
      return decide_lib.decide_greedily(space, -self.losses, budget)
    merge = self.controller.learn_splits
    return decide_lib.decide(space, self.losses, budget, merge_bins=merge)

  def finish(self, budget: int, suffix: str = '') -> Outcome:
    """Decides for a scheme, carries weights over, and fine-tunes it.

    Args:
      budget: bytes.
      suffix: of the name of the stage, where one search serves many budgets.
    """
    scheme, stages = self.scheme(budget), self.stages
    embedder, variables = self._carried(scheme)
    carried = stages.evaluate(embedder, variables, 'validation')
    odds = self.controller.odds(self.state.params['architecture'])
    metric = stages.problem.task(embedder).metric
    notes = {
      'carried': carried[metric],
      'expected_bytes': float(self.controller.expected_bytes(odds)),
    }
    if stages.config.search.carry == 'noise':
      variables = None
    clock = Clock()
    clock.seconds.update(self.clock.seconds)
    return final(stages, scheme, clock, variables, notes, suffix)

  def _carried(self, scheme: Scheme) -> tuple[GroupedEmbed, Variables]:
    """A model of a scheme before any training of its own."""
    if self.stages.config.search.carry == 'dense':
      return fitted(self.stages, self.start, scheme)
    problem, seed = self.stages.problem, self.stages.config.seed
    weights = jax.device_get(self.state.params['weights'])
    params = self.supernet.extract(
      weights['embedder'], scheme, problem.counts, seed
    )
    return with_table({'params': weights}, scheme, params)


def guided(stages: Stages, budget: int, propose_name: str) -> Outcome:
  """Short trainings of proposed schemes, the best one trained in full.

  Like the search it starts from a dense model, tries within `search.epochs`
  and fine-tunes for as long: the two have the same compute.
  """
  clock, space, start = Clock(), search_space(stages), dense(stages)
  clock.seconds.update(start.seconds)
  config, problem = stages.config, stages.problem

  def loss(scheme, number):
    embedder, variables = fitted(stages, start, scheme)
    trained = stages.train(
      f'trial_{number}',
      embedder,
      variables,
      epochs=config.search.epochs / config.search.trials,
      learning_rate=config.finetune.learning_rate,
      batches=problem.weights,
    )
    return stages.evaluate(embedder, trained, 'held_out')['loss']

  scheme = clock.time(
    'search',
    trials.PROPOSALS[propose_name],
    space,
    budget,
    loss,
    config.search.trials,
    config.seed,
  )
  return final(stages, scheme, clock, fitted(stages, start, scheme)[1])


STRATEGIES: dict[str, Callable[[Stages, int], Outcome]] = {
  'dense': lambda stages, budget: dense(stages),
  'uniform': uniform,
  'hand_split': hand_split,
  'mgqe': mgqe,
  'compress': lambda stages, budget: compress_sizes(stages)(budget),
  'search': lambda stages, budget: search(stages, budget).finish(budget),
  'bins': lambda stages, budget: search(
    stages, budget, learn_splits=False
  ).finish(budget),
  'random': functools.partial(guided, propose_name='random'),
  'tpe': functools.partial(guided, propose_name='tpe'),
}
