"""Tests of the log of a run."""

import errno
import json
import os

import numpy as np
import pytest

from embedcomp import training


def write_some(workdir, phase='train', steps=(1, 2, 3), **options):
  with training.MetricsLog(workdir, phase, **options) as log:
    log.resume(0)
    for step in steps:
      log.write(step, {'loss': 1 / step})


def lines_of(workdir):
  return (workdir / 'metrics.jsonl').read_text().splitlines()


def test_a_line_is_a_json_object(tmp_path):
  with training.MetricsLog(tmp_path) as log:
    metrics = {'loss': np.float32(0.5), 'bad': np.nan, 'large': float('inf')}
    log.write(3, metrics)
    assert lines_of(tmp_path) == [  # before it is closed
      '{"stage": "train", "step": 3, "loss": 0.5, "bad": null, "large": null}'
    ]


def test_numbers_survive_to_the_bit(tmp_path):
  write_some(tmp_path)
  found = [record['loss'] for record in training.read_metrics(tmp_path)]
  assert found == [1.0, 1 / 2, 1 / 3]


def test_resuming_cuts_off_what_came_later(tmp_path):
  write_some(tmp_path)
  with training.MetricsLog(tmp_path) as log:
    log.resume(2)
    log.write(3, {'loss': 9.0})
  found = training.read_metrics(tmp_path)
  assert [record['loss'] for record in found] == [1.0, 0.5, 9.0]


@pytest.mark.parametrize('num_lost', [1, 10, 40])
def test_a_half_written_line_is_cut_off(tmp_path, num_lost):
  write_some(tmp_path)
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(path.read_bytes()[:-num_lost])
  assert [r['step'] for r in training.read_metrics(tmp_path)] == [1, 2]
  with training.MetricsLog(tmp_path) as log:
    log.resume(2)
    log.write(3, {'loss': 1.5})
  assert [json.loads(line)['step'] for line in lines_of(tmp_path)] == [1, 2, 3]


def test_phases_have_steps_of_their_own(tmp_path):
  write_some(tmp_path, 'search')
  write_some(tmp_path, 'finetune')
  with training.MetricsLog(tmp_path, 'search') as log:
    log.resume(3)
  with training.MetricsLog(tmp_path, 'finetune') as log:
    log.resume(1)
  assert len(training.read_metrics(tmp_path, 'search')) == 3
  assert len(training.read_metrics(tmp_path, 'finetune')) == 1
  with training.MetricsLog(tmp_path, 'search') as log:
    log.resume(2)  # what was based on the lost steps goes with them
  assert len(training.read_metrics(tmp_path)) == 2


def test_no_log_has_no_lines(tmp_path):
  assert training.read_metrics(tmp_path) == []


@pytest.mark.parametrize('line', ['{"step": 1', '[1]', '{"loss": 1}'])
def test_a_damaged_line_is_named(tmp_path, line):
  write_some(tmp_path)
  lines = lines_of(tmp_path)
  lines[1] = line
  (tmp_path / 'metrics.jsonl').write_text('\n'.join([*lines, '']))
  with pytest.raises(ValueError, match='line 2: must be a JSON object'):
    training.read_metrics(tmp_path)
  with pytest.raises(ValueError, match='line 2: must be a JSON object'):
    training.MetricsLog(tmp_path).resume(1)


@pytest.mark.parametrize(
  ('number', 'message'),
  [
    (errno.ENOSPC, r'step 4 \(No space .*: free some space, then run'),
    (errno.EIO, r'step 4 \(Input/output error\): mend that, then run'),
  ],
)
def test_a_broken_disk_is_a_clear_error(tmp_path, number, message):
  class BrokenDisk:
    def write(self, data):
      raise OSError(number, os.strerror(number))

    def close(self):
      pass

  write_some(tmp_path)
  with training.MetricsLog(tmp_path) as log:
    log.resume(3)
    log._file.close()
    log._file = BrokenDisk()
    with pytest.raises(OSError, match=message) as error:
      log.write(4, {'loss': 1.0})
  assert error.value.errno == number
  assert len(training.read_metrics(tmp_path)) == 3


def test_tensorboard_files_hold_the_same(tmp_path):
  write_some(tmp_path, tensorboard=True)
  (path,) = (tmp_path / 'tensorboard' / 'train').iterdir()
  assert b'train/loss' in path.read_bytes()
  with training.MetricsLog(tmp_path, tensorboard=True) as log:
    log.resume(2)
    log.write(3, {'loss': float('nan')})
  assert len(list((tmp_path / 'tensorboard' / 'train').iterdir())) == 2
