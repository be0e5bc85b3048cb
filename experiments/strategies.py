"""Ways to make a table smaller: the search, and all that it has to beat.

Each takes a `Trainer` and a budget in bytes and returns an `Outcome`. They
share data, models, steps and optimizer, and differ in `config.method.name`
alone.
"""

import functools
from collections.abc import Callable

import numpy as np

import embedcomp
from embedcomp._internal.timer import Timer
from embedcomp.search import search_space
from embedcomp.table.scheme import Scheme
from embedcomp.types import Shape
from experiments import heuristic_schemes, learned, random_and_tpe
from experiments.results import Outcome, dense, final, fitted, with_table
from experiments.trainer import Trainer


def _shape(trainer: Trainer) -> Shape:
  return Shape(trainer.problem.vocab_size, trainer.problem.features)


def _trained(trainer: Trainer, scheme: Scheme) -> Outcome:
  """A scheme that needed no search, from noise or from a dense model."""
  starts = ('noise', 'dense')
  if trainer.config.method.start not in starts:
    raise ValueError(
      f'method.start must be one of {starts}, '
      f'got {trainer.config.method.start!r}.'
    )
  if trainer.config.method.start == 'noise':
    return final(trainer, scheme, Timer())
  timer, start = Timer(), dense(trainer)
  timer.seconds.update(start.seconds)
  return final(trainer, scheme, timer, fitted(trainer, start, scheme)[1])


def uniform(trainer: Trainer, budget: int) -> Outcome:
  """One method for all words."""
  method = trainer.config.method
  scheme = heuristic_schemes.uniform(
    method.option, _shape(trainer), budget, method.storage
  )
  return _trained(trainer, scheme)


def hand_split(trainer: Trainer, budget: int) -> Outcome:
  """GroupReduce's groups and ranks."""
  scheme = heuristic_schemes.group_reduce(
    trainer.problem.counts,
    _shape(trainer),
    budget,
    trainer.config.method.storage,
    order='identity',
  )
  return _trained(trainer, scheme)


def mgqe(trainer: Trainer, budget: int) -> Outcome:
  """Learned codes, fewer codewords for rarer words."""
  return _trained(trainer, heuristic_schemes.mgqe(_shape(trainer), budget))


def compress_sizes(trainer: Trainer) -> Callable[[int], Outcome]:
  """A dense model, its table compressed afterwards, fine-tuned.

  Args:
    trainer: of the experiment.

  Returns:
    Takes a budget to its outcome; the dense model and the measured options
    serve all budgets, and their time is counted in each.
  """
  timer, problem = Timer(), trainer.problem
  start = dense(trainer)
  timer.seconds.update(start.seconds)
  table = np.asarray(start.variables['params']['embedder']['embedding'])
  curve = timer.time(
    'compress',
    embedcomp.rate_distortion_curve,
    table,
    importance=problem.importance,
    methods=problem.methods,
    seed=trainer.config.seed,
    progress=trainer.progress,
  )

  def compressed(budget: int) -> Outcome:
    own = timer.copy()
    scheme, params = own.time(
      'compress', curve.compress, budget, progress=trainer.progress
    )
    params = embedcomp.dequantize_params(scheme, params)
    _, variables = with_table(start.variables, scheme, params)
    return final(trainer, scheme, own, variables)

  return compressed


def guided(trainer: Trainer, budget: int, propose_name: str) -> Outcome:
  """Short trainings of proposed schemes, the best one trained in full.

  Starts as the search does, tries within `search.epochs` and fine-tunes for as
  long: the two have the same compute.
  """
  timer, config = Timer(), trainer.config
  plan = learned.search_config(trainer)
  start = learned.starting_model(trainer)
  timer.seconds.update(start.seconds)
  if config.search.order == 'sensitivity':
    trainer, start = timer.time(
      'measure', learned.sorted_by_need, trainer, start
    )
  problem = trainer.problem
  space = search_space(learned.starting_point(trainer, start), plan)

  def loss(scheme, number):
    embedder, variables = fitted(trainer, start, scheme)
    job = trainer.plan_training(
      f'trial_{number}',
      embedder,
      variables,
      epochs=config.search.epochs / config.search.trials,
      learning_rate=config.finetune.learning_rate,
      batches=problem.weights,
    )
    trained = trainer.train(job)
    return trainer.evaluate(embedder, trained, 'held_out')['loss']

  scheme = timer.time(
    'search',
    random_and_tpe.PROPOSALS[propose_name],
    space,
    budget,
    loss,
    config.search.trials,
    config.seed,
  )
  return final(trainer, scheme, timer, fitted(trainer, start, scheme)[1])


def kept(trainer: Trainer, budget: int) -> Outcome:
  """A model that is compressed already, trained on as it is."""
  del budget
  problem = trainer.problem
  if problem.scheme is None:
    raise ValueError(
      "method.name='kept' needs a bert.path with a compressed table; this one "
      'is dense.'
    )
  return final(trainer, problem.scheme, Timer(), problem.pretrained)


STRATEGIES: dict[str, Callable[[Trainer, int], Outcome]] = {
  'dense': lambda trainer, budget: dense(trainer),
  'uniform': uniform,
  'hand_split': hand_split,
  'mgqe': mgqe,
  'kept': kept,
  'compress': lambda trainer, budget: compress_sizes(trainer)(budget),
  'search': lambda trainer, budget: (
    learned.set_up(trainer).learn(budget).finish()
  ),
  'bins': lambda trainer, budget: (
    learned.set_up(trainer, learn_splits=False).learn(budget).finish()
  ),
  'random': functools.partial(guided, propose_name='random'),
  'tpe': functools.partial(guided, propose_name='tpe'),
}
