"""A whole BERT made small in stages, resumed, and read by a fresh process."""

import json
import subprocess
import sys

import pytest

import embedcomp
from configs import bert_pipeline, common
from experiments import launch, pipeline
from tests.experiments import small_bert
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_bert.write(tmp_path_factory.mktemp('text'))


def config_of(folder, **fields):
  config = bert_pipeline.get_config('smoke')
  config.data = config.text = str(folder)
  for stage in pipeline.STAGES:
    own = config[stage]
    small_bert.shrink(own)
    own.finetune.learning_rate = 1e-3
    own.search.measured_batches = 4
  config.budget = '4x'
  config.teacher.optim.epochs = 8.0
  config.teacher.optim.learning_rate = 0.01
  for stage in ('general', 'task', 'long'):
    config[stage].optim.epochs = 0.0
  # Its head is new, the student of plain text has none.
  config.task.finetune.epochs = 10.0
  config.task.finetune.learning_rate = 0.01
  config.long.bert.max_length = 160
  config.long.bert.chunk_size = 8
  config.long.bert.num_summaries = 2
  config.long.distil.chunk_size = 16
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def finished(folder, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('pipeline')
  return workdir, pipeline.run(config_of(folder), workdir, progress=False)


def test_every_variant_is_a_config():
  known = set(common.get_config('classification'))
  for variant in bert_pipeline.VARIANTS:
    config = bert_pipeline.get_config(variant)
    assert set(config.stages.split(',')) <= set(pipeline.STAGES)
    config.budget, config.path, config.seed = 0.3, 'somewhere', 4
    for stage in pipeline.STAGES:
      assert set(config[stage]) == known
      own = config[stage]
      assert (own.budget, own.bert.path, own.seed) == (0.3, 'somewhere', 4)
  with pytest.raises(ValueError, match='variant must be one of'):
    bert_pipeline.get_config('magic')


@pytest.mark.slow
def test_each_stage_starts_from_the_one_before(finished):
  workdir, result = finished
  assert [one['stage'] for one in result['stages']] == [*pipeline.STAGES]
  configs = {
    stage: json.loads((workdir / stage / 'config.json').read_text())
    for stage in pipeline.STAGES
  }
  assert configs['task']['bert']['path'] == str(workdir / 'general' / 'model')
  assert configs['long']['bert']['path'] == str(workdir / 'task' / 'model')
  teachers = {configs[s]['distil']['teacher'] for s in ('task', 'long')}
  assert teachers == {str(workdir / 'teacher' / 'model')}
  schemes = [
    json.loads((workdir / stage / 'scheme.json').read_text())
    for stage in ('general', 'task', 'long')
  ]
  assert schemes[0] == schemes[1] == schemes[2]


@pytest.mark.slow
def test_what_is_written_is_small_and_does_its_task(finished):
  workdir, result = finished
  model, _ = embedcomp.from_pretrained(workdir / 'model', head='classification')
  assert model.weights == 'int8'
  assert model.attention_fn.chunk_size == 8
  assert model.config.max_position_embeddings == 160
  assert result['value'] > 0.7  # chance is 0.5
  files = sum(p.stat().st_size for p in workdir.glob('model/*.safetensors'))
  assert result['model_bytes'] == files < result['dense_model_bytes']


@pytest.mark.slow
def test_a_fresh_process_finds_the_same_figure(finished, folder):
  workdir, result = finished
  program = 'from embedcomp.cli.main import main; main()'
  command = [sys.executable, '-c', program, 'evaluate']
  command += [str(workdir / 'model'), str(folder / 'test.tsv')]
  command += ['--task=classification', '--max-length=32']
  said = subprocess.run(
    command, capture_output=True, text=True, check=True
  ).stdout
  assert f'{result["value"]:.4f}' in said


@pytest.mark.slow
def test_the_card_and_the_page_have_its_figures(finished):
  workdir, result = finished
  card = (workdir / 'model' / 'README.md').read_text()
  page = (workdir / 'report.html').read_text()
  for text in (card, page):
    assert f'{result["value"]:.4f}' in text
  assert f'{result["model_bytes"]:,}' in card
  assert card.startswith('---\nlicense: unknown\n')
  code = card.split('```python\n')[1].split('```')[0]
  code = code.replace("'.'", repr(str(workdir / 'model')))
  names = {}
  exec(code, names)
  assert names['logits'].shape == (1, 2)
  for stage in pipeline.STAGES:
    assert f'{stage}/report.html' in page
    assert (workdir / stage / 'report.html').exists()


@pytest.mark.slow
def test_stages_that_have_ended_are_not_run_again(
  finished, folder, monkeypatch
):
  workdir, result = finished

  def refuse(*args, **kwargs):
    raise AssertionError('a stage was run again')

  monkeypatch.setattr(launch, 'run', refuse)
  again = pipeline.run(config_of(folder), workdir, progress=False)
  changing = ('seconds', 'command')
  assert {k: v for k, v in again.items() if k not in changing} == {
    k: v for k, v in result.items() if k not in changing
  }


@pytest.mark.slow
def test_int8_models_are_trained_on(finished, folder, tmp_path):
  workdir, result = finished
  config = config_of(folder).long.copy_and_resolve_references()
  config.method.name = 'kept'
  config.bert.path = str(workdir / 'model')
  config.distil.teacher = str(workdir / 'model')
  config.finetune.epochs = 0.0
  same = launch.run(config, tmp_path / 'same', progress=False)
  assert same['value'] == result['value']
  config.finetune.epochs = 1.0
  launch.run(config, tmp_path / 'more', progress=False)
  kernels = []
  for path in (workdir, tmp_path / 'more'):
    model, params = embedcomp.from_pretrained(path / 'model')
    assert model.weights == 'int8'
    kernels.append(params['layer_0']['mlp_in']['kernel'].values)
  assert (kernels[0] != kernels[1]).any()


@pytest.mark.slow
def test_stages_may_be_left_out(folder, tmp_path):
  config = config_of(folder, stages='teacher,task', weights='float32')
  result = pipeline.run(config, tmp_path, progress=False)
  assert [one['stage'] for one in result['stages']] == ['teacher', 'task']
  model, _ = embedcomp.from_pretrained(tmp_path / 'model')
  assert model.weights == 'float32'
  assert result['value'] > 0.7


@pytest.mark.parametrize(
  ('fields', 'match'),
  [
    ({'stages': 'task,teacher'}, "in this order, .*got 'task,teacher'"),
    ({'stages': 'teacher'}, "must hold 'teacher' and 'task'"),
    ({'weights': 'int3'}, "got 'int3'"),
  ],
)
def test_pipelines_that_cannot_be(folder, tmp_path, fields, match):
  with pytest.raises(ValueError, match=match):
    pipeline.run(config_of(folder, **fields), tmp_path / 'run', progress=False)
  assert not (tmp_path / 'run').exists()
