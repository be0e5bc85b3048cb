"""Data sets by name: prepared once, whole or not at all, without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered

from embedcomp.data import BUILT_IN, GENERATED, Fields, load
from embedcomp.data.datasets import builders, corpora


@pytest.fixture(autouse=True)
def packages(monkeypatch, tmp_path):
  """Small texts in place of those that are fetched; counts the fetches."""
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  calls = []

  def topic_documents(corpus, split, cache_dir):
    calls.append((corpus, split))
    rows = [('space', f'{corpus} {split} moon café'), ('autos', 'wheels')]
    return rows * (3 if split == 'train' else 1)

  monkeypatch.setattr(corpora, 'topic_documents', topic_documents)
  return calls


def tiny_builder(splits, features=None):
  """A builder of a published data set with two features, as glue has them."""
  features = features or {
    'idx': tfds.features.Scalar(np.int32),
    'label': tfds.features.ClassLabel(names=['bad', 'good']),
    'one': tfds.features.Text(),
    'two': tfds.features.Text(),
  }

  class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(features)
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split):
      if isinstance(splits[split], Exception):
        raise splits[split]
      for number, label in enumerate(splits[split]):
        row = {'idx': number, 'label': label, 'one': split, 'two': f'{number}'}
        yield number, {field: row[field] for field in features}

  return Pets


@pytest.fixture
def publish(monkeypatch):
  """Adds a data set to those that TensorFlow Datasets knows."""

  def add(splits, features=None):
    builder = tiny_builder(splits, features)
    monkeypatch.setitem(registered._DATASET_REGISTRY, 'pets', builder)

  return add


def pairs(documents, names):
  labels = [names[label] for label in documents.labels]
  return sorted(zip(documents.texts, labels))


def test_topics(tmp_path, packages, capfd):
  dataset = load('r8', cache_dir=tmp_path, progress=False)
  output = capfd.readouterr()
  assert (output.out, output.err) == ('', '')
  files = [path.name for path in tmp_path.rglob('*') if path.is_file()]
  assert any('array_record' in name for name in files)
  assert (dataset.name, dataset.label_names) == ('r8', ('autos', 'space'))
  assert pairs(dataset.splits['train'], dataset.label_names) == [
    *[('r8 train moon café', 'space')] * 3,
    *[('wheels', 'autos')] * 3,
  ]
  assert len(dataset.splits['test']) == 2
  packages.clear()
  again = load('r8', cache_dir=tmp_path, progress=False)
  assert again.splits['train'].texts == dataset.splits['train'].texts
  assert again.label_names == dataset.label_names
  assert packages == [], 'what is prepared needs no source'


def test_progress_goes_to_stderr(tmp_path, capfd):
  load('r52', cache_dir=tmp_path)
  output = capfd.readouterr()
  assert output.out == ''
  assert 'r52' in output.err


@pytest.mark.parametrize('name', BUILT_IN)
def test_every_built_in_name_has_a_builder(name):
  builder = builders.BUILDERS[name]
  assert builder.name == name
  assert set(builders.BUILDERS) == set(BUILT_IN)


def test_killed_preparation_leaves_nothing(tmp_path, monkeypatch):
  documents_of = corpora.topic_documents

  def die(corpus, split, cache_dir):
    if split == 'test':
      raise KeyboardInterrupt
    return documents_of(corpus, split, cache_dir)

  with monkeypatch.context() as patch:
    patch.setattr(corpora, 'topic_documents', die)
    with pytest.raises(KeyboardInterrupt):
      load('r8', cache_dir=tmp_path, progress=False)
  assert not [path for path in tmp_path.rglob('*') if path.is_file()]
  dataset = load('r8', cache_dir=tmp_path, progress=False)
  assert len(dataset.splits['train']) == 6


def test_two_processes_may_prepare_at_once(tmp_path, packages, monkeypatch):
  """The second one starts and ends while the first one is at it."""
  documents_of = corpora.topic_documents

  def start_another(corpus, split, cache_dir):
    monkeypatch.setattr(corpora, 'topic_documents', documents_of)
    load('r8', cache_dir=tmp_path, progress=False)
    packages.append('the second one has ended')
    return documents_of(corpus, split, cache_dir)

  monkeypatch.setattr(corpora, 'topic_documents', start_another)
  dataset = load('r8', cache_dir=tmp_path, progress=False)
  assert len(dataset.splits['train']) == 6
  ended = packages.index('the second one has ended')
  assert ('r8', 'train') in packages[:ended]
  assert ('r8', 'train') in packages[ended:]


def test_published_data_set(tmp_path, publish):
  publish({'train': [0, 1, 1], 'validation': [1], 'test': [0, 1]})
  dataset = load('pets', cache_dir=tmp_path, progress=False)
  assert dataset.label_names == ('bad', 'good')
  assert pairs(dataset.splits['train'], dataset.label_names) == [
    *[('train 0', 'bad'), ('train 1', 'good'), ('train 2', 'good')],
  ]
  assert {s: len(d) for s, d in dataset.splits.items()} == {
    'train': 3,
    'test': 2,
    'validation': 1,
  }
  one = Fields(text_field='one')
  chosen = load('pets', one, cache_dir=tmp_path, progress=False)
  assert set(chosen.splits['test'].texts) == {'test'}


def test_pairs_of_a_published_data_set(tmp_path, publish):
  publish({'train': [0, 1], 'test': [0]})
  two = Fields(pair_field='two')
  dataset = load('pets', two, cache_dir=tmp_path, progress=False)
  assert dataset.splits['train'].texts == ('train', 'train')
  assert sorted(dataset.splits['train'].pairs) == ['0', '1']
  swapped = load(
    'pets',
    Fields(text_field='two', pair_field='one'),
    cache_dir=tmp_path,
    progress=False,
  )
  assert swapped.splits['test'].texts == ('0',)
  assert swapped.splits['test'].pairs == ('test',)


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_real_labels_of_a_published_data_set(tmp_path, publish, dtype):
  """As glue/stsb, whose labels for testing are all -1."""
  features = {
    'one': tfds.features.Text(),
    'two': tfds.features.Text(),
    'label': tfds.features.Scalar(dtype),
    'idx': tfds.features.Scalar(np.int32),
  }
  splits = {'train': [0.5, 3, -2], 'validation': [1.5], 'test': [-1, -1]}
  if dtype is np.int32:
    splits = {'train': [0, 3, -2], 'validation': [1], 'test': [-1, -1]}
  publish(splits, features)
  dataset = load(
    'pets',
    Fields(pair_field='two', real_labels=True),
    cache_dir=tmp_path,
    progress=False,
  )
  assert dataset.label_names == ()
  assert set(dataset.splits) == {'train', 'test'}, 'hidden labels are left out'
  train = dataset.splits['train']
  assert train.labels.dtype == np.float32
  assert sorted(train.labels.tolist()) == sorted(splits['train'])
  assert train.texts == ('train',) * 3
  assert dataset.splits['test'].labels.tolist() == splits['validation']


def test_hidden_test_labels(tmp_path, publish):
  publish({'train': [0, 1], 'validation': [1], 'test': [-1, -1, -1]})
  dataset = load('pets', cache_dir=tmp_path, progress=False)
  assert set(dataset.splits) == {'train', 'test'}
  assert dataset.splits['test'].texts == ('validation 0',)


def test_no_test_split(tmp_path, publish):
  publish({'train': [0, 1] * 20})
  dataset = load('pets', cache_dir=tmp_path, progress=False)
  assert sorted(dataset.splits['test'].labels.tolist()) == [0, 0, 1, 1]


def test_text_without_labels(tmp_path, publish):
  text = {'one': tfds.features.Text()}
  publish({'train': [0] * 20, 'test': [0]}, text)
  dataset = load('pets', cache_dir=tmp_path, progress=False)
  assert dataset.label_names == ()
  assert dataset.splits['train'].labels is None


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'text_field': 'three'}, r"type Text, got \['three'\].*one \(Text\)"),
    ({'text_field': ('one', 'idx')}, 'text_field of pets must name'),
    ({'pair_field': 'idx'}, r"pair_field of pets must .* got \['idx'\]"),
    ({'label_field': 'idx'}, r"ClassLabel, got \['idx'\].*label \(ClassLabel"),
    ({'real_labels': True}, "a feature that is a number, got 'label'"),
    (
      {'real_labels': True, 'label_field': 'one'},
      r"a number, got 'one'; there are .*one \(Text\)",
    ),
  ],
)
def test_wrong_fields(tmp_path, publish, options, message):
  publish({'train': [0, 1], 'test': [0]})
  with pytest.raises(ValueError, match=message):
    load('pets', Fields(**options), cache_dir=tmp_path, progress=False)


def test_there_is_a_field_for_the_text():
  with pytest.raises(ValueError, match=r'one field or more, got \[\]'):
    Fields(text_field=[])


def test_real_valued_labels_are_refused_unless_asked_for(tmp_path, publish):
  features = {
    'one': tfds.features.Text(),
    'label': tfds.features.Scalar(np.float32),
  }
  publish({'train': [0.5, 1.5], 'test': [0.5]}, features)
  with pytest.raises(ValueError, match=r'ClassLabel, got \[\].*label \(Scalar'):
    load('pets', cache_dir=tmp_path, progress=False)


def test_no_training_split(tmp_path, publish):
  publish({'unsupervised': [0, 1]})
  with pytest.raises(ValueError, match=r"training split, but \['unsupervised'"):
    load('pets', cache_dir=tmp_path, progress=False)


def test_offline(tmp_path, publish):
  publish({'train': ConnectionError('no route to host')})
  with pytest.raises(RuntimeError) as error:
    load('pets', cache_dir=tmp_path, progress=False)
  assert 'could not prepare pets (ConnectionError: no route' in str(error.value)
  assert 'newsgroups' in str(error.value)


def test_unknown_names():
  with pytest.raises(ValueError, match="no data set 'nothing'") as error:
    load('nothing')
  names = 'names of TensorFlow Datasets'
  for possible in (*BUILT_IN, *GENERATED, 'folder or file', names):
    assert possible in str(error.value)
  with pytest.raises(ValueError, match=r'similar: .*glue'):
    load('glu/sst2')
  with pytest.raises(ValueError, match=r"cannot load 'glue/sst9': .*sst9"):
    load('glue/sst9')
  with pytest.raises(ValueError, match='no data set'):
    load('huggingface:glue')


def test_folder_with_a_built_in_name(tmp_path, monkeypatch):
  (tmp_path / 'r8').mkdir()
  (tmp_path / 'r8' / 'train.txt').write_text('one\ntwo\n')
  monkeypatch.chdir(tmp_path)
  assert load('./r8').splits['train'].texts == ('one',)
  dataset = load('r8', cache_dir=tmp_path, progress=False)
  assert dataset.label_names == ('autos', 'space')


def test_without_tensorflow_datasets(monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets.text', None)
  with pytest.raises(ImportError, match=r'pip install "embedcomp\[data\]"'):
    load('r8')


def test_nothing_imports_tensorflow():
  code = 'import sys, embedcomp.data\n'
  code += "assert 'tensorflow_datasets' not in sys.modules\n"
  code += 'import embedcomp.data.datasets.tfds\n'
  code += "assert 'tensorflow' not in sys.modules\n"
  run = [sys.executable, '-W', 'error', '-c', code]
  subprocess.run(run, check=True)


@pytest.mark.parametrize('name', GENERATED)
def test_generated_texts(name, tmp_path, capsys):
  """Drawn by seeds of their own, and alike each time."""
  options = {'length_range': (15, 40), 'num_documents': (30, 10, 20)}
  dataset = load(name, **options, cache_dir=tmp_path)
  again = load(name, **options, progress=False)
  sizes = {split: len(found) for split, found in dataset.splits.items()}
  assert sizes == {'train': 30, 'validation': 10, 'test': 20}
  assert dataset.name == name
  assert len(dataset.label_names) == 10
  texts = {split: set(found.texts) for split, found in dataset.splits.items()}
  assert not texts['train'] & texts['test']
  assert not texts['train'] & texts['validation']
  for split, documents in dataset.splits.items():
    assert documents.texts == again.splits[split].texts
    assert all(15 <= len(text.split()) <= 40 for text in documents.texts)
  assert not [*tmp_path.iterdir()], 'nothing is kept'
  assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
  ('name', 'options', 'reason'),
  [
    ('listops', {'fields': Fields(text_field='text')}, 'choose no fields'),
    ('needle', {'fields': Fields(real_labels=True)}, 'and no real labels'),
    ('needle', {'length_range': (20,)}, r'two numbers .*, got \(20,\)'),
    ('listops', {'num_documents': (1, 1)}, r'three, got .* and \(1, 1\)'),
    ('r8', {'length_range': (20, 30)}, "not for 'r8'"),
    ('./listops', {'num_documents': (1, 1, 1)}, 'length_range and num_docum'),
  ],
)
def test_options_of_generated_texts_are_theirs(name, options, reason):
  with pytest.raises(ValueError, match=reason):
    load(name, **options, progress=False)
