"""Benchmarks run in small size, continue, and say what they are."""

import builtins
import itertools
import json
import sys

import numpy as np
import pytest
from matplotlib import pyplot

from experiments import benchmark
from experiments.benchmarks import (
  attention_error,
  attention_speed,
  bert_speed,
  bert_table,
  foreign_text,
  multilingual,
  race,
  record,
  tables,
)

FIELDS = {
  'benchmark',
  'command',
  'commit',
  'date',
  'hardware',
  'versions',
  'rows',
}


@pytest.fixture
def without_peers(monkeypatch):
  """A machine that has none of the other libraries."""
  real = builtins.__import__

  def refuse(name, *args, **kwargs):
    if name.split('.')[0] in ('keras', 'qwix'):
      raise ModuleNotFoundError(f'No module named {name!r}', name=name)
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, '__import__', refuse)


def run(name, output, *flags):
  benchmark.main([name, f'--output={output}', *flags])
  return json.loads(output.read_text())


@pytest.mark.parametrize(
  'name', [pytest.param('lookup', marks=pytest.mark.slow), 'logits']
)
def test_races_run_and_name_absent_peers(name, without_peers, tmp_path):
  result = run(name, tmp_path / 'new' / 'r.json', '--smoke')
  assert set(result) >= FIELDS
  assert result['benchmark'] == name
  assert result['smoke']
  assert result['hardware']['cores'] >= 1
  assert result['versions']['jax']
  dense, *rows = result['rows']
  assert dense['time_ratio'] == 1
  assert dense['max_abs_error'] == 0
  ours = [row for row in rows if row['contestant'].startswith('embedcomp')]
  assert len(ours) >= 5
  assert all(row['stored_bytes'] < dense['stored_bytes'] for row in ours)
  assert all(row['time_ratio'] > 0 for row in ours)
  notes = [row['note'] for row in rows if row not in ours]
  assert set(notes) == {'keras is absent', 'qwix is absent'}


@pytest.mark.slow
def test_fit_runs_in_processes_of_their_own(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  result = run('fit', tmp_path / 'r.json', '--smoke')
  assert len(result['rows']) == 3
  for row in result['rows']:
    if 'note' in row:  # faiss may be absent
      assert row['contestant'] == 'faiss PQ'
      continue
    assert 0 < row['weighted_error'] < 1
    assert 0 < row['plain_error'] < 1.5
    if sys.platform == 'linux':  # 0 if this larger process were counted
      assert row['fit_memory_bytes'] > 0
      assert row['peak_memory_over_table'] > 1
    assert row['stored_bytes'] > 0
    assert row['runs'] == 1


@pytest.mark.slow
def test_the_speed_of_a_bert_is_told_beside_others(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)  # or tests would wait for it
  rows = run('bert_speed', tmp_path / 'r.json', '--smoke')['rows']
  assert [row['what'] for row in rows] == ['forward', 'step']
  assert all(row['time_ratio'] == 1 for row in rows)  # beside itself
  other = {**rows[0], 'contestant': 'another', 'time_ratio': 0.5}
  table = bert_speed.summary([*rows, other])
  assert table == [
    {'batch': '4 x 8', 'what': 'forward', 'embedcomp over PyTorch': '0.50'}
  ]


@pytest.mark.slow
def test_tables_of_a_bert(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  monkeypatch.setenv('EMBEDCOMP_BENCHMARK_DATA', str(tmp_path / 'no_data'))
  output = tmp_path / 'r.json'
  open_before = set(pyplot.get_fignums())
  rows = run('bert_table', output, '--smoke', '--seeds=2')['rows']
  by_seed = [[row for row in rows if row['seed'] == s] for s in (0, 1)]
  # Neither float32 codes nor `compress` without a metric is random.
  assert [len(rows) for rows in by_seed] == [13, 5]
  (dense,) = (row for row in rows if row['method'] == 'dense')
  assert dense['times_smaller'] == 1
  assert dense['weighted_error'] == 0
  for row in rows:
    assert -100 <= row['validation'] <= 100
    assert -100 <= row['test'] <= 100
    assert row['bytes'] <= dense['bytes']
    if row['method'].startswith('compress'):
      assert row['times_smaller'] >= int(row['size'].removesuffix('x'))
  table = bert_table.summary(rows)
  assert len(table) == 13
  assert table[0]['method'] == 'dense'
  assert sum(' ± ' in row['test'] for row in table) == 5
  assert output.with_suffix('.png').stat().st_size > 1000
  assert not set(pyplot.get_fignums()) - open_before


@pytest.mark.slow
def test_languages_of_a_bert(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  rows = run('multilingual', tmp_path / 'r.json', '--smoke')['rows']
  dense, *others = rows
  assert [row['method'] for row in others] == list(multilingual._COUNTED)
  for row in rows:
    assert row['mean'] == pytest.approx((row['de'] + row['en']) / 2)
  for row in others:
    assert 4 * row['bytes'] <= dense['bytes']
    assert row['cpu_seconds'] > 0
    assert row['peak_memory_bytes'] > row['bytes']


def test_languages_need_a_folder(tmp_path, monkeypatch):
  monkeypatch.delenv('EMBEDCOMP_BENCHMARK_DATA', raising=False)
  with pytest.raises(ValueError, match='EMBEDCOMP_BENCHMARK_DATA must be'):
    run('multilingual', tmp_path / 'r.json')


def test_contestants_do_not_follow_the_same_one_each_time():
  order = []
  fns = [lambda x, name=name: order.append(name) for name in 'abc']
  seconds = race.take_turns(fns, [0, 1], 20, progress=False)
  assert seconds.shape == (3, 40)
  assert (seconds >= 0).all()
  rounds = np.reshape(order, (-1, 3))
  assert all(sorted(names) == ['a', 'b', 'c'] for names in rounds)
  before_b = {a for a, b in itertools.pairwise(order) if b == 'b'}
  assert before_b >= {'a', 'c'}


def test_several_clocks_are_read_beside_each_other():
  ticks = itertools.count()

  def clock():
    return np.array([1.0, 10.0]) * next(ticks)

  fns = [lambda x: x, lambda x: [next(ticks) for _ in range(3)]]
  seconds = race.take_turns(fns, [0], 4, clock=clock, progress=False)
  np.testing.assert_array_equal(seconds[0], [[1, 10]] * 4)
  np.testing.assert_array_equal(seconds[1], [[4, 40]] * 4)


@pytest.mark.slow
def test_resident_tables_are_timed_on_each_number_of_cores(tmp_path):
  rows = run('resident', tmp_path / 'r.json', '--smoke')['rows']
  assert {row['operation'] for row in rows} == {'lookup', 'logits', 'gradient'}
  assert len({row['contestant'] for row in rows}) == 9
  assert all(row['cpu_time_ratio'] > 0 for row in rows)
  dense = [row for row in rows if row['contestant'] == 'dense, float32']
  assert {row['time_ratio'] for row in dense} == {1.0}
  table = benchmark.BENCHMARKS['resident'].summary(rows)
  assert len(table) == 2 * 7  # schemes, counts of all operations
  cores = {row['cores'] for row in rows}
  assert all(len(row['compact'].split('/')) == len(cores) for row in table)


def test_the_command_has_the_settings_of_memory(tmp_path, monkeypatch):
  class Nothing:
    """A benchmark of no work."""

    SEEDS = 1
    jobs = staticmethod(lambda **_: [record.Job('one', lambda: [{'a': 1}])])

  monkeypatch.setitem(benchmark.BENCHMARKS, 'fit', Nothing)
  monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.hugetlb=1')
  monkeypatch.setenv('MALLOC_ARENA_MAX', '1')
  command = run('fit', tmp_path / 'r.json')['command']
  assert command.startswith(
    'GLIBC_TUNABLES=glibc.malloc.hugetlb=1 MALLOC_ARENA_MAX=1 '
    'python -m experiments.benchmark fit'
  )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['attention_speed', 'attention_speed_bert'])
def test_the_speed_of_attentions_is_told_beside_dense(tmp_path, name):
  rows = run(name, tmp_path / 'r.json', '--smoke')['rows']
  assert {row['what'] for row in rows} == {'forward', 'step'}
  by_name = {row['contestant']: row for row in rows}
  dense = by_name['dense']
  assert dense['speedup'] == 1
  assert dense['keys'] == dense['tokens'] == 64
  recursive = by_name['recursive, C = 8']
  assert recursive['keys'] == 24 + 4 * 3 + 4 * 2 + 1
  assert by_name['window like C = 8']['keys'] >= recursive['keys']
  assert all(row['milliseconds'] > 0 and row['flops'] > 0 for row in rows)
  assert recursive['over_window'] > 0
  assert len(benchmark.BENCHMARKS[name].summary(rows)) == 2 * 3


@pytest.mark.slow
def test_attentions_without_memory_are_compiled_alone(monkeypatch):
  monkeypatch.setattr(attention_speed, '_MAX_BYTES', 0)
  race = attention_speed.AttentionSpeed(in_bert=False)
  (alone,) = race.jobs(smoke=True, seeds=1)
  rows = alone.run()
  assert all('milliseconds' not in row and row['note'] for row in rows)


@pytest.mark.slow
def test_errors_of_attentions(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  rows = run('attention_error', tmp_path / 'r.json', '--smoke')['rows']
  assert len(rows) == 4 * 3
  for row in rows:
    assert len(row['layer_errors']) == 1
    assert 0 < row['layer_error'] == row['layer_errors'][0] < 2
    assert 0 < row['hidden_error'] < 2
    assert -1 <= row['pooled_cosine'] <= 1
  (line, *others) = attention_error.summary(rows)
  assert len(others) == 2
  assert line['layer error'].split(' ± ')[0] == (
    f'{np.mean([row["layer_error"] for row in rows[::3]]):.3f}'
  )


def test_bits_of_foreign_text(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  rows = run('foreign_text', tmp_path / 'r.json', '--smoke')['rows']
  table = {row['words by']: row for row in foreign_text.summary(rows)}
  assert len(rows) == len(table) * 3 * 3
  for row in rows:
    assert 0 < row['bits'] < 20
  foreign = [r['bits'] for r in rows[-9:] if r['read'] != r['counted']]
  assert table['no text']['others'] == f'{np.mean(foreign):.2f}'
  plain = table['counts + 0.05']
  assert float(plain['the text itself']) < float(plain['others'])
  by_text = [float(v) for k, v in plain.items() if k.startswith('others by')]
  assert float(plain['others']) == pytest.approx(np.mean(by_text), abs=0.01)


class Counted:
  """A benchmark of three jobs that counts its runs and may be interrupted."""

  __doc__ = 'Counts.'
  SEEDS = 2

  def __init__(self):
    self.ran = []
    self.broken = None

  def jobs(self, *, smoke, seeds):
    def job(name):
      def work():
        if name == self.broken:
          raise KeyboardInterrupt
        self.ran.append(name)
        return [{'name': name, 'smoke': smoke, 'seeds': seeds}]

      return record.Job(name, work)

    return [job(name) for name in 'abc']


@pytest.fixture
def counted(monkeypatch):
  made = Counted()
  monkeypatch.setitem(benchmark.BENCHMARKS, 'counted', made)
  return made


def test_continues_where_it_was_interrupted(counted, tmp_path):
  output = tmp_path / 'r.json'
  counted.broken = 'c'
  with pytest.raises(KeyboardInterrupt):
    run('counted', output)
  assert not output.exists()
  waiting = record.rows_path(output)
  with waiting.open('a') as file:
    file.write('{"job": "b", "ro')  # killed while it wrote
  counted.broken = None
  result = run('counted', output)
  assert counted.ran == ['a', 'b', 'c']
  assert [row['name'] for row in result['rows']] == ['a', 'b', 'c']
  assert not waiting.exists()


def test_does_not_continue_another_setting(counted, tmp_path):
  output = tmp_path / 'r.json'
  counted.broken = 'c'
  with pytest.raises(KeyboardInterrupt):
    run('counted', output, '--smoke')
  counted.broken = None
  result = run('counted', output, '--seeds=4')
  assert counted.ran == ['a', 'b', 'a', 'b', 'c']
  assert all(row['seeds'] == 4 for row in result['rows'])
  # Nor is what that has measured lost.
  run('counted', output, '--smoke')
  assert counted.ran[5:] == ['c']
  assert not record.rows_path(output).exists()


def test_names_all_commits_that_measured(counted, tmp_path, monkeypatch):
  output = tmp_path / 'r.json'
  monkeypatch.setattr(record, 'commit', lambda: 'one')
  counted.broken = 'b'
  with pytest.raises(KeyboardInterrupt):
    run('counted', output)
  monkeypatch.setattr(record, 'commit', lambda: 'two')
  counted.broken = None
  assert run('counted', output)['commit'] == 'one, two'


def test_seeds_default_to_the_benchmark(counted, tmp_path):
  assert run('counted', tmp_path / 'r.json')['seeds'] == 2
  assert run('counted', tmp_path / 'r.json', '--smoke')['seeds'] == 1


def test_jobs_need_names_of_their_own(tmp_path):
  job = record.Job('same', list)
  with pytest.raises(ValueError, match='names of their own'):
    record.run_jobs([job, job], tmp_path / 'r.json', {})


@pytest.mark.parametrize(
  ('argv', 'message'),
  [
    (['nothing'], 'invalid choice'),
    (['lookup', '--seeds=0'], "at least 1, got '0'"),
    (['lookup', '--seeds=x'], "at least 1, got 'x'"),
    (['lookup', '--output=r.txt'], "end in .json, got 'r.txt'"),
    (['lookup', '--smok'], 'unrecognized'),
    ([], 'NAME'),
  ],
)
def test_bad_commands_are_named(argv, message, capsys):
  with pytest.raises(SystemExit):
    benchmark.main(argv)
  assert message in capsys.readouterr().err


def test_markdown_of_a_result(counted, tmp_path, capsys):
  output = tmp_path / 'r.json'
  run('counted', output, '--smoke')
  capsys.readouterr()
  benchmark.main(['counted', f'--output={output}', '--markdown'])
  first, rule, *rows = capsys.readouterr().out.splitlines()
  assert first == '| name | smoke | seeds |'
  assert rule == '| --- | --: | --: |'
  assert rows[0] == '| a | True | 1 |'


@pytest.mark.parametrize('text', [None, 'half {', '[]', '{"rowz": 1}'])
def test_markdown_of_what_is_no_result(text, tmp_path):
  path = tmp_path / 'r.json'
  if text is not None:
    path.write_text(text)
  with pytest.raises(ValueError, match=r'r\.json'):
    benchmark.main(['lookup', f'--output={path}', '--markdown'])


def test_cells_are_short():
  values = [None, 1234567, 0.012345, 123.456, True, 'text', 1e-9]
  cells = ['', '1,234,567', '0.0123', '123', 'True', 'text', '1e-09']
  assert [tables.cell(value) for value in values] == cells


def test_the_help_lists_all_with_what_they_measure(capsys):
  with pytest.raises(SystemExit):
    benchmark.main(['--help'])
  lines = capsys.readouterr().out.splitlines()
  for name in benchmark.BENCHMARKS:
    assert any(line.startswith(f'  {name}  ') for line in lines), name
