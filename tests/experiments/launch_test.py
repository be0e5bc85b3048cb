"""Whole runs on a small text: files, resuming, every strategy, bad input."""

import dataclasses
import json
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest

import embedcomp
from configs import classify, common, language_model
from embedcomp.data import Vocabulary
from embedcomp.search import Sensitivity, search_space
from embedcomp.training.checkpoints import Checkpoints
from experiments import launch, learned, strategies
from experiments.problems import make_problem
from experiments.results import untrained
from experiments.trainer import Trainer
from tests.experiments import small_text


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_text.write(tmp_path_factory.mktemp('text'))


@pytest.fixture(scope='module')
def finished(folder, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, launch.run(
    small_text.config_of(folder), workdir, progress=False
  )


def test_a_run_leaves_what_its_result_says(finished):
  workdir, result = finished
  assert json.loads((workdir / 'result.json').read_text()) == result
  promised = 'task split metric value dense_value embedding_bytes seed steps'
  promised += ' dense_embedding_bytes embedding_params model_bytes ratio'
  assert set(f'{promised} seconds device command'.split()) <= set(result)
  scheme, _ = embedcomp.load(workdir / 'embedding.safetensors')
  assert scheme.num_bytes == result['embedding_bytes']
  vocabulary = Vocabulary.load(workdir / 'vocabulary.json')
  assert scheme.vocab_size == len(vocabulary)
  budget = 0.2 * result['dense_embedding_bytes']
  assert 0.9 * budget < result['embedding_bytes'] <= budget
  assert result['value'] > 0.7  # chance is 0.5
  # 7 batches an epoch: 2 epochs to start, 2 of search, 1 of fine-tuning.
  assert result['steps'] == (2 + 2 + 1) * 7
  assert (workdir / 'report.html').exists()


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bytes(
  folder, finished, tmp_path, monkeypatch
):
  class PullThePlugError(Exception):
    pass

  # Dies while it saves the checkpoint before the last of the search.
  save, calls = Checkpoints.save, []

  def dying_save(self, step, *args):
    calls.append(self.folder.name)
    if calls.count('search') == 2:
      raise PullThePlugError
    save(self, step, *args)

  config = small_text.config_of(folder, **{'run.checkpoint_every': 10})
  monkeypatch.setattr(Checkpoints, 'save', dying_save)
  with pytest.raises(PullThePlugError):
    launch.run(config, tmp_path, progress=False)
  monkeypatch.undo()
  result = launch.run(config, tmp_path, progress=False)
  workdir, whole = finished
  assert result['value'] == whole['value']
  name = 'embedding.safetensors'
  assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()


def test_a_workdir_of_another_config_is_refused(folder, finished):
  other = small_text.config_of(folder, **{'optim.learning_rate': 0.5})
  with pytest.raises(ValueError, match='learning_rate'):
    launch.run(other, finished[0], progress=False)


STRATEGIES = {
  'uniform': {'method.option': 'pq', 'method.storage': 'int8'},
  'hand_split': {'method.storage': 'int8'},
  'compress': {},
  'bins': {'search.options': 'precision'},
  'random': {'search.trials': 2},
  'search': {'search.score': 'learned', 'search.discretize': 'argmax'},
}


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] * (name != 'uniform'))
    for name in STRATEGIES
  ],
)
def test_every_strategy_stays_within_the_budget(folder, name):
  fields = {'optim.epochs': 1.0, 'search.epochs': 1.0, 'method.name': name}
  config = small_text.config_of(folder, **fields, **STRATEGIES[name])
  problem = make_problem(config, progress=False)
  trainer = Trainer(problem, config, None, progress=False)
  budget = int(0.3 * problem.dense_bytes)
  outcome = strategies.STRATEGIES[name](trainer, budget)
  assert outcome.scheme.num_bytes <= budget
  figures = outcome.evaluate('test')
  assert 0 <= figures['accuracy'] <= 1
  assert np.isfinite(figures['loss'])


@pytest.mark.slow
def test_language_models_are_searched_too(folder, tmp_path):
  config = language_model.get_config('smoke')
  config.data.name = str(folder)
  config.data.length = 8
  config.model.features = 8
  config.model.hidden_size = 8
  config.optim.epochs = 1.0
  config.search.epochs = 1.0
  config.compare_dense = False
  config.budget = 0.3
  result = launch.run(config, tmp_path, progress=False)
  assert result['metric'] == 'perplexity'
  assert (
    1 < result['value'] < len(Vocabulary.load(tmp_path / 'vocabulary.json'))
  )


@pytest.mark.parametrize(
  ('fields', 'reason'),
  [
    ({'budget': 3}, 'fit'),
    ({'method.name': 'magic'}, 'method.name must be one of'),
    ({'model.name': 'magic'}, 'model.name must be one of'),
    ({'budget': 'much'}, 'budget must be'),
    ({'optim.table_rate': -1.0}, 'optim.table_rate must not be negative'),
    ({'tolerance': 0.1, 'method.name': 'uniform'}, 'tolerance'),
  ],
)
def test_what_cannot_be_run_says_why(folder, tmp_path, fields, reason):
  quick = {'optim.epochs': 0.1, 'search.epochs': 0.1, 'compare_dense': False}
  with pytest.raises(ValueError, match=reason):
    launch.run(
      small_text.config_of(folder, **quick, **fields), tmp_path, progress=False
    )


@pytest.mark.parametrize(
  'module', [classify, language_model], ids=lambda module: module.__name__
)
def test_every_variant_is_a_config(module):
  for variant in module.VARIANTS:
    config = module.get_config(variant)
    assert set(config) == set(common.get_config(config.task))
  with pytest.raises(ValueError, match='variant must be one of'):
    module.get_config('magic')


@pytest.mark.parametrize(
  ('override', 'reason'),
  [
    ('--config.optim.learnin_rate=3', "'learnin_rate'. Did you mean"),
    pytest.param(
      *('--config.serch.epochs=3', "'serch'. Did you mean"),
      marks=pytest.mark.slow,
    ),
    pytest.param(
      *('--config.optim.learning_rate=fast', 'could not convert'),
      marks=pytest.mark.slow,
    ),
  ],
)
def test_wrong_overrides_are_refused_in_a_line(tmp_path, override, reason):
  command = [sys.executable, '-m', 'experiments.main']
  command += ['--config=configs/classify.py:smoke', f'--workdir={tmp_path}']
  ended = subprocess.run(
    [*command, override], capture_output=True, text=True, check=False
  )
  assert ended.returncode == 1
  assert reason in ended.stderr
  assert 'Traceback' not in ended.stderr
  assert not list(tmp_path.iterdir())


def small_trainer(folder, **fields):
  config = small_text.config_of(folder, **fields)
  problem = make_problem(config, progress=False)
  return Trainer(problem, config, None, progress=False)


def test_words_in_another_order_are_the_same_problem(folder):
  trainer = small_trainer(folder)
  start = learned.starting_model(trainer)
  moved, renumbered = learned.sorted_by_need(trainer, start)
  drops = moved.problem.sensitivity.drops
  assert (np.diff(drops[2:]) <= 0).all()
  before, after = trainer.problem.vocabulary, moved.problem.vocabulary
  assert before.words != after.words
  assert dict(zip(before.words, before.counts)) == dict(
    zip(after.words, after.counts)
  )
  for split in ('validation', 'test'):
    assert start.evaluate(split) == pytest.approx(renumbered.evaluate(split))


def test_a_language_model_in_another_order_is_the_same(folder):
  config = language_model.get_config('smoke')
  config.data.name = str(folder)
  config.data.length = 8
  config.optim.epochs = 1.0
  problem = make_problem(config, progress=False)
  trainer = Trainer(problem, config, None, progress=False)
  start = learned.starting_model(trainer)
  _, renumbered = learned.sorted_by_need(trainer, start)
  assert start.evaluate('test') == pytest.approx(
    renumbered.evaluate('test'), rel=1e-5
  )


@pytest.mark.parametrize(('best_of', 'kept'), [(2, 1), (0, None)])
def test_the_params_that_are_best_on_validation_data_are_kept(
  folder, monkeypatch, best_of, kept
):
  trainer = small_trainer(
    folder, **{'optim.best_of': best_of, 'run.log_every': 1}
  )
  seen, values = [], iter((0.5, 0.9, 0.7, 0.9, 0.6, 0.1))

  def measure(self, task, variables, split):
    assert split == 'validation'
    seen.append(jax.device_get(variables['params']))
    return {'accuracy': next(values)}

  monkeypatch.setattr(Trainer, '_measure', measure)
  problem = trainer.problem
  embedder = nn.Embed(problem.vocab_size, problem.features)
  job = trainer.plan_training('dense', embedder)
  params = trainer.train(job)['params']
  if kept is None:
    assert not seen
    return
  assert len(seen) == -(-job.num_steps // (problem.train.num_batches // 2))
  jax.tree.map(np.testing.assert_array_equal, params, seen[kept])
  last = seen[-1]['embedder']['embedding']
  assert (params['embedder']['embedding'] != last).any()


@pytest.mark.parametrize(('is_dense', 'ratio'), [(True, 1), (False, 20)])
def test_a_compressed_table_learns_at_a_rate_of_its_own(
  folder, is_dense, ratio
):
  rates = {'optim.table_rate': 20.0, 'optim.warmup': 0.0}
  trainer = small_trainer(folder, **rates)
  problem = trainer.problem
  shape = problem.vocab_size, problem.features
  low_rank = embedcomp.methods.LowRank(4, storage='float32')
  group = embedcomp.Group(problem.vocab_size, low_rank)
  scheme = embedcomp.Scheme(problem.features, (group,))
  embedder = nn.Embed(*shape) if is_dense else embedcomp.GroupedEmbed(scheme)
  two_steps = 2 / problem.train.num_batches  # the rate of the first is zero
  job = trainer.plan_training('dense', embedder, epochs=two_steps)
  before = jax.device_get(job.state.params)
  after = trainer.train(job)['params']
  moved = {
    name: max(
      np.abs(new - old).max()
      for new, old in zip(*map(jax.tree.leaves, (after[name], before[name])))
    )
    for name in before
  }
  table = moved.pop('embedder')
  # Where gradients agree Adam takes steps as long as its rate.
  np.testing.assert_allclose(table / max(moved.values()), ratio, rtol=0.02)


def test_words_that_tell_the_topics_come_first(folder):
  trainer = small_trainer(folder, **{'optim.epochs': 20.0})
  moved, _ = learned.sorted_by_need(trainer, learned.starting_model(trainer))
  telling = set(' '.join(small_text.TOPICS).split())
  assert telling & set(moved.problem.vocabulary.words[2:10])
  # They are far from the most frequent words.
  assert not telling & set(trainer.problem.vocabulary.words[2:4])
  assert telling <= set(moved.problem.vocabulary.words[2:20])


@pytest.mark.parametrize(
  ('fields', 'reason'),
  [
    ({'order': 'alphabet'}, 'config.search: order must be one of'),
    ({'discretize': 'argmax'}, "needs score='learned'"),
    ({'options': 'contextual'}, "needs score='prior'"),
    ({'by_counts': 1.5}, r'by_counts must be in \[0, 1\], got 1\.5'),
    ({'start': 'noise'}, "needs order='frequency'"),
    ({'score': 'prior'}, "set carry='dense'"),
    ({'carry': 'air'}, "carry must be one of .* got 'air'"),
    ({'warmup': 2.0}, r'warmup must be in \[0, 1\], got 2\.0'),
  ],
)
def test_searches_that_make_no_sense_are_refused(folder, fields, reason):
  fields = {f'search.{name}': value for name, value in fields.items()}
  with pytest.raises(ValueError, match=reason):
    learned.set_up(small_trainer(folder, **fields))


def test_the_prior_alone_trains_no_supernet(folder):
  trainer = small_trainer(
    folder, **{'search.score': 'prior', 'search.carry': 'dense'}
  )
  budget = int(0.3 * trainer.problem.dense_bytes)
  search = learned.set_up(trainer).learn(budget)
  assert 'search' not in search.timer.seconds
  outcome = search.finish()
  prior = search.setup.searcher.prior
  assert outcome.scheme == prior.curve.scheme(budget)
  assert outcome.scheme.num_bytes <= budget


def test_what_was_learned_counts_less_for_other_budgets(folder, monkeypatch):
  trainer = small_trainer(folder)
  budget = int(0.2 * trainer.problem.dense_bytes)
  search = learned.set_up(trainer).learn(budget)
  searcher, added = search.setup.searcher, []
  prior, evidence = searcher.prior, searcher.evidence(search.state)
  monkeypatch.setattr(
    type(prior.curve),
    'adjusted',
    lambda curve, losses: added.append(losses) or curve,
  )
  for size, share in ((budget, 1.0), (2 * budget, 0.5), (budget // 2, 0.5)):
    search.scheme(size)
    expected = -share * prior.temperature(size) * evidence
    np.testing.assert_allclose(added[-1], expected, rtol=0.01)
  assert np.abs(evidence).max() > 0


def test_words_of_batches_that_were_not_measured_count_too(folder):
  trainer = small_trainer(folder, **{'search.measured_batches': 2})
  start = learned.starting_model(trainer)
  problem = learned.sorted_by_need(trainer, start)[0].problem
  occurring = problem.counts > 0
  assert (problem.sensitivity.weights[occurring] > 0).all()
  assert (problem.sensitivity.drops[occurring] > 0).all()


def bins_of(trainer, start):
  point = learned.starting_point(trainer, start)
  return search_space(point, learned.search_config(trainer)).bins


def test_bins_of_words_by_frequency_are_made_from_counts(folder):
  trainer = small_trainer(folder, **{'search.order': 'frequency'})
  unmeasured = bins_of(trainer, untrained(trainer))
  moved = learned.sorted_by_need(trainer, learned.starting_model(trainer))
  assert moved[0].problem.sensitivity is not None
  assert bins_of(*moved) == unmeasured


def test_words_weigh_alike_where_none_matters(folder):
  problem = small_trainer(folder).problem
  nothing = np.zeros(problem.vocab_size)
  problem = dataclasses.replace(
    problem, sensitivity=Sensitivity(nothing, nothing)
  )
  weights = problem.importance
  assert (weights > 0).all()
  assert (weights == weights[0]).all()
