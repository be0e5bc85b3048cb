"""Long documents from configs: read in every way, with every attention."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest

import embedcomp
from configs import common, long_documents
from embedcomp import data as data_lib
from embedcomp.attention.dot_product import dense_attention
from embedcomp.nn.sparse_attention import (
  LocalAttention,
  RecursiveAttention,
  SlidingWindowAttention,
)
from experiments import benchmark, launch, strategies
from experiments.benchmarks import linear_probe, long_needle, long_training
from experiments.benchmarks import long_documents as long_documents_benchmark
from experiments.problems import attentions, load_texts, make_problem
from experiments.trainer import Trainer
from tests.experiments import small_bert
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)


def config_of(**fields):
  """The smoke config, smaller still."""
  config = long_documents.get_config('smoke')
  config.data.num_documents = (64, 16, 32)
  config.optim.epochs = 1.0
  config.update_from_flattened_dict(fields)
  return config


def logits_of(problem, batch):
  embedder = nn.Embed(problem.vocab_size, problem.features)
  apply = jax.jit(problem.make_model(embedder).apply)
  return np.asarray(apply(problem.pretrained, batch['ids']))


def words_of(problem, ids):
  """The words of [B, T] ids, special tokens and padding left out."""
  tokenizer = problem.vocabulary.tokenizer
  pieces = {id: piece for piece, id in tokenizer._vocabulary.items()}
  special = set(tokenizer.special_ids)
  return [[pieces[id] for id in row if id not in special] for row in ids]


def test_every_variant_is_a_config():
  known = common.get_config('classification')
  for variant in long_documents.VARIANTS:
    config = long_documents.get_config(variant)
    assert set(config) == set(known)
    for section in ('data', 'bert', 'model', 'optim'):
      assert set(config[section]) == set(known[section])
    assert config.method.name == 'dense'
  with pytest.raises(ValueError, match='variant must be one of'):
    long_documents.get_config('magic')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Lists so short that a tiny model learns something of them."""
  workdir = tmp_path_factory.mktemp('run')
  fields = {'length_range': (4, 4), 'num_documents': (1000, 50, 300)}
  config = long_documents.get_config('smoke')
  config.data.update({**fields, 'buckets': (8,)})
  config.optim.epochs = 10.0
  dataset = data_lib.load('listops', **fields, progress=False)
  return workdir, launch.run(config, workdir, progress=False), dataset


@pytest.mark.slow
def test_a_run_leaves_its_files_and_its_model(finished):
  workdir, result, dataset = finished
  assert json.loads((workdir / 'result.json').read_text()) == result
  assert (workdir / 'report.html').stat().st_size > 1000
  assert result['task'] == 'listops'
  assert result['scheme'] is None
  model, params = embedcomp.from_pretrained(
    workdir / 'model', head='classification'
  )
  tokenizer = data_lib.SubwordTokenizer.load(workdir / 'model')
  test = dataset.splits['test']
  ids = np.zeros((len(test), 8), np.int32)
  for row, encoded in zip(ids, tokenizer.encode(test.texts)):
    row[: len(encoded.ids)] = encoded.ids
  logits = model.apply({'params': params}, ids)
  accuracy = (logits.argmax(-1) == test.labels).mean()
  assert accuracy == pytest.approx(result['value'], abs=1e-6)


def test_a_run_learns(finished):
  _, result, dataset = finished
  shares = np.bincount(dataset.splits['test'].labels) / 300
  assert result['value'] > 2 * shares.max()


def test_words_of_generated_texts_are_pieces():
  problem = make_problem(config_of(), progress=False)
  texts = (
    data_lib.load(
      'listops',
      length_range=(8, 60),
      num_documents=(64, 16, 32),
      progress=False,
    )
    .splits['test']
    .texts
  )
  (batch,) = problem.splits['test'].for_evaluation()
  assert sorted(words_of(problem, batch['ids'])) == sorted(
    text.split() for text in texts
  )
  assert problem.vocab_size == 5 + 10 + 4 + 1


def test_sizes_of_a_small_bert_are_those_of_the_config():
  fields = {'model.features': 64, 'model.num_layers': 2, 'bert.max_length': 70}
  problem = make_problem(config_of(**fields), progress=False)
  sizes = problem.make_model(None).config
  assert (sizes.hidden_size, sizes.num_hidden_layers) == (64, 2)
  assert sizes.max_position_embeddings == 70
  assert problem.features == 64


def test_windows_are_read_apart():
  fields = {'data.reading': 'windows', 'data.window': 16}
  problem = make_problem(config_of(**fields), progress=False)
  tokenizer = problem.vocabulary.tokenizer
  ids = next(problem.splits['test'].for_evaluation())['ids']
  assert ids.shape[1] == 64
  windows = ids.reshape(-1, 4, 16)
  starts = windows[:, :, 0]
  assert set(starts.ravel()) == {tokenizer.cls_id, problem.padding}
  logits = logits_of(problem, {'ids': ids})
  turned = windows[:, ::-1].reshape(ids.shape)
  np.testing.assert_allclose(
    logits_of(problem, {'ids': turned}), logits, rtol=1e-4, atol=1e-4
  )
  # Positions are needed for a window alone.
  short = make_problem(
    config_of(**fields, **{'bert.max_length': 16}), progress=False
  )
  assert short.make_model(None).config.max_position_embeddings == 16


@pytest.mark.parametrize('reading', ['sentences', 'fixed_sentences'])
def test_sentences_are_drawn_anew_or_not(reading):
  fields = {'data.reading': reading, 'data.buckets': (32,)}
  fields |= {'data.length_range': (60, 90), 'optim.batch_size': 64}
  problem = make_problem(config_of(**fields), progress=False)

  def epoch(number):
    batch = problem.train.at(number)
    return sorted(map(bytes, np.asarray(batch['ids'])))

  assert problem.train.at(0)['ids'].shape == (64, 32)
  first, second = set(epoch(0)), set(epoch(1))
  if reading == 'sentences':
    assert len(first & second) < 10
  else:
    assert first == second
  again = make_problem(config_of(**fields), progress=False)
  np.testing.assert_array_equal(
    again.train.at(1)['ids'], problem.train.at(1)['ids']
  )


def test_only_long_documents_are_read():
  config = config_of(**{'data.min_pieces': 25})
  problem = make_problem(config, progress=False)
  whole = make_problem(config_of(), progress=False)
  for split in ('validation', 'test'):
    lengths, all_lengths = (
      np.concatenate(
        [
          (batch['ids'] != 0).sum(1)[batch['weights'] > 0]
          for batch in one.splits[split].for_evaluation()
        ]
      )
      for one in (problem, whole)
    )
    assert sorted(lengths) == sorted(all_lengths[all_lengths >= 25])
    assert 0 < len(lengths) < len(all_lengths)


def test_attentions_are_those_of_the_config():
  config = common.get_config('classification').bert
  assert attentions.from_config(config) is dense_attention
  config.chunk_size = 32
  expected = {
    'recursive': RecursiveAttention(32),
    'sliding_window': SlidingWindowAttention(32),
    'local': (LocalAttention(32), LocalAttention(32, shift=16)),
  }
  for name, attention_fn in expected.items():
    config.attention = name
    assert attentions.from_config(config) == attention_fn
  config.attention = 'sparse'
  with pytest.raises(ValueError, match=r"bert.attention must be .* 'sparse'"):
    attentions.from_config(config)


def test_recursive_attention_is_dense_on_short_texts():
  problems = [
    make_problem(config_of(**fields), progress=False)
    for fields in (
      {},
      {'bert.attention': 'recursive', 'bert.chunk_size': 32},
      {'bert.attention': 'recursive', 'bert.chunk_size': 8},
    )
  ]
  batch = next(problems[0].splits['test'].for_evaluation())
  dense, same, other = (logits_of(problem, batch) for problem in problems)
  np.testing.assert_allclose(same, dense, rtol=1e-4, atol=1e-4)
  assert np.abs(other - dense).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
  'fields',
  [
    {'data.reading': 'windows', 'data.window': 32, 'method.name': 'search'},
    {'data.reading': 'sentences', 'bert.attention': 'recursive'},
  ],
)
def test_tables_are_compressed_whatever_is_read(fields, tmp_path):
  fields = {'method.name': 'compress', 'data.name': 'needle', **fields}
  fields |= {'finetune.epochs': 0.5, 'compare_dense': False, 'budget': 0.3}
  fields |= {'data.length_range': (20, 90), 'bert.remat': True}
  result = launch.run(config_of(**fields), tmp_path, progress=False)
  assert 0.2 < result['ratio'] <= 0.3
  model, _ = embedcomp.from_pretrained(
    tmp_path / 'model', head='classification'
  )
  assert model.embedder.scheme.num_bytes == result['embedding_bytes']


@pytest.mark.parametrize(
  ('fields', 'reason'),
  [
    ({'data.reading': 'last'}, "data.reading must be one of .* 'last'"),
    ({'data.reading': 'windows', 'data.window': 24}, r'window 24.* got \[64\]'),
    (
      {'data.reading': 'windows', 'data.window': 200, 'data.buckets': (200,)},
      'data.buckets must not go beyond the 128 tokens .* set bert.max_length',
    ),
    ({'data.min_pieces': 1000}, 'no document has 1000 subwords'),
    ({'data.buckets': (256,)}, 'data.buckets must not go beyond'),
    ({'model.window_pool': 'sum', 'data.reading': 'windows'}, "got 'sum'"),
    ({'data.length_range': (2, 3)}, 'length_range must be'),
    ({'data.pair_field': 'b', 'data.name': '.'}, 'length_range and num_doc'),
  ],
)
def test_what_cannot_be_read_says_why(fields, reason):
  with pytest.raises(ValueError, match=reason):
    make_problem(config_of(**fields), progress=False)


def test_pairs_are_read_from_the_start(tmp_path):
  folder = small_bert.write(tmp_path)
  fields = {'data.reading': 'sentences'}
  for variant in ('similarity', 'masked_lm', 'regression'):
    config = small_bert.config_of(folder, variant, **fields)
    with pytest.raises(ValueError, match=r"reading must be 'first'"):
      make_problem(config, progress=False)


@pytest.mark.slow
def test_a_frozen_model_is_measured_in_all_ways(tmp_path):
  output = tmp_path / 'r.json'
  benchmark.main(['long_documents', '--smoke', f'--output={output}'])
  rows = json.loads(output.read_text())['rows']
  table = long_documents_benchmark.summary(rows)
  read = [(row['reading'], row['attention'], row['length']) for row in table]
  # Windows once for each pool and length, four attentions for each length, and
  # two of them once more with other positions.
  assert len(read) == 2 + 4 + 8 + 4
  assert len(set(read)) == len(read) - 4
  tokens = {name: row['tokens'] for name, row in zip(read, table)}
  documents = 90  # all are longer than the first length
  assert tokens['first', 'dense', 16] == 16 * documents
  assert tokens['sentences', 'dense', 16] == 16 * documents
  for length in (32, 64):
    # Special tokens of windows take the room of words.
    longest = length * documents
    assert tokens['windows, mean', 'dense', length] <= longest
    assert tokens['first', 'dense', length] <= longest
    assert tokens['first', 'dense', length] > tokens['first', 'dense', 16]
    same = {tokens['first', a, length] for a in ('recursive', 'dense')}
    assert len(same) == 1
  for row in rows:
    assert 0 <= row['test'] <= 100
    assert row['core_seconds'] > 0


@pytest.mark.slow
def test_a_model_is_trained_in_each_way():
  one = benchmark.BENCHMARKS['long_listops']
  jobs = {job.name: job.run for job in one.jobs(smoke=True, seeds=2)}
  # No sentences, of which lists have none, but what a first word tells.
  assert len(jobs) == 2 * 6 + 1
  (row,) = jobs['windows dense 64 1']()
  assert 0 <= row['test'] <= 100
  assert row['seed'] == 1
  other = {**row, 'seed': 2, 'test': row['test'] + 2}
  (line,) = one.summary([row, other])
  assert line['test'] == f'{row["test"] + 1:.1f} ± 1.0'


def test_what_the_first_word_tells(monkeypatch):
  splits = {
    'train': data_lib.Documents(['a x', 'a y', 'a', 'b x'], [1, 1, 0, 2]),
    'validation': data_lib.Documents(['b', 'a'], [2, 1]),
    'test': data_lib.Documents(['b a', 'a b', 'a', 'new'], [2, 1, 0, 0]),
  }
  dataset = data_lib.TextDataset('lists', ('0', '1', '2'), splits)
  monkeypatch.setattr(long_training, 'load_texts', lambda *_, **__: dataset)
  one = benchmark.BENCHMARKS['long_listops']
  (job,) = [j for j in one.jobs(smoke=True, seeds=1) if j.name == 'first word']
  (row,) = job.run()
  assert (row['validation'], row['test']) == (100, 50)


@pytest.mark.slow
def test_what_was_trained_is_read_with_another_attention(tmp_path):
  config = config_of(**{'optim.epochs': 4.0, 'bert.attention': 'dense'})
  problem = make_problem(config, progress=False)
  outcome = strategies.dense(Trainer(problem, config, None, progress=False))
  problem.write(tmp_path, outcome.embedder, outcome.variables)
  test = load_texts(config, progress=False).splits['test']
  read = {}
  for attention in ('dense', 'local'):
    find = long_needle.make_reader(tmp_path / 'model', attention, 64)
    read[attention] = np.array([find(text) for text in test.texts])
  accuracy = outcome.evaluate('test')['accuracy']
  assert np.mean(read['dense'] == test.labels) == pytest.approx(accuracy)
  # A chunk of its size is longer than these texts.
  np.testing.assert_array_equal(read['local'], read['dense'])


@pytest.mark.slow
def test_needles_are_looked_for_in_all_ways(tmp_path):
  output = tmp_path / 'r.json'
  arguments = ['--smoke', '--seeds=2', f'--output={output}']
  benchmark.main(['long_needle', *arguments])
  rows = json.loads(output.read_text())['rows']
  for row in rows:
    # Of 20 texts.
    assert row['accuracy'] in 100 * np.arange(21) / 20
    assert row['core_seconds_per_text'] > 0
  first, *others = long_needle.summary(rows)
  assert [line['attention'] for line in others] == [
    'local',
    'sliding_window',
    'recursive',
    'dense',
  ]
  of_first = [row['accuracy'] for row in rows if row['read'] == first['read']]
  mean, deviation = map(float, first['64'].split(' ± '))
  assert mean == pytest.approx(np.mean(of_first), abs=0.05)
  assert deviation == pytest.approx(np.std(of_first), abs=0.05)


def test_what_costs_an_hour_is_measured_for_two_seeds():
  names = [job.name for job in long_needle.jobs(smoke=False, seeds=3)]
  assert len(names) == 3 * 5 * 4 - 1
  longest = [name for name in names if name.startswith('all dense 8192')]
  assert longest == ['all dense 8192 0', 'all dense 8192 1']


def test_linear_classifiers_find_what_is_linear(rng):
  vectors = rng.normal(size=(600, 8)).astype(np.float32)
  labels = (vectors @ rng.normal(size=(8, 3))).argmax(1)
  parts = (vectors[:400], labels[:400]), (vectors[400:], labels[400:])
  assert linear_probe.accuracies(*parts, seed=0)['test'] > 90
  mixed = (vectors[:400], rng.permutation(labels[:400]))
  assert linear_probe.accuracies(mixed, parts[1], seed=0)['test'] < 60
