"""Directories of BERTs are written whole, to the bit, in either form."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

import embedcomp
from embedcomp import Bert, BertConfig, Group, GroupedEmbed, Scheme, methods
from embedcomp.io import packed
from embedcomp.io.bert import safetensors_files
from embedcomp.nn import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from embedcomp.table.order import order_from_groups
from tests.io.bert.directories import (
  CONFIG,
  FIELDS,
  IDS,
  SCHEME,
  SHAPES,
  WORDS,
  D,
  V,
  assert_comes_back,
  assert_same,
  contents,
  make_tensors,
  random_params,
  write,
)

FAMILIES = {
  'bert': {},
  'roberta': {'pad_token_id': 1, 'type_vocab_size': 1},
  'xlm-roberta': {'pad_token_id': 1, 'classifier_dropout': 0.3},
  'distilbert': {'type_vocab_size': 0, 'classifier_dropout': 0.2},
}
HEADS = {
  None: Bert,
  'classification': BertClassifier,
  'token_classification': BertTokenClassifier,
  'masked_lm': BertMaskedLM,
  'sentence': SentenceEncoder,
}


def make_config(family: str) -> BertConfig:
  return BertConfig(**(FIELDS | {'model_type': family} | FAMILIES[family]))


@pytest.fixture(scope='module')
def words():
  order = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [3, 4, 4]))
  order = order_from_groups(order)
  trainable = embedcomp.init(jax.random.key(0), SCHEME, order)
  return embedcomp.quantize_params(SCHEME, trainable)


@pytest.fixture
def loaded(words):
  """A model of compressed words and its params."""
  params = random_params(Bert(CONFIG)) | {'embedder': words}
  return Bert(CONFIG, GroupedEmbed(SCHEME)), params


@pytest.fixture
def folder(tmp_path, loaded):
  """A packed directory."""
  embedcomp.save_pretrained(tmp_path / 'packed', *loaded)
  return tmp_path / 'packed'


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('family', FAMILIES)
def test_dense_models_come_back_to_the_bit(tmp_path, family, head):
  config = make_config(family)
  own = {} if head else {'add_pooler': family != 'distilbert'}
  if 'classification' in (head or ''):
    own['num_labels'] = 3
  model = HEADS[head](config, **own)
  params = random_params(model)
  assert_comes_back(tmp_path, model, params, head)
  assert set(contents(tmp_path / 'one')) == {'config.json', 'model.safetensors'}


def test_tensors_have_the_names_of_transformers(tmp_path):
  write(tmp_path / 'theirs', make_tensors())
  loaded = embedcomp.from_pretrained(tmp_path / 'theirs')
  embedcomp.save_pretrained(tmp_path / 'ours', *loaded)
  found = safetensors.numpy.load_file(tmp_path / 'ours/model.safetensors')
  assert set(found) == set(SHAPES)
  for name, tensor in make_tensors().items():
    np.testing.assert_array_equal(found[name], tensor)


def test_a_head_puts_the_prefix_before_the_encoder(tmp_path):
  model = BertClassifier(CONFIG)
  embedcomp.save_pretrained(tmp_path / 'a', model, random_params(model))
  found = safetensors.numpy.load_file(tmp_path / 'a/model.safetensors')
  head = {'classifier.weight', 'classifier.bias'}
  assert set(found) == head | {f'bert.{name}' for name in SHAPES}


@pytest.mark.parametrize('head', HEADS)
def test_packed_models_come_back_to_the_bit(tmp_path, words, head):
  kind = HEADS[head]
  params = random_params(kind(CONFIG)) | {'embedder': words}
  model = kind(CONFIG, GroupedEmbed(SCHEME))
  assert_comes_back(tmp_path, model, params, head)


def test_packed_words_take_the_bytes_of_the_scheme(folder, words):
  assert set(contents(folder)) == {
    'config.json',
    'embedding.safetensors',
    'model.safetensors',
  }
  scheme, found = packed.load(folder / 'embedding.safetensors')
  assert scheme == SCHEME
  assert_same(found, words)
  tensors = safetensors.numpy.load_file(folder / 'model.safetensors')
  assert tensors.pop(WORDS).shape == (0, D)
  assert set(tensors) == set(SHAPES) - {WORDS}
  section = json.loads((folder / 'config.json').read_text())['embedcomp']
  assert section == {'format_version': 1, 'embedding': 'embedding.safetensors'}


def test_packed_models_compute_and_train(folder, loaded):
  model, params = embedcomp.from_pretrained(folder)
  expected = loaded[0].apply({'params': loaded[1]}, IDS)
  found = jax.jit(model.apply)({'params': params}, IDS)
  last = expected.last_hidden_state
  np.testing.assert_allclose(found.last_hidden_state, last, atol=1e-5)
  masters = embedcomp.dequantize_params(SCHEME, params['embedder'])
  trainable, stored = embedcomp.split_params(params | {'embedder': masters})

  @jax.jit
  @jax.grad
  def derive(trainable):
    params = embedcomp.merge_params(trainable, stored)
    return (model.apply({'params': params}, IDS).pooler_output ** 2).sum()

  gradients = jax.tree.leaves(derive(trainable))
  assert all(np.isfinite(leaf).all() for leaf in gradients)
  trained = params | {'embedder': masters}
  embedcomp.save_pretrained(folder, model, trained)
  assert_same(embedcomp.from_pretrained(folder)[1], params)


def test_packed_words_may_be_resident(folder, loaded):
  model, params = embedcomp.from_pretrained(folder, resident='float32')
  assert model.embedder.scheme.groups[0].method.storage == 'float32'
  expected = loaded[0].apply({'params': loaded[1]}, IDS)
  found = jax.jit(model.apply)({'params': params}, IDS)
  last = expected.last_hidden_state
  np.testing.assert_allclose(found.last_hidden_state, last, atol=1e-5)


def test_dense_words_cannot_be_resident(tmp_path):
  model = Bert(CONFIG)
  embedcomp.save_pretrained(tmp_path, model, random_params(model))
  with pytest.raises(ValueError, match="for packed words, got 'int8'"):
    embedcomp.from_pretrained(tmp_path, resident='int8')


def test_packed_models_train_around_their_stored_words(folder):
  model, params = embedcomp.from_pretrained(folder)
  trainable, stored = embedcomp.split_params(params)
  assert list(stored) == ['embedder']
  assert stored['embedder'].keys() == params['embedder'].keys()

  @jax.jit
  def derive(trainable, stored):
    def total(trainable):
      variables = {'params': trainable, 'stored': stored}
      return (model.apply(variables, IDS).pooler_output ** 2).sum()

    return jax.value_and_grad(total)(trainable)

  value, gradients = derive(trainable, stored)
  output = model.apply({'params': params}, IDS).pooler_output
  np.testing.assert_allclose(value, (output**2).sum(), rtol=1e-5)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_compressed_words_can_be_written_as_a_dense_table(folder, loaded):
  model, params = loaded
  embedcomp.save_pretrained(folder, model, params, dense=True)
  assert set(contents(folder)) == {'config.json', 'model.safetensors'}
  again, found = embedcomp.from_pretrained(folder)
  assert again == Bert(CONFIG)
  table = embedcomp.reconstruct(SCHEME, params['embedder'])
  np.testing.assert_array_equal(found['embedder']['embedding'], table)
  assert_same(found['layer_0'], params['layer_0'])


def test_dense_is_no_matter_for_a_dense_table(tmp_path):
  model = Bert(CONFIG)
  params = random_params(model)
  embedcomp.save_pretrained(tmp_path / 'one', model, params)
  embedcomp.save_pretrained(tmp_path / 'two', model, params, dense=True)
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_labels_keep_their_names(tmp_path):
  model = BertClassifier(CONFIG, num_labels=2)
  params = random_params(model)
  names = ['bad', 'good']
  embedcomp.save_pretrained(tmp_path / 'a', model, params, labels=names)
  fields = json.loads((tmp_path / 'a' / 'config.json').read_text())
  assert fields['id2label'] == {'0': 'bad', '1': 'good'}
  assert fields['label2id'] == {'bad': 0, 'good': 1}
  for wrong in (['bad'], ['bad', 'bad'], ['a', 'b', 'c']):
    with pytest.raises(ValueError, match='labels must be 2 names'):
      embedcomp.save_pretrained(tmp_path / 'a', model, params, labels=wrong)


def test_the_tokenizer_comes_along(tmp_path, loaded):
  source = tmp_path / 'source'
  source.mkdir()
  with pytest.raises(ValueError, match='has no tokenizer'):
    embedcomp.save_pretrained(tmp_path / 'new', *loaded, tokenizer_from=source)
  assert not (tmp_path / 'new').exists()
  (source / 'vocab.txt').write_text('a\nb\n')
  (source / 'tokenizer.json').write_text('{}')
  (source / 'secret.txt').write_text('no')
  embedcomp.save_pretrained(tmp_path / 'new', *loaded, tokenizer_from=source)
  found = contents(tmp_path / 'new')
  assert found['vocab.txt'] == b'a\nb\n'
  assert found['tokenizer.json'] == b'{}'
  assert 'secret.txt' not in found


@pytest.mark.parametrize('step', ['weights', 'words', 'tokenizer', 'config'])
def test_a_failure_leaves_the_directory_as_it_was(
  tmp_path, folder, loaded, monkeypatch, step
):
  (folder / 'vocab.txt').write_text('a\nb\n')
  before = contents(folder)
  model, params = loaded
  params = jax.tree.map(lambda leaf: leaf, params)
  params['pooler'] = {k: v + 1 for k, v in params['pooler'].items()}

  def fail(*args, **kwargs):
    raise OSError('no space left')

  where = {
    'weights': (safetensors_files, 'write_tensors'),
    'words': (packed, 'save'),
    'tokenizer': (shutil, 'copyfile'),
    'config': (type(folder), 'write_text'),
  }
  monkeypatch.setattr(*where[step], fail)
  with pytest.raises(OSError, match='no space left'):
    embedcomp.save_pretrained(folder, model, params, tokenizer_from=folder)
  assert contents(folder) == before
  monkeypatch.undo()
  embedcomp.save_pretrained(folder, model, params, tokenizer_from=folder)
  assert set(contents(folder)) == set(before)
  assert contents(folder) != before


def test_the_config_is_replaced_last(folder, loaded, monkeypatch):
  moved = []
  replace = os.replace

  def watch(source, target):
    if target.parent == folder:
      moved.append(target.name)
    replace(source, target)

  monkeypatch.setattr(os, 'replace', watch)
  embedcomp.save_pretrained(folder, *loaded)
  assert set(moved) == set(contents(folder))
  assert moved[-1] == 'config.json'


def test_half_written_directories_are_noticed(tmp_path, folder):
  model = Bert(CONFIG)
  embedcomp.save_pretrained(tmp_path / 'dense', model, random_params(model))
  mixed = tmp_path / 'mixed'
  for config, weights in (('packed', 'dense'), ('dense', 'packed')):
    shutil.copytree(tmp_path / config, mixed, dirs_exist_ok=True)
    shutil.copy(tmp_path / weights / 'model.safetensors', mixed)
    with pytest.raises(ValueError, match=r'word_embeddings\.weight must be'):
      embedcomp.from_pretrained(mixed)


def test_packed_words_are_not_scored_by_another_table(tmp_path, words):
  model = BertMaskedLM(CONFIG, GroupedEmbed(SCHEME))
  params = random_params(BertMaskedLM(CONFIG)) | {'embedder': words}
  embedcomp.save_pretrained(tmp_path, model, params)
  path = tmp_path / 'model.safetensors'
  tensors = safetensors.numpy.load_file(path)
  tensors['cls.predictions.decoder.weight'] = np.ones((V, D), np.float32)
  safetensors.numpy.save_file(tensors, path)
  with pytest.raises(ValueError, match=r'decoder\.weight must be the word'):
    embedcomp.from_pretrained(tmp_path, head='masked_lm')


@pytest.mark.parametrize(
  ('section', 'match'),
  [
    ({}, 'embedcomp must have fields'),
    ([], 'embedcomp must have fields'),
    ({'format_version': 2, 'embedding': 'x'}, 'reads format_version 1, got 2'),
    ({'format_version': True, 'embedding': 'x'}, 'reads format_version 1'),
    ({'format_version': 1, 'embedding': '../x'}, "must be 'embedding.safe"),
  ],
)
def test_another_section_is_refused(folder, section, match):
  path = folder / 'config.json'
  fields = json.loads(path.read_text()) | {'embedcomp': section}
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=match):
    embedcomp.from_pretrained(folder)


def test_damaged_or_foreign_words_are_refused(tmp_path, folder):
  path = folder / 'embedding.safetensors'
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  with pytest.raises(ValueError, match='not a valid packed file'):
    embedcomp.from_pretrained(folder)
  scheme = Scheme(D, (Group(V + 1, methods.Drop()),))
  packed.save(path, scheme, embedcomp.init(jax.random.key(0), scheme))
  with pytest.raises(ValueError, match=r'11 words and 6 .*got \(12, 6\)'):
    embedcomp.from_pretrained(folder)
  path.unlink()
  with pytest.raises(FileNotFoundError, match='embedding'):
    embedcomp.from_pretrained(folder)


def test_params_that_contradict_the_model_are_refused(tmp_path, loaded):
  model, params = Bert(CONFIG), random_params(Bert(CONFIG))
  layer = params['layer_0']
  cases = [
    (params | {'layer_1': layer}, 'unknown .*layer_1/attention_norm/bias'),
    ({k: v for k, v in params.items() if k != 'pooler'}, 'missing .*pooler'),
    ({k: v for k, v in params.items() if k != 'embedder'}, "have 'embedder'"),
    (
      params | {'pooler': {'kernel': np.eye(5), 'bias': np.zeros(D)}},
      r'pooler/kernel must be floats \[6, 6\], got float64\[5, 5\]',
    ),
    (
      params | {'pooler': {'kernel': np.eye(D) * np.nan, 'bias': np.zeros(D)}},
      'pooler/kernel must be finite',
    ),
    (params | {'embedder': loaded[1]['embedder']}, 'unknown .*embedder'),
  ]
  for wrong, match in cases:
    with pytest.raises(ValueError, match=match):
      embedcomp.save_pretrained(tmp_path / 'new', model, wrong)
  model, params = loaded
  trainable, _ = embedcomp.split_params(params)
  for dense in (True, False):
    with pytest.raises(ValueError, match=r"have 'embedder'.*merge_params"):
      embedcomp.save_pretrained(tmp_path / 'b', model, trainable, dense=dense)
  assert not (tmp_path / 'new').exists()


def test_models_that_a_file_has_no_place_for_are_refused(tmp_path, loaded):
  def save(model, params):
    embedcomp.save_pretrained(tmp_path / 'new', model, params)

  _, params = loaded
  with pytest.raises(ValueError, match='padding_id cannot be saved, got 0'):
    save(Bert(CONFIG, GroupedEmbed(SCHEME, padding_id=0)), params)
  other = Scheme(D, (Group(V - 1, methods.Drop()),))
  with pytest.raises(ValueError, match=r'11 words and 6 .*got \(10, 6\)'):
    save(Bert(CONFIG, GroupedEmbed(other)), params)
  with pytest.raises(TypeError, match='model must be one of'):
    save(GroupedEmbed(SCHEME), params)
  model = Bert(make_config('distilbert'))
  with pytest.raises(ValueError, match='distilbert has no pooler'):
    save(model, random_params(model))
  config = BertConfig(**(FIELDS | {'model_type': 'distilbert'}))
  model = Bert(config, add_pooler=False)
  with pytest.raises(ValueError, match='type_vocab_size of DistilBERT must be'):
    save(model, random_params(model))
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='must be a folder'):
    embedcomp.save_pretrained(tmp_path / 'file', *loaded)
