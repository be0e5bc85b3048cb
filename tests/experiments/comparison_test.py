"""Sizes at equal metric, from rows of a comparison."""

import numpy as np
import pytest

from experiments.benchmarks import comparison, equal_metric, search_cost
from experiments.trainer import Trainer
from tests.experiments import small_text


def rows_of(label, ratio, *values):
  return [
    {
      'label': label,
      'ratio': ratio,
      'value': value,
      'seed': seed,
      'seconds': 1.0,
      'metric': 'accuracy',
      'embedding_bytes': int(1_000 * ratio),
      'higher_is_better': True,
    }
    for seed, value in enumerate(values)
  ]


ROWS = [
  *rows_of('low_rank', 0.1, 0.7, 0.9),
  *rows_of('low_rank', 0.4, 0.85, 0.95),
  *rows_of('search', 0.02, 0.85),
  *rows_of('search', 0.05, 0.99),
]


@pytest.fixture(name='small', scope='module')
def small_comparison(tmp_path_factory):
  folder = small_text.write(tmp_path_factory.mktemp('text'))

  class Small(comparison.Comparison):
    def config(self, smoke, seed, **fields):
      quick = {'optim.epochs': 1.0, 'search.trials': 2}
      return small_text.config_of(folder, **quick, **fields, seed=seed)

  sizes = comparison.Sizes((0.2, 0.3), few=(0.3,), rank_shares=(1 / 4, 1))
  return Small('classify', 'r52', sizes)


@pytest.mark.slow
def test_contestants_have_rows_within_their_budgets(small):
  wanted = ('dense 0', 'low rank, from dense 0', 'search 0')
  jobs = {job.name: job for job in small.jobs(smoke=False, seeds=1)}
  first = ('dense 0', 'low_rank 0', 'low rank, from dense 0', 'search 0')
  assert tuple(jobs)[:4] == first
  dense, low_rank, search = (jobs[name].run() for name in wanted)
  assert [row['ratio'] for row in dense] == [1.0]
  assert [row['label'] for row in low_rank] == ['low rank, from dense'] * 2
  assert search[0]['ratio'] <= 0.2 < search[1]['ratio'] <= 0.3
  phases = {'start', 'measure', 'search', 'finetune'}
  assert phases == set(search[0]['seconds_by_stage'])
  rows = [*dense, *low_rank, *search]
  assert all(0 <= row['value'] <= 1 for row in rows)
  assert len(small.summary(rows)) == len(rows)


def test_who_does_not_search_trains_as_long(small, monkeypatch):
  epochs = {}

  def fake_strategy(trainer, budget):
    epochs[trainer.config.method.name] = trainer.config.finetune.epochs
    raise ValueError('does not fit')

  monkeypatch.setattr(
    comparison.strategies,
    'STRATEGIES',
    dict.fromkeys(comparison.strategies.STRATEGIES, fake_strategy),
  )
  for contestant in small._contestants:
    if contestant.label in ('hand-split, int8', 'random search'):
      assert small._run(False, 0, contestant) == []
  config = small.config(False, 0)
  own, longer = epochs['random'], epochs['hand_split']
  assert own == config.finetune.epochs
  assert longer == config.finetune.epochs + config.search.epochs


def test_contestants_share_the_dense_model_of_a_seed(small, monkeypatch):
  trained = []
  plan = Trainer.plan_training

  def noted(trainer, stage, *args, **kwargs):
    trained.append((trainer.config.seed, stage))
    return plan(trainer, stage, *args, **kwargs)

  monkeypatch.setattr(Trainer, 'plan_training', noted)
  monkeypatch.setattr(small, '_base', None)
  jobs = {job.name: job for job in small.jobs(smoke=False, seeds=2)}
  rows = [
    jobs[name].run()
    for name in ('dense 0', 'low rank, from dense 0', 'dense 1')
  ]
  dense = [seed for seed, stage in trained if stage == 'dense']
  assert dense == [0, 1]
  # Its time counts for both, though it was spent once.
  seconds = [row['seconds_by_stage']['dense'] for row in (*rows[0], *rows[1])]
  assert len(set(seconds)) == 1


@pytest.mark.slow
def test_the_cost_of_a_search_is_measured(small, monkeypatch):
  monkeypatch.setattr(
    search_cost, '_SMOKE', {'small': lambda: small.config(True, 0)}
  )
  rows = [
    row for job in search_cost.jobs(smoke=True, seeds=1) for row in job.run()
  ]
  assert [row['what'] for row in rows] == ['step', 'whole']
  step, whole = rows
  assert step['over low rank'] > step['of which codes'] > 0
  total = whole['over plain training'] * whole['seconds of plain training']
  assert sum(whole['seconds_by_stage'].values()) < total
  assert 0 < whole['seconds of compiling'] < total
  assert whole['compiled, over plain training'] > 0
  # Not as for the steps, whose table means nothing.
  assert {'start', 'measure'} <= set(whole['seconds_by_stage'])
  assert 0 <= whole['carried'] <= 1
  (line,) = search_cost.summary(rows)
  assert float(line['all of it / plain training']) > 0


def test_the_better_of_two_low_rank_trainings_counts():
  rows = [*ROWS, *rows_of('low rank, from dense', 0.1, 0.85)]
  assert equal_metric.low_rank_ratio(rows, 0.85, 1) == pytest.approx(0.1)


def test_sizes_lie_between_ranks_by_their_logarithm():
  # 0.85 is half way from 0.8 to 0.9, so the size is the geometric mean.
  at = equal_metric.low_rank_ratio(ROWS, 0.85, 1)
  np.testing.assert_allclose(at, np.sqrt(0.1 * 0.4))


@pytest.mark.parametrize(
  ('value', 'ratio'), [(0.5, 0.1), (0.9, 0.4), (0.95, np.inf)]
)
def test_sizes_beyond_the_curve(value, ratio):
  assert equal_metric.low_rank_ratio(ROWS, value, 1) == pytest.approx(ratio)


def test_a_larger_rank_that_is_worse_does_not_hurt_low_rank():
  rows = [*ROWS, *rows_of('low_rank', 0.8, 0.6)]
  assert equal_metric.low_rank_ratio(rows, 0.9, 1) == pytest.approx(0.4)


def test_lower_metrics_may_be_better():
  rows = [
    *rows_of('low_rank', 0.1, 120.0),
    *rows_of('low_rank', 0.4, 100.0),
  ]
  at = equal_metric.low_rank_ratio(rows, 110.0, -1)
  np.testing.assert_allclose(at, np.sqrt(0.1 * 0.4))


def test_the_summary_has_a_row_for_each_size():
  table = equal_metric.summarise(ROWS)
  assert [row['method'] for row in table] == ['low_rank'] * 2 + ['search'] * 2
  assert table[0]['test'] == '0.8000 ± 0.1000'
  assert table[2]['of low rank'] == '10.0%'
  assert table[3]['of low rank'] == 'not reached'
