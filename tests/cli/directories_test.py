"""The command `embedcomp` on directories: what it says, writes and refuses."""

import configparser
import dataclasses
import functools
import importlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import scipy.stats

import embedcomp
from embedcomp import data
from embedcomp.cli import main
from embedcomp.nn.bert.heads import BertClassifier, BertMaskedLM
from embedcomp.nn.sparse_attention import LocalAttention, RecursiveAttention
from embedcomp.workflows import evaluate
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.small_berts import write_model

LABELS = ['good', 'bad', 'fair']
WORDS = [word for text in TEXTS for word in text.split()]
FIELDS = ('--text-field=text', '--pair-field=other', '--label-field=score')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Two models, one of them also compressed, texts, and labelled pairs."""
  folder = tmp_path_factory.mktemp('models')
  classifier = functools.partial(BertClassifier, num_labels=3)
  tokenizer = tiny('WordPiece')
  write_model(folder / 'classifier', classifier, tokenizer, LABELS)
  write_model(folder / 'masked', BertMaskedLM, tokenizer)
  (folder / 'text.txt').write_text('\n'.join(TEXTS))
  (folder / 'empty').write_text('\n\n')
  rng = np.random.default_rng(0)
  (folder / 'pairs').mkdir()
  for split, num in (('train', 12), ('test', 70)):
    lines = ['text\tother\tlabel\tscore']
    for number in range(num):
      text, other = (' '.join(rng.choice(WORDS, 5)) for _ in range(2))
      label = sorted(LABELS)[number % 3]
      lines.append(f'{text}\t{other}\t{label}\t{rng.random():.3f}')
    (folder / 'pairs' / f'{split}.tsv').write_text('\n'.join(lines) + '\n')
  compress(folder, 'classifier', folder / 'small')
  return folder


def compress(folder, model, output, *flags):
  paths = [str(folder / model), str(output)]
  flags = flags or ('--budget=4x',)
  text = f'--text={folder / "text.txt"}'
  main.main(['compress', *paths, text, *flags])


def test_the_command_is_installed():
  config = configparser.ConfigParser()
  config.read(Path(__file__).parents[2] / 'setup.cfg')
  scripts = config['options.entry_points']['console_scripts']
  name, target = scripts.strip().split(' = ')
  module, function = target.split(':')
  assert name == 'embedcomp'
  assert getattr(importlib.import_module(module), function) is main.main


def test_compressing_keeps_head_and_labels_within_the_budget(
  folder, tmp_path, capsys
):
  compress(folder, 'classifier', tmp_path / 'new')
  said = capsys.readouterr().out
  model, params = embedcomp.from_pretrained(
    tmp_path / 'new', head='classification'
  )
  dense, dense_params = embedcomp.from_pretrained(
    folder / 'classifier', head='classification'
  )
  scheme = model.embedder.scheme
  table = np.asarray(dense_params['embedder']['embedding'])
  assert scheme.num_bytes <= table.nbytes / 4
  assert f'{scheme.num_bytes:,} bytes instead of {table.nbytes:,}' in said
  for name in ('bert', 'pooler', 'classifier'):
    jax.tree.map(
      np.testing.assert_array_equal, params[name], dense_params[name]
    )
  fields = json.loads((tmp_path / 'new' / 'config.json').read_text())
  assert [fields['id2label'][str(i)] for i in range(3)] == LABELS
  assert dense.config == model.config


def test_the_bias_of_masked_words_goes_with_its_words(folder, tmp_path):
  compress(folder, 'masked', tmp_path / 'new')
  biases = [
    embedcomp.from_pretrained(path, head='masked_lm')[1]['bias']
    for path in (folder / 'masked', tmp_path / 'new')
  ]
  before = data.SubwordTokenizer.load(folder / 'masked').encode(TEXTS)
  after = data.SubwordTokenizer.load(tmp_path / 'new').encode(TEXTS)
  assert len(np.unique(biases[0])) == len(biases[0])
  for old, new in zip(before, after):
    np.testing.assert_array_equal(biases[1][new.ids], biases[0][old.ids])


def test_text_need_not_be_given(folder, tmp_path):
  """Or may be of other kinds alone; the tokenizer says the rest."""
  wide = f'--wide-text={folder / "text.txt"}'
  for name, flags in (('none', ()), ('wide', (wide,))):
    paths = [str(folder / 'classifier'), str(tmp_path / name)]
    main.main(['compress', *paths, '--budget=4x', *flags])
    scheme = embedcomp.from_pretrained(tmp_path / name)[0].embedder.scheme
    assert scheme.order == 'identity'
    assert scheme.num_bytes <= scheme.dense_bytes / 4


def test_one_head_may_be_kept(folder, tmp_path):
  compress(folder, 'masked', tmp_path / 'new', '--budget=4x', '--head=encoder')
  fields = json.loads((tmp_path / 'new' / 'config.json').read_text())
  assert fields['architectures'] == ['BertModel']


def test_info_says_what_the_files_take(folder, capsys):
  for name, is_packed in (('classifier', False), ('small', True)):
    main.main(['info', str(folder / name)])
    said = capsys.readouterr().out
    model, params = embedcomp.from_pretrained(
      folder / name, head='classification'
    )
    words = params.pop('embedder')
    others = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    table = (
      model.embedder.scheme.num_bytes
      if is_packed
      else words['embedding'].nbytes
    )
    for size in (table, others, table + others):
      assert f' {size:,} bytes' in said
    assert 'attention: dense\n' in said
    assert 'good, bad, fair' in said
    assert ('times smaller' in said) == is_packed


def test_weights_may_be_int8(folder, tmp_path, capsys):
  small, dense = tmp_path / 'small', tmp_path / 'dense'
  compress(folder, 'classifier', small, '--budget=4x', '--weights=int8')
  model, params = embedcomp.from_pretrained(small, head='classification')
  assert model.weights == 'int8'
  expected = embedcomp.quantize_encoder(
    *embedcomp.from_pretrained(folder / 'classifier', head='classification')
  )[1]
  for one, other in zip(
    jax.tree.leaves(params['bert']), jax.tree.leaves(expected['bert'])
  ):
    np.testing.assert_array_equal(one, other)
  capsys.readouterr()
  main.main(['info', str(small)])
  said = capsys.readouterr().out
  assert 'weights: int8\n' in said
  tensors = safetensors.numpy.load_file(small / 'model.safetensors')
  others = sum(tensor.nbytes for tensor in tensors.values())
  assert f' {others:,} bytes' in said
  main.main(['export', str(small), str(dense)])
  model, _ = embedcomp.from_pretrained(dense, head='classification')
  assert model.weights == 'float32'
  compress(folder, dense, tmp_path / 'again', '--budget=4x', '--weights=int8')
  again = embedcomp.from_pretrained(tmp_path / 'again', head='classification')
  np.testing.assert_array_equal(
    again[1]['pooler']['kernel'].values, params['pooler']['kernel'].values
  )


def test_info_says_which_attention_layers_have(folder, tmp_path, capsys):
  fns = (RecursiveAttention(64, learned=True), LocalAttention(8, shift=4))
  model, params = embedcomp.from_pretrained(
    folder / 'classifier', head='classification', attention_fn=fns
  )
  embedcomp.save_pretrained(tmp_path, model, params)
  main.main(['info', str(tmp_path)])
  said = capsys.readouterr().out
  expected = (
    'attention: recursive (chunk_size 64, num_global 1, num_summaries 16, '
    'learned True), local (chunk_size 8, num_global 1, shift 4) in turn'
  )
  assert expected in said.splitlines()
  (words,) = (part.size for part in jax.tree.leaves(params.pop('embedder')))
  others = sum(part.size for part in jax.tree.leaves(params))
  assert f' {4 * (words + others):,} bytes' in said


def said_values(capsys):
  lines = capsys.readouterr().out.splitlines()
  return {name: float(value) for name, value in map(str.split, lines)}


@pytest.mark.parametrize('name', ['classifier', 'small'])
def test_accuracy_is_that_of_the_model(folder, name, capsys):
  """Labels of the data are in another order than the model's."""
  arguments = ['evaluate', str(folder / name), str(folder / 'pairs')]
  main.main([*arguments, '--task=classification', FIELDS[0]])
  found = said_values(capsys)
  model, params = embedcomp.from_pretrained(
    folder / name, head='classification'
  )
  lines = (folder / 'pairs/test.tsv').read_text().splitlines()[1:]
  rows = [line.split('\t') for line in lines]
  tokenizer = data.SubwordTokenizer.load(folder / name)
  ids = padded(tokenizer.encode([row[0] for row in rows]))
  trainable, stored = embedcomp.split_params(params)
  variables = {'params': trainable, 'stored': stored}
  logits = jax.jit(model.apply)(variables, ids)
  is_right = [LABELS[k] == row[2] for k, row in zip(logits.argmax(1), rows)]
  assert found['accuracy'] == pytest.approx(np.mean(is_right), abs=6e-5)


def padded(encoded):
  ids = np.zeros((len(encoded), 32), np.int32)
  for row, text in zip(ids, encoded):
    row[: len(text.ids)] = text.ids
  return ids


def test_a_similarity_is_the_cosine_of_two_texts(folder, capsys):
  arguments = [str(folder / 'small'), str(folder / 'pairs'), *FIELDS]
  main.main(['evaluate', *arguments, '--task=similarity'])
  found = said_values(capsys)
  model, params = embedcomp.from_pretrained(folder / 'small', head='sentence')
  tokenizer = data.SubwordTokenizer.load(folder / 'small')
  documents = data.load(
    folder / 'pairs',
    data.Fields(pair_field='other', label_field='score', real_labels=True),
  ).splits['test']
  trainable, stored = embedcomp.split_params(params)
  variables = {'params': trainable, 'stored': stored}
  one, two = (
    jax.jit(model.apply)(variables, padded(tokenizer.encode(texts)))
    for texts in (documents.texts, documents.pairs)
  )
  expected = scipy.stats.spearmanr((one * two).sum(1), documents.labels)
  assert found['spearman'] == pytest.approx(expected.statistic, abs=1e-4)
  # By the function behind the command, labels twice as large.
  doubled = dataclasses.replace(documents, labels=2 * documents.labels)
  value = evaluate.evaluate(
    'similarity', model, params, tokenizer, doubled, progress=False
  )
  main.main(['evaluate', *arguments, '--task=similarity', '--label-scale=0.5'])
  found = said_values(capsys)
  assert found['loss'] == pytest.approx(value['loss'], abs=1e-4)


def test_of_a_single_file_all_texts_count(folder, monkeypatch):
  seen = []
  monkeypatch.setattr(
    evaluate,
    'evaluate',
    lambda kind, model, params, tokenizer, documents, **more: (
      seen.append(documents) or {}
    ),
  )
  path = folder / 'pairs' / 'train.tsv'
  arguments = ['evaluate', str(folder / 'classifier'), str(path)]
  main.main([*arguments, '--task=classification'])
  main.main([*arguments, '--task=classification', '--split=test'])
  assert [len(documents) for documents in seen] == [12, 1]


def test_an_exported_model_is_dense_and_the_same(folder, tmp_path, capsys):
  path = tmp_path / 'dense'
  main.main(['export', str(folder / 'small'), str(path)])
  assert str(path) in capsys.readouterr().out
  head = {'head': 'classification'}
  model, params = embedcomp.from_pretrained(path, **head)
  packed, words = embedcomp.from_pretrained(folder / 'small', **head)
  table = embedcomp.reconstruct(packed.embedder.scheme, words['embedder'])
  np.testing.assert_array_equal(params['embedder']['embedding'], table)
  np.testing.assert_array_equal(
    params['classifier']['kernel'], words['classifier']['kernel']
  )
  assert model.config == packed.config
  found = json.loads((path / 'config.json').read_text())
  assert found['label2id'] == {name: i for i, name in enumerate(LABELS)}
  assert 'embedcomp' not in found
  old, new = map(data.SubwordTokenizer.load, (folder / 'small', path))
  assert old.encode(TEXTS)[0].ids.tolist() == new.encode(TEXTS)[0].ids.tolist()


TEXT, DATA = '--text={0}/text.txt', '{0}/pairs'
MODEL, SMALL, MASKED = '{0}/classifier', '{0}/small', '{0}/masked'


@pytest.mark.parametrize(
  ('arguments', 'reason'),
  [
    (['info', '{0}/nothing'], 'MODEL must be a directory'),
    (['info', '{0}/pairs'], 'config.json'),
    (['export', SMALL, MODEL], 'nothing is overwritten'),
    (['export', SMALL, SMALL], 'nothing is overwritten'),
    (['export', SMALL, '{0}/text.txt'], 'must be a new or an empty directory'),
    (['export', SMALL, '{1}', '--head=masked_lm'], 'start from noise'),
    (['compress', MODEL, '{1}', TEXT, '--budget=10'], 'nothing fits into 10'),
    (['compress', SMALL, '{1}', TEXT, '--budget=4x'], 'compressed already'),
    (['compress', MODEL, '{1}', '--text={0}/no.txt', '--budget=4x'], 'no.txt'),
    (['compress', MODEL, '{1}', '--text={0}/empty', '--budget=4x'], 'got none'),
    (
      ['compress', MODEL, '{1}', '--wide-text={0}/no', '--budget=4x'],
      '--wide-text must name files',
    ),
    (['compress', MODEL, '{0}/text.txt/new', TEXT, '--budget=4x'], 'is none'),
    (['evaluate', MODEL, '{0}/no', '--task=classification'], '/no'),
    (
      ['evaluate', MODEL, DATA, '--task=classification', '--split=dev'],
      "has no split 'dev'",
    ),
    (
      ['evaluate', MODEL, DATA, '--task=similarity', '--label-field=score'],
      'set pair_field',
    ),
    (['evaluate', MODEL, DATA, '--task=similarity'], 'must be a number'),
    (['evaluate', MASKED, DATA, '--task=classification'], 'start from noise'),
    (
      ['evaluate', MODEL, '{0}/text.txt', '--task=classification'],
      'set label_field',
    ),
    (
      ['evaluate', MODEL, DATA, '--task=classification', '--max-length=1'],
      'max_length must leave room',
    ),
  ],
  ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_mistakes_are_one_line_and_write_nothing(
  folder, tmp_path, capsys, arguments, reason
):
  output = tmp_path / 'output'
  before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
  with pytest.raises(SystemExit) as ended:
    main.main([text.format(folder, output) for text in arguments])
  said = ended.value.code  # which Python writes to stderr, with status 1
  assert said.startswith('embedcomp: ')
  assert reason in said
  assert '\n' not in said
  assert capsys.readouterr().out == ''
  assert not output.exists()
  assert before == {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
