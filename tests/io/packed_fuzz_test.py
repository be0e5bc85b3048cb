"""Packed files that are damaged or hostile: a ValueError and nothing else."""

import dataclasses
import itertools
import json
import re
import struct
import time

import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.io import packed
from tests.io.packed_test import (
  CONFIGS,
  assert_equal_params,
  random_stored,
  with_storage,
)

NUM_RANDOM = 600  # mutants of each of four base files


def make_file(path, scheme):
  packed.save(path, scheme, random_stored(scheme, np.random.default_rng(0)))
  return path.read_bytes()


def small_scheme():
  """Every kind of tensor in about a kilobyte."""
  groups = (
    Group(3, methods.Dense('float16')),
    Group(9, methods.ProductQuantization(2, 5, 'int4', rotation=True)),
    Group(4, methods.LowRank(2, 'int8', 'bfloat16')),
  )
  return Scheme(4, groups, order='stored')


def base_schemes():
  with_codes = [CONFIGS[name] for name in ('dpq_sx', 'dpq_vq', 'rvq', 'vq')]
  factors = [CONFIGS[name] for name in ('hashed', 'tensor_train', 'drop')]
  return [
    small_scheme(),
    Scheme(8, tuple(Group(24, with_storage(m, 'int4')) for m in with_codes)),
    Scheme(8, tuple(Group(24, with_storage(m, 'int8')) for m in factors)),
    Scheme(2, (Group(300, methods.VectorQuantization(300)),), order='stored'),
  ]


def split(data):
  """Header as a dict, and the data behind it."""
  (length,) = struct.unpack('<Q', data[:8])
  return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, data):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + data


def survives(folder, data):
  """Whether mutated bytes load; then they must hold what they say they do."""
  path, again = folder / 'mutant', folder / 'again'
  path.write_bytes(data)
  try:
    scheme, params = packed.load(path)
  except ValueError as error:
    message = str(error)
  else:
    message = ''
  if message:
    assert 'mutant is not a valid packed file: ' in message
    assert len(message) < 1000
    assert message.encode()  # no half of a surrogate pair
    return False
  assert packed.load_scheme(path) == scheme
  packed.save(again, scheme, params)
  again_scheme, again_params = packed.load(again)
  assert again_scheme == scheme
  assert_equal_params(again_params, params)
  # Nothing of the file was ignored: the same tensors are written again.
  tensors, again_tensors = tensors_of(data), tensors_of(again.read_bytes())
  assert tensors == again_tensors
  return True


def tensors_of(data):
  header, data = split(data)
  del header['__metadata__']
  return {
    name: data[slice(*entry['data_offsets'])] for name, entry in header.items()
  }


@pytest.fixture
def no_sync(monkeypatch):
  """Thousands of files need not reach the disk."""
  monkeypatch.setattr('os.fsync', lambda _: None)


@pytest.mark.parametrize('index', range(4))
def test_random_mutants(tmp_path, no_sync, index):
  rng = np.random.default_rng(index)
  data = make_file(tmp_path / 'base', base_schemes()[index])
  (length,) = struct.unpack('<Q', data[:8])
  start = time.monotonic()
  outcomes = {True: 0, False: 0}
  for kind in range(NUM_RANDOM):
    mutant = bytearray(data)
    # Headers and data are hit alike, whichever is longer.
    low, high = (0, 8 + length) if kind % 2 else (8 + length, len(data))
    at = int(rng.integers(low, high))
    match kind % 6:
      case 0 | 1:  # a flipped bit
        mutant[at] ^= 1 << int(rng.integers(8))
      case 2:  # a byte
        mutant[at] = int(rng.integers(256))
      case 3:  # a run moved over another
        other, size = int(rng.integers(len(data))), int(rng.integers(1, 40))
        mutant[at : at + size] = data[other : other + size]
      case 4:  # cut off
        del mutant[int(rng.integers(len(data))) :]
      case 5:  # a run doubled
        mutant[at:at] = data[at : at + int(rng.integers(1, 40))]
    outcomes[survives(tmp_path, bytes(mutant))] += 1
  # Some flipped bits give other valid numbers; damage of the frame never does.
  assert outcomes[True] > NUM_RANDOM // 50
  assert outcomes[False] > NUM_RANDOM // 3
  assert time.monotonic() - start < 60


def test_every_short_truncation(tmp_path):
  data = make_file(tmp_path / 'base', small_scheme())
  for size in range(len(data)):
    assert not survives(tmp_path, data[:size])
  assert not survives(tmp_path, data + b'\0')
  assert survives(tmp_path, data)


def test_every_bit_of_the_smallest_data(tmp_path, no_sync):
  scheme = Scheme(2, (Group(3, methods.VectorQuantization(3, 'int4')),))
  data = make_file(tmp_path / 'base', scheme)
  _, body = split(data)
  for bit in range(8 * len(body)):
    mutant = bytearray(data)
    mutant[len(data) - len(body) + bit // 8] ^= 1 << bit % 8
    survives(tmp_path, bytes(mutant))


@pytest.mark.parametrize(
  'data',
  [
    b'',
    b'\0' * 7,
    b'\0' * 8,
    b'\0' * 1000,
    b'\xff' * 1000,
    struct.pack('<Q', 2**63) + b'{}',
    struct.pack('<Q', 2**64 - 1) + b'{}',
    struct.pack('<Q', packed.MAX_HEADER_BYTES + 1)
    + b' ' * (packed.MAX_HEADER_BYTES + 1),
    join(b'{}', b''),
    join(b'null', b''),
    join(b'[' * 100_000, b''),
    join(b'{"a":' * 100_000, b''),
    join(b'9' * 1_000_000, b''),
    join(b'{"__metadata__":{"embedcomp":1}}', b''),
    join(b'{"__metadata__":{"embedcomp":null}}', b''),
    join(b'{"__metadata__":["embedcomp"]}', b''),
    join({'__metadata__': {'embedcomp': '[' * 100_000}}, b''),
    join({'__metadata__': {'embedcomp': '\ud800\x1b[2J'}}, b''),
    join('{"__metadata__":{"embedcomp":"{}"}}'.encode('utf-16'), b''),
    join(b'\xef\xbb\xbf{}', b''),
  ],
  ids=itertools.count(),  # not the data
)
def test_no_header_at_all(tmp_path, data):
  assert not survives(tmp_path, data)


def with_entry(name, **fields):
  def change(header, body):
    header[name].update(fields)
    return header, body

  return change


def rename(old, new):
  def change(header, body):
    header[new] = header.pop(old)
    return header, body

  return change


def swap(one, other):
  def change(header, body):
    header[one], header[other] = header[other], header[one]
    return header, body

  return change


def add_tensor(header, body):
  header['extra'] = {
    'dtype': 'U8',
    'shape': [1],
    'data_offsets': [len(body), len(body) + 1],
  }
  return header, body + b'\0'


def add_metadata(header, body):
  header['__metadata__']['format'] = 'pt'
  return header, body


def drop_tensor(header, body):
  del header['order']
  return header, body


def leave_a_hole(header, body):
  for entry in header.values():
    if entry.get('data_offsets', [0])[0] > 0:
      entry['data_offsets'] = [at + 1 for at in entry['data_offsets']]
  return header, body + b'\0'


def repeat_a_field(header, body):
  text = json.dumps(header)
  entry = json.dumps(header['order'])
  return text.replace('{', f'{{"order": {entry}, ', 1).encode(), body


TABLE = 'group_0.table'


@pytest.mark.parametrize(
  'change',
  [
    with_entry(TABLE, dtype='BF16'),
    with_entry(TABLE, dtype='F32'),
    with_entry(TABLE, dtype='F4'),
    with_entry(TABLE, dtype=['F16']),
    with_entry(TABLE, dtype=None),
    with_entry(TABLE, shape=[4, 3]),
    with_entry(TABLE, shape=[12]),
    with_entry(TABLE, shape=[3, 4, 1]),
    with_entry(TABLE, shape=[3.0, 4]),
    with_entry(TABLE, shape=[-3, -4]),
    with_entry(TABLE, shape=[2**62, 2**62]),
    with_entry(TABLE, shape='3x4'),
    with_entry(TABLE, data_offsets=[0, -24]),
    with_entry(TABLE, data_offsets=[-24, 0]),
    with_entry(TABLE, data_offsets=[24, 0]),
    with_entry(TABLE, data_offsets=[0, 2**64]),
    with_entry(TABLE, data_offsets=[1, 25]),
    with_entry(TABLE, data_offsets=[True, 24]),
    with_entry(TABLE, data_offsets=[0]),
    with_entry(TABLE, data_offsets=None),
    with_entry(TABLE, extra=1),
    rename(TABLE, 'group_3.table'),
    rename('order', 'Order'),
    rename('group_2.basis', '__metadata'),
    swap('group_1.codes', 'group_1.codebooks.values'),
    add_tensor,
    add_metadata,
    drop_tensor,
    leave_a_hole,
    repeat_a_field,
  ],
)
def test_hostile_entries(tmp_path, change):
  header, body = split(make_file(tmp_path / 'base', small_scheme()))
  assert not survives(tmp_path, join(*change(header, body)))


def test_overlapping_tensors(tmp_path):
  dense = Group(3, methods.Dense())
  header, body = split(make_file(tmp_path / 'base', Scheme(4, (dense, dense))))
  header['group_1.table']['data_offsets'] = [0, 48]
  assert not survives(tmp_path, join(header, body))
  header['group_1.table']['data_offsets'] = [24, 72]
  assert not survives(tmp_path, join(header, body))


def with_bytes(tmp_path, scheme, name, tensor):
  """A file in which one tensor has other bytes."""
  header, body = split(make_file(tmp_path / 'base', scheme))
  start, stop = header[name]['data_offsets']
  assert stop - start == len(tensor)
  return join(header, body[:start] + tensor + body[stop:])


@pytest.mark.parametrize(
  ('name', 'tensor', 'message'),
  [
    # Groups of 3, 9 and 4 words; two bits an id.
    ('order', b'\x00' * 4, 'order must give the groups'),
    ('order', b'\xff' * 4, 'order must be below 3'),
    (TABLE, b'\x00\x7e' * 12, 'group_0: table must be finite'),  # NaN
    (TABLE, b'\x01\x7c' * 12, 'group_0: table must be finite'),  # signalling
    (TABLE, b'\x00\xfc' * 12, 'group_0: table must be finite'),  # -inf
    ('group_2.basis', b'\x81\x7f' * 8, 'group_2: basis must be finite'),
    ('group_2.coefficients.scale', b'\xc0\x7f' * 2, 'scale must be positive'),
    ('group_2.coefficients.scale', b'\x80\x7f' * 2, 'scale must be positive'),
    ('group_2.coefficients.scale', b'\x00\x00' * 2, 'scale must be positive'),
    ('group_2.coefficients.scale', b'\x80\xbf' * 2, 'scale must be positive'),
    (
      'group_2.coefficients.values',
      b'\x80' * 8,
      'values must be at least -127',
    ),
    ('group_1.codebooks.values', b'\x88' * 10, 'values must be at least -7'),
    ('group_1.codes', b'\xff' * 7, 'unused bits'),
    ('group_1.codes', b'\xff' * 6 + b'\x3f', 'codes must be below 5, got 7'),
  ],
)
def test_hostile_numbers(tmp_path, name, tensor, message):
  data = with_bytes(tmp_path, small_scheme(), name, tensor)
  path = tmp_path / 'mutant'
  path.write_bytes(data)
  with pytest.raises(ValueError, match=re.escape(message)):
    packed.load(path)


def hostile_values():
  return (
    *(None, True, -1, 0, 2, 2**31, 2**40, 10**12, 10**400, 1.5, 1e308),
    *(float('nan'), float('inf'), '', '8', 'int8', 'x' * 10_000, [], [2], {}),
  )


@pytest.mark.parametrize('name', CONFIGS)
def test_hostile_schemes(tmp_path, name):
  method = CONFIGS[name]
  data = make_file(tmp_path / 'base', Scheme(8, (Group(24, method),)))
  header, body = split(data)
  description = json.loads(header['__metadata__']['embedcomp'])
  fields = [field.name for field in dataclasses.fields(method)]
  start = time.monotonic()
  for field in [*description, 'size', 'method', *fields, 'unknown']:
    for value in hostile_values():
      mutant = json.loads(json.dumps(description))
      target = mutant if field in mutant else mutant['groups'][0]
      if target.get(field) == value and type(target.get(field)) is type(value):
        continue
      if field == 'size' and name == 'drop' and value == 2:
        continue  # one vector may stand for any number of words
      target[field] = value
      header['__metadata__']['embedcomp'] = json.dumps(mutant)
      assert not survives(tmp_path, join(header, body)), (field, value)
  assert time.monotonic() - start < 20


@pytest.mark.parametrize('name', CONFIGS)
def test_largest_schemes_take_no_time(tmp_path, name):
  description = methods.to_dict(CONFIGS[name])
  description['size'] = 2_000_000
  scheme = {
    'schema_version': 1,
    'features': 2**20,
    'order': 'stored',
    'dtype': 'float32',
    'groups': [description] * 1025,
  }
  for num_groups in (1, 1024, 1025):
    scheme['groups'] = [description] * num_groups
    header = {'__metadata__': {'embedcomp': json.dumps(scheme)}}
    start = time.monotonic()
    assert not survives(tmp_path, join(header, b''))
    assert time.monotonic() - start < 5


def test_a_scheme_with_a_repeated_field(tmp_path):
  header, body = split(make_file(tmp_path / 'base', small_scheme()))
  text = header['__metadata__']['embedcomp']
  header['__metadata__']['embedcomp'] = text.replace(
    '"features": 4', '"features": 4, "features": 4'
  )
  assert not survives(tmp_path, join(header, body))
