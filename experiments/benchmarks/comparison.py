"""The learned search beside its baselines on a task, at several sizes."""

import dataclasses
import functools
import importlib
import os
import time
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments import launch, learned, strategies
from experiments.benchmarks import contestants
from experiments.benchmarks.contestants import LOW_RANK, Contestant
from experiments.benchmarks.equal_metric import summarise
from experiments.benchmarks.record import Job, Row
from experiments.problems import make_problem
from experiments.report import comparison_page as report_comparison
from experiments.report import pictures
from experiments.results import Outcome, groups_in_words
from experiments.trainer import Trainer

# Room below the worst of search and compress, of their range.
_ZOOM = 0.5
_RANK_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Sizes of a comparison, as shares of the dense table.

  Attributes:
    main: of most contestants.
    few: of those that take long.
    in_float32: of those in float32.
    rank_shares: ranks of uniform low rank, as shares of the features.
  """

  main: tuple[float, ...]
  few: tuple[float, ...]
  in_float32: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
  rank_shares: tuple[float, ...] = _RANK_SHARES


class Comparison:
  """A benchmark (see `experiments.benchmarks.record`) of one config's task.

  Attributes:
    SEEDS: of the main rows if the command does not say.
  """

  SEEDS = 5

  def __init__(
    self,
    module: str,
    variant: str,
    sizes: Sizes,
    ablations: bool = False,
    labels: tuple[str, ...] | None = None,
    data: str | None = None,
  ):
    """Loads nothing yet.

    Args:
      module: in `configs`.
      variant: of the config.
      sizes: that are compared.
      ablations: whether to take the search apart as well.
      labels: of the contestants that there is time for; all if not given.
      data: a folder in EMBEDCOMP_BENCHMARK_DATA, if that is set, with the texts
        in `train`, `dev` and `test`; else the config says where they are.
    """
    self.__doc__ = f'The search and its baselines, configs/{module}:{variant}.'
    self._module, self._variant, self._sizes = module, variant, sizes
    self._data = data
    self._contestants = [
      one
      for one in contestants.contestants(sizes.in_float32, sizes.few)
      if labels is None or one.label in labels
    ]
    if ablations:
      self._contestants += contestants.ablations(sizes.few)
    self._base: tuple[str, Trainer] | None = None

  def config(self, smoke: bool, seed: int, **fields) -> ConfigDict:
    """The config of one run."""
    module = importlib.import_module(f'configs.{self._module}')
    config = module.get_config('smoke' if smoke else self._variant)
    config.update_from_flattened_dict({**fields, 'seed': seed})
    folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
    if self._data and folder and not smoke:
      config.data.name = os.path.join(folder, self._data)
      config.data.text_field, config.data.label_field = '0', '1'
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
    if contestant.trains_longer and config.search.score != 'prior':
      config.finetune.epochs += config.search.epochs
    trainer = self._trainer(config)
    problem = trainer.problem
    sizes = contestant.sizes or self._sizes.main
    if smoke:
      sizes = (0.1, 0.05)
    budgets = [int(size * problem.dense_bytes) for size in sizes]
    if contestant.label in LOW_RANK:
      return _low_rank_rows(trainer, contestant.label, self._sizes.rank_shares)
    name = config.method.name
    if name == 'dense':
      budgets = budgets[:1]  # whatever they are
    if name in ('search', 'bins'):
      setup = learned.set_up(trainer, learn_splits=name == 'search')
      return _rows(contestant, lambda b: setup.learn(b).finish(), budgets)
    if name == 'compress':
      return _rows(contestant, strategies.compress_sizes(trainer), budgets)
    make = functools.partial(strategies.STRATEGIES[name], trainer)
    return _rows(contestant, make, budgets)

  def _trainer(self, config: ConfigDict) -> Trainer:
    """Shares data and dense models with the contestant before."""
    common = config.copy_and_resolve_references()
    common.search = {'held_out': config.search.held_out}
    del common.method, common.finetune
    key = common.to_json()
    if self._base is None or self._base[0] != key:
      problem = make_problem(config, progress=False)
      self._base = key, Trainer(problem, config, None, progress=False)
    return dataclasses.replace(self._base[1], config=config)

  def summary(self, rows: Sequence[Row]) -> list[Row]:
    """Means and deviations, and sizes at equal metric."""
    return summarise(rows)

  def plot(self, rows: Sequence[Row]) -> Any:
    """Axes of the test metric against size, ablations left out.

    Zoomed to where the search and `compress` are: small ranks are far below.
    """
    ablations = {one.label for one in contestants.ablations(())}
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


def _low_rank_rows(
  trainer: Trainer, label: str, shares: Sequence[float]
) -> list[Row]:
  features = trainer.problem.features
  rows = []
  for share in shares:
    option = f'low_rank(rank={max(1, round(share * features))})'
    with trainer.config.unlocked():
      trainer.config.method.option = option
    enough = 2 * trainer.problem.dense_bytes
    rows.append(_row(label, strategies.uniform(trainer, enough)))
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
      share = budget / outcome.trainer.problem.dense_bytes
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
    'groups': outcome.scheme and groups_in_words(outcome.scheme),
  }
