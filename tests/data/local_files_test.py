"""Local texts are read as written, and what is wrong is named by its line."""

import csv
import logging

import numpy as np
import pytest

from embedcomp.data import Fields, load
from embedcomp.data.local_files import load_local


@pytest.fixture
def put(tmp_path):
  """Writes files into a folder and returns it."""

  def write(files: dict[str, str | bytes]):
    for name, content in files.items():
      path = tmp_path / 'texts' / name
      path.parent.mkdir(parents=True, exist_ok=True)
      if isinstance(content, str):
        content = content.encode()
      path.write_bytes(content)
    return tmp_path / 'texts'

  return write


def contents(dataset):
  """Texts and names of labels by split."""
  names = (*dataset.label_names, None)
  found = {}
  for split, documents in dataset.splits.items():
    found[split] = list(documents.texts)
    if documents.labels is not None:
      labels = [names[label] for label in documents.labels]
      found[split] = list(zip(documents.texts, labels))
  return found


EXPECTED = {
  'train': [('good, "very"', 'yes'), ('tom\tcat', 'no'), ('two\nlines', 'no')],
  'test': [('bad', 'no')],
}


def test_csv(put):
  train = '\ufefflabel,id,text\nyes,1,"good, ""very"""\nno,2,tom\tcat\n\n'
  train += 'no,3,"two\nlines"\n'
  folder = put({'train.csv': train, 'test.csv': 'text,label\nbad,no\n'})
  dataset = load(folder)
  assert dataset.name == 'texts'
  assert dataset.label_names == ('no', 'yes')
  assert contents(dataset) == EXPECTED


def test_tsv_is_not_quoted(put):
  train = 'sentence\tlabel\r\nit\'s "so\t1\r\n10 "\'s\t10\r\nx\t2\r\n'
  folder = put({'train.tsv': train, 'dev.tsv': 'sentence\tlabel\ny\t10\n'})
  dataset = load(folder, Fields(text_field='sentence'))
  assert dataset.label_names == ('1', '2', '10'), 'numbers in their order'
  assert contents(dataset) == {
    'train': [('it\'s "so', '1'), ('10 "\'s', '10'), ('x', '2')],
    'test': [('y', '10')],
  }


def test_columns_without_names(put):
  folder = put({'train.tsv': 'a b\tx\t1\nc\ty\t0\n', 'test.tsv': 'd\tz\t1\n'})
  dataset = load(folder, Fields(text_field=(1, 0), label_field=2))
  assert contents(dataset) == {
    'train': [('x a b', '1'), ('y c', '0')],
    'test': [('z d', '1')],
  }


@pytest.mark.parametrize(('text', 'label'), [('0', '1'), (0, 1), ('0', 1)])
def test_columns_by_numbers_in_texts(put, text, label):
  """As configs have them; a first row that looks like names is a row."""
  folder = put({'train.tsv': 'fine\t1\nbad\t0\n', 'test.tsv': '0\t1\n'})
  dataset = load(folder, Fields(text_field=text, label_field=label))
  assert contents(dataset) == {
    'train': [('fine', '1'), ('bad', '0')],
    'test': [('0', '1')],
  }


def test_pairs_and_real_labels_of_a_table_without_names(put):
  folder = put(
    {
      'train.csv': '"A man, he said.","One ""man"", one.",5.0\nx,y,4.75\n',
      'dev.csv': 'a,b,-1e-1\n',
      'test.csv': 'c,d,0\n',
    }
  )
  dataset = load(
    folder,
    Fields(text_field='0', pair_field='1', label_field='2', real_labels=True),
  )
  assert dataset.label_names == ()
  assert dataset.has_real_labels
  train = dataset.splits['train']
  assert train.texts == ('A man, he said.', 'x')
  assert train.pairs == ('One "man", one.', 'y')
  assert train.labels.tolist() == [5, 4.75]
  validation = dataset.splits['validation']
  np.testing.assert_allclose(validation.labels, [-0.1])
  assert dataset.splits['test'].pairs == ('d',)


def test_pairs_by_name(put):
  folder = put(
    {
      'train.tsv': 'two\tlabel\tone\nb\tyes\ta\nd\tno\tc\n',
      'test.jsonl': '{"one": "e", "label": "no", "two": "f"}',
    }
  )
  dataset = load(folder, Fields(text_field='one', pair_field='two'))
  assert dataset.label_names == ('no', 'yes')
  assert dataset.splits['train'].texts == ('a', 'c')
  assert dataset.splits['train'].pairs == ('b', 'd')
  assert dataset.splits['test'].pairs == ('f',)
  assert load(folder, Fields(text_field='one')).splits['train'].pairs is None


def test_real_labels_by_name(put):
  lines = [
    f'{{"text": "x", "label": {label}}}' for label in (1, 2.5, '"3e0"', -1)
  ]
  folder = put({'train.jsonl': '\n'.join(lines), 'test.jsonl': lines[0]})
  dataset = load(folder, Fields(real_labels=True))
  assert dataset.splits['train'].labels.tolist() == [1, 2.5, 3, -1]
  folder = put({'scores/train/0.5/a.txt': 'x', 'scores/train/2/b.txt': 'y'})
  (folder / 'scores/test').mkdir()
  (folder / 'scores/test/0.25').mkdir()
  (folder / 'scores/test/0.25/c.txt').write_text('z')
  dataset = load(folder / 'scores', Fields(real_labels=True))
  assert dataset.splits['train'].labels.tolist() == [0.5, 2]
  assert dataset.splits['test'].labels.tolist() == [0.25]


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('a.csv', 'text,two,label\nx,y,1\nx, ,1\n', 'line 3: the second text is'),
    ('a.csv', 'text,label\nx,1\n', "line 1: one column must be called 'two'"),
    ('a.csv', 'text,two,label\nx,y,good\n', "be a number, got 'good'"),
    ('a.csv', 'text,two,label\nx,y,nan\n', "line 2: .* number, got 'nan'"),
    ('a.csv', 'text,two,label\nx,y,1e999\n', "be a number, got '1e999'"),
    ('a.jsonl', '{"text": "x", "label": 1}', "'two' must be a text, got None"),
    (
      'a.jsonl',
      '{"text": "x", "two": "y", "label": null, "c": 1}\n',
      "'label' must be a text or a number, got None",
    ),
    ('a.txt', 'x\n', "no columns or keys, so there is no pair_field 'two'"),
    ('a/train/1/x.txt', 'x', 'no columns or keys, so there is no pair_field'),
  ],
)
def test_malformed_pairs_and_numbers(put, name, content, message):
  path = put({name: content}) / name.partition('/')[0]
  with pytest.raises(ValueError, match=message):
    load_local(path, Fields(pair_field='two', real_labels=True))


def test_json_lines(put):
  train = (
    '{"text": "good, \\"very\\"", "label": "yes"}\n\n'
    '{"label": "no", "text": "tom\\tcat", "more": [1]}\n'
    '{"label": "no", "text": "two\\nlines"}'
  )
  folder = put(
    {'train.jsonl': train, 'test.jsonl': '{"text":"bad","label":"no"}'}
  )
  assert contents(load(folder)) == EXPECTED


def test_json_integers_and_several_fields(put):
  lines = ['{"a": "x", "b": "y", "c": 1}', '{"b": "w", "a": "v", "c": 0}']
  folder = put({'train.jsonl': '\n'.join(lines), 'test.jsonl': lines[0]})
  dataset = load(folder, Fields(text_field=['b', 'a'], label_field='c'))
  assert contents(dataset) == {
    'train': [('y x', '1'), ('w v', '0')],
    'test': [('y x', '1')],
  }


def test_folders_of_labels(put):
  folder = put(
    {
      'train/pos/1.txt': 'good\nfilm\n',
      'train/pos/10.txt': 'fine',
      'train/neg/a.txt': '\ufeffbad',
      'train/neg/ignored.md': 'x',
      'train/.hidden/a.txt': 'x',
      'test/neg/b.txt': 'worse',
      'validation/pos/b.txt': 'better',
      'README.md': 'x',
    }
  )
  assert contents(load(str(folder))) == {
    'train': [('bad', 'neg'), ('good\nfilm\n', 'pos'), ('fine', 'pos')],
    'test': [('worse', 'neg')],
    'validation': [('better', 'pos')],
  }


def test_plain_text(put):
  lines = '\n'.join(f'line {number}\n' for number in range(20))
  dataset = load(put({'wiki.txt': lines}) / 'wiki.txt')
  assert (dataset.name, dataset.label_names) == ('wiki', ())
  assert dataset.splits['train'].texts == tuple(f'line {n}' for n in range(18))
  assert dataset.splits['test'].texts == ('line 18', 'line 19')
  assert dataset.splits['train'].labels is None


def test_unlabelled_folders_and_tables(put):
  folder = put({'train/a.txt': 'one', 'train/b.txt': 'two', 'test/c.txt': 'x'})
  assert contents(load(folder)) == {'train': ['one', 'two'], 'test': ['x']}


def test_unlabelled_table(put):
  folder = put({'train.csv': 'text\none\ntwo\n', 'test.jsonl': '{"text": "x"}'})
  assert contents(load(folder)) == {'train': ['one', 'two'], 'test': ['x']}


def test_single_file_gives_a_test_split_of_each_label(put):
  rows = ''.join(f'text {n},{"ab"[n % 2]}\n' for n in range(40))
  dataset = load(put({'all.csv': 'text,label\n' + rows}) / 'all.csv')
  assert sorted(dataset.splits['test'].labels.tolist()) == [0, 0, 1, 1]
  assert len(dataset.splits['train']) == 36


def test_unseen_labels_are_counted(put, caplog):
  folder = put(
    {
      'train.csv': 'text,label\nx,a\ny,b\n',
      'test.csv': 'text,label\nx,a\ny,c\nz,d\n',
    }
  )
  with caplog.at_level(logging.WARNING):
    dataset = load(folder)
  assert dataset.splits['test'].labels.tolist() == [0, -1, -1]
  (record,) = caplog.records
  assert '2 of 3 documents of test' in record.getMessage()
  assert "'c', 'd'" in record.getMessage()


def test_long_documents(put):
  limit = csv.field_size_limit()
  long = 'word ' * 100_000
  folder = put({'train.csv': f'text,label\n{long},a\nb,b\n'})
  (folder / 'test.csv').write_text('text,label\nb,b\n')
  assert load(folder).splits['train'].texts[0] == long
  assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('a.csv', b'text,label\nok,a\n\xffb,a\n', r'line 3: byte 1 .*not UTF-8'),
    ('a.csv', 'text,label\nx,a\n  ,b\n', 'line 3: the text is empty'),
    ('a.csv', 'text,label\nx,a\ny,\n', 'line 3: the label is empty'),
    ('a.csv', 'text,label\n"x\ny",a\nz\n', 'line 4: must have 2 cells, got 1'),
    ('a.csv', 'text,label\n"x" y,a\n', 'line 2: .*expected after'),
    ('a.csv', 'text,label\n"x,a\n', 'line 2: unexpected end of data'),
    ('a.csv', 'body,label\nx,a\n', "line 1: one column must be called 'text'"),
    ('a.csv', 'text,text\nx,a\n', "line 1: one column must be called 'text'"),
    ('a.csv', 'text,label\n', 'has no documents'),
    ('a.csv', '', 'has no documents'),
    ('a.txt', '\n \n', 'has no documents'),
    ('a.txt', b'fine\n\xc3\n', 'line 2: byte 1'),
    ('a.jsonl', '{"text": "x"}\n{"text": }\n', 'line 2: not JSON'),
    ('a.jsonl', '[' * 100_000, 'line 1: not JSON'),
    ('a.jsonl', '["text"]\n', 'line 1: must be an object'),
    ('a.jsonl', '{"body": "x"}', "line 1: 'text' must be a text, got None"),
    ('a.jsonl', '{"text": "x", "text": "y"}', "'text' occurs twice"),
    ('a.jsonl', '{"text": "\\ud800"}', 'line 1: .*surrogates'),
    (
      'a.jsonl',
      '{"text": "x", "label": 1}\n{"text": "y"}',
      "line 2: 'label' must be a text or an integer, got None",
    ),
    ('a.jsonl', '{"text": "x", "label": true}', 'got True'),
    (
      'a.jsonl',
      '{"text": "x"}\n{"text": "x", "label": 1}',
      'line 2: has a .label',
    ),
    ('a.pdf', 'text', r'must end in one of'),
    ('a.csv', 'text,label\n' + 'x,a\n' * 20, "all documents have 'a'"),
    ('a.csv', 'text,label\nx,a\ny,b\n', 'leaves one side empty'),
  ],
)
def test_malformed_files(put, name, content, message):
  path = put({name: content}) / name
  with pytest.raises(ValueError, match=message) as error:
    load_local(path)
  assert str(error.value).startswith(('a:', 'a share', str(path)))


def test_replaced_bytes(put):
  path = put({'a.txt': b'caf\xe9\nx\n'}) / 'a.txt'
  assert load(path, errors='replace').splits['train'].texts == ('caf\ufffd',)
  with pytest.raises(ValueError, match="'strict' or 'replace', got 'ignore'"):
    load(path, errors='ignore')


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ({'other.csv': ''}, r"folder `train` or a file.*got \['other.csv'\]"),
    ({'train.csv': '', 'train.tsv': ''}, 'one train split, got train.csv and'),
    ({'dev.tsv': '', 'validation.tsv': ''}, 'one validation split'),
    ({'train/a/x.md': ''}, r'train has no \*\.txt documents'),
    ({'train/a/x.txt': ' '}, r'x\.txt, line 1: the text is empty'),
    (
      {'train.csv': 'text,label\nx,a\ny,b', 'test.csv': 'text\nx'},
      'test lacks labels',
    ),
  ],
)
def test_malformed_folders(put, files, message):
  with pytest.raises(ValueError, match=message):
    load(put(files))


def test_nothing_there(tmp_path):
  with pytest.raises(FileNotFoundError, match='no file or folder'):
    load(tmp_path / 'missing')
  with pytest.raises(FileNotFoundError, match='no file or folder'):
    load('./missing')
