"""Texts in local files: folders by label, tables, lines of JSON, plain text."""

import contextlib
import csv
import json
import math
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from embedcomp._internal.strict_json import unique_fields
from embedcomp.data import labels
from embedcomp.data.documents import TextDataset
from embedcomp.data.fields import BY_DEFAULT, Field, Fields
from embedcomp.io import files

SUFFIXES = ('.csv', '.tsv', '.jsonl', '.txt')
_SPLITS = {
  'train': 'train',
  'test': 'test',
  'validation': 'validation',
  'dev': 'validation',
}


class Row(NamedTuple):
  """Document of a file, and the number of its line."""

  line: int
  text: str
  pair: str | None = None
  label: str | None = None


class Wanted(NamedTuple):
  """Columns or keys of a document, as far as they are known.

  Attributes:
    texts: of the text, one or more.
    pair: of the second text; None for texts that stand alone.
    label: of the label; None for 'label' where there is one.
  """

  texts: tuple[Field, ...]
  pair: Field | None = None
  label: Field | None = None


def load_local(
  path: str | os.PathLike,
  fields: Fields = BY_DEFAULT,
  *,
  errors: str = 'strict',
) -> TextDataset:
  """Loads texts from a folder or a file.

  A folder holds `train`, and perhaps `test` and `validation` (or `dev`), each
  of them either

  - a folder with a folder of `*.txt` documents for each label, or with
    unlabelled `*.txt` documents, or
  - a file: `.csv` (quoted as in RFC 4180) and `.tsv` (never quoted) with the
    names of the columns in the first line, `.jsonl` with an object a line, or
    `.txt` with an unlabelled document a line.

  A single file is all training documents. Without a test split one is made,
  see `labels.dataset_from_rows`.

  Args:
    path: of the folder or file.
    fields: columns or keys of texts and labels. Without a label, given or
      called 'label', the texts are unlabelled.
    errors: 'strict' or 'replace', what to do about bytes that are not UTF-8.

  Returns:
    The data set, named after the folder or file.

  Raises:
    FileNotFoundError: if there is nothing.
    ValueError: naming file and line, if a text or label is empty or missing,
      if text is not UTF-8, or if something is malformed.
  """
  if errors not in ('strict', 'replace'):
    raise ValueError(f"errors must be 'strict' or 'replace', got {errors!r}.")
  path = Path(path)
  if not path.exists():
    raise FileNotFoundError(f'no file or folder {path}.')
  text_fields = fields.text_fields or ('text',)
  wanted = Wanted(text_fields, fields.pair_field, fields.label_field)
  reader = _Reader(wanted, fields.real_labels, errors)
  sources = _find_splits(path) if path.is_dir() else {'train': path}
  rows = {split: reader.read(source) for split, source in sources.items()}
  name = path.resolve().name if path.is_dir() else path.stem
  return labels.dataset_from_rows(name, rows)


def _find_splits(folder: Path) -> dict[str, Path]:
  """Finds the file or folder of each split."""
  found: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    split = _SPLITS.get(path.stem if path.suffix in SUFFIXES else path.name)
    if split is None:
      continue
    if split in found:
      raise ValueError(
        f'{folder} must have one {split} split, got {found[split].name} '
        f'and {path.name}.'
      )
    found[split] = path
  if 'train' not in found:
    raise ValueError(
      f'{folder} must have a folder `train` or a file `train` with one of the '
      f'suffixes {SUFFIXES}, got {sorted(p.name for p in folder.iterdir())}.'
    )
  return found


class _Reader:
  """Reader of the files of all splits."""

  def __init__(self, wanted: Wanted, real_labels: bool, errors: str):
    self.wanted = wanted
    self.real_labels = real_labels
    self.errors = errors

  def read(self, path: Path) -> labels.Rows:
    """Reads the texts and labels of a split."""
    if path.is_dir():
      return self._read_folder(path)
    if path.suffix not in SUFFIXES:
      raise ValueError(f'{path} must end in one of {SUFFIXES}.')
    found = []
    with contextlib.closing(self._rows(path)) as rows:
      for row in rows:
        where = f'{path}, line {row.line}'
        if not row.text.strip():
          raise ValueError(f'{where}: the text is empty.')
        if row.pair is not None and not row.pair.strip():
          raise ValueError(f'{where}: the second text is empty.')
        label = None if row.label is None else self._label(row.label, where)
        found.append((row.text, label, row.pair))
    if not found:
      raise ValueError(f'{path} has no documents.')
    texts, names, pairs = map(list, zip(*found))
    return labels.Rows(
      texts,
      None if names[0] is None else names,
      None if pairs[0] is None else pairs,
    )

  def _label(self, label: str, where: str) -> str | float:
    """Returns a label as it counts: a name or a number."""
    if not label.strip():
      raise ValueError(f'{where}: the label is empty.')
    if not self.real_labels:
      return label
    try:
      number = float(label)
    except ValueError:
      number = math.nan
    if not math.isfinite(number):
      raise ValueError(f'{where}: the label must be a number, got {label!r}.')
    return number

  def _read_folder(self, folder: Path) -> labels.Rows:
    """Reads the documents of a folder, or of its folders named by labels."""
    inside = [p for p in sorted(folder.iterdir()) if p.name[0] != '.']
    named = [path for path in inside if path.is_dir()]
    self._check_alone(folder)
    texts: list[str] = []
    names: list[Any] = []
    for parent in named or [folder]:
      for path in sorted(parent.glob('*.txt')):
        text = ''.join(line for _, line in self._lines(path))
        if not text.strip():
          raise ValueError(f'{path}, line 1: the text is empty.')
        texts.append(text)
        names.append(self._label(parent.name, str(path)) if named else None)
    if not texts:
      raise ValueError(f'{folder} has no *.txt documents.')
    return labels.Rows(texts, names if named else None)

  def _check_alone(self, path: Path) -> None:
    """Raises ValueError if pairs are wanted, where none can be."""
    if self.wanted.pair is not None:
      raise ValueError(
        f'{path} has no columns or keys, so there is no pair_field '
        f'{self.wanted.pair!r}: give a table or .jsonl.'
      )

  def _rows(self, path: Path) -> Generator[Row]:
    """Yields the documents of a file."""
    if path.suffix == '.txt':
      self._check_alone(path)
      lines = ((number, line.strip()) for number, line in self._lines(path))
      return (Row(number, line) for number, line in lines if line)
    if path.suffix == '.jsonl':
      return self._json_rows(path)
    return self._table_rows(path)

  def _lines(self, path: Path) -> Iterator[tuple[int, str]]:
    """Yields numbered lines with their ends, without a byte-order mark."""
    with files.open_regular(path) as file:
      for number, line in enumerate(file, start=1):
        try:
          text = line.decode(errors=self.errors)
        except UnicodeDecodeError as error:
          raise ValueError(
            f'{path}, line {number}: byte {error.start + 1} '
            f'({line[error.start : error.start + 1]!r}) is not UTF-8; '
            "errors='replace' reads it all the same."
          ) from None
        yield number, text.removeprefix('\ufeff') if number == 1 else text

  def _table_rows(self, path: Path) -> Generator[Row]:
    """Yields rows of a table with or without names of columns."""
    options: dict[str, Any] = {'strict': True}
    if path.suffix == '.tsv':
      options = {'delimiter': '\t', 'quoting': csv.QUOTE_NONE}
    lines = (line for _, line in self._lines(path))
    reader = csv.reader(lines, **options)
    columns: list[Any] | None = None
    with _unlimited_csv():
      try:
        for cells in reader:
          where = f'{path}, line {reader.line_num}'
          if not cells:
            continue
          if columns is None:
            columns, texts, pair, label = self._columns(cells, where)
            if columns is cells:
              continue
          if len(cells) != len(columns):
            raise ValueError(
              f'{where}: must have {len(columns)} cells, got {len(cells)}.'
            )
          yield Row(
            reader.line_num,
            ' '.join(cells[column] for column in texts),
            None if pair is None else cells[pair],
            None if label is None else cells[label],
          )
      except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}.') from None

  def _columns(
    self, cells: list[str], where: str
  ) -> tuple[list[Any], tuple[int, ...], int | None, int | None]:
    """Returns a table's columns; where texts, pair and label are of them."""
    texts, pair, label = map(_by_number, self.wanted)
    given = [*texts, *(field for field in (pair, label) if field is not None)]
    if any(isinstance(field, int) for field in given):
      columns: list[Any] = list(range(len(cells)))
    else:
      columns = cells
      label = 'label' if label is None and 'label' in cells else label
    for field in given:
      if columns.count(field) != 1:
        raise ValueError(
          f'{where}: one column must be called {field!r}, got {columns}; '
          'choose others by text_field, pair_field and label_field, by number '
          'if the columns have no names.'
        )
    return (
      columns,
      tuple(columns.index(field) for field in texts),
      None if pair is None else columns.index(pair),
      None if label is None else columns.index(label),
    )

  def _json_rows(self, path: Path) -> Generator[Row]:
    """Yields rows of objects, one a line."""
    is_labelled = None
    for number, line in self._lines(path):
      if not line.strip():
        continue
      where = f'{path}, line {number}'
      try:
        fields = json.loads(line, object_pairs_hook=unique_fields)
      except (ValueError, RecursionError) as error:
        raise ValueError(f'{where}: not JSON ({error}).') from None
      if not isinstance(fields, dict):
        raise ValueError(f'{where}: must be an object, got {line[:80]!r}.')
      texts = [
        self._json_text(fields, field, where) for field in self.wanted.texts
      ]
      pair = None
      if self.wanted.pair is not None:
        pair = self._json_text(fields, self.wanted.pair, where)
      name = 'label' if self.wanted.label is None else self.wanted.label
      if is_labelled is None:
        is_labelled = self.wanted.label is not None or name in fields
      label = fields.get(name)
      kinds = (str, int, float) if self.real_labels else (str, int)
      if is_labelled and type(label) not in kinds:
        raise ValueError(
          f'{where}: {name!r} must be a text or '
          f'{"a number" if self.real_labels else "an integer"}, got {label!r}.'
        )
      if not is_labelled and label is not None:
        raise ValueError(
          f'{where}: has a {name!r}, but objects before it have none.'
        )
      label = str(label) if is_labelled else None
      yield Row(number, ' '.join(texts), pair, label)

  def _json_text(self, fields: dict, field: Field, where: str) -> str:
    """Returns the text of a field, without halves of surrogate pairs."""
    text = fields.get(field)
    if not isinstance(text, str):
      raise ValueError(
        f'{where}: {field!r} must be a text, got {text!r}; the fields are '
        f'{sorted(fields)}, choose by text_field.'
      )
    try:
      return text.encode(errors=self.errors).decode()
    except UnicodeEncodeError as error:
      raise ValueError(f'{where}: {error}.') from None


def _by_number(field):
  """Turns texts that are numbers, one or several, into numbers."""
  if isinstance(field, tuple):
    return tuple(map(_by_number, field))
  is_number = isinstance(field, str) and field.isdecimal()
  return int(field) if is_number else field


@contextlib.contextmanager
def _unlimited_csv() -> Iterator[None]:
  """Lets a cell be as long as a document may be."""
  limit = csv.field_size_limit(sys.maxsize)
  try:
    yield
  finally:
    csv.field_size_limit(limit)
