"""The learned search beside its baselines on a task, at several sizes."""

import dataclasses
import functools
import importlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from embedcomp import methods
from experiments import launch, strategies
from experiments.problem import Problem, make_problem
from experiments.record import Job, Row
from experiments.report import comparison as report_comparison
from experiments.report import pictures
from experiments.stages import Stages

# Of uniform low rank, as shares of the features.
RANK_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


@dataclasses.dataclass(frozen=True)
class Contestant:
  """One line of the comparison.

  Attributes:
    label: unique.
    fields: of the config that differ.
    is_main: measured with all seeds; others with two.
    sizes: shares of the dense table; those of the comparison if not given.
  """

  label: str
  fields: dict[str, Any]
  is_main: bool = False
  sizes: tuple[float, ...] | None = None


def _method(name: str, option: str = '', storage: str = '') -> dict[str, Any]:
  fields = {'method.name': name}
  if option:
    fields['method.option'] = option
  if storage:
    fields['method.storage'] = storage
  return fields


def _contestants(thesis_sizes, few_sizes) -> list[Contestant]:
  """All but dense and uniform low rank."""
  ranks_only = {'search.options': 'low_rank'}
  precision = {'search.options': 'precision'}
  return [
    Contestant('search', _method('search'), True),
    Contestant('compress, fine-tuned', _method('compress'), True),
    Contestant(
      'search, ranks only, float32',
      {**_method('search'), **ranks_only},
      sizes=thesis_sizes,
    ),
    Contestant(
      'low rank, from dense',
      {**_method('uniform', 'low_rank'), 'method.start': 'dense'},
      sizes=(*thesis_sizes, 0.5, 0.99),
    ),
    Contestant(
      'hand-split, int8, from dense',
      {**_method('hand_split', storage='int8'), 'method.start': 'dense'},
    ),
    Contestant('low rank, int4', _method('uniform', 'low_rank', 'int4')),
    Contestant('hand-split, int8', _method('hand_split', storage='int8')),
    Contestant(
      'hand-split (GroupReduce)', _method('hand_split'), sizes=thesis_sizes
    ),
    Contestant('bins only, ranks (NIS)', {**_method('bins'), **ranks_only}),
    Contestant('bins only, precision (MPE)', {**_method('bins'), **precision}),
    Contestant('pq', _method('uniform', 'pq', 'int8'), sizes=few_sizes),
    Contestant('DPQ', _method('uniform', 'dpq_vq', 'int8'), sizes=few_sizes),
    Contestant('MGQE', _method('mgqe'), sizes=few_sizes),
    Contestant('random search', _method('random'), sizes=few_sizes),
    Contestant('TPE', _method('tpe'), sizes=few_sizes),
    Contestant(
      'tensor train', _method('uniform', 'tensor_train'), sizes=few_sizes
    ),
    Contestant('hashed', _method('uniform', 'hashed'), sizes=few_sizes),
    *(
      Contestant(
        f'dense, {storage}',
        _method('uniform', 'dense', storage),
        sizes=(0.3,),
      )
      for storage in ('int8', 'int4')
    ),
  ]


# What the search would be without one of its parts.
ABLATIONS = {
  'no warm-up': {'search.warmup': 0.0},
  'no held-out data': {'search.held_out': False},
  'by learned odds': {'search.score': 'odds'},
  'by learned odds, argmax': {
    'search.score': 'odds',
    'search.discretise': 'argmax',
  },
  'argmax': {'search.discretise': 'argmax'},
  'weights of the supernet': {'search.carry': 'supernet'},
  'weights from noise': {'search.carry': 'noise'},
  'started from noise': {
    'search.start': 'noise',
    'search.carry': 'supernet',
    'search.epochs': 10.0,
    'search.weights_learning_rate': 0.04,
  },
  'learned codes': {'search.options': 'learned_codes'},
}


class Comparison:
  """A benchmark (see `experiments.record`) of one config's task.

  Attributes:
    SEEDS: of the main rows if the command does not say.
  """

  SEEDS = 5

  def __init__(
    self,
    module: str,
    variant: str,
    sizes: tuple[float, ...],
    few_sizes: tuple[float, ...],
    thesis_sizes: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2),
    ablations: bool = False,
  ):
    """Loads nothing yet.

    Args:
      module: in `configs`.
      variant: of the config.
      sizes: shares of the dense table.
      few_sizes: of contestants that take long.
      thesis_sizes: of contestants in float32.
      ablations: whether to take the search apart as well.
    """
    self.__doc__ = f'The search and its baselines, configs/{module}:{variant}.'
    self._module, self._variant, self._sizes = module, variant, sizes
    self._contestants = _contestants(thesis_sizes, few_sizes)
    if ablations:
      self._contestants += [
        Contestant(
          f'search, {name}', {**_method('search'), **fields}, sizes=few_sizes
        )
        for name, fields in ABLATIONS.items()
      ]

  def config(self, smoke: bool, seed: int, **fields) -> ConfigDict:
    """The config of one run."""
    module = importlib.import_module(f'configs.{self._module}')
    config = module.get_config('smoke' if smoke else self._variant)
    config.update_from_flattened_dict({**fields, 'seed': seed})
    return config

  def jobs(self, *, smoke: bool, seeds: int) -> Sequence[Job]:
    """Jobs by seed, those of the headline first."""
    jobs = []
    ranks = Contestant('low_rank', {}, True)
    others = self._contestants[:4] if smoke else self._contestants
    for seed in range(seeds):
      for contestant in (Contestant('dense', {}, True), ranks, *others):
        if contestant.is_main or seed < 2:
          run = functools.partial(self._run, smoke, seed, contestant)
          jobs.append(
            (not contestant.is_main, f'{contestant.label} {seed}', run)
          )
    jobs.sort(key=lambda job: job[0])  # stable
    return [Job(name, run) for _, name, run in jobs]

  def _run(self, smoke: bool, seed: int, contestant: Contestant) -> list[Row]:
    config = self.config(smoke, seed, **contestant.fields)
    problem = make_problem(config, progress=False)
    stages = Stages(problem, config, None, progress=False)
    sizes = contestant.sizes or self._sizes
    if smoke:
      sizes = (0.1, 0.05)
    if contestant.label == 'dense':
      return [_row(stages, contestant.label, strategies.dense(stages))]
    if contestant.label == 'low_rank':
      return _low_rank_rows(stages)
    budgets = [int(size * problem.dense_bytes) for size in sizes]
    if config.method.name in ('search', 'bins'):
      search = strategies.search(
        stages,
        # The odds are learned for the middle one of the sizes.
        budgets[len(budgets) // 2],
        learn_splits=config.method.name == 'search',
      )
      return _rows(stages, contestant.label, search.finish, budgets)
    if config.method.name == 'compress':
      compress = strategies.compress_sizes(stages)
      return _rows(stages, contestant.label, compress, budgets)
    make = functools.partial(strategies.STRATEGIES[config.method.name], stages)
    return _rows(stages, contestant.label, make, budgets)

  def summary(self, rows: Sequence[Row]) -> list[Row]:
    """Means and deviations, and sizes at equal metric."""
    return summarise(rows)

  def plot(self, rows: Sequence[Row]) -> Any:
    """Axes of the test metric against size."""
    found = report_comparison.compare(rows, rows[0]['higher_is_better'])
    return pictures.plot_comparison(found, 'search')


def _low_rank_rows(stages: Stages) -> list[Row]:
  features = stages.problem.features
  rows = []
  for share in RANK_SHARES:
    option = f'low_rank(rank={max(1, round(share * features))})'
    with stages.config.unlocked():
      stages.config.method.option = option
    enough = 2 * stages.problem.dense_bytes
    outcome = strategies.uniform(stages, enough)
    rows.append(_row(stages, 'low_rank', outcome))
  return rows


def _rows(stages, label, make, budgets) -> list[Row]:
  """A row for each budget that something fits into."""
  rows = []
  for budget in budgets:
    try:
      outcome = make(budget)
    except ValueError as error:
      if 'fit' not in str(error):
        raise
      continue
    rows.append(_row(stages, label, outcome))
  return rows


def _row(stages: Stages, label: str, outcome: strategies.Outcome) -> Row:
  problem: Problem = stages.problem
  start = time.monotonic()
  found = launch.summary(problem, stages.config, stages, outcome, None)
  kept = ('metric', 'validation', 'value', 'embedding_bytes', 'ratio', 'seed')
  return {
    'label': label,
    **{name: found[name] for name in kept},
    'higher_is_better': found['higher_is_better'],
    'seconds': sum(outcome.seconds.values()),
    'seconds_by_stage': outcome.seconds,
    'seconds_of_evaluation': time.monotonic() - start,
    'carried': outcome.notes.get('carried'),
    'groups': _groups(outcome),
  }


def _groups(outcome: strategies.Outcome) -> str | None:
  if outcome.scheme is None:
    return None
  return ', '.join(
    f'{group.size} {methods.describe(group.method)}'
    for group in outcome.scheme.groups
  )


def low_rank_ratio(rows: Sequence[Row], value: float, better: int) -> float:
  """The size at which uniform low rank reaches a metric.

  Between two ranks by the logarithm of the size; the curve is made monotone
  first, in favour of low rank.

  Args:
    rows: of all contestants.
    value: mean test metric to reach.
    better: 1 if higher is better, -1 if lower.

  Returns:
    A share of the dense table; infinite if no rank reaches it.
  """
  curve = sorted(
    (ratio, better * np.mean(values))
    for ratio, values in _by_size(rows, 'low_rank').items()
  )
  ratios = np.array([ratio for ratio, _ in curve])
  means = np.maximum.accumulate([mean for _, mean in curve])
  wanted = better * value
  if wanted > means[-1] + 1e-9:  # means of equal values differ in a last bit
    return float('inf')
  if wanted <= means[0]:
    return float(ratios[0])
  wanted = min(wanted, means[-1])
  right = int(np.searchsorted(means, wanted))
  low, high = means[right - 1], means[right]
  share = (wanted - low) / (high - low)
  logs = np.log(ratios[right - 1 : right + 1])
  return float(np.exp(logs[0] + share * (logs[1] - logs[0])))


def _by_size(rows: Sequence[Row], label: str) -> dict[float, list[float]]:
  sizes: dict[float, list[float]] = {}
  for row in rows:
    if row['label'] == label:
      sizes.setdefault(_nominal(row['ratio']), []).append(row['value'])
  return sizes


def _nominal(ratio: float) -> float:
  """Sizes of equal budgets differ by a few bytes: two digits tell them."""
  return float(f'{ratio:.2g}')


def summarise(rows: Sequence[Row]) -> list[Row]:
  """One row for each contestant and size.

  Args:
    rows: of a comparison.

  Returns:
    Test metric (mean, deviation, seeds), and `iso`: bytes over those with which
    uniform low rank reaches the same mean.
  """
  better = 1 if rows[0]['higher_is_better'] else -1
  table = []
  for label in dict.fromkeys(row['label'] for row in rows):
    for ratio, values in sorted(_by_size(rows, label).items()):
      mean = float(np.mean(values))
      at = low_rank_ratio(rows, mean, better)
      seconds = [
        row['seconds']
        for row in rows
        if row['label'] == label and _nominal(row['ratio']) == ratio
      ]
      digits = 4 if better > 0 else 2
      table.append(
        {
          'method': label,
          'size': f'{ratio:.2%}',
          'test': f'{mean:.{digits}f} ± {np.std(values):.{digits}f}',
          'seeds': len(values),
          'of low rank': 'not reached' if at == np.inf else f'{ratio / at:.1%}',
          'seconds': round(float(np.median(seconds)), 1),
        }
      )
  return table
