"""Word vectors in the formats of other tools.

  word2vec         a line `V D`, then a line `word v1 ... vD` for each word
  word2vec_binary  a line `V D`, then `word `, D float32 and perhaps a newline
  glove            as word2vec, without the first line
  npy              NumPy's array file; no words
  safetensors      one tensor of a file; no words

Each may be gzip-compressed. Files are read in blocks, so that little more
than the table and the words is in memory; compressed .npy and safetensors files
are unpacked into a temporary file first.
"""

import collections
import functools
import gzip
import io
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embedcomp._internal import progress
from embedcomp.io import array_files, files
from embedcomp.table.scheme import MAX_FEATURES

FORMATS = ('word2vec', 'word2vec_binary', 'glove', 'npy', 'safetensors')
_BLOCK_BYTES = 2**20
_MAX_WORD_BYTES = 2**16
_MAX_LINE_BYTES = _MAX_WORD_BYTES + 32 * MAX_FEATURES
_BAR_BYTES = 2**26  # a smaller file is read before a bar could be looked at
_NUMBER = re.compile(
  rb'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)',
  re.IGNORECASE,
)


def read_word_vectors(
  path: str | os.PathLike,
  *,
  format: str | None = None,
  key: str | None = None,
  max_words: int | None = None,
) -> tuple[list[str] | None, np.ndarray]:
  r"""Reads a table of word vectors.

  A word of a text format may contain spaces: the last D fields of a line are
  its numbers. Bytes of a word that are not UTF-8 are kept as escapes (`\xff`).
  Blank lines are skipped.

  Args:
    path: of the file.
    format: one of `FORMATS`; found out from suffix and content if not given.
      (Content cannot tell a header from one-dimensional vectors of numbers,
      and is then taken for a header.)
    key: name of the tensor, for safetensors; not needed if only one tensor
      has two axes.
    max_words: how many words to read at most, from the start.

  Returns:
    The words, or None if the format has none, and [V, D] float32, all finite.

  Raises:
    FileNotFoundError: if there is no file.
    ValueError: if the file is damaged, naming the line, word or row.

  Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), 'vectors.txt')
    >>> _ = path.write_text('the 0.5 1\ncat -1 2\n')
    >>> read_word_vectors(path)[0]
    ['the', 'cat']
  """
  if format not in (None, *FORMATS):
    raise ValueError(f'format must be one of {FORMATS}, got {format!r}.')
  if max_words is not None and max_words < 1:
    raise ValueError(f'max_words must be at least 1, got {max_words}.')
  path = Path(path)
  try:
    with files.open_regular(path) as file:
      # Peeking, because what follows reads from the start.
      compressed = file.peek(2)[:2] == b'\x1f\x8b'
      blocks = _read_blocks(file, path, compressed)
      head = next(blocks, b'')
      if not head:
        raise ValueError('the file is empty.')
      blocks = itertools.chain([head], blocks)
      format = format or _detect(head, path)
      if key is not None and format != 'safetensors':
        raise ValueError(f'only safetensors have a key, this is {format}.')
      if format in ('npy', 'safetensors'):
        copied = blocks if compressed else None
        with array_files.uncompressed(path, copied) as whole:
          if format == 'npy':
            return None, array_files.read_npy(whole, max_words)
          return None, array_files.read_safetensors(whole, key, max_words)
      if format == 'word2vec_binary':
        return _read_binary(blocks, max_words)
      return _read_text(blocks, format == 'word2vec', max_words)
  except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(f'{path}: {error}') from None


def _read_blocks(
  file: io.BufferedReader, path: Path, compressed: bool
) -> Iterator[bytes]:
  """Yields the content, decompressed, a MiB at a time."""
  size = os.fstat(file.fileno()).st_size
  total: int | None = -(-size // _BLOCK_BYTES)
  stream: io.BufferedReader | gzip.GzipFile = file
  if compressed:
    total, stream = None, gzip.GzipFile(fileobj=file)
  blocks = iter(functools.partial(stream.read, _BLOCK_BYTES), b'')
  yield from progress.track(
    blocks,
    f'reading {path.name}',
    enabled=size >= _BAR_BYTES,
    total=total,
    unit='MiB',
  )


def _detect(head: bytes, path: Path) -> str:
  """Finds the format by the suffix, or else by the start of the content."""
  suffixes = path.suffixes[-2:]
  if '.npy' in suffixes or head.startswith(b'\x93NUMPY'):
    return 'npy'
  if '.safetensors' in suffixes or (head[4:9] == b'\0\0\0\0{'):
    return 'safetensors'
  header, _, rest = head.partition(b'\n')
  if len(fields := header.split()) != 2 or not all(map(bytes.isdigit, fields)):
    return 'glove'
  numbers = rest.partition(b'\n')[0].split()[-int(fields[1][:9]) :]
  # Binary numbers do not happen to be made of these bytes alone.
  is_text = set(b''.join(numbers)) <= set(b'0123456789+-.eEnaifNAIF')
  return 'word2vec' if is_text and b'\0' not in rest else 'word2vec_binary'


class _GrowingTable:
  """Float32 numbers that come in blocks, in one array that grows in place."""

  def __init__(self):
    self._values = np.empty(0, np.float32)
    self.size = 0

  def add(self, block: np.ndarray) -> None:
    """Appends numbers of any float type."""
    size = self.size + block.size
    if size > self._values.size:
      # `realloc` moves pages, not bytes; nobody else holds the array.
      self._values.resize(size + self.size // 4, refcheck=False)
    with np.errstate(over='ignore'):  # shows as infinity, which is checked
      self._values[self.size : size] = block
    self.size = size

  def first_nonfinite(self, start: int) -> int | None:
    """Finds the position of the first NaN or infinity from `start` on."""
    bad = ~np.isfinite(self._values[start : self.size])
    return start + int(bad.argmax()) if bad.any() else None

  def finish(self, features: int) -> np.ndarray:
    """Returns the [V, D] table; ends the growing."""
    self._values.resize(self.size, refcheck=False)
    return self._values.reshape(-1, features)


class _Words:
  """Words and their vectors, block by block."""

  def __init__(self, features: int, max_words: int | None):
    if not 1 <= features <= MAX_FEATURES:
      raise ValueError(f'features must be 1 to {MAX_FEATURES}, got {features}.')
    self.features = features
    self.words: list[str] = []
    self._max_words = max_words
    self._known: set[str] = set()
    self._table = _GrowingTable()

  @property
  def is_full(self) -> bool:
    return len(self.words) == self._max_words

  def add_word(self, word: bytes, where: str) -> None:
    """Appends a word; its numbers follow with `add_numbers`."""
    text = word.decode(errors='backslashreplace')
    if not text or text in self._known:
      what = f'repeats the word {text!r}' if text else 'has an empty word'
      raise ValueError(f'{where} {what}; every word must occur once.')
    self.words.append(text)
    self._known.add(text)

  def add_numbers(self, numbers: np.ndarray) -> None:
    """Appends the numbers of the last words."""
    start = self._table.size
    self._table.add(numbers)
    bad = self._table.first_nonfinite(start)
    if bad is not None:
      word = bad // self.features
      raise ValueError(
        f'word {word + 1}, {self.words[word]!r}, must have finite numbers.'
      )

  def finish(self, num_words: int | None) -> tuple[list[str], np.ndarray]:
    """Returns words and table, after checking their number if it is known."""
    found = len(self.words)
    if num_words is not None and found != num_words and not self.is_full:
      raise ValueError(
        f'the header announces {num_words} words, found {found}; '
        'the file is cut off or was changed.'
      )
    if not found:
      raise ValueError('there are no word vectors.')
    return self.words, self._table.finish(self.features)


def _parse_header(line: bytes) -> tuple[int, int]:
  """Reads V and D from a first line `V D`."""
  fields = line.split()
  if len(fields) != 2 or not all(re.fullmatch(rb'\d{1,18}', f) for f in fields):
    raise ValueError(
      f'line 1 must be the numbers of words and features, got {line[:80]!r}.'
    )
  return int(fields[0]), int(fields[1])


def _read_text(blocks: Iterator[bytes], has_header: bool, max_words):
  """Reads words and table in word2vec's text format or in GloVe's."""
  num_words = vectors = None
  for number, lines in _line_blocks(blocks):
    if vectors is None and has_header:
      num_words, features = _parse_header(lines[0])
      vectors = _Words(features, max_words)
      number, lines = number + 1, lines[1:]
    elif vectors is None and any(map(bytes.strip, lines)):
      vectors = _Words(_guess_features(lines), max_words)
    if vectors is not None:
      _parse_lines(vectors, number, lines)
      if vectors.is_full:
        break
  if vectors is None:
    raise ValueError('there are no word vectors.')
  return vectors.finish(num_words)


def _line_blocks(blocks: Iterator[bytes]) -> Iterator[tuple[int, list[bytes]]]:
  """Yields whole lines, with the number of the first one, from 1."""
  number, rest = 1, b''
  for block in blocks:
    whole, newline, tail = block.rpartition(b'\n')
    if newline:
      lines = (rest + whole).split(b'\n')
      yield number, lines
      number, rest = number + len(lines), tail
    else:
      rest += tail
    if len(rest) > _MAX_LINE_BYTES:
      raise ValueError(
        f'line {number} has over {_MAX_LINE_BYTES} bytes; is this a text file?'
      )
  if rest:
    yield number, [rest]


def _guess_features(lines: list[bytes]) -> int:
  """Finds D: how many numbers most of the first lines end in."""
  counts: collections.Counter[int] = collections.Counter()
  for line in itertools.islice(filter(bytes.strip, lines), 100):
    fields = line.split()
    numbers = itertools.takewhile(_NUMBER.fullmatch, reversed(fields))
    # The word itself may be a number.
    counts[min(sum(1 for _ in numbers), len(fields) - 1)] += 1
  # Of two equally frequent counts the larger one has a number in its word.
  return min(counts, key=lambda count: (-counts[count], count))


def _parse_lines(vectors: _Words, first: int, lines: list[bytes]) -> None:
  """Appends the words of lines, of which the first has number `first`."""
  texts = []
  for number, line in enumerate(lines, first):
    fields = line.rsplit(None, vectors.features)
    if not fields:
      continue
    if vectors.is_full:
      break
    word = fields[0].split()
    if len(fields) <= vectors.features or (
      len(word) > 1 and _NUMBER.fullmatch(word[-1])
    ):
      raise ValueError(
        f'line {number} must be a word and {vectors.features} numbers, '
        f'got {len(line.split())} fields: {line[:80]!r}.'
      )
    vectors.add_word(fields[0].strip(), f'line {number}')
    texts.append((number, b' '.join(fields[1:])))
  vectors.add_numbers(_parse_numbers(texts, vectors.features))


def _parse_numbers(texts: list[tuple[int, bytes]], features: int) -> np.ndarray:
  """Parses all lines at once; one by one only to name a wrong number."""
  try:
    joined = b' '.join(text for _, text in texts)
    values = np.fromstring(joined, np.float32, sep=' ')
    if values.size == len(texts) * features:
      return values
  except ValueError:
    pass
  for number, text in texts:
    for field in text.split():
      if not _NUMBER.fullmatch(field):
        raise ValueError(f'line {number}: {field[:80]!r} is not a number.')
  raise ValueError(f'lines {texts[0][0]} to {texts[-1][0]} are not numbers.')


def _read_binary(blocks: Iterator[bytes], max_words):
  """Reads words and table in word2vec's binary format."""
  line, _, rest = next(blocks).partition(b'\n')
  num_words, features = _parse_header(line)
  vectors = _Words(features, max_words)
  for block in itertools.chain([b''], blocks):
    rest = _parse_records(vectors, rest + block, num_words)
    if vectors.is_full:
      break
    if len(vectors.words) == num_words:
      rest = rest.strip()
    if len(rest) > _MAX_WORD_BYTES + 4 * features or (
      rest and len(vectors.words) == num_words
    ):
      raise ValueError(
        f'no word follows word {len(vectors.words)} of {num_words}, '
        f'but {rest[:40]!r}.'
      )
  return vectors.finish(num_words)


def _parse_records(vectors: _Words, data: bytes, num_words: int) -> bytes:
  """Appends the whole records of `data`; returns what is left."""
  at, numbers = 0, []
  while len(vectors.words) < num_words and not vectors.is_full:
    space = data.find(b' ', at)
    stop = space + 1 + 4 * vectors.features
    if space < 0 or stop > len(data):
      break
    where = f'word {len(vectors.words) + 1}'
    vectors.add_word(data[at:space].lstrip(b'\n'), where)
    numbers.append(data[space + 1 : stop])
    at = stop
  vectors.add_numbers(np.frombuffer(b''.join(numbers), '<f4'))
  return data[at:]
