"""Trainer of an experiment: its trainings, its search, its measurements."""

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
from embedcomp.search import EmbedModule, OptionSearch, RefreshedStep
from embedcomp.search.searcher import LossFn
from embedcomp.training import (
  data_parallel,
  optimizers,
  partial_training,
  steps,
)
from embedcomp.training.state import Best, TrainState
from embedcomp.training.tasks import Task
from embedcomp.types import Params
from experiments.problems import Problem

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
  """Runs the trainings of one experiment and keeps what they need to resume.

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

  def train(self, job: 'TrainingJob') -> Variables:
    """Does what `plan_training` has planned; returns the model's variables."""
    if not job.num_steps:
      return _variables(job.state)
    state = self._run(job)
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
  ) -> 'TrainingJob':
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
    loss_fn, is_frozen = task.loss_fn, self.problem.is_frozen
    optimizer = self._optimizer(
      learning_rate or self.config.optim.learning_rate,
      max(1, num_steps),
      is_dense=isinstance(embedder, nn.Embed),
    )
    if is_frozen is not None:
      loss_fn, optimizer = partial_training.freeze(
        loss_fn, optimizer, is_frozen
      )
    if variables is None:
      variables = self.init(task)
    params, buffers = _apart(variables)
    state = TrainState.create(
      params, optimizer, self._key(stage, 'noise'), buffers=buffers
    )
    step = self._wrap(training.make_train_step(loss_fn, optimizer))
    job = TrainingJob(
      stage, step, state, lambda i: (batches.at(i),), num_steps, task
    )
    best_of = self.config.optim.best_of
    if not best_of:
      return job
    return dataclasses.replace(
      job,
      evaluate=lambda state: self._measure(
        task, _variables(state), 'validation'
      ),
      evaluate_every=max(1, batches.num_batches // best_of),
      keep_best=(task.metric, 'max' if task.higher_is_better else 'min'),
    )

  def search(
    self,
    job: 'TrainingJob',
    keep_architecture: Callable[[int, Params], None] = lambda step, logits: (
      None
    ),
  ) -> TrainState:
    """Does what `plan_search` has planned.

    Args:
      job: of `plan_search`.
      keep_architecture: called with step and logits wherever the log gets a
        line.

    Returns:
      The state, codes refreshed; see `OptionSearch`.
    """

    def watch(state):
      keep_architecture(int(state.step), state.params['architecture'])
      return {}

    watched = dataclasses.replace(job, evaluate=watch)
    return job.step.refresh(self._run(watched))

  def plan_search(self, searcher: OptionSearch, budget: int) -> 'TrainingJob':
    """Plans the training of a supernet with logits of splits and options.

    Args:
      searcher: of this problem, see `searched_parts`.
      budget: bytes.
    """
    batches = self.problem.weights
    shape = self.problem.vocab_size, self.problem.features
    return TrainingJob(
      'search',
      RefreshedStep(self._wrap(searcher.step), searcher),
      self.init_search(searcher, budget),
      lambda i: (batches.at(i), self.problem.held_out.at(i)),
      searcher.num_steps,
      self.problem.task(nn.Embed(*shape)),
      evaluate_every=self.config.run.log_every,
    )

  def init_search(self, searcher: OptionSearch, budget: int) -> TrainState:
    """Returns the state of a search before its first step."""
    return searcher.init(self._key('search', 'noise'), budget)

  def searched_parts(
    self, num_steps: int
  ) -> tuple[LossFn, optax.GradientTransformation]:
    """Makes the loss of a search and the optimizer of its weights.

    Args:
      num_steps: of the search.

    Returns:
      See `OptionSearch.build`; params that are not trained stay as they are.
    """
    is_frozen = self.problem.is_frozen

    def loss_fn(params, embed, batch, key):
      task = self.problem.task(EmbedModule(embed))
      return task.loss_fn(params, {}, batch, key)

    rate = self.config.search.weights_learning_rate
    optimizer = self._optimizer(rate, num_steps)
    if is_frozen is None:
      return loss_fn, optimizer

    def stays(keys):
      return is_frozen(keys[1:] if keys[0] == 'model' else keys)

    loss_fn, _ = partial_training.freeze(loss_fn, optimizer, is_frozen)
    _, optimizer = partial_training.freeze(loss_fn, optimizer, stays)
    return loss_fn, optimizer

  def evaluate_search(
    self, searcher: OptionSearch, state: TrainState, split: str
  ) -> dict[str, float]:
    """Measures a supernet before anything is decided, its options mixed."""
    shape = self.problem.vocab_size, self.problem.features
    task = self.problem.task(nn.Embed(*shape))

    def step(state, batch, axis_name=None):
      def loss_fn(params, buffers, batch, key):
        del buffers
        embed = searcher.embedding(state)
        return searcher.loss_fn(params['weights']['model'], embed, batch, key)

      return steps.make_eval_step(loss_fn)(state, batch, axis_name)

    measure = self._wrap(step, donate=False)
    batches = self.problem.splits[split].for_evaluation()
    means = steps.evaluate(measure, measure.place(state), batches)
    return task.summarise({**means, 'weight': 1.0})

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

  def _optimizer(
    self, learning_rate: float, num_steps: int, is_dense: bool = False
  ) -> optax.GradientTransformation:
    config = self.config.optim
    return optimizers.adam(
      learning_rate,
      num_steps,
      warmup=config.warmup,
      clip=config.clip,
      weight_decay=config.weight_decay,
      table_rate=1.0 if is_dense else config.table_rate,
      accumulate=config.accumulate,
    )

  def _wrap(self, step, donate: bool = True) -> data_parallel.DataParallel:
    wrappers = {'jit': training.jit_step, 'pmap': training.pmap_step}
    if self.config.run.parallel not in wrappers:
      raise ValueError(
        f'run.parallel must be one of {sorted(wrappers)}, '
        f'got {self.config.run.parallel!r}.'
      )
    return wrappers[self.config.run.parallel](step, donate=donate)

  def _run(self, job: 'TrainingJob') -> TrainState:
    every, evaluate_every = self.config.run.log_every, job.evaluate_every
    if evaluate_every is not None:  # a multiple, as the loop wants it
      evaluate_every = max(1, round(evaluate_every / every)) * every
    cadence = training.Cadence(
      job.num_steps,
      log_every=every,
      checkpoint_every=self.config.run.checkpoint_every,
      evaluate_every=evaluate_every,
    )

    def describe(metrics):
      return _in_words(job.stage, job.task, metrics)

    evaluation = None
    if job.evaluate is not None:
      evaluation = training.Evaluation(job.evaluate, job.keep_best)
    with contextlib.ExitStack() as files:
      checkpoints = log = None
      if self.workdir is not None:
        folder = self.workdir / 'checkpoints' / job.stage
        checkpoints = files.enter_context(training.Checkpoints(folder))
        log = files.enter_context(
          training.MetricsLog(
            self.workdir, job.stage, tensorboard=self.config.run.tensorboard
          )
        )
      return training.run(
        job.step,
        job.state,
        job.batch_at,
        cadence,
        checkpoints=checkpoints,
        log=log,
        evaluation=evaluation,
        describe=describe if self.progress else None,
      )


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingJob:
  """A training that can start.

  Attributes:
    stage: name of the training phase, for files and progress.
    step: takes the state and the arrays of `batch_at`.
    state: before the first step.
    batch_at: takes the number of a step to its batches.
    num_steps: how many there are.
    task: that is learned.
    evaluate: measures a state, if it is to be measured on the way.
    evaluate_every: steps, about.
    keep_best: metric and direction of the state to keep; see
      `training.Evaluation`.
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
  """Describes the latest metrics beside a progress bar."""
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
