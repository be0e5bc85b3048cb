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
from experiments import launch, learned, strategies
from experiments.outcomes import Outcome
from experiments.problem import make_problem
from experiments.record import Job, Row
from experiments.report import comparison as report_comparison
from experiments.report import pictures
from experiments.stages import Stages

# Of uniform low rank, as shares of the features.
RANK_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
# Room below the worst of search and compress, of their range.
_ZOOM = 0.5
# Uniform low rank, trained as any model is, and started from a dense one.
_LOW_RANK = ('low_rank', 'low rank, from dense')


@dataclasses.dataclass(frozen=True)
class Contestant:
  """One line of the comparison.

  Attributes:
    label: unique.
    fields: of the config that differ.
    is_main: measured with all seeds; others with two.
    sizes: shares of the dense table; those of the comparison if not given.
    trains_longer: whether its final training also gets the epochs that the
      search spends on searching.
  """

  label: str
  fields: dict[str, Any]
  is_main: bool = False
  sizes: tuple[float, ...] | None = None
  trains_longer: bool = False


def _method(name: str, option: str = '', storage: str = '') -> dict[str, Any]:
  fields = {'method.name': name}
  if option:
    fields['method.option'] = option
  if storage:
    fields['method.storage'] = storage
  return fields


def _from_dense(label: str, fields: dict[str, Any], **kwargs) -> Contestant:
  """One that starts from a dense model, and has as many steps as the search."""
  fields = {**fields, 'method.start': 'dense'}
  return Contestant(label, fields, trains_longer=True, **kwargs)


def _contestants(thesis_sizes, few_sizes) -> list[Contestant]:
  """All of them, those of the headline first."""
  ranks_only = {'search.options': 'low_rank'}
  # As published: bins by frequency, nothing known but what is learned.
  published = {'search.order': 'frequency', 'search.score': 'odds'}
  by_frequency = {'search.order': 'frequency'}
  return [
    Contestant('dense', _method('dense'), True),
    Contestant('low_rank', _method('uniform', 'low_rank'), True),
    _from_dense(
      'low rank, from dense', _method('uniform', 'low_rank'), is_main=True
    ),
    Contestant('search', _method('search'), True),
    Contestant('compress', _method('compress'), True, None, True),
    _from_dense('hand-split, int8', _method('hand_split', storage='int8')),
    Contestant(
      'random search', {**_method('random'), **by_frequency}, sizes=few_sizes
    ),
    _from_dense(
      'hand-split, float32 (GroupReduce)',
      _method('hand_split'),
      sizes=thesis_sizes,
    ),
    Contestant(
      'search, ranks only, float32',
      {**_method('search'), **ranks_only},
      sizes=thesis_sizes,
    ),
    Contestant('TPE', {**_method('tpe'), **by_frequency}, sizes=few_sizes),
    Contestant(
      'random search, words by need', _method('random'), sizes=few_sizes
    ),
    Contestant(
      'bins only, ranks (NIS)',
      {**_method('bins'), **published, **ranks_only},
      sizes=thesis_sizes,
    ),
    Contestant(
      'bins only, precision (MPE)',
      {**_method('bins'), **published, 'search.options': 'precision'},
      sizes=few_sizes,
    ),
    _from_dense('pq', _method('uniform', 'pq', 'int8'), sizes=few_sizes),
    _from_dense('DPQ', _method('uniform', 'dpq_vq', 'int8'), sizes=few_sizes),
    _from_dense('MGQE', _method('mgqe'), sizes=few_sizes),
    Contestant(
      'tensor train', _method('uniform', 'tensor_train'), sizes=few_sizes
    ),
    Contestant('hashed', _method('uniform', 'hashed'), sizes=few_sizes),
    *(
      _from_dense(
        f'dense, {storage}',
        _method('uniform', 'dense', storage),
        sizes=(0.3,),
      )
      for storage in ('int8', 'int4')
    ),
  ]


# What the search would be without one of its parts.
ABLATIONS = {
  'prior alone': {'search.score': 'prior', 'search.carry': 'dense'},
  'odds alone': {'search.score': 'odds'},
  'odds alone, argmax': {
    'search.score': 'odds',
    'search.discretise': 'argmax',
  },
  'words by frequency': {'search.order': 'frequency'},
  'no held-out data': {'search.held_out': False},
  'warm-up of random options': {'search.warmup': 0.5},
  'weights of the dense model': {'search.carry': 'dense'},
  'weights from noise': {'search.carry': 'noise'},
  'no dense model': {
    'search.start': 'noise',
    'search.order': 'frequency',
    'search.score': 'odds',
    'search.carry': 'supernet',
    'search.warmup': 0.5,
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
    most: int | None = None,
  ):
    """Loads nothing yet.

    Args:
      module: in `configs`.
      variant: of the config.
      sizes: shares of the dense table.
      few_sizes: of contestants that take long.
      thesis_sizes: of contestants in float32.
      ablations: whether to take the search apart as well.
      most: how many of the contestants there is time for.
    """
    self.__doc__ = f'The search and its baselines, configs/{module}:{variant}.'
    self._module, self._variant, self._sizes = module, variant, sizes
    self._contestants = _contestants(thesis_sizes, few_sizes)[:most]
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
    for seed in range(seeds):
      for contestant in self._contestants[: 6 if smoke else None]:
        if contestant.is_main or seed < 2:
          run = functools.partial(self._run, smoke, seed, contestant)
          jobs.append(
            (not contestant.is_main, f'{contestant.label} {seed}', run)
          )
    jobs.sort(key=lambda job: job[0])  # stable
    return [Job(name, run) for _, name, run in jobs]

  def _run(self, smoke: bool, seed: int, contestant: Contestant) -> list[Row]:
    config = self.config(smoke, seed, **contestant.fields)
    if contestant.trains_longer:
      config.finetune.epochs += config.search.epochs
    problem = make_problem(config, progress=False)
    stages = Stages(problem, config, None, progress=False)
    sizes = contestant.sizes or self._sizes
    if smoke:
      sizes = (0.1, 0.05)
    budgets = [int(size * problem.dense_bytes) for size in sizes]
    if contestant.label in _LOW_RANK:
      return _low_rank_rows(stages, contestant.label)
    name = config.method.name
    if name == 'dense':
      budgets = budgets[:1]  # whatever they are
    if name in ('search', 'bins'):
      ground = learned.prepare(stages, learn_splits=name == 'search')
      return _rows(contestant, lambda b: ground.learn(b).finish(), budgets)
    if name == 'compress':
      return _rows(contestant, strategies.compress_sizes(stages), budgets)
    make = functools.partial(strategies.STRATEGIES[name], stages)
    return _rows(contestant, make, budgets)

  def summary(self, rows: Sequence[Row]) -> list[Row]:
    """Means and deviations, and sizes at equal metric."""
    return summarise(rows)

  def plot(self, rows: Sequence[Row]) -> Any:
    """Axes of the test metric against size, ablations left out.

    Zoomed to where the search and `compress` are: small ranks are far below.
    """
    ablations = {f'search, {name}' for name in ABLATIONS}
    shown = [row for row in rows if row['label'] not in ablations]
    higher_is_better = rows[0]['higher_is_better']
    found = report_comparison.compare(shown, higher_is_better)
    axes = pictures.plot_comparison(found, 'search')
    near = [
      row['value'] for row in rows if row['label'] in ('search', 'compress')
    ]
    if near:
      room = _ZOOM * (max(near) - min(near))
      side = 'bottom' if higher_is_better else 'top'
      end = min(near) - room if higher_is_better else max(near) + room
      axes.set_ylim(**{side: end})
    return axes


def _low_rank_rows(stages: Stages, label: str) -> list[Row]:
  features = stages.problem.features
  rows = []
  for share in RANK_SHARES:
    option = f'low_rank(rank={max(1, round(share * features))})'
    with stages.config.unlocked():
      stages.config.method.option = option
    enough = 2 * stages.problem.dense_bytes
    rows.append(_row(label, strategies.uniform(stages, enough)))
  return rows


def _rows(contestant: Contestant, make, budgets) -> list[Row]:
  """A row for each budget that something fits into."""
  rows = []
  for budget in budgets:
    try:
      outcome = make(budget)
    except ValueError as error:
      if 'fit' not in str(error):
        raise
      continue
    rows.append(_row(contestant.label, outcome))
    if outcome.scheme is not None:
      share = budget / outcome.stages.problem.dense_bytes
      rows[-1]['budget'] = float(f'{share:.3g}')
  return rows


def _row(label: str, outcome: Outcome) -> Row:
  start = time.monotonic()
  found = launch.summary(outcome, None)
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


def _groups(outcome: Outcome) -> str | None:
  if outcome.scheme is None:
    return None
  return ', '.join(
    f'{group.size} {methods.describe(group.method)}'
    for group in outcome.scheme.groups
  )


def low_rank_ratio(rows: Sequence[Row], value: float, better: int) -> float:
  """The size at which uniform low rank reaches a metric.

  Each rank counts with the better of its two trainings. Between two ranks by
  the logarithm of the size; the curve is made monotone first, in favour of low
  rank.

  Args:
    rows: of all contestants.
    value: mean test metric to reach.
    better: 1 if higher is better, -1 if lower.

  Returns:
    A share of the dense table; infinite if no rank reaches it.
  """
  best: dict[float, float] = {}
  for label in _LOW_RANK:
    for ratio, own in _by_size(rows, label).items():
      best[ratio] = max(best.get(ratio, -np.inf), better * _mean(own, 'value'))
  curve = sorted(best.items())
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


def _by_size(rows: Sequence[Row], label: str) -> dict[float, list[Row]]:
  """Rows of a label by their budget, or else by their size."""
  sizes: dict[float, list[Row]] = {}
  for row in rows:
    if row['label'] == label:
      # Sizes of equal ranks are equal but for a few bytes.
      size = row.get('budget') or float(f'{row["ratio"]:.2g}')
      sizes.setdefault(size, []).append(row)
  return sizes


def _paired(rows, size: float, own: Sequence[Row], digits: int) -> str:
  """The mean of the search at the same budget over the same seeds."""
  seeds = {row['seed'] for row in own}
  searches = _by_size(rows, 'search').get(size, [])
  same = [row for row in searches if row['seed'] in seeds]
  return f'{_mean(same, "value"):.{digits}f}' if same else ''


def _mean(rows: Sequence[Row], field: str) -> float:
  return float(np.mean([row[field] for row in rows]))


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
    for size, own in sorted(_by_size(rows, label).items()):
      mean, ratio = _mean(own, 'value'), _mean(own, 'ratio')
      at = low_rank_ratio(rows, mean, better)
      digits = 4 if better > 0 else 2
      spread = np.std([row['value'] for row in own])
      seconds = float(np.median([row['seconds'] for row in own]))
      table.append(
        {
          'method': label,
          'budget': f'{size:.2%}',
          'used': f'{ratio:.2%}',
          'test': f'{mean:.{digits}f} ± {spread:.{digits}f}',
          'seeds': len(own),
          'search, these seeds': _paired(rows, size, own, digits),
          'of low rank': 'not reached' if at == np.inf else f'{ratio / at:.1%}',
          'seconds': round(seconds, 1),
        }
      )
  return table
