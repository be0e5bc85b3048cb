"""Cost of a search: of its steps beside plain ones, and of all of it."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from configs import classify, language_model
from embedcomp import Group, Scheme
from embedcomp.methods import LowRank
from embedcomp.nn import GroupedEmbed
from experiments import launch, learned, strategies
from experiments.benchmarks.record import Job, Row
from experiments.problems import make_problem
from experiments.trainer import Trainer, TrainingJob

SEEDS = 3
TASKS = {
  'r52': lambda: classify.get_config('r52'),
  'newsgroups': lambda: classify.get_config('newsgroups'),
  'language model': lambda: language_model.get_config('newsgroups'),
}
_SMOKE = {
  'r52': lambda: classify.get_config('smoke'),
  'language model': lambda: language_model.get_config('smoke'),
}
_ROUNDS = 9
_STEPS = 8  # of a round
_COMPILING = (
  '/jax/core/compile/jaxpr_to_mlir_module_duration',
  '/jax/core/compile/backend_compile_duration',
)


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """Two for each task and repeat: single steps, and everything."""
  found = []
  for name, make_config in (_SMOKE if smoke else TASKS).items():
    for seed in range(seeds):
      for kind, measure in (('steps', _steps), ('whole', _whole)):
        config = make_config()
        config.seed = seed
        run = functools.partial(measure, name, config, 1 if smoke else _ROUNDS)
        found.append(Job(f'{name} {kind} {seed}', run))
  return found


def _trainer(config) -> Trainer:
  problem = make_problem(config, progress=False)
  return Trainer(problem, config, None, progress=False)


def _steps(name: str, config, rounds: int) -> list[Row]:
  """Medians of steps, taken in turns on the same batches."""
  trainer = _trainer(config)
  shape = (trainer.problem.vocab_size, trainer.problem.features)
  largest = Scheme(shape[1], (Group(shape[0], LowRank(shape[1])),))
  # Options count as ever, though this table means nothing.
  with config.unlocked():
    config.search.start, config.search.order = 'noise', 'frequency'
    config.search.score, config.search.carry = 'learned', 'supernet'
  setup = learned.set_up(trainer)
  budget = trainer.problem.dense_bytes // 100
  search = trainer.plan_search(setup.searcher, budget)
  dense = nn.Embed(*shape)
  runners = {
    'plain': _Runner(trainer.plan_training('plain', dense)),
    'low rank': _Runner(
      trainer.plan_training(
        'low_rank', GroupedEmbed(largest), batches=trainer.problem.weights
      )
    ),
    'search': _Runner(search),
  }
  for runner in runners.values():
    runner.run(0, 3 * _STEPS)  # compiles every shape
  seconds = {name: [] for name in runners}
  for turn in range(rounds):
    for label, runner in runners.items():
      seconds[label].append(runner.run(turn * _STEPS, _STEPS))
  base = np.array(seconds['low rank'])
  start = time.monotonic()
  search.step.refresh(runners['search'].state)
  refresh = (time.monotonic() - start) / config.search.refresh_every
  searching = np.array(seconds['search']) + refresh * _STEPS
  plain = np.array(seconds['plain'])
  return [
    {
      'task': name,
      'what': 'step',
      'seed': config.seed,
      'over low rank': float(np.median(searching / base)),
      'plain over low rank': float(np.median(plain / base)),
      'of which codes': float(np.median(refresh * _STEPS / base)),
      'milliseconds of low rank': float(1e3 * np.median(base) / _STEPS),
    }
  ]


@dataclasses.dataclass(eq=False)
class _Runner:
  """Runs steps of a training without what surrounds them."""

  job: TrainingJob
  state: Any = None

  def run(self, first: int, num: int) -> float:
    """Seconds of some steps."""
    step = self.job.step
    if self.state is None:
      self.state = step.place(self.job.state)
    batches = [
      tuple(step.shard(part) for part in self.job.batch_at(first + i))
      for i in range(num)
    ]
    start = time.monotonic()
    for batch in batches:
      self.state, metrics = step(self.state, *batch)
    jax.block_until_ready((self.state, metrics))
    return time.monotonic() - start


def _whole(name: str, config, rounds: int) -> list[Row]:
  """Seconds from nothing to a fine-tuned scheme, and of plain training."""
  del rounds
  trainer = _trainer(config)
  budget = trainer.problem.dense_bytes // 50
  _, plain, compiling_plain = _timed('dense', trainer, budget)
  outcome, total, compiling = _timed('search', trainer, budget)
  compiled = (total - compiling) / (plain - compiling_plain)
  return [
    {
      'task': name,
      'what': 'whole',
      'seed': config.seed,
      'over plain training': total / plain,
      'compiled, over plain training': compiled,
      'seconds of plain training': plain,
      'seconds of compiling': compiling,
      'seconds_by_stage': outcome.seconds,
      'metric': outcome.trainer.problem.task(outcome.embedder).metric,
      # Of the supernet's mixture if one was trained, the scheme that is taken
      # out of it, and the final model.
      **{k: v for k, v in outcome.notes.items() if k in ('relaxed', 'carried')},
      'final': launch.summary(outcome, None)['validation'],
    }
  ]


def _timed(name: str, trainer: Trainer, budget: int):
  """An outcome, its seconds, and those in which XLA compiled.

  Tracing is not among the latter, measuring the supernet on the way is among
  the former.
  """
  compiling: list[float] = []

  def listen(event: str, duration: float, **_) -> None:
    if event in _COMPILING:
      compiling.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listen)
  start = time.monotonic()
  try:
    outcome = strategies.STRATEGIES[name](trainer, budget)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  return outcome, time.monotonic() - start, sum(compiling)


def summary(rows: Sequence[Row]) -> list[Row]:
  """Medians over repeats, a row for each task."""
  table = []
  for task in dict.fromkeys(row['task'] for row in rows):
    own = [row for row in rows if row['task'] == task]

    def median(field, own=own):
      values = [row[field] for row in own if field in row]
      return f'{np.median(values):.4g}' if values else ''

    table.append(
      {
        'task': task,
        'search step / low-rank step': median('over low rank'),
        'plain step / low-rank step': median('plain over low rank'),
        'all of it / plain training': median('over plain training'),
        'both without compiling': median('compiled, over plain training'),
        **{
          f'{when}, validation': median(when)
          for when in ('relaxed', 'carried', 'final')
        },
      }
    )
  return table
