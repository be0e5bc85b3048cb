"""Benchmarks of taught students, in small size."""

import json

import pytest

from experiments import benchmark, pipeline
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)


@pytest.mark.slow
def test_compressed_words_are_measured_before_and_after_teaching(tmp_path):
  output = tmp_path / 'r.json'
  benchmark.main(['distilled_table', '--smoke', f'--output={output}'])
  rows = json.loads(output.read_text())['rows']
  cases = [(row['contestant'], row['taught']) for row in rows]
  assert cases == [
    (label, taught) for label in ('search', 'pq') for taught in (False, True)
  ]
  for before, after in zip(rows[::2], rows[1::2]):
    assert before['bytes'] == after['bytes']
    assert before['int8_weights_bytes'] == after['int8_weights_bytes']
    assert 'steps' not in before
    assert after['steps'] > 0
    assert before['test'] != after['test']
  assert len(benchmark.BENCHMARKS['distilled_table'].summary(rows)) == 4


@pytest.mark.slow
def test_students_learn_from_some_losses():
  _, some, *_ = benchmark.BENCHMARKS['distilled_losses'].jobs(
    smoke=True, seeds=1
  )
  (row,) = some.run()
  assert row['contestant'] == 'all but relations'
  assert row['taught']


def test_a_benchmark_of_tasks_runs_the_pipeline(monkeypatch):
  asked = []

  def run_pipeline(config, folder, *, progress):
    asked.append(config)
    stage = {'steps': 3, 'seconds': 2.0, 'peak_memory_bytes': 5}
    values = (0.75, *([0.9] if 'general' in config.stages else []), 0.625)
    return {
      'metric': 'accuracy',
      'value': 0.5,
      'weights': 'int8',
      'embedding_bytes': 10,
      'ratio': 0.025,
      'model_bytes': 100,
      'dense_model_bytes': 800,
      'stages': [
        {'stage': name, 'value': value, **stage}
        for name, value in zip(config.stages.split(','), values)
      ],
    }

  monkeypatch.setattr(pipeline, 'run', run_pipeline)
  tasks = benchmark.BENCHMARKS['distilled_tasks']
  rows = [row for job in tasks.jobs(smoke=False, seeds=2) for row in job.run()]
  assert [one.seed for one in asked] == [0, 1, 0, 0]
  assert asked[2].general.data.name == asked[2].task.data.name == asked[2].data
  assert asked[2].stages == 'teacher,general,task'
  assert asked[3].data == 'r52'
  assert asked[3].stages == asked[0].stages == 'teacher,task'
  assert asked[3].teacher.data.buckets == asked[3].task.data.buckets == (64,)
  of_sst2, of_both, of_r52 = tasks.summary(rows)
  assert (of_sst2['seeds'], of_both['seeds'], of_r52['seeds']) == (2, 1, 1)
  assert (of_both['student'], of_both['seconds']) == ('62.50', 6)
  assert of_sst2['teacher'] == '75.00 ± 0.00'
  assert of_r52['student'] == '62.50'
  assert of_r52['with int8 weights'] == '50.00'
  assert of_r52['words'] == '40.0x'
  assert of_r52['seconds'] == 4


@pytest.mark.slow
def test_a_student_with_few_keys_comes_closer_to_dense_attention(tmp_path):
  output = tmp_path / 'r.json'
  benchmark.main(['distilled_attention', '--smoke', f'--output={output}'])
  rows = json.loads(output.read_text())['rows']
  before, after = benchmark.BENCHMARKS['distilled_attention'].summary(rows)
  assert before['steps'] == 0 < after['steps']
  assert before['documents'] == after['documents'] > 4
  assert 1 > float(before['hidden error'].split()[0]) > 0
  assert before['hidden error'] > after['hidden error']
