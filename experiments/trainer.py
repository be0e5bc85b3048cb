"""The stages of a run: training a model, searching, measuring."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from embedcomp import training
from embedcomp.search import step as search_step
from embedcomp.search.controller import Controller, Schedule
from embedcomp.search.supernet import Supernet, SupernetEmbed
from embedcomp.training import data_parallel, optimizers, partial_training
from embedcomp.training.state import Best, TrainState
from embedcomp.training.tasks import Task
from embedcomp.types import Params
from experiments.problems import Problem

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Stages:
  """Runs stages of one experiment and keeps what they need to resume.

  Attributes:
    problem: to solve.
    config: see `configs/common.py`.
    workdir: for checkpoints and metrics; None keeps nothing.
    progress: whether to show progress bars.
    models: variables and seconds of dense models, see `results.dense`; copies
      that differ in neither `optim`, `model` nor `seed` have them in common.
    evaluators: by what they measure, so that each compiles once.
  """

  problem: Problem
  config: ConfigDict
  workdir: Path | None = None
  progress: bool = True
  models: dict[Any, tuple[Variables, dict[str, float]]] = dataclasses.field(
    default_factory=dict
  )
  evaluators: dict[Task, Callable[..., dict[str, float]]] = dataclasses.field(
    default_factory=dict
  )

  def train(self, work: 'Work') -> Variables:
    """Does what `plan_training` has planned; returns the model's variables."""
    if not work.num_steps:
      return _variables(work.state)
    state = self._run(work)
    return _variables(state if state.best is None else state.best)

  def plan_training(
    self,
    stage: str,
    embedder: nn.Module,
    variables: Variables | None = None,
    *,
    epochs: float | None = None,
    learning_rate: float | None = None,
    batches: Any = None,
  ) -> 'Work':
    """Plans the training of a model around an embedder.

    Args:
      stage: name, for files and progress.
      embedder: `nn.Embed` or `GroupedEmbed`.
      variables: to start from; noise if not given.
      epochs: `config.optim.epochs` if not given.
      learning_rate: the highest; `config.optim.learning_rate` if not given.
      batches: `problem.train` if not given.
    """
    task = self.problem.task(embedder)
    batches = self.problem.train if batches is None else batches
    epochs = self.config.optim.epochs if epochs is None else epochs
    num_steps = steps_of(epochs, batches)
    loss_fn, optimizer = self._learned_parts(
      task,
      learning_rate or self.config.optim.learning_rate,
      max(1, num_steps),
      is_dense=isinstance(embedder, nn.Embed),
    )
    if variables is None:
      variables = self.init(task)
    params, buffers = _apart(variables)
    state = TrainState.create(
      params, optimizer, self._key(stage, 'noise'), buffers=buffers
    )
    step = self._wrap(training.make_train_step(loss_fn, optimizer))
    work = Work(stage, step, state, lambda i: (batches.at(i),), num_steps, task)
    best_of = self.config.optim.best_of
    if not best_of:
      return work
    return dataclasses.replace(
      work,
      evaluate=lambda state: self._measure(
        task, _variables(state), 'validation'
      ),
      evaluate_every=max(1, batches.num_batches // best_of),
      keep_best=(task.metric, 'max' if task.higher_is_better else 'min'),
    )

  def search(
    self,
    work: 'Work',
    keep_architecture: Callable[[int, Params], None] = lambda step, odds: None,
  ) -> TrainState:
    """Does what `plan_search` has planned.

    Args:
      work: of `plan_search`.
      keep_architecture: called with step and log-odds wherever the log gets a
        line.

    Returns:
      The state, codes refreshed; see `make_search_step`.
    """

    def watch(state):
      keep_architecture(int(state.step), state.params['architecture'])
      return {}

    watched = dataclasses.replace(work, evaluate=watch)
    return work.step.refresh(self._run(watched))

  def plan_search(
    self,
    controller: Controller,
    supernet: Supernet,
    budget: int,
    log_odds: Params,
    start: Variables | None = None,
  ) -> 'Work':
    """Plans the training of a supernet with the odds of splits and options.

    Args:
      controller: of the odds.
      supernet: of the weights.
      budget: bytes.
      log_odds: to start from, in the form of `controller.init()`.
      start: variables of a dense model to start from; noise if not given.
    """
    config, batches = self.config.search, self.problem.weights
    task = self.problem.task(SupernetEmbed(supernet))
    num_steps = max(1, steps_of(config.epochs, batches))
    schedule = Schedule(
      num_steps=num_steps,
      warmup=config.warmup,
      plain=0.5 if start is None else 0.0,
      every=config.every,
      temperature=tuple(config.temperature),
      entropy=config.entropy,
      penalty=config.penalty,
      multiplier_rate=config.multiplier_rate,
    )
    loss_fn, weights_optimizer = self._learned_parts(
      task, config.weights_learning_rate, num_steps
    )
    optimizer = search_step.make_optimizer(
      weights_optimizer,
      # A large eps, or vanished gradients still move odds by whole steps.
      optax.adam(config.learning_rate, b1=0.5, eps=0.01),
    )
    params, buffers = _apart(self.init(task))
    if start is not None:
      table = np.asarray(start['params']['embedder']['embedding'])
      weights = self.problem.importance
      embedder, codes = supernet.from_table(table, weights)
      params = dict(start['params'], embedder=embedder)
      buffers = dict(buffers, buffers={'embedder': codes})
    state = TrainState.create(
      {'weights': params, 'architecture': log_odds},
      optimizer,
      self._key('search', 'noise'),
      buffers=buffers,
      extra=search_step.init_search_state(budget),
    )
    step = search_step.make_search_step(
      loss_fn, optimizer, controller, schedule
    )
    refreshed = _Refreshed(
      self._wrap(step), supernet, config.refresh_every, start is not None
    )
    return Work(
      'search',
      refreshed,
      state,
      lambda i: (batches.at(i), self.problem.held_out.at(i)),
      num_steps,
      task,
      evaluate_every=self.config.run.log_every,
    )

  def evaluate(
    self, embedder: nn.Module, variables: Variables, split: str
  ) -> dict[str, float]:
    """Loss and metric of a model on a split."""
    return self._measure(self.problem.task(embedder), variables, split)

  def _measure(
    self, task: Task, variables: Variables, split: str
  ) -> dict[str, float]:
    if task not in self.evaluators:
      self.evaluators[task] = training.make_evaluator(task, self._wrap)
    batches = self.problem.splits[split].for_evaluation()
    return self.evaluators[task](variables, batches)

  def init(self, task: Task) -> Variables:
    """A model's variables: pretrained ones where there are any, else noise."""
    key, pretrained = self._key('all', 'weights'), self.problem.pretrained
    if pretrained is None:
      return _without_losses(task.init(key, self.problem.train.at(0)))
    embedder = task.model.embedder
    if isinstance(embedder, nn.Embed):
      return pretrained
    ids = jnp.zeros((1, 1), jnp.int32)
    table = _without_losses(jax.jit(embedder.init)(key, ids))
    variables = {name: {'embedder': tree} for name, tree in table.items()}
    params = {**pretrained['params'], **variables['params']}
    return {**pretrained, **variables, 'params': params}

  def _key(self, stage: str, use: str) -> jax.Array:
    """A key for one use in one stage."""
    key = jax.random.key(self.config.seed)
    for name in (stage, use):
      number = int.from_bytes(name.encode()[:4].ljust(4), 'big')
      key = jax.random.fold_in(key, number)
    return key

  def _learned_parts(
    self,
    task: Task,
    learning_rate: float,
    num_steps: int,
    is_dense: bool = False,
  ):
    """The loss of a task and its optimizer, but for params that stay."""
    config = self.config.optim
    optimizer = optimizers.adam(
      learning_rate,
      num_steps,
      warmup=config.warmup,
      clip=config.clip,
      weight_decay=config.weight_decay,
      table_rate=1.0 if is_dense else config.table_rate,
      accumulate=config.accumulate,
    )
    if self.problem.is_frozen is None:
      return task.loss_fn, optimizer
    return partial_training.freeze(
      task.loss_fn, optimizer, self.problem.is_frozen
    )

  def _wrap(self, step, donate: bool = True) -> data_parallel.DataParallel:
    wrappers = {'jit': training.jit_step, 'pmap': training.pmap_step}
    if self.config.run.parallel not in wrappers:
      raise ValueError(
        f'run.parallel must be one of {sorted(wrappers)}, '
        f'got {self.config.run.parallel!r}.'
      )
    return wrappers[self.config.run.parallel](step, donate=donate)

  def _run(self, work: 'Work') -> TrainState:
    every, evaluate_every = self.config.run.log_every, work.evaluate_every
    if evaluate_every is not None:  # a multiple, as the loop wants it
      evaluate_every = max(1, round(evaluate_every / every)) * every
    cadence = training.Cadence(
      work.num_steps,
      log_every=every,
      checkpoint_every=self.config.run.checkpoint_every,
      evaluate_every=evaluate_every,
    )
    with contextlib.ExitStack() as files:
      checkpoints = log = None
      if self.workdir is not None:
        folder = self.workdir / 'checkpoints' / work.stage
        checkpoints = files.enter_context(training.Checkpoints(folder))
        log = files.enter_context(
          training.MetricsLog(
            self.workdir, work.stage, tensorboard=self.config.run.tensorboard
          )
        )
      return training.run(
        work.step,
        work.state,
        work.batch_at,
        cadence,
        checkpoints=checkpoints,
        log=log,
        evaluate=work.evaluate,
        keep_best=work.keep_best,
        describe=lambda metrics: _in_words(work.stage, work.task, metrics),
        progress=self.progress,
      )


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
  """A training that can start.

  Attributes:
    stage: name, for files and progress.
    step: takes the state and the arrays of `batch_at`.
    state: before the first step.
    batch_at: takes the number of a step to its batches.
    num_steps: how many there are.
    task: that is learned.
    evaluate: measures a state, if it is to be measured on the way.
    evaluate_every: steps, about.
    keep_best: what of it the state to be kept is best in; see `training.run`.
  """

  stage: str
  step: Any
  state: TrainState
  batch_at: Callable[[int], tuple[Any, ...]]
  num_steps: int
  task: Task
  evaluate: Callable[[TrainState], dict[str, float]] | None = None
  evaluate_every: int | None = None
  keep_best: tuple[str, str] | None = None


class _Refreshed:
  """A search step whose codes follow the weights every so many steps."""

  def __init__(
    self, step: data_parallel.DataParallel, supernet: Supernet, every, has_codes
  ):
    self._step, self._supernet, self._every = step, supernet, every
    self._has_codes = has_codes  # before the first step
    self._next: int | None = None
    self.place, self.shard = step.place, step.shard

  def __call__(self, state: TrainState, *batches):
    if self._next is None:
      self._next = int(state.step)  # the only time that it is waited for
    is_due = self._next % self._every == 0
    if is_due and (self._next or not self._has_codes):
      state = self.refresh(state)
    self._next += 1
    return self._step(state, *batches)

  def refresh(self, state: TrainState) -> TrainState:
    """The state with codes of its present weights, on all devices."""
    weights = jax.device_get(state.params['weights']['embedder'])
    held = state.buffers['buffers']['embedder']
    has_codes = self._has_codes or int(state.step) > 0
    fresh = self._supernet.refresh(weights, held if has_codes else None)
    buffers = dict(state.buffers, buffers={'embedder': fresh})
    return self.place(state.replace(buffers=buffers))


def steps_of(epochs: float, batches: Any) -> int:
  """Steps of so many epochs: none of none, else one at least."""
  return max(1, round(epochs * batches.num_batches)) if epochs else 0


def _without_losses(variables: Variables) -> Variables:
  return {k: v for k, v in variables.items() if k != 'losses'}


def _apart(variables: Variables) -> tuple[Params, Variables]:
  """Params, and all other collections."""
  others = {k: v for k, v in variables.items() if k != 'params'}
  return variables['params'], others


def _variables(state: TrainState | Best) -> Variables:
  """All collections, as a model takes them."""
  return {'params': state.params, **state.buffers}


def _in_words(stage: str, task: Task, metrics: dict[str, float]) -> str:
  """What stands beside a progress bar."""
  shown = [stage]
  if task.metric in metrics:
    shown.append(f'{task.metric} {metrics[task.metric]:.3f}')
  shown.append(f'loss {metrics.get("loss", np.nan):.3f}')
  if 'expected_bytes' in metrics:
    shown += [
      f'{metrics["expected_bytes"]:,.0f} bytes',
      f'temperature {metrics["temperature"]:.2f}',
      f'entropy {metrics["entropy"]:.2f}',
    ]
  return ', '.join(shown)
