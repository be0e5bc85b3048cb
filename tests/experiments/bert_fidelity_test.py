"""The yardstick: sentences that are held out, and what it says of tables."""

import json

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import bert_fidelity, held_out

TABLE = [
  'Title\tContent\n',
  'string\tstring\n',
  '\tinclude=True\n',
  'One\tShort. This one is long enough.\n',
  'Two\t"He said ""never again"" to me (quietly) then."\n',
  'a row without a content\n',
]


@pytest.fixture
def yardstick(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  monkeypatch.setenv('EMBEDCOMP_BENCHMARK_DATA', str(tmp_path / 'no_data'))
  bert_fidelity.yardstick.cache_clear()
  bert_fidelity._curve.cache_clear()
  yield bert_fidelity.yardstick(smoke=True)
  bert_fidelity.yardstick.cache_clear()
  bert_fidelity._curve.cache_clear()


def test_sentences_of_a_column():
  assert held_out.read_column(TABLE, 'Content') == [
    'This one is long enough.',
    'He said "never again" to me then.',
  ]


def test_draws_are_of_different_lines_and_always_the_same():
  lines = [str(number % 50) for number in range(100)]
  found = held_out.drawn(lines, 20, seed=3)
  assert len(set(found)) == 20
  assert found == held_out.drawn(lines, 20, seed=3)
  assert found != held_out.drawn(lines, 20, seed=4)
  assert sorted(held_out.drawn(lines, 99, seed=0)) == sorted(set(lines))


def test_runs_go_through_a_text_in_order():
  text = ' '.join(map(str, range(1000)))
  found = held_out.runs([text, 'too short'], seed=0)
  assert {len(run.split()) for run in found} <= set(range(10, 25))
  assert text.startswith(' '.join(found))
  assert len(' '.join(found).split()) > 990 - 1


def test_translations_are_there_if_their_files_are(tmp_path, monkeypatch):
  monkeypatch.delenv('EMBEDCOMP_BENCHMARK_DATA', raising=False)
  assert held_out.translated(5) == {}
  monkeypatch.setenv('EMBEDCOMP_BENCHMARK_DATA', str(tmp_path))
  assert held_out.translated(5) == {}
  (tmp_path / 'stsb-multi').mkdir()
  (tmp_path / 'stsb-multi' / 'de-dev.csv').write_text(
    '"Ein Hund, der im Schnee läuft",Ein Tier läuft durch den Schnee,4.0\n'
    'kurz,auch kurz,1.0\n',
    encoding='utf-8',
  )
  assert sorted(held_out.translated(5)['de']) == [
    'Ein Hund, der im Schnee läuft',
    'Ein Tier läuft durch den Schnee',
  ]


def test_a_yardstick_finds_no_damage_where_there_is_none(yardstick):
  found = yardstick.measure(yardstick.table)
  assert found.fidelity.damage == 0
  assert found.translated is None
  assert -100 <= found.spearman <= 100
  row = found.row()
  assert row['seen'] == row['stsb'] == row['unseen'] == row['tales'] == 0


def test_a_yardstick_says_which_words_do_damage(yardstick):
  """Here there are fewer words than in head and middle of a usual table."""
  table = yardstick.table.copy()
  assert set(yardstick.by_class(table).values()) == {0}
  order = np.argsort(-yardstick.counts, kind='stable')
  rng = np.random.default_rng(0)
  table[order[:10]] += rng.normal(size=(10, table.shape[1]))
  found = yardstick.by_class(table)
  assert found['head'] > 1e-3
  assert found['middle'] == found['tail'] == 0


@pytest.mark.slow
def test_the_benchmark_runs(yardstick, tmp_path):
  output = tmp_path / 'r.json'
  benchmark.main(
    ['bert_fidelity', '--smoke', '--seeds=2', f'--output={output}']
  )
  dense, *rows = json.loads(output.read_text())['rows']
  assert dense['damage'] == 0
  assert len(rows) == 4 * 2 * 2
  for row in rows:
    assert 0 < row['damage'] < 2
    assert 0 < row['similarity_rms'] < 2
    assert row['bytes'] <= dense['bytes'] / int(row['size'].removesuffix('x'))
    assert row['head'] >= 0
  table = bert_fidelity.summary([dense, *rows])
  assert len(table) == 9
  assert table[0]['damage'] == '0.0000'
  assert ' ± ' in table[1]['damage']
