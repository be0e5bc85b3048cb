"""Tests of the report of a run."""

import base64
import html.parser
import json
import re

import matplotlib as mpl
import numpy as np
import pytest

from tests.experiments import fake_run

mpl.use('Agg')
from matplotlib import pyplot

from experiments import report
from experiments.report import __main__ as command
from experiments.report import comparison_page, page, pictures, read

VOID = {'meta', 'img', '!doctype'}
SECTIONS = {
  'comparison': {'comparison.json'},
  'sizes': {'scheme.json'},
  'frequency': {'vocabulary.json'},
  'deciles': {'deciles.json'},
  'probabilities splits': {'space.json', 'architecture.jsonl'},
  'search training': {'metrics.jsonl'},
  '': {'config.json', 'space.json'},
}


class Reader(html.parser.HTMLParser):
  """Checks that tags are closed in order; keeps text and sources."""

  def __init__(self, text):
    super().__init__()
    self.open, self.seen, self.text, self.sources = [], [], [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.seen.append(tag)
    self.sources += [v for k, v in attrs if k in ('src', 'href')]
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def keep_only(workdir, names):
  for path in workdir.iterdir():
    if path.name not in {*names, 'result.json'}:
      path.unlink()


def change(path, **fields):
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def workdir(tmp_path):
  return fake_run.write(tmp_path / 'run')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A workdir with a report, which tests leave as it is."""
  folder = fake_run.write(tmp_path_factory.mktemp('whole'))
  open_before = pyplot.get_fignums()
  assert report.write_report(folder) == folder / 'report.html'
  assert pyplot.get_fignums() == open_before
  return folder


def test_page_holds_every_picture_and_asks_for_nothing_else(whole):
  text = (whole / 'report.html').read_text()
  reader = Reader(text)
  files = {p.read_bytes() for p in (whole / 'pictures').glob('*.png')}
  names = {name for names in SECTIONS for name in names.split()}
  assert {p.stem for p in (whole / 'pictures').iterdir()} == names
  assert set(re.findall(r'section id="(\w+)"', text)) == names
  start = 'data:image/png;base64,'
  assert all(source.startswith(start) for source in reader.sources)
  assert {base64.b64decode(s[len(start) :]) for s in reader.sources} == files
  assert 'script' not in reader.seen
  assert 'link' not in reader.seen
  assert not re.search(r'https?:|url\(|@import', text)


def test_page_tells_every_method_run_and_group(whole):
  text = ' '.join(Reader((whole / 'report.html').read_text()).text)
  for method in comparison_page.aggregate(fake_run.comparison()['rows']):
    assert method.label in text
    assert f'{round(method.num_bytes):,}' in text
    mean, spread = np.mean(method.values), np.std(method.values, ddof=1)
    assert f'{mean:.4g} ± {spread:.1g}' in text
  for row in fake_run.comparison()['rows']:
    assert f'{row["value"]:.4g}' in text
  for row in fake_run.SCHEME.size_table():
    assert row['method'] in text
    assert f'{row["bytes"]:,}' in text
  assert f'{fake_run.SCHEME.num_bytes:,}' in text
  assert fake_run.result()['command'] in text
  assert '"name": "r52"' in text


def test_another_report_replaces_the_first(workdir):
  keep_only(workdir, {'deciles.json', 'scheme.json'})
  first = report.write_report(workdir).read_bytes()
  assert report.write_report(workdir).read_bytes() == first
  (workdir / 'scheme.json').unlink()
  assert report.write_report(workdir).read_bytes() != first
  names = sorted(path.name for path in workdir.rglob('*'))
  assert names == [
    'deciles.json',
    'deciles.png',
    'pictures',
    'report.html',
    'result.json',
  ]


@pytest.mark.parametrize('names', SECTIONS)
def test_sections_are_those_of_the_files_that_are_there(workdir, names):
  keep_only(workdir, SECTIONS[names])
  text = report.write_report(workdir).read_text()
  Reader(text)
  assert sorted(re.findall(r'section id="(\w+)"', text)) == names.split()


def test_text_of_files_is_never_markup(workdir):
  keep_only(workdir, {'comparison.json', 'config.json'})
  evil = '<script>alert("$a$ & \'b\'")</script>'
  rows = fake_run.comparison()['rows'][:2]
  rows = [row | {'label': evil, evil: evil, 'metric': evil} for row in rows]
  change(workdir / 'comparison.json', rows=rows)
  change(workdir / 'config.json', **{evil: evil, 'data': {'name': evil}})
  texts = dict.fromkeys(('task', 'split', 'metric', 'command', 'device'), evil)
  change(workdir / 'result.json', **texts, method=evil)
  text = report.write_report(workdir).read_text()
  assert '<script' not in text.lower()
  reader = Reader(text)
  assert 'script' not in reader.seen
  assert ''.join(reader.text).count(evil) >= 12


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    (
      {},
      '4.52 kB instead of 256 kB: 56.6 times smaller. Test acc',
    ),
    ({}, 'with the dense table 0.9351 (difference \N{MINUS SIGN}0.0039).'),
    ({'dense_value': None}, 'Test accuracy: 0.9312.'),
    ({'metric': 'perplexity', 'value': 143.21}, 'Test perplexity: 143.2, with'),
    ({'embedding_bytes': 1000}, '1 kB instead of 256 kB: 256 times smaller'),
    ({'embedding_bytes': 256_000}, 'The dense table takes 256 kB. Test'),
  ],
)
def test_headline_says_size_and_metric(changes, words):
  text = page.headline(fake_run.result() | changes)
  assert words in re.sub(r'</?b>', '', text)


def test_one_size_is_drawn_as_dots(workdir):
  keep_only(workdir, {'comparison.json'})
  rows = [r for r in fake_run.comparison()['rows'] if r['ratio'] == 0.01]
  change(workdir / 'comparison.json', rows=rows, dense_value=None)
  text = report.write_report(workdir).read_text()
  assert 'beside dense' not in text
  assert len(read.read_run(workdir).comparison.methods) == 5


def test_sizes_of_seeds_are_brought_together():
  def row(label, size, seed):
    return {
      'method': 'm',
      'label': label,
      'embedding_bytes': size,
      'ratio': size / 1000,
      'value': float(seed),
      'seed': seed,
    }

  searched = [row('a', size, seed) for seed, size in enumerate((99, 91, 100))]
  larger = [row('a', size, seed) for seed, size in enumerate((200, 199))]
  close = [row('b', size, seed) for size in (50, 51) for seed in (0, 1)]
  rows = [*larger, *close, *searched]
  found = comparison_page.aggregate(rows)
  assert [(m.label, m.num_bytes, len(m.values)) for m in found] == [
    ('a', pytest.approx(290 / 3), 3),
    ('a', 199.5, 2),
    ('b', 50, 2),
    ('b', 51, 2),
  ]
  assert sorted(v for m in found for v in m.values) == sorted(
    r['value'] for r in rows
  )
  assert found[0].validations == ()


def test_rows_of_one_budget_are_of_one_size():
  rows = [
    {'label': 'a', 'embedding_bytes': size, 'ratio': size / 1000, 'seed': seed}
    | {'value': 1.0, 'budget': budget}
    for size, seed, budget in ((60, 0, 0.1), (99, 1, 0.1), (99, 0, 0.2))
  ]
  found = comparison_page.aggregate(rows)
  assert [(m.num_bytes, len(m.values)) for m in found] == [(79.5, 2), (99, 1)]


def test_dense_rows_are_the_line_to_compare_with(workdir):
  rows = fake_run.comparison()['rows']
  size = {'embedding_bytes': 256_000, 'ratio': 1.0, 'metric': 'accuracy'}
  dense = [
    {'label': 'dense', **size, 'value': value, 'seed': seed}
    for seed, value in enumerate((0.9, 0.94))
  ]
  for row in rows:
    del row['method']
  found = comparison_page.compare([*dense, *rows], higher_is_better=True)
  assert found.dense == pytest.approx((0.92, np.sqrt(2) * 0.02))
  assert [m.label for m in found.methods[::4]] == list(fake_run.METHODS)
  assert found.label_of('search') == 'search'
  assert found.label_of('dense') is None
  assert comparison_page.compare(dense, higher_is_better=True).methods == []


def test_steps_of_a_lost_life_are_left_out(workdir):
  lines = fake_run.architecture(range(20, 101, 20))
  again = fake_run.architecture(range(60, 81, 20))
  text = fake_run.json_lines([*lines, *again]) + '{"step": 90, "mix'
  (workdir / 'architecture.jsonl').write_text(text)
  found = read.read_run(workdir).probabilities
  assert found.steps.tolist() == [20, 40, 60, 80]
  np.testing.assert_array_equal(found.mixture[-1], again[-1]['mixture'])
  (workdir / 'architecture.jsonl').write_text('')
  assert read.read_run(workdir).probabilities is None


def test_bins_that_are_groups_have_no_splits(workdir):
  lines = [line | {'splits': None} for line in fake_run.architecture([1, 2])]
  (workdir / 'architecture.jsonl').write_text(fake_run.json_lines(lines))
  assert read.read_run(workdir).probabilities.splits is None


def test_a_run_that_has_not_ended_has_no_report(tmp_path):
  with pytest.raises(ValueError, match=r'result\.json does not exist: .* run'):
    report.write_report(tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'text', ['', '{', '[]', 'null', '{}', '3', '"x"', '\0', '{"step": 1}\n']
)
@pytest.mark.parametrize(
  'name',
  [
    'result.json',
    'comparison.json',
    'deciles.json',
    'scheme.json',
    'space.json',
    'vocabulary.json',
  ],
)
def test_damaged_files_are_named(workdir, name, text):
  (workdir / name).write_text(text)
  with pytest.raises(ValueError, match=re.escape(name)):
    read.read_run(workdir)


@pytest.mark.parametrize(
  ('name', 'fields', 'words'),
  [
    ('result.json', {'value': 'high'}, 'value must be a number'),
    ('result.json', {'embedding_bytes': 0}, 'must be positive'),
    ('result.json', {'command': 3}, 'command must be text'),
    ('comparison.json', {'rows': {}}, 'rows must be a list'),
    ('comparison.json', {'rows': [{}]}, "no field 'embedding_bytes'"),
    ('comparison.json', {'dense_value': '1'}, 'dense_value must be a number'),
    ('deciles.json', {'dense': [1.0]}, 'dense must have 10 numbers, got 1'),
    ('deciles.json', {'edges': 'x'}, 'edges must be a list of numbers'),
    ('space.json', {'bins': [0, 5, 5]}, 'bins must increase'),
    ('space.json', {'options': ['a']}, '1 options need as many'),
    ('space.json', {'bins': [0, 2000]}, 'must be 1 bins x 10 options'),
  ],
)
def test_wrong_fields_are_named(workdir, name, fields, words):
  change(workdir / name, **fields)
  with pytest.raises(ValueError, match=re.escape(words)):
    read.read_run(workdir)


@pytest.mark.parametrize('name', ['metrics.jsonl', 'architecture.jsonl'])
@pytest.mark.parametrize('line', ['[]', '{', '{}', '{"step": "x"}'])
def test_damaged_lines_are_named(workdir, name, line):
  path = workdir / name
  path.write_text(path.read_text() + line + '\n')
  with pytest.raises(ValueError, match=re.escape(name)):
    read.read_run(workdir)


def test_command_writes_a_report_or_says_what_is_wrong(workdir, capsys):
  keep_only(workdir, ())
  command.main([str(workdir)])
  assert capsys.readouterr().out.strip() == str(workdir / 'report.html')
  (workdir / 'result.json').unlink()
  with pytest.raises(SystemExit, match=r'error: .*result\.json does not exist'):
    command.main([str(workdir)])


def test_held_out_losses_begin_where_sizes_learn(workdir):
  logged = pictures.logged(read.read_run(workdir))
  assert logged['loss'][0][0] == 20
  steps, losses = logged['held_out_loss']
  assert steps == list(range(180, 401, 20))
  assert min(losses) > 0
