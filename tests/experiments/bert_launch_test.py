"""Whole runs of a tiny BERT: directories, resuming, every task, bad input."""

import dataclasses
import json
import shutil
import struct

import numpy as np
import pytest

import embedcomp
from configs import bert_compress, common
from embedcomp import data as data_lib
from embedcomp.io.bert import config_json
from embedcomp.workflows import evaluate
from experiments import launch, strategies
from experiments.problems import make_problem, tiny_bert
from experiments.trainer import Trainer
from tests.experiments import small_bert
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_bert.write(tmp_path_factory.mktemp('text'))


@pytest.fixture(scope='module')
def config(folder):
  more = {'compare_dense': True, 'optim.best_of': 2, 'run.log_every': 5}
  more |= {'optim.epochs': 10.0, 'finetune.epochs': 6.0}
  more |= {'run.checkpoint_every': 10}
  return small_bert.config_of(folder, **more)


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, launch.run(config, workdir, progress=False)


def tensor_bytes(path):
  """What the tensors of a safetensors file take, by its header."""
  content = path.read_bytes()
  (size,) = struct.unpack('<Q', content[:8])
  header = json.loads(content[8 : 8 + size])
  header.pop('__metadata__', None)
  return sum(
    end - start for start, end in (t['data_offsets'] for t in header.values())
  )


def measured(workdir, kind, dataset, scale=1.0):
  """The model that a run has left, on texts that its own tokenizer reads."""
  head = 'sentence' if kind == 'similarity' else 'classification'
  model, params = embedcomp.from_pretrained(workdir / 'model', head=head)
  tokenizer = data_lib.SubwordTokenizer.load(workdir / 'model')
  documents = dataset.splits['test']
  if documents.has_real_labels:
    labels = documents.labels / scale
    documents = dataclasses.replace(documents, labels=labels)
  return evaluate.evaluate(
    kind, model, params, tokenizer, documents, progress=False
  )


def test_the_directory_has_the_metric_that_the_result_says(finished, folder):
  workdir, result = finished
  assert json.loads((workdir / 'result.json').read_text()) == result
  found = measured(workdir, 'classification', data_lib.load(folder))
  assert found['accuracy'] == result['value']
  assert result['value'] > 0.8  # chance is 0.5
  fields = json.loads((workdir / 'model' / 'config.json').read_text())
  assert config_json.label_names(fields) == ['topic0', 'topic1']


def test_bytes_are_those_of_the_files(finished):
  workdir, result = finished
  model, params = embedcomp.from_pretrained(
    workdir / 'model', head='classification'
  )
  scheme, words = embedcomp.load(workdir / 'embedding.safetensors')
  assert model.embedder.scheme == scheme
  assert scheme.order == 'identity'
  assert params['embedder'].keys() == words.keys()
  size = tensor_bytes(workdir / 'model' / 'embedding.safetensors')
  assert scheme.num_bytes == size == result['embedding_bytes']
  assert 0.85 * 0.3 < result['ratio'] <= 0.3
  others = tensor_bytes(workdir / 'model' / 'model.safetensors')
  *parts, whole = result['bytes_by_part']
  assert whole['part'] == 'whole model'
  assert whole['after'] == size + others == result['model_bytes']
  assert whole['after'] == sum(part['after'] for part in parts)
  expected = {'word embeddings', 'other embeddings', 'layers', 'pooler'}
  assert {part['part'] for part in parts} == {*expected, 'classifier'}
  dense = 4 * scheme.vocab_size * scheme.features
  assert parts[0] == {
    'part': 'word embeddings',
    'before': dense,
    'after': size,
  }


def test_the_loss_of_training_falls(finished):
  lines = (finished[0] / 'metrics.jsonl').read_text().splitlines()
  losses = [
    line['loss']
    for line in map(json.loads, lines)
    if line['stage'] == 'dense' and 'loss' in line
  ]
  assert np.mean(losses[-2:]) < losses[0] / 2


def test_the_best_model_on_validation_data_is_kept(finished):
  workdir, result = finished
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  seen = {'dense': [], 'finetune': []}
  for line in map(json.loads, lines):
    if 'validation_accuracy' in line:
      seen[line['stage']].append(line['validation_accuracy'])
  assert len(seen['dense']) > 2
  assert result['dense_validation'] == max(seen['dense'])
  # What is stored is rounded further than what was trained.
  assert result['validation'] == pytest.approx(max(seen['finetune']), abs=0.1)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bytes(
  config, finished, tmp_path
):
  """As if killed after the first checkpoint of the final training."""
  workdir, whole = finished
  again = tmp_path / 'again'
  shutil.copytree(workdir, again)
  kept = [int(path.name) for path in (again / 'checkpoints/finetune').iterdir()]
  assert len(kept) > 1
  shutil.rmtree(again / 'checkpoints/finetune' / str(max(kept)))
  shutil.rmtree(again / 'model')
  (again / 'result.json').unlink()
  result = launch.run(config, again, progress=False)
  assert result['value'] == whole['value']
  for path in (workdir / 'model').iterdir():
    assert (again / 'model' / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_the_dense_baseline_is_fine_tuning(config, finished, folder, tmp_path):
  dense = config.copy_and_resolve_references()
  dense.method.name = 'dense'
  result = launch.run(dense, tmp_path, progress=False)
  assert result['value'] == finished[1]['dense_value']
  assert result['scheme'] is None
  assert result['model_bytes'] == result['dense_model_bytes']
  found = measured(tmp_path, 'classification', data_lib.load(folder))
  assert found['accuracy'] == result['value']
  assert not (tmp_path / 'model' / 'embedding.safetensors').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
  ('variant', 'fields'),
  [
    ('similarity', {}),
    ('regression', {'search.by_counts': 0.0}),
    ('masked_lm', {'finetune.epochs': 6.0}),
  ],
)
def test_every_task_leaves_a_directory(folder, tmp_path, variant, fields):
  config = small_bert.config_of(folder, variant, **fields)
  result = launch.run(config, tmp_path, progress=False)
  assert 0.7 * 0.3 < result['ratio'] <= 0.3
  assert np.isfinite(result['value'])
  assert 'search' not in result['seconds_by_stage']  # the prior decides alone
  if variant == 'masked_lm':
    assert result['metric'] == 'perplexity'
    model, _ = embedcomp.from_pretrained(tmp_path / 'model', head='masked_lm')
    assert model.embedder.scheme.num_bytes == result['embedding_bytes']
    assert model.embedder.scheme.order == 'identity'
    assert 1 < result['value'] < model.config.vocab_size
    return
  dataset = data_lib.load(
    folder,
    data_lib.Fields(pair_field='other', label_field='score', real_labels=True),
  )
  found = measured(tmp_path, variant, dataset, scale=5.0)
  assert result['metric'] == 'spearman'
  # Other batches round otherwise, and numbers that are close change places.
  assert found['spearman'] == pytest.approx(result['value'], abs=0.01)


@pytest.mark.slow
def test_hand_made_groups_are_trained(folder):
  fields = {'method.name': 'hand_split', 'method.storage': 'int8'}
  config = small_bert.config_of(folder, **fields)
  problem = make_problem(config, progress=False)
  budget = int(0.4 * problem.dense_bytes)
  trainer = Trainer(problem, config, None, progress=False)
  outcome = strategies.hand_split(trainer, budget)
  assert outcome.scheme.num_bytes <= budget
  assert len(outcome.scheme.groups) > 1
  # All but the table starts from the pretrained model.
  before = problem.pretrained['params']['bert']['embeddings']
  after = outcome.variables['params']['bert']['embeddings']
  for name in ('position', 'token_type'):
    change = after[name]['embedding'] - before[name]['embedding']
    assert 0 < np.abs(change).max() < 0.2


def other_tokenizer(folder, tmp_path):
  """A model whose tokenizer is of a larger one."""
  texts = data_lib.load(folder).splits['train'].texts
  shutil.copytree(tiny_bert.folder(texts), tmp_path / 'model')
  larger = tiny_bert.folder([f'{text} x{n}yz' for n, text in enumerate(texts)])
  shutil.copyfile(
    larger / 'tokenizer.json', tmp_path / 'model' / 'tokenizer.json'
  )
  return str(tmp_path / 'model')


@pytest.mark.parametrize(
  ('variant', 'fields', 'reason'),
  [
    ('smoke', {'bert.path': '/no/model'}, 'bert.path must be a directory'),
    ('smoke', {'bert.path': other_tokenizer}, 'not of one model'),
    ('smoke', {'task': 'translation'}, 'task of a BERT must be one of'),
    ('regression', {'data.label_field': 'label'}, 'must be a number'),
    ('smoke', {'data.label_field': 'mood'}, "'mood'"),
    ('similarity', {'data.pair_field': None}, 'set data.pair_field'),
    ('smoke', {'data.buckets': (32, 256)}, 'data.buckets must not go beyond'),
    ('masked_lm', {'data.length': 200}, 'data.length must not go beyond'),
  ],
)
def test_what_cannot_be_run_says_why_in_a_line(
  folder, tmp_path, variant, fields, reason
):
  fields = {
    name: value(folder, tmp_path) if callable(value) else value
    for name, value in fields.items()
  }
  config = small_bert.config_of(folder, variant, **fields)
  with pytest.raises(ValueError, match=reason) as error:
    make_problem(config, progress=False)
  assert '\n' not in str(error.value)


def test_texts_without_labels_cannot_be_classified(tmp_path):
  for split in ('train', 'test'):
    (tmp_path / f'{split}.txt').write_text('some words\nand others\n')
  config = small_bert.config_of(tmp_path)
  with pytest.raises(ValueError, match='needs names of classes as labels'):
    make_problem(config, progress=False)


def test_every_variant_is_a_config():
  for variant in bert_compress.VARIANTS:
    config = bert_compress.get_config(variant)
    assert set(config) == set(common.get_config(config.task))
  with pytest.raises(ValueError, match='variant must be one of'):
    bert_compress.get_config('magic')
