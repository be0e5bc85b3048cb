"""Ways to make a table smaller: the search, and all that it has to beat.

Each takes `Stages` and a budget in bytes and returns an `Outcome`. They share
data, models, steps and optimizer, and differ in `config.method.name` alone.
"""

import functools
from collections.abc import Callable

import numpy as np

import embedcomp
from embedcomp.table.scheme import Scheme
from embedcomp.types import Shape
from experiments import heuristic_schemes, learned, random_and_tpe
from experiments.results import Clock, Outcome, dense, final, fitted, with_table
from experiments.trainer import Stages

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
  scheme = heuristic_schemes.uniform(
    method.option, _shape(stages), budget, method.storage
  )
  return _trained(stages, scheme)


def hand_split(stages: Stages, budget: int) -> Outcome:
  """GroupReduce's groups and ranks."""
  scheme = heuristic_schemes.group_reduce(
    stages.problem.counts,
    _shape(stages),
    budget,
    stages.config.method.storage,
    order='identity',
  )
  return _trained(stages, scheme)


def mgqe(stages: Stages, budget: int) -> Outcome:
  """Learned codes, fewer codewords for rarer words."""
  return _trained(stages, heuristic_schemes.mgqe(_shape(stages), budget))


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
    embedcomp.rate_distortion_curve,
    table,
    importance=problem.importance,
    methods=problem.methods,
    seed=stages.config.seed,
    progress=stages.progress,
  )

  def compressed(budget: int) -> Outcome:
    own = clock.copy()
    scheme, params = own.time(
      'compress', curve.compress, budget, progress=stages.progress
    )
    params = embedcomp.dequantize_params(scheme, params)
    _, variables = with_table(start.variables, scheme, params)
    return final(stages, scheme, own, variables)

  return compressed


def guided(stages: Stages, budget: int, propose_name: str) -> Outcome:
  """Short trainings of proposed schemes, the best one trained in full.

  Starts as the search does, tries within `search.epochs` and fine-tunes for as
  long: the two have the same compute.
  """
  clock, config = Clock(), stages.config
  start = learned.starting_model(stages)
  clock.seconds.update(start.seconds)
  if config.search.order == 'sensitivity':
    stages, start = clock.time('measure', learned.sorted_by_need, stages, start)
  space, problem = learned.search_space(stages), stages.problem

  def loss(scheme, number):
    embedder, variables = fitted(stages, start, scheme)
    work = stages.plan_training(
      f'trial_{number}',
      embedder,
      variables,
      epochs=config.search.epochs / config.search.trials,
      learning_rate=config.finetune.learning_rate,
      batches=problem.weights,
    )
    trained = stages.train(work)
    return stages.evaluate(embedder, trained, 'held_out')['loss']

  scheme = clock.time(
    'search',
    random_and_tpe.PROPOSALS[propose_name],
    space,
    budget,
    loss,
    config.search.trials,
    config.seed,
  )
  return final(stages, scheme, clock, fitted(stages, start, scheme)[1])


def kept(stages: Stages, budget: int) -> Outcome:
  """A model that is compressed already, trained on as it is."""
  del budget
  problem = stages.problem
  if problem.scheme is None:
    raise ValueError(
      "method.name='kept' needs a bert.path with a compressed table; this one "
      'is dense.'
    )
  return final(stages, problem.scheme, Clock(), problem.pretrained)


STRATEGIES: dict[str, Callable[[Stages, int], Outcome]] = {
  'dense': lambda stages, budget: dense(stages),
  'uniform': uniform,
  'hand_split': hand_split,
  'mgqe': mgqe,
  'kept': kept,
  'compress': lambda stages, budget: compress_sizes(stages)(budget),
  'search': lambda stages, budget: (
    learned.prepare(stages).learn(budget).finish()
  ),
  'bins': lambda stages, budget: (
    learned.prepare(stages, learn_splits=False).learn(budget).finish()
  ),
  'random': functools.partial(guided, propose_name='random'),
  'tpe': functools.partial(guided, propose_name='tpe'),
}
