"""Tests that a workdir belongs to one config."""

import json
import os

import pytest

from embedcomp import training

CONFIG = {
  'model': {'features': 64, 'sizes': (1, 2), 'empty': {}},
  'rate': 0.1,
  'name': None,
}


def changed(**model):
  return {**CONFIG, 'model': {**CONFIG['model'], **model}}


def test_a_binding_is_written_and_holds(tmp_path):
  workdir = training.bind_workdir(tmp_path / 'new' / 'run', CONFIG)
  written = (workdir / 'config.json').read_bytes()
  assert json.loads(written)['model'] == {
    'features': 64,
    'sizes': [1, 2],
    'empty': {},
  }
  assert training.bind_workdir(str(workdir), changed(sizes=[1, 2])) == workdir
  assert (workdir / 'config.json').read_bytes() == written
  assert os.listdir(workdir) == ['config.json']


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    (changed(features=32), 'model.features is 64 there and 32 now'),
    (changed(more='a'), 'model.more is absent there and "a" now'),
    ({**CONFIG, 'model': 1}, 'model is absent there and 1 now; model.empty'),
    (changed(empty={'a': 1}), 'model.empty is {} there and absent now'),
    ({**CONFIG, 'rate': 0.2, 'name': 'x'}, 'name is null .*; rate is 0.1 the'),
    ({k: v for k, v in CONFIG.items() if k != 'rate'}, '0.1 there and absent'),
  ],
)
def test_another_config_is_refused(tmp_path, config, message):
  training.bind_workdir(tmp_path, CONFIG)
  with pytest.raises(ValueError, match=f'another config: .*{message}'):
    training.bind_workdir(tmp_path, config)
  assert training.bind_workdir(tmp_path, CONFIG)


@pytest.mark.parametrize('text', ['{"a": ', '', '\x00'])
def test_a_damaged_config_is_refused(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(ValueError, match=r'config\.json is not JSON'):
    training.bind_workdir(tmp_path, CONFIG)


def test_a_run_without_its_config_is_refused(tmp_path):
  (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(ValueError, match=r'has checkpoints but no config\.json'):
    training.bind_workdir(tmp_path, CONFIG)


def test_a_config_is_plain_data(tmp_path):
  with pytest.raises(TypeError, match='plain data only'):
    training.bind_workdir(tmp_path, {'a': object()})
  assert not os.listdir(tmp_path)


def test_a_file_in_the_way_is_named(tmp_path):
  path = tmp_path / 'run'
  path.write_text('')
  for workdir in (path, path / 'deeper'):
    with pytest.raises(OSError, match=r'workdir cannot be used .*choose'):
      training.bind_workdir(workdir, CONFIG)
