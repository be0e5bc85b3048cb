"""A reader written from docs/FILE_FORMAT.md alone reads what we write."""

import dataclasses
import itertools
import json
import math
import struct

import jax
import ml_dtypes
import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.io import packed
from embedcomp.table import group_params, read
from embedcomp.table.order import order_from_groups
from tests.methods.plain_streams import plain_decode

DTYPES = {
  'F32': np.float32,
  'F16': np.float16,
  'BF16': ml_dtypes.bfloat16,
  'I8': np.int8,
  'U8': np.uint8,
}
METHODS = (
  methods.ProjectedQuantization(6, 3, 5),
  methods.Dense(),
  methods.LowRank(3),
  methods.ProductQuantization(3, 11),
  methods.ProductQuantization(2, 4, rotation=True),
  methods.VectorQuantization(9),
  methods.ResidualQuantization(2, 7),
  methods.DifferentiableSoftmax(3, 1),
  methods.DifferentiableNearest(3, 8),
  methods.TensorTrain(3),
  methods.Hashed(7),
  methods.GradedCodes(4, '2x1+1x3', 6),
  methods.GradedCodes(4, '1x2', 5),
  methods.GradedCodes(4, '', 1),
  methods.GradedCodes(0, '3x1+1x4', 9),
  methods.ScalarCodes(4, 7, 200),
  methods.ScalarCodes(4, 0, 0),
  methods.ScalarCodes(0, 5, 120),
  methods.Drop(),
)


def read_codes(data, count, num_values):
  bits = math.ceil(math.log2(num_values))
  number = int.from_bytes(data.tobytes(), 'little')
  codes = [number >> (j * bits) & (2**bits - 1) for j in range(count)]
  return np.array(codes, np.int64)


def read_factor(tensors, name, shape, storage):
  if storage not in ('int8', 'int4'):
    return tensors[name].astype(np.float32)
  values = tensors[f'{name}.values']
  if storage == 'int4':
    values = read_codes(values, math.prod(shape), 16)
    values = np.where(values > 7, values - 16, values)
  elif values.dtype == np.uint8:  # a coded factor
    values = plain_decode(values, shape[::-1]).T
  scale = tensors[f'{name}.scale'].astype(np.float32)
  return values.reshape(shape).astype(np.float32) * scale


def modes(n):
  s = math.ceil(round(n ** (1 / 3), 6))
  triples = (
    (a, b, -(-n // (a * b)))
    for a in range(max(1, s // 2), s + 1)
    for b in range(a, 2 * s + 1)
  )
  fitting = [t for t in triples if t[1] <= t[2] <= 2 * s]
  return min(fitting, key=lambda t: (math.prod(t), sum(t)))


def mix(k):
  k ^= k >> 16
  k = k * 0x85EBCA6B % 2**32
  k ^= k >> 13
  k = k * 0xC2B2AE35 % 2**32
  return k ^ k >> 16


def tensor_train(factor, rank, words, features):
  y, z, x = modes(words)
  q, j, length = modes(features)
  p = min(rank, x * j, y * q * z * length)
  r = min(rank, z * length, x * j * y * q)
  first, middle = factor('first', (x, j, p)), factor('middle', (p, y, q, r))
  last = factor('last', (r, z, length))
  table = np.einsum('xjp,pyqr,rzl->xyzjql', first, middle, last)
  return table.reshape(x * y * z, -1)[:words, :features]


def hashed(factor, buckets, words, features):
  weights = factor('weights', (words, 2))
  vectors = factor('buckets', (buckets, features))
  rows = []
  for w in range(words):
    h0 = mix(w + 1) % buckets
    h1 = (h0 + 1 + mix(w ^ 0x9E3779B9) % max(buckets - 1, 1)) % buckets
    rows.append(weights[w, 0] * vectors[h0] + weights[w, 1] * vectors[h1])
  return np.stack(rows)


def read_group(group, tensors, features):
  words, name = group['size'], group['method']
  storage = group.get('storage', 'float32')
  books, codewords = group.get('books', 1), group.get('codewords')

  def factor(name, shape, storage=storage):
    return read_factor(tensors, name, shape, storage)

  if name == 'dense':
    return factor('table', (words, features))
  if name == 'low_rank':
    left = factor('coefficients', (words, group['rank']))
    shape = (group['rank'], features)
    return left @ factor('basis', shape, group.get('basis_storage', 'float32'))
  if name == 'tensor_train':
    return tensor_train(factor, group['rank'], words, features)
  if name == 'hashed':
    return hashed(factor, group['buckets'], words, features)
  if name == 'drop':
    return np.repeat(factor('vector', (1, features)), words, 0)
  if name == 'scalar':
    return read_scalar(group, tensors, factor, features)
  if name == 'graded':
    return read_graded(group, tensors, factor, features)
  codes = read_codes(tensors['codes'], words * books, codewords)
  codes = codes.reshape(words, books)
  joined = group['rank'] if name == 'projected_pq' else features
  width = features if name == 'rvq' else joined // books
  codebooks = factor('codebooks', (books, codewords, width))
  parts = [codebooks[m][codes[:, m]] for m in range(books)]
  if name == 'rvq':
    return sum(parts)
  rows = np.concatenate(parts, axis=1)
  if group.get('rotation'):
    rows = rows @ factor('rotation', (features, features))
  if name == 'projected_pq':
    rows = rows @ factor('basis', (joined, features))
  return rows


def reflections(axes):
  """[D, D] product of the Householder reflections of the transposed axes."""
  rank, features = axes.shape
  left, product = axes.T.astype(float), np.eye(features)
  for k in range(rank):
    v = np.zeros(features)
    v[k:] = left[k:, k]
    v[k] += np.linalg.norm(v)
    reflection = np.eye(features) - 2 * np.outer(v, v) / (v @ v)
    left, product = reflection @ left, product @ reflection
  return product


def read_graded(group, tensors, factor, features):
  """[W, D] words of graded codes."""
  codewords = group['codewords']
  runs = [run.split('x') for run in group['blocks'].split('+') if run]
  widths = [int(width) for count, width in runs for _ in range(int(count))]
  codes = read_codes(tensors['codes'], group['size'] * len(widths), codewords)
  codes = codes.reshape(group['size'], len(widths))
  books = factor('codebooks', (codewords, sum(widths)))
  coefficients = np.zeros((group['size'], features))
  start = 0
  for m, width in enumerate(widths):
    stop = start + width
    coefficients[:, start:stop] = books[codes[:, m], start:stop]
    start = stop
  return on_axes(coefficients, group, tensors, factor, features)


def read_scalar(group, tensors, factor, features):
  """[W, D] words of scalar codes."""
  axes = group['axes']
  coefficients = np.zeros((group['size'], features))
  if axes:
    shape = (group['size'], axes)
    codes = plain_decode(tensors['codes'], shape)
    coefficients[:, :axes] = codes * factor('steps', (axes,))
  return on_axes(coefficients, group, tensors, factor, features)


def on_axes(coefficients, group, tensors, factor, features):
  """[W, D] words of coefficients on the axes of a group."""
  rank = group['rank']
  if not rank:
    return coefficients
  coefficients[:, :rank] += factor('mean', (rank,))
  axes = read_factor(
    *(tensors, 'axes', (rank, features), group['axes_storage'])
  )
  others = reflections(axes)[:, rank:].T
  return coefficients @ np.concatenate([axes, others])


def read_table(path):
  """[V, D] float32 in the order of ids."""
  data = path.read_bytes()
  (length,) = struct.unpack('<Q', data[:8])
  header, data = json.loads(data[8 : 8 + length]), data[8 + length :]
  scheme = json.loads(header.pop('__metadata__')['embedcomp'])
  tensors = {}
  for name, entry in header.items():
    start, stop = entry['data_offsets']
    array = np.frombuffer(data[start:stop], DTYPES[entry['dtype']])
    tensors[name] = array.reshape(entry['shape'])
  tables = []
  for index, group in enumerate(scheme['groups']):
    prefix = f'group_{index}.'
    own = {
      name.removeprefix(prefix): tensor
      for name, tensor in tensors.items()
      if name.startswith(prefix)
    }
    own |= {
      name.removeprefix('shared.'): tensor
      for name, tensor in tensors.items()
      if name.startswith('shared.')
    }
    tables.append(read_group(group, own, scheme['features']))
  if scheme['order'] == 'identity':
    return np.concatenate(tables)
  num_words = sum(group['size'] for group in scheme['groups'])
  groups = read_codes(tensors['order'], num_words, len(tables))
  rows = [itertools.chain(table) for table in tables]
  return np.stack([next(rows[group]) for group in groups])


def stored_as(method, kind):
  fields = [f.name for f in dataclasses.fields(method) if 'storage' in f.name]
  return dataclasses.replace(method, **dict.fromkeys(fields, kind))


def test_every_method_is_read():
  assert {method.name for method in METHODS} == set(methods.names())


@pytest.mark.parametrize(
  ('kind', 'order'),
  [('int4', 'identity'), *((kind, 'stored') for kind in methods.STORAGES)],
)
def test_reads_what_we_write(tmp_path, kind, order):
  sizes = [11 + 2 * index for index in range(len(METHODS))]
  groups = tuple(Group(n, stored_as(m, kind)) for n, m in zip(sizes, METHODS))
  scheme = Scheme(12, groups, order=order)
  ranks = None
  if order == 'stored':
    group_of_id = np.repeat(np.arange(len(sizes)), sizes)
    group_of_id = np.random.default_rng(0).permutation(group_of_id)
    ranks = order_from_groups(group_of_id)
  params = group_params.init(jax.random.key(0), scheme, ranks)
  packed.save(tmp_path / 'a', scheme, params)
  table = read_table(tmp_path / 'a')
  np.testing.assert_allclose(
    table, read.reconstruct(scheme, params), rtol=1e-5, atol=1e-5
  )


def test_reads_axes_that_are_coded(tmp_path):
  kinds = {'storage': 'int8', 'axes_storage': 'int8', 'axes_bytes': 90}
  groups = (
    Group(20, methods.ScalarCodes(4, 12, 300, **kinds)),
    Group(30, methods.GradedCodes(4, '1x2', 5, **kinds)),
  )
  scheme = Scheme(12, groups)
  params = group_params.init(jax.random.key(0), scheme)
  packed.save(tmp_path / 'a', scheme, params)
  stored = group_params.quantize_params(scheme, params)
  np.testing.assert_allclose(
    read_table(tmp_path / 'a'),
    read.reconstruct(scheme, stored),
    rtol=1e-5,
    atol=1e-5,
  )
