"""Whole runs on a small text: files, resuming, every strategy, bad input."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

import embedcomp
from configs import classify, common, language_model
from embedcomp.data import Vocabulary
from embedcomp.training import loop
from experiments import launch, strategies
from experiments.problem import make_problem
from experiments.stages import Stages

TOPICS = ('ball team win game', 'vote law tax court')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Two topics that share most of their words."""
  rng = np.random.default_rng(0)
  common_words = [f'w{i}' for i in range(150)]
  odds = 1 / np.arange(1, 151)
  path = tmp_path_factory.mktemp('text')
  for split, num in (('train', 120), ('test', 40)):
    lines = ['text\tlabel']
    for number in range(num):
      words = rng.choice(common_words, 8, p=odds / odds.sum()).tolist()
      words += rng.choice(TOPICS[number % 2].split(), 3).tolist()
      lines.append(f'{" ".join(words)}\ttopic{number % 2}')
    (path / f'{split}.tsv').write_text('\n'.join(lines) + '\n')
  return path


def small_config(folder, **fields) -> ConfigDict:
  config = classify.get_config('smoke')
  config.data.name = str(folder)
  config.data.min_count = 1
  config.data.buckets = (16,)
  config.model.features = 8
  config.optim.batch_size = 16
  config.budget = 0.2
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def finished(folder, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, launch.run(small_config(folder), workdir, progress=False)


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
  assert (workdir / 'report.html').exists()


def test_an_interrupted_run_ends_with_the_same_bytes(
  folder, finished, tmp_path, monkeypatch
):
  class PullThePlugError(Exception):
    pass

  # Dies while it saves the checkpoint before the last of the search.
  save, calls = loop.Checkpoints.save, []

  def dying_save(self, step, *args):
    calls.append(self.folder.name)
    if calls.count('search') == 2:
      raise PullThePlugError
    save(self, step, *args)

  config = small_config(folder, **{'run.checkpoint_every': 10})
  monkeypatch.setattr(loop.Checkpoints, 'save', dying_save)
  with pytest.raises(PullThePlugError):
    launch.run(config, tmp_path, progress=False)
  monkeypatch.undo()
  result = launch.run(config, tmp_path, progress=False)
  workdir, whole = finished
  assert result['value'] == whole['value']
  name = 'embedding.safetensors'
  assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()


def test_a_workdir_of_another_config_is_refused(folder, finished):
  other = small_config(folder, **{'optim.learning_rate': 0.5})
  with pytest.raises(ValueError, match='learning_rate'):
    launch.run(other, finished[0], progress=False)


@pytest.mark.parametrize(
  'fields',
  [
    {'method.name': 'uniform', 'method.option': 'pq', 'method.storage': 'int8'},
    {'method.name': 'hand_split', 'method.storage': 'int8'},
    {'method.name': 'compress'},
    {'method.name': 'bins', 'search.options': 'precision'},
    {'method.name': 'random', 'search.trials': 2},
    {
      'method.name': 'search',
      'search.score': 'odds',
      'search.discretise': 'argmax',
    },
  ],
  ids=lambda fields: fields['method.name'],
)
def test_every_strategy_stays_within_the_budget(folder, fields):
  config = small_config(
    folder, **fields, **{'optim.epochs': 1.0, 'search.epochs': 1.0}
  )
  problem = make_problem(config, progress=False)
  stages = Stages(problem, config, None, progress=False)
  budget = int(0.3 * problem.dense_bytes)
  outcome = strategies.STRATEGIES[config.method.name](stages, budget)
  assert outcome.scheme.num_bytes <= budget
  figures = stages.evaluate(outcome.embedder, outcome.variables, 'test')
  assert 0 <= figures['accuracy'] <= 1
  assert np.isfinite(figures['loss'])


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
    ({'tolerance': 0.1, 'method.name': 'uniform'}, 'tolerance'),
  ],
)
def test_what_cannot_be_run_says_why(folder, tmp_path, fields, reason):
  quick = {'optim.epochs': 0.1, 'search.epochs': 0.1, 'compare_dense': False}
  with pytest.raises(ValueError, match=reason):
    launch.run(
      small_config(folder, **quick, **fields), tmp_path, progress=False
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
