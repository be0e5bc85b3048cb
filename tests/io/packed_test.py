"""Packed files: round trips, exact bytes, checked params, atomic writing."""

import dataclasses
import json
import os
import stat
import struct

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.io import packed
from embedcomp.methods import storage
from embedcomp.methods.coded_integers import CodedIntegers
from embedcomp.methods.forms import Stored
from embedcomp.table import group_params
from embedcomp.table import read as grouped
from embedcomp.table.order import order_from_groups

# One small config for every registered method, for 24 words of 8 features.
CONFIGS = {
  'dense': methods.Dense(),
  'dpq_sx': methods.DifferentiableSoftmax(books=2, codewords=5),
  'dpq_vq': methods.DifferentiableNearest(books=4, codewords=3),
  'drop': methods.Drop(),
  'graded': methods.GradedCodes(rank=3, blocks='1x1+2x2', codewords=6),
  'hashed': methods.Hashed(buckets=5),
  'low_rank': methods.LowRank(rank=3),
  'pq': methods.ProductQuantization(books=2, codewords=11, rotation=True),
  'projected_pq': methods.ProjectedQuantization(rank=6, books=3, codewords=5),
  'rvq': methods.ResidualQuantization(books=3, codewords=7),
  'scalar': methods.ScalarCodes(rank=3, axes=5, code_bytes=180),
  'tensor_train': methods.TensorTrain(rank=2),
  'vq': methods.VectorQuantization(codewords=24),
}
DTYPES = {
  'BF16': (2, 'bfloat16'),
  'F16': (2, 'float16'),
  'F32': (4, 'float32'),
  'I8': (1, 'int8'),
  'U8': (1, 'uint8'),
}


def read_raw(path):
  """Metadata, tensor entries and data of a file, without our own code."""
  data = path.read_bytes()
  (length,) = struct.unpack('<Q', data[:8])
  entries = json.loads(data[8 : 8 + length])
  return entries.pop('__metadata__'), entries, data[8 + length :]


def assert_equal_params(left, right):
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right)):
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


def with_storage(method, stored):
  fields = [f.name for f in dataclasses.fields(method) if 'storage' in f.name]
  return dataclasses.replace(method, **dict.fromkeys(fields, stored))


def random_stored(scheme, rng):
  """Stored params by the parts alone; `init` compiles for every shape."""
  params = {}
  for owner, parts in packed.parts_by_owner(scheme).items():
    arrays = params[owner] = {}
    for part in parts:
      if isinstance(part, storage.Codes):
        codes = rng.integers(part.num_values, size=part.shape)
        arrays[part.name] = Stored(codes.astype(part.dtype))
        continue
      values = rng.normal(size=part.shape)
      if isinstance(part, CodedIntegers):
        arrays[part.name] = Stored(np.rint(values * 3).astype(np.int8))
        continue
      if not part.is_integer:
        dtype = storage.FLOAT_DTYPES[part.storage]
        arrays[part.name] = Stored(values.astype(dtype))
        continue
      limit = 2 ** (storage.INTEGER_BITS[part.storage] - 1) - 1
      values = np.clip(np.round(values * limit), -limit, limit)
      scale = rng.uniform(0.1, 1, part.scale_shape).astype(storage.SCALE_DTYPE)
      arrays[part.name] = Stored(values.astype(np.int8), scale)
  if scheme.order == 'stored':
    sizes = [group.size for group in scheme.groups]
    ids = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    params['order'] = Stored(order_from_groups(ids))
  return params


def check_round_trip(path, scheme, params):
  packed.save(path, scheme, params)
  metadata, entries, data = read_raw(path)
  assert metadata == {'embedcomp': scheme.to_json()}
  sizes = []
  for entry in entries.values():
    start, stop = entry['data_offsets']
    itemsize = DTYPES[entry['dtype']][0]
    assert stop - start == itemsize * np.prod(entry['shape'], dtype=int)
    sizes.append(stop - start)
  assert sum(sizes) == scheme.num_bytes == len(data)

  loaded_scheme, loaded = packed.load(path)
  assert loaded_scheme == scheme == packed.load_scheme(path)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
  stored = group_params.quantize_params(scheme, params)
  for name, parts in packed.parts_by_owner(scheme).items():
    for part in parts:
      assert_equal_params(loaded[name][part.name], stored[name][part.name])
  if scheme.order == 'stored':
    order = np.asarray(params['order'].values, np.int32)
    assert_equal_params(loaded['order'], Stored(order))

  first = path.read_bytes()
  packed.save(path, scheme, loaded)  # stored params give the same bytes
  assert path.read_bytes() == first


def test_every_method_is_in_the_table():
  assert tuple(sorted(CONFIGS)) == methods.names()


@pytest.mark.parametrize('stored', methods.STORAGES)
@pytest.mark.parametrize('name', CONFIGS)
def test_round_trip_of_every_method_and_storage(tmp_path, name, stored):
  method = with_storage(CONFIGS[name], stored)
  scheme = Scheme(8, (Group(24, method),))
  params = group_params.init(jax.random.key(0), scheme)
  check_round_trip(tmp_path / 'a', scheme, params)


def test_round_trip_of_all_methods_in_one_scheme(tmp_path, rng):
  groups = tuple(Group(24, method) for method in CONFIGS.values())
  scheme = Scheme(8, groups, order='stored')
  check_round_trip(tmp_path / 'a', scheme, random_stored(scheme, rng))


def test_what_groups_share_is_written_once(tmp_path, rng):
  coded = methods.GradedCodes(2, '1x1+1x2', 6, axes_storage='int8')
  mean = methods.GradedCodes(2, '', 1, axes_storage='int8')
  scheme = Scheme(8, (Group(24, coded), Group(9, mean)), order='stored')
  check_round_trip(tmp_path / 'a', scheme, random_stored(scheme, rng))
  _, entries, _ = read_raw(tmp_path / 'a')
  shared = {k: v for k, v in entries.items() if k.endswith('axes.values')}
  assert {k: v['shape'] for k, v in shared.items()} == {
    'shared.axes.values': [2, 8]
  }


def test_tensors_of_no_bytes_are_present(tmp_path):
  one = methods.VectorQuantization(codewords=1)
  scheme = Scheme(4, (Group(10, one),), order='stored')
  check_round_trip(
    tmp_path / 'a', scheme, group_params.init(jax.random.key(0), scheme)
  )
  _, entries, _ = read_raw(tmp_path / 'a')
  assert set(entries) == {'group_0.codes', 'group_0.codebooks', 'order'}
  assert entries['group_0.codes']['shape'] == [0]
  assert entries['order']['shape'] == [0]


@st.composite
def schemes(draw):
  features = draw(st.sampled_from([2, 4, 6]))
  divisors = [m for m in (1, 2, 3, 6) if features % m == 0]
  groups = []
  for _ in range(draw(st.integers(1, 4))):
    size = draw(st.integers(1, 20))
    stored = draw(st.sampled_from(methods.STORAGES))
    books = draw(st.sampled_from(divisors))
    codewords = draw(st.integers(1, size))
    rank = draw(st.integers(1, min(size, features)))
    method = draw(
      st.sampled_from(
        [
          methods.Dense(stored),
          methods.Drop(stored),
          methods.LowRank(
            rank, stored, draw(st.sampled_from(methods.STORAGES))
          ),
          methods.ProductQuantization(
            books, codewords, stored, draw(st.booleans())
          ),
          methods.ResidualQuantization(books, codewords, stored),
          methods.VectorQuantization(codewords, stored),
        ]
      )
    )
    groups.append(Group(size, method))
  order = draw(st.sampled_from(['identity', 'stored']))
  return Scheme(features, tuple(groups), order)


@hypothesis.settings(max_examples=40, derandomize=True)
@hypothesis.given(scheme=schemes(), seed=st.integers(0, 2**31 - 1))
def test_round_trip_of_any_scheme(tmp_path_factory, scheme, seed):
  params = random_stored(scheme, np.random.default_rng(seed))
  check_round_trip(tmp_path_factory.mktemp('any') / 'a', scheme, params)


def pq_scheme(order='stored'):
  pq = methods.ProductQuantization(books=2, codewords=5, storage='int4')
  dense = methods.Dense('float16')
  return Scheme(4, (Group(3, dense), Group(9, pq)), order=order)


def changed(params, *keys, to):
  """A copy of nested params in which one leaf is `to`, or `to(leaf)`."""
  key, *rest = keys
  is_stored = isinstance(params, Stored)
  held = getattr(params, key) if is_stored else params.get(key)
  if rest:
    to = changed(held, *rest, to=to)
  elif callable(to):
    to = to(np.array(held))
  if is_stored:
    return dataclasses.replace(params, **{key: to})
  return params | {key: to}


def set_first(value):
  def change(array):
    array.flat[0] = value
    return array

  return change


@pytest.mark.parametrize(
  ('keys', 'to', 'message'),
  [
    (['group_0', 'table'], lambda x: x.T, r'group_0.*table must be \[3, 4\]'),
    (['group_0', 'table'], set_first(np.nan), 'group_0.table must be finite'),
    (['group_0', 'table'], set_first(1e6), 'must be finite in float16'),
    (['group_0', 'table'], [[1.0]], 'group_0.*table must be an array'),
    (['group_0', 'table'], np.zeros((3, 4), int), 'must be floating'),
    (['group_0'], np.zeros(3), 'group_0.*params must be a dict'),
    (['group_0'], {}, r"group_0.* must have \['table'\], got \[\]"),
    (['group_1', 'codes', 'values'], lambda x: x.T, r'codes must be \[9, 2\]'),
    (
      ['group_1', 'codes', 'values'],
      set_first(5),
      r'codes must be in \[0, 5\)',
    ),
    (['group_1', 'codes', 'values'], np.full((9, 2), -1), 'codes must be in'),
    (['group_1', 'codes', 'values'], np.full((9, 2), 261), 'codes must be in'),
    (['group_1', 'codes', 'values'], np.zeros((9, 2)), 'codes must be integer'),
    (['group_1', 'codebooks'], np.zeros((2, 5, 2)), 'values and scale'),
    (['group_1', 'codebooks', 'scale'], set_first(0), 'must be positive'),
    (['group_1', 'codebooks', 'scale'], set_first(1e-45), 'must be positive'),
    (['group_1', 'codebooks', 'scale'], set_first(np.inf), 'must be finite'),
    (['group_1', 'codebooks', 'values'], lambda x: x[:1], 'must be'),
    (['group_1', 'codebooks', 'values'], np.full((2, 5, 2), 1), 'floating'),
    (['group_2'], {}, r"params must have \['group_0', 'group_1', 'order'\]"),
    (['order', 'values'], lambda x: x[:-1], 'order must be'),
    (['order', 'values'], lambda x: x[::-1], 'by id inside'),
    (['order', 'values'], set_first(-1), 'rank each id once'),
  ],
)
def test_save_names_what_does_not_fit(tmp_path, keys, to, message):
  scheme = pq_scheme()
  params = group_params.init(jax.random.key(0), scheme)
  with pytest.raises(ValueError, match=message):
    packed.save(tmp_path / 'a', scheme, changed(params, *keys, to=to))
  assert not list(tmp_path.iterdir())


def test_saves_scales_whose_sign_training_turned(tmp_path):
  scheme = Scheme(4, (Group(9, methods.Dense(storage='int4')),))
  params = group_params.init(jax.random.key(0), scheme)
  read = grouped.reconstruct(scheme, params)
  turned = changed(params, 'group_0', 'table', 'scale', to=lambda x: -x)
  packed.save(tmp_path / 'a', scheme, params)
  packed.save(tmp_path / 'b', scheme, turned)
  np.testing.assert_array_equal(grouped.reconstruct(scheme, turned), read)
  np.testing.assert_array_equal(
    grouped.reconstruct(*packed.load(tmp_path / 'b')), read
  )
  stored = group_params.quantize_params(scheme, params)
  turned = changed(stored, 'group_0', 'table', 'scale', to=lambda x: -x)
  with pytest.raises(ValueError, match='must be positive'):
    packed.save(tmp_path / 'c', scheme, turned)


@pytest.mark.parametrize(
  ('keys', 'to', 'message'),
  [
    (['values'], np.full((2, 5, 2), 8, np.int8), r'must be in \[-7, 7\]'),
    (['values'], np.full((2, 5, 2), 1), 'values must be int8, got int64'),
    (['scale'], None, 'codebooks.scale must be an array, got NoneType'),
    (['scale'], set_first(np.nan), 'codebooks.scale must be finite'),
    ([], np.ones((2, 5, 2), np.float32), 'must be a dict of values and scale'),
    ([], {'values': 0, 'scale': 0}, 'codebooks.values must be an array'),
  ],
)
def test_save_names_stored_arrays_that_do_not_fit(tmp_path, keys, to, message):
  scheme = pq_scheme()
  params = group_params.init(jax.random.key(0), scheme)
  stored = group_params.quantize_params(scheme, params)
  wrong = changed(stored, 'group_1', 'codebooks', *keys, to=to)
  with pytest.raises(ValueError, match=message):
    packed.save(tmp_path / 'a', scheme, wrong)


def test_save_refuses_a_mix_of_both_forms(tmp_path):
  method = methods.DifferentiableNearest(2, 3, storage='int8')
  scheme = Scheme(4, (Group(9, method),))
  params = group_params.init(jax.random.key(0), scheme)
  codes = {'codes': Stored(np.zeros((9, 2), np.uint8))}
  mixed = {'group_0': params['group_0'] | codes}
  with pytest.raises(ValueError, match=r"must have \['codebooks', 'queries'\]"):
    packed.save(tmp_path / 'a', scheme, mixed)
  stored = group_params.quantize_params(scheme, params)['group_0']
  codebooks = {'codebooks': stored['codebooks']}
  mixed = {'group_0': params['group_0'] | codebooks}
  with pytest.raises(ValueError, match=r'codebooks is Stored where other'):
    packed.save(tmp_path / 'a', scheme, mixed)


def test_save_reads_arrays_of_any_layout(tmp_path):
  scheme = Scheme(4, (Group(3, methods.Dense()),))
  table = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
  packed.save(tmp_path / 'a', scheme, {'group_0': {'table': table}})
  _, params = packed.load(tmp_path / 'a')
  np.testing.assert_array_equal(params['group_0']['table'].values, table)


def test_neither_writes_nor_reads_codes_of_no_bytes_without_end(tmp_path):
  one = methods.VectorQuantization(codewords=1)
  scheme = Scheme(4, (Group(2**31 - 1, one),))
  with pytest.raises(ValueError, match='may unpack to at most'):
    packed.save(tmp_path / 'a', scheme, {})


@pytest.mark.parametrize('target', ['os.replace', 'os.fsync'])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, target):
  scheme = pq_scheme()
  params = group_params.init(jax.random.key(0), scheme)
  path = tmp_path / 'a'
  path.write_bytes(b'old')

  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(target, fail)
  with pytest.raises(OSError, match='No space left'):
    packed.save(path, scheme, params)
  assert [p.read_bytes() for p in tmp_path.iterdir()] == [b'old']


def test_save_replaces_follows_links_and_keeps_the_umask(tmp_path):
  scheme = pq_scheme(order='identity')
  params = group_params.init(jax.random.key(0), scheme)
  path, link = tmp_path / 'a', tmp_path / 'link'
  path.write_bytes(b'old')
  link.symlink_to(path)
  packed.save(link, scheme, params)
  assert link.is_symlink()
  assert packed.load(path)[0] == scheme
  (tmp_path / 'plain').write_bytes(b'')
  modes = {stat.S_IMODE(os.stat(p).st_mode) for p in tmp_path.iterdir()}
  assert len(modes) == 1
  assert len(list(tmp_path.iterdir())) == 3


def test_paths_that_are_no_files(tmp_path):
  scheme = pq_scheme(order='identity')
  params = group_params.init(jax.random.key(0), scheme)
  with pytest.raises(FileNotFoundError):
    packed.save(tmp_path / 'no' / 'a', scheme, params)
  with pytest.raises(ValueError, match='must be a file'):
    packed.save(tmp_path, scheme, params)
  with pytest.raises(FileNotFoundError):
    packed.load(tmp_path / 'a')
  with pytest.raises(ValueError, match='must be a file'):
    packed.load(tmp_path)
  os.mkfifo(tmp_path / 'pipe')
  with pytest.raises(ValueError, match='must be a file'):
    packed.load(tmp_path / 'pipe')


def test_a_missing_folder_is_named(tmp_path):
  scheme = Scheme(2, (Group(3, methods.Dense()),))
  params = group_params.init(jax.random.key(0), scheme)
  with pytest.raises(FileNotFoundError, match=f'no {tmp_path / "absent"}'):
    packed.save(tmp_path / 'absent' / 'table', scheme, params)
