"""Whole runs in which a tiny BERT is taught by what it was."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import embedcomp
from configs import bert_distil, common
from embedcomp import data as data_lib
from experiments import launch
from experiments.problems import make_problem
from tests.experiments import small_bert
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_bert.write(tmp_path_factory.mktemp('text'))


def config_of(folder, variant='smoke', **fields):
  config = bert_distil.get_config(variant)
  small_bert.shrink(config)
  config.bert.path = 'tiny'
  config.data.name = str(folder)
  config.optim.best_of = 0
  config.optim.epochs = 0.0
  config.optim.learning_rate = 0.01
  config.finetune.learning_rate = 1e-3
  config.finetune.epochs = 6.0
  config.search.measured_batches = 4
  config.optim.table_rate = 2.0
  config.budget = 0.08
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def finished(folder, tmp_path_factory):
  """Plain text alone, from a model that is not trained before."""
  workdir = tmp_path_factory.mktemp('general')
  return workdir, launch.run(config_of(folder), workdir, progress=False)


def test_every_variant_is_a_config():
  known = common.get_config('classification')
  for variant in bert_distil.VARIANTS:
    config = bert_distil.get_config(variant)
    assert set(config) == set(known)
    for section in ('data', 'bert', 'distil', 'optim', 'search'):
      assert set(config[section]) == set(known[section])
  with pytest.raises(ValueError, match='variant must be one of'):
    bert_distil.get_config('magic')


def stages_of(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return {json.loads(line)['stage'] for line in lines}


@pytest.mark.slow
def test_a_search_needs_no_labels(finished):
  workdir, result = finished
  assert result['metric'] == 'cosine'
  assert result['dense_value'] == pytest.approx(1, abs=1e-5)
  assert 0.9 < result['value'] < 1
  assert result['ratio'] <= 0.08
  assert stages_of(workdir) == {'finetune'}  # the dense model is as it came


def test_distillation_brings_the_student_back(finished, folder, tmp_path):
  """The same scheme and no step of training."""
  config = config_of(folder, **{'finetune.epochs': 0.0})
  before = launch.run(config, tmp_path / 'run', progress=False)
  _, after = finished
  assert before['scheme'] == after['scheme']
  assert before['value'] < after['value']
  assert before['steps'] == 0 < after['steps']


def test_a_compressed_model_is_trained_on_as_it_is(finished, folder, tmp_path):
  workdir, result = finished
  fields = {'method.name': 'kept', 'compare_dense': False}
  fields |= {'bert.path': str(workdir / 'model'), 'finetune.epochs': 0.0}
  same = launch.run(
    config_of(folder, **fields), tmp_path / 'same', progress=False
  )
  assert same['scheme'] == result['scheme']
  assert same['value'] == pytest.approx(1, abs=1e-5)  # it teaches itself
  for name in ('model.safetensors', 'tokenizer.json'):
    files = [(path / 'model' / name) for path in (workdir, tmp_path / 'same')]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_teacher_in_another_order_of_words_says_the_same(
  finished, folder, tmp_path
):
  """A student of the compressed model, whose ids were sorted anew."""
  workdir, result = finished
  fields = {'method.name': 'kept', 'compare_dense': False}
  fields |= {'bert.path': str(workdir / 'model'), 'finetune.epochs': 0.0}
  tiny = make_problem(config_of(folder), progress=False).path
  fields['distil.teacher'] = str(tiny)
  found = launch.run(
    config_of(folder, **fields), tmp_path / 'run', progress=False
  )
  assert found['value'] == pytest.approx(result['value'], abs=1e-5)


@pytest.mark.slow
def test_classifiers_have_labels_and_a_teacher(folder, tmp_path):
  teacher = config_of(
    folder, 'task', **{'method.name': 'dense', 'optim.epochs': 8.0}
  )
  dense = launch.run(teacher, tmp_path / 'teacher', progress=False)
  assert dense['value'] > 0.8
  fields = {
    'bert.path': str(tmp_path / 'teacher' / 'model'),
    'distil.teacher': str(tmp_path / 'teacher' / 'model'),
    'distil.cache': str(tmp_path / 'said'),
    'distil.share': 0.5,
    'distil.relations': 1.0,
    'distil.relation_heads': 2,
  }
  config = config_of(folder, 'task', **fields)
  student = launch.run(config, tmp_path / 'student', progress=False)
  assert student['dense_value'] == dense['value']
  assert student['value'] > 0.8
  assert [path.name for path in (tmp_path / 'said').iterdir()] == [
    'train.array_record'
  ]
  lines = (tmp_path / 'student' / 'metrics.jsonl').read_text().splitlines()
  assert {'logits', 'hidden', 'relations'} <= json.loads(lines[-1]).keys()


@pytest.mark.slow
def test_students_may_have_fewer_layers(folder, tmp_path):
  fields = {'model.num_layers': 2, 'method.name': 'dense'}
  fields |= {'distil.layers': 1, 'distil.layer_map': 'uniform'}
  config = config_of(folder, **fields)
  problem = make_problem(config, progress=False)
  _, whole = embedcomp.from_pretrained(problem.path, head='sentence')
  kept = problem.pretrained['params']['bert']
  assert {name for name in kept if name.startswith('layer_')} == {'layer_0'}
  np.testing.assert_array_equal(
    kept['layer_0']['mlp_in']['kernel'],
    whole['bert']['layer_1']['mlp_in']['kernel'],
  )
  launch.run(config, tmp_path / 'run', progress=False)
  model, _ = embedcomp.from_pretrained(tmp_path / 'run' / 'model')
  assert model.config.num_hidden_layers == 1


@pytest.mark.slow
def test_students_may_be_narrower_than_their_teacher(folder, tmp_path):
  """What takes them to its width is learned, and written nowhere."""
  wide = make_problem(
    config_of(folder, **{'model.features': 32}), progress=False
  ).path
  fields = {'distil.teacher': str(wide), 'method.name': 'dense'}
  config = config_of(folder, **fields)
  problem = make_problem(config, progress=False)
  assert problem.pretrained['params']['projection'].shape == (16, 32)
  before = launch.run(config, tmp_path / 'before', progress=False)
  config.optim.epochs = 6.0
  after = launch.run(config, tmp_path / 'after', progress=False)
  assert after['value'] > before['value'] + 0.1
  written, own = (
    {name.removeprefix('bert.') for name in load_file(path)}
    for path in (
      tmp_path / 'after/model/model.safetensors',
      problem.path / 'model.safetensors',
    )
  )
  assert written < own  # which also has a head for masked words


@pytest.mark.slow
def test_long_students_learn_from_a_teacher_in_windows(folder, tmp_path):
  fields = {
    'bert.max_length': 16,
    'bert.chunk_size': 4,
    'bert.num_summaries': 2,
    'distil.chunk_size': 8,
    'data.buckets': (16,),
    'data.min_pieces': 0,
    'optim.epochs': 0.0,
  }
  config = config_of(folder, 'long', **fields)
  before = launch.run(config, tmp_path / 'before', progress=False)
  config.optim.epochs = 4.0
  config.optim.learning_rate = 1e-3
  after = launch.run(config, tmp_path / 'after', progress=False)
  assert before['value'] < after['value']
  saved = json.loads((tmp_path / 'after/model/config.json').read_text())
  assert saved['max_position_embeddings'] == 16
  assert 'recursive' in json.dumps(saved)


@pytest.mark.parametrize(
  ('fields', 'match'),
  [
    ({'distil.teacher': None}, 'distillation needs a teacher'),
    ({'distil.teacher': '/none'}, "a directory with config.json, got '/none'"),
    ({'distil.logits': 1.0}, 'distil.logits must be 0'),
    ({'distil.hidden': -1.0}, 'must not be negative'),
    ({'distil.layers': 3}, 'no more than its teacher, got 3 and 1'),
    ({'method.name': 'kept'}, 'needs a bert.path with a compressed table'),
    (
      {'task': 'masked_lm', 'data.reading': 'first'},
      'only .* have teachers',
    ),
    (
      {'task': 'classification', 'data.reading': 'first'},
      'distil.sentence and distil.similarities must be 0',
    ),
  ],
)
def test_configs_that_cannot_be(folder, tmp_path, fields, match):
  with pytest.raises(ValueError, match=match):
    launch.run(config_of(folder, **fields), tmp_path, progress=False)


def test_a_compressed_model_is_not_compressed_again(finished, folder, tmp_path):
  fields = {'bert.path': str(finished[0] / 'model')}
  with pytest.raises(ValueError, match=r'set method\.name=kept'):
    launch.run(config_of(folder, **fields), tmp_path, progress=False)


def test_sentences_apart_are_for_distillation_alone(folder):
  config = config_of(folder, 'task', **{'data.reading': 'apart'})
  with pytest.raises(ValueError, match='labels are those of whole texts'):
    make_problem(config, progress=False)


def test_texts_apart_are_all_sentences(folder):
  config = config_of(folder)
  dataset = data_lib.load(folder, progress=False)
  train = make_problem(config, progress=False).train
  num = sum(int(b['weights'].sum()) for b in train.for_evaluation())
  share = 1 - config.data.validation
  assert num == round(share * len(dataset.splits['train']))


def test_copies_of_texts_are_taught_beside_them(folder):
  fields = {'distil.replaced': 0.3}
  problem = make_problem(config_of(folder, **fields), progress=False)
  batch = problem.train.at(0)
  size = len(batch['ids']) // 2
  texts, copies = batch['ids'][:size], batch['ids'][size:]
  assert 0.1 < (texts != copies).sum() / (texts != problem.padding).sum() < 0.5
  said = batch['teacher'].output
  assert len(said) == 2 * size
  assert (said[:size] != said[size:]).any()
  plain = make_problem(config_of(folder), progress=False)
  np.testing.assert_array_equal(plain.train.at(0)['ids'], texts)
  for name, split in problem.splits.items():
    for batch, same in zip(
      split.for_evaluation(), plain.splits[name].for_evaluation(), strict=True
    ):
      np.testing.assert_array_equal(batch['ids'], same['ids'])


def test_a_share_of_all_words_cannot_be_replaced(folder):
  config = config_of(folder, **{'distil.replaced': 1.0})
  with pytest.raises(ValueError, match=r'distil.replaced must be .* got 1.0'):
    make_problem(config, progress=False)
