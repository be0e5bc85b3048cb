"""Reading word vectors: every format, every kind of damage."""

import gzip
import io
import itertools
import struct
import time

import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis.extra import numpy as hnp

from embedcomp.io import read_word_vectors, word_vectors
from embedcomp.table.scheme import MAX_FEATURES

WORDS = ['the', 'cat', 'é☃']
TABLE = np.array([[0.5, -1], [2, 0.25], [-3e-5, 1e10]], np.float32)
GLOVE = 'the 0.5 -1\ncat 2 .25\né☃ -3e-5 1E+10\n'.encode()
WORD2VEC = b'3 2\n' + GLOVE
BINARY = b'3 2\n' + b''.join(
  word.encode() + b' ' + struct.pack('<2f', *row)
  for word, row in zip(WORDS, TABLE.tolist())
)
BINARY_LINES = b'3 2\n' + b''.join(
  word.encode() + b' ' + struct.pack('<2f', *row) + b'\n'
  for word, row in zip(WORDS, TABLE.tolist())
)


def npy(table):
  file = io.BytesIO()
  np.save(file, table)
  return file.getvalue()


def tensors(**arrays):
  return safetensors.numpy.save(arrays)


CONTENTS = {
  'glove': (WORDS, GLOVE),
  'glove, no last newline': (WORDS, GLOVE[:-1]),
  'glove, Windows lines': (WORDS, GLOVE.replace(b'\n', b'\r\n')),
  'glove, blank lines': (WORDS, b'\n' + GLOVE.replace(b'\n', b' \n\n')),
  'glove, tabs': (WORDS, GLOVE.replace(b' ', b'\t')),
  'glove, two blanks': (WORDS, GLOVE.replace(b' ', b'  ')),
  'word2vec': (WORDS, WORD2VEC),
  'word2vec, blanks at the ends': (WORDS, WORD2VEC.replace(b'\n', b' \n')),
  'binary': (WORDS, BINARY),
  'binary with newlines': (WORDS, BINARY_LINES),
  'npy': (None, npy(TABLE)),
  'npy, float64': (None, npy(TABLE.astype(np.float64))),
  'npy, by columns': (None, npy(np.asfortranarray(TABLE))),
  'npy, big-endian': (None, npy(TABLE.astype('>f4'))),
  'safetensors': (None, tensors(table=TABLE, bias=TABLE[0])),
}


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('name', CONTENTS)
def test_formats(tmp_path, name, compressed):
  words, content = CONTENTS[name]
  path = tmp_path / 'vectors'
  path.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
  for max_words in (None, 3, 4):
    found_words, table = read_word_vectors(path, max_words=max_words)
    assert found_words == words
    assert table.dtype == np.float32
    assert table.flags.c_contiguous
    np.testing.assert_array_equal(table, TABLE)
  found_words, table = read_word_vectors(path, max_words=2)
  assert found_words == (words and words[:2])
  np.testing.assert_array_equal(table, TABLE[:2])


@pytest.mark.parametrize(
  ('format', 'content'),
  [
    ('glove', GLOVE),
    ('word2vec', WORD2VEC),
    ('word2vec_binary', BINARY),
    ('npy', npy(TABLE)),
    ('safetensors', tensors(table=TABLE)),
  ],
)
def test_the_format_can_be_stated(tmp_path, format, content):
  path = tmp_path / 'vectors.bin'
  path.write_bytes(content)
  _, table = read_word_vectors(path, format=format)
  np.testing.assert_array_equal(table, TABLE)
  for other in set(word_vectors.FORMATS) - {format}:
    if (format, other) != ('word2vec', 'word2vec_binary'):
      with pytest.raises(ValueError):
        read_word_vectors(path, format=other)


def test_words_that_contain_spaces(tmp_path):
  path = tmp_path / 'vectors'
  content = '. . . 1 2\n\u00a0 3 4\nto name@x.org 5 6\n7 8 9\na\u0085b 1 1\n'
  path.write_text(content, encoding='utf-8', newline='')
  words, table = read_word_vectors(path)
  assert words == ['. . .', '\u00a0', 'to name@x.org', '7', 'a\u0085b']
  np.testing.assert_array_equal(table[:, 1], [2, 4, 6, 9, 1])
  path.write_bytes(b'5 2\n' + path.read_bytes())
  assert read_word_vectors(path)[0] == words


def test_bytes_that_are_not_utf8_are_escaped(tmp_path):
  path = tmp_path / 'vectors'
  path.write_bytes(b'a\xff 1 2\n\xc3\x28 3 4\n')
  assert read_word_vectors(path)[0] == ['a\\xff', '\\xc3(']


DAMAGED = [
  (b'', 'the file is empty'),
  (b'\n \n', 'there are no word vectors'),
  (b'a 1 2\nb 3\nc 1 2\n', 'line 2 must be a word and 2 numbers, got 2'),
  (b'a 1 2\nb 3 4 5\nc 1 2\n', 'line 2 must be a word and 2 numbers, got 4'),
  (b'a 1 2\nb 3 4 5\n', 'line 2 must be a word and 2 numbers'),
  (b'a 1 2\n\nb 3 x\nc 1 2\n', "line 3: b'x' is not a number"),
  (b'a 1 2\nb 3 1_0\nc 1 2\n', "line 2: b'1_0' is not a number"),
  (b'a 1 2\nb 3 1-2\nc 1 2\n', "line 2: b'1-2' is not a number"),
  (b'a 1 2\nb 3 0x1\nc 1 2\n', "line 2: b'0x1' is not a number"),
  (b'a 1 2\nb nan 1\nc 1 2\n', "word 2, 'b', must have finite"),
  (b'a 1 2\nb 1 -inf\nc 1 2\n', "word 2, 'b', must have finite"),
  (b'a 1 2\nb 1 1e39\nc 1 2\n', "word 2, 'b', must have finite"),
  (b'a 1 2\nb 1 2\na 1 2\n', "line 3 repeats the word 'a'"),
  (b'a\nb\n', 'features must be 1 to'),
  (b'3 2\na 1 2\nb 1 2\n', 'announces 3 words, found 2'),
  (b'1 2\na 1 2\nb 1 2\n', 'announces 1 words, found 2'),
  (b'2 2\na 1 2\nb 1\n', 'line 3 must be a word and 2 numbers'),
  (b'2 3\na 1 2\nb 1 2\n', 'line 2 must be a word and 3 numbers'),
  (b'2 0\na 1 2\n', 'features must be 1 to'),
  (b'2 99999999999\na 1 2\n', 'features must be 1 to'),
  (b'9' * 30 + b' 2\na 1 2\n', 'line 1 must be the numbers'),
  (BINARY[:-1], 'announces 3 words, found 2'),
  (BINARY[:-12], 'announces 3 words, found 2'),
  (BINARY + b'x', "no word follows word 3 of 3, but b'x'"),
  (b'1 1\na \x00\x00\xc0\x7f', "word 1, 'a', must have finite"),
  (b'1 1\n \x00\x00\x00\x00', 'word 1 has an empty word'),
  (b'2 1\na \0\0\0\0a \0\0\0\0', "word 2 repeats the word 'a'"),
  (b'9 1\n' + b'\0' * 100_000, 'no word follows word 0 of 9'),
  (gzip.compress(GLOVE)[:-9], 'ended before the end-of-stream'),
  (gzip.compress(GLOVE) + b'xx', 'Not a gzipped file'),
  (b'\x1f\x8b' + b'\xff' * 50, ''),
  (npy(TABLE)[:-1], 'damaged or cut off'),
  (npy(TABLE) + b'x', 'but the file has more'),
  (npy(TABLE)[:20], 'EOF'),
  (npy(TABLE[0]), r'must be [V, D] floats, got float32[2]'),
  (npy(np.ones((3, 2), np.int32)), 'must be [V, D] floats, got int32[3, 2]'),
  (npy(TABLE[:0]), 'must be [V, D] floats'),
  (npy(np.full((3, 2), np.nan)), 'row 0 of the array must be finite'),
  (npy(np.array([[1.0], [1e300]])), 'row 1 of the array must be finite'),
  (
    npy(np.asfortranarray([[1.0, 2], [3, np.nan]])),
    'row 1 of the array must be finite',
  ),
  (npy(TABLE).replace(b'(3, 2)', b'(9**9,)'), ''),
  (gzip.compress(npy(TABLE)[:-1]), 'damaged or cut off'),
  (gzip.compress(npy(TABLE) + b'x'), 'but the file has more'),
  (npy(np.array([[{}]])), 'damaged or cut off: Array can'),
  (npy(TABLE).replace(b'(3, 2)', b'(2**,2)'), ''),
  (npy(TABLE).replace(b'\x93NUMPY\x01', b'\x93NUMPY\x09'), 'version'),
  (tensors(a=TABLE, b=TABLE), "key must be one of ['a', 'b'], got none"),
  (tensors(a=TABLE[0]), 'key must be one of [], got none'),
  (
    tensors(a=np.ones((3, 2), np.int8)),
    'must be [V, D] floats, got a I8[3, 2]',
  ),
  (tensors(a=TABLE * np.float32(np.nan)), 'row 0 of a must be finite'),
  (tensors(a=TABLE)[:-1], 'incomplete metadata'),
  (tensors(a=TABLE)[:12], ''),
]


@pytest.mark.parametrize(
  ('content', 'message'), DAMAGED, ids=[message for _, message in DAMAGED]
)
def test_damage_is_named(tmp_path, content, message):
  path = tmp_path / 'vectors'
  path.write_bytes(content)
  with pytest.raises(ValueError) as caught:
    read_word_vectors(path)
  assert str(caught.value).startswith(f'{path}: ')
  assert message in str(caught.value)


def test_hostile_npy_shapes_allocate_nothing(tmp_path):
  head = b"{'descr': '<f4', 'fortran_order': %s, 'shape': (%d, %d), }"
  path = tmp_path / 'vectors.npy'
  # Some of these take few bytes, modulo 2**64.
  shapes = (10**12, 1000), (2**62 + 1, 1), (2**31 + 1, 2**31)
  for order, shape in itertools.product((b'True', b'False'), shapes):
    text = head % (order, *shape)
    text = text.ljust(117) + b'\n'
    path.write_bytes(b'\x93NUMPY\x01\0' + struct.pack('<H', len(text)) + text)
    with pytest.raises(ValueError, match='damaged or cut off'):
      read_word_vectors(path)


def test_a_line_without_end(tmp_path, monkeypatch):
  monkeypatch.setattr(word_vectors, '_MAX_LINE_BYTES', 2**21)
  path = tmp_path / 'vectors'
  path.write_bytes(gzip.compress(b'x' * 2**22))
  with pytest.raises(ValueError, match='line 1 has over'):
    read_word_vectors(path)


def test_a_tensor_is_chosen_by_key(tmp_path):
  path = tmp_path / 'vectors.safetensors'
  low = TABLE.astype(ml_dtypes.bfloat16)
  path.write_bytes(tensors(a=TABLE, b=low, c=TABLE[0]))
  _, table = read_word_vectors(path, key='b')
  np.testing.assert_array_equal(table, low.astype(np.float32))
  with pytest.raises(ValueError, match=r"one of \['a', 'b', 'c'\], got 'd'"):
    read_word_vectors(path, key='d')
  with pytest.raises(ValueError, match=r'must be \[V, D\] floats'):
    read_word_vectors(path, key='c')


def test_wrong_arguments(tmp_path):
  path = tmp_path / 'vectors.txt'
  path.write_bytes(GLOVE)
  with pytest.raises(ValueError, match=r"format must be one of .*, got 'text'"):
    read_word_vectors(path, format='text')
  with pytest.raises(ValueError, match='max_words must be at least 1, got 0'):
    read_word_vectors(path, max_words=0)
  with pytest.raises(ValueError, match='only safetensors have a key'):
    read_word_vectors(path, key='a')
  with pytest.raises(FileNotFoundError):
    read_word_vectors(tmp_path / 'missing')
  with pytest.raises(ValueError, match='must be a file'):
    read_word_vectors(tmp_path)


ASCII_SPACE = ' \t\n\r\v\f'
some_words = st.text(
  st.characters(codec='utf-8', exclude_characters=ASCII_SPACE), min_size=1
)
some_tables = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
  lambda shape: st.tuples(
    st.lists(some_words, min_size=shape[0], max_size=shape[0], unique=True),
    hnp.arrays(
      np.float32,
      shape,
      elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
  )
)


@hypothesis.settings(max_examples=30, derandomize=True)
@hypothesis.given(case=some_tables)
@pytest.mark.parametrize('format', ['word2vec', 'word2vec_binary', 'glove'])
@pytest.mark.parametrize('block_bytes', [64, 2**20])
def test_round_trip(tmp_path_factory, format, block_bytes, case):
  words, table = case
  header = b'' if format == 'glove' else b'%d %d\n' % table.shape
  rows = [row.tobytes() for row in table]
  if format != 'word2vec_binary':
    rows = [' '.join(map(repr, row.tolist())).encode() for row in table]
  lines = [word.encode() + b' ' + row for word, row in zip(words, rows)]
  path = tmp_path_factory.mktemp('any') / 'vectors'
  path.write_bytes(header + b'\n'.join(lines) + b'\n')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(word_vectors, '_BLOCK_BYTES', block_bytes)
    found_words, found = read_word_vectors(path, format=format)
  assert found_words == words
  np.testing.assert_array_equal(found, table)


@pytest.mark.parametrize('name', CONTENTS)
def test_mutants_raise_value_errors_only(tmp_path, name):
  _, content = CONTENTS[name]
  rng = np.random.default_rng(0)
  path = tmp_path / 'vectors'
  for kind in range(120):
    mutant = bytearray(
      gzip.compress(content, mtime=0) if kind % 5 == 4 else content
    )
    at = int(rng.integers(len(mutant)))
    if kind % 3 == 0:
      del mutant[at:]
    elif kind % 3 == 1:
      mutant[at] ^= 1 << int(rng.integers(8))
    else:
      mutant[at:at] = rng.bytes(3)
    path.write_bytes(mutant)
    try:
      words, table = read_word_vectors(path)
    except ValueError:
      continue
    assert table.ndim == 2
    assert np.isfinite(table).all()
    assert words is None or len(set(words)) == len(words) == len(table)


def test_large_files_show_progress(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(word_vectors, '_BAR_BYTES', 0)
  path = tmp_path / 'vectors'
  path.write_bytes(GLOVE)
  read_word_vectors(path)
  assert 'reading vectors' in capsys.readouterr().err


def test_two_million_numbers_take_seconds(tmp_path):
  rng = np.random.default_rng(0)
  line = b' '.join(b'%.6f' % value for value in rng.normal(size=300))
  path = tmp_path / 'vectors'
  path.write_bytes(b''.join(b'w%d %s\n' % (i, line) for i in range(7000)))
  start = time.monotonic()
  words, table = read_word_vectors(path)
  assert time.monotonic() - start < 7  # a third of one, on a quiet machine
  assert (len(words), table.shape) == (7000, (7000, 300))
  np.testing.assert_array_equal(table[0], table[-1])


def test_the_feature_limit_is_the_schemes(tmp_path):
  path = tmp_path / 'vectors'
  path.write_bytes(b'1 %d\na 1\n' % (MAX_FEATURES + 1))
  with pytest.raises(ValueError, match='features must be 1 to'):
    read_word_vectors(path)
