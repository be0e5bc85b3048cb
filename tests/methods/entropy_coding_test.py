"""Entropy coding: sizes, a plain coder of the same format, and damage."""

import ast
import pathlib
import sys
import tracemalloc
import zlib

import numpy as np
import pytest

from embedcomp.methods import entropy_coding as coding
from embedcomp.methods.rounded_normals import (
  costs_of_magnitudes,
  frequencies_of,
)
from tests.methods.plain_streams import plain_decode, plain_encode, sealed

TOTAL_BITS = 14
TOTAL = 2**TOTAL_BITS


def normal_values(rng, shape, spreads):
  values = np.rint(rng.normal(size=shape) * spreads)
  return np.clip(values, -127, 127).astype(np.int8)


def mixed_values(rng, shape=(150, 6)):
  """Axes of unlike spreads, one of zeros, and values that need escapes."""
  values = normal_values(rng, shape, np.resize([9, 0, 2, 0.5, 0.2], shape[1]))
  values[rng.random(shape) < 0.01] = -127
  values[:, 1:2] = 0
  return values


def best_spreads(values):
  """The index by which each axis takes the fewest bits, 0 for zeros alone."""
  costs = costs_of_magnitudes()
  totals = [costs[abs(axis.astype(int))].sum(axis=0) for axis in values.T]
  return [
    int(total.argmin()) + 1 if axis.any() else 0
    for total, axis in zip(totals, values.T)
  ]


def test_a_plain_coder_reads_and_writes_the_same_streams(rng):
  values = mixed_values(rng)
  data = coding.encode(values)
  indices = best_spreads(values)
  assert (values == -127).any()
  np.testing.assert_array_equal(plain_decode(data, values.shape), values)
  np.testing.assert_array_equal(plain_encode(values, indices), data)


def test_the_format_stays_as_it_is():
  values = np.arange(-6, 6).reshape(6, 2) ** 3 // 40
  data = coding.encode(values)
  assert data.tobytes().hex() == '017dfae9462202020400000000a6008ac004943b94'
  mixed = mixed_values_of_integers()
  data = coding.encode(mixed)
  assert best_spreads(mixed) == [62, 30, 20, 69, 20]
  assert zlib.crc32(data) == 104655114


def mixed_values_of_integers():
  """As `mixed_values`, without a generator whose stream may change."""
  numbers = np.arange(300 * 5, dtype=np.int64).reshape(300, 5)
  hashed = numbers * 2654435761 % 2**32 >> 20  # [0, 4096)
  scales = np.array([2**27, 2**31, 2**33, 7 * 10**7, 2**40])
  values = (hashed - 2048) ** 3 // scales
  values[[7, 250], [1, 4]] = 90, -127  # escapes
  return values


# Round trips.


@pytest.mark.parametrize(
  'shape',
  [
    *((0, 0), (0, 5), (5, 0), (1, 1), (1, 9), (127, 1), (128, 2), (129, 3)),
    (500, 20),
  ],
)
@pytest.mark.parametrize('spread', [0, 0.1, 0.5, 3, 50])
def test_what_is_encoded_is_decoded(shape, spread, rng):
  values = normal_values(rng, shape, spread)
  decoded = coding.decode(coding.encode(values), shape)
  assert decoded.dtype == np.int8
  np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize('dtype', [np.int8, np.int16, np.int64])
def test_extremes_and_all_types(dtype, rng):
  for values in (
    rng.choice([-127, 127], (200, 3)),
    np.full((200, 3), 127),
    np.where(rng.random((400, 3)) < 0.01, -127, 0),
    rng.integers(-127, 128, (300, 4)),
    np.arange(-127, 128)[:, None],
  ):
    data = coding.encode(values.astype(dtype))
    np.testing.assert_array_equal(coding.decode(data, values.shape), values)


def test_several_matrices_give_the_streams_of_each(rng):
  shapes = [(300, 7), (0, 3), (40, 2), (131, 9), (5, 0)]
  runs = [mixed_values(rng, shape) for shape in shapes]
  streams = coding.encode_runs(runs)
  for stream, values in zip(streams, runs):
    np.testing.assert_array_equal(stream, coding.encode(values))
  for decoded, values in zip(coding.decode_runs(streams, shapes), runs):
    np.testing.assert_array_equal(decoded, values)
  assert coding.encode_runs([]) == coding.decode_runs([], []) == []
  with pytest.raises(ValueError, match='1 streams have 0 shapes'):
    coding.decode_runs(streams[:1], [])


def test_matrices_of_unlike_shapes_do_not_fill_the_memory(rng):
  """Side by side, either pair would be 128 and 2,500 times as large."""
  shapes = [(1, 3000), (128 * 3000, 1), (128, 2)]
  runs = [normal_values(rng, shape, 0.5) for shape in shapes]
  tracemalloc.start()
  try:
    streams = coding.encode_runs(runs)
    found = coding.decode_runs(streams, shapes)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 2**26
  for stream, decoded, values in zip(streams, found, runs):
    np.testing.assert_array_equal(stream, coding.encode(values))
    np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize('num_words', [0, 1, 128, 300])
def test_rows_are_slices(num_words, rng):
  values = mixed_values(rng, (num_words, 6))
  data = coding.encode(values)
  places = sorted({*(0, 1, 99, 100, 101, 200, 299, num_words)})
  places = [place for place in places if place <= num_words]
  for start in places:
    for stop in places[places.index(start) :]:
      rows = coding.decode_rows(data, values.shape, start, stop)
      np.testing.assert_array_equal(rows, values[start:stop])
  for start, stop in [(-1, 0), (1, 0), (0, num_words + 1)]:
    with pytest.raises(ValueError, match='are not within'):
      coding.decode_rows(data, values.shape, start, stop)


def test_order_of_memory_does_not_matter(rng):
  values = mixed_values(rng)
  data = coding.encode(np.asfortranarray(values))
  np.testing.assert_array_equal(data, coding.encode(values))
  apart = np.stack([data, data], axis=1)[:, 0]
  np.testing.assert_array_equal(coding.decode(apart, values.shape), values)


# Sizes.


def entropy(values):
  counts = np.unique(values, return_counts=True)[1]
  return -(counts * np.log2(counts / values.size)).sum()


@pytest.mark.parametrize('spread', [0.2, 0.3, 0.5, 1, 2.1, 9, 33, 60])
def test_normal_values_take_their_entropy(spread, rng):
  values = normal_values(rng, (12_800, 8), spread)
  ideal = entropy(values) / 8
  overhead = 12 + 8 + 100 * 4.5
  assert coding.encode(values).size <= 1.015 * ideal + overhead
  body = coding.encode(values).size - overhead
  assert body <= 1.005 * ideal + 50


def test_overhead_is_what_the_text_says(rng):
  values = normal_values(rng, (12_800, 8), 1.0)
  data = coding.encode(values)
  costs = TOTAL_BITS - np.log2(np.maximum(frequencies_of(25), 1))
  ideal = costs[values.astype(int) + 127].sum() / 8
  assert set(best_spreads(values)) == {25}
  assert 0 < data.size - ideal < 20 + 100 * 5


def test_axes_of_zeros_take_nothing(rng):
  values = normal_values(rng, (1000, 4), 1.0)
  wide = np.concatenate([values, np.zeros((1000, 400), np.int8)], axis=1)
  assert coding.encode(wide).size <= coding.encode(values).size + 400
  zeros = np.zeros((10_000, 400), np.int8)
  assert coding.encode(zeros).size == 12


def test_streams_are_filled_up_with_zeros(rng):
  values = mixed_values(rng)
  size = coding.encode(values).size
  np.testing.assert_array_equal(
    coding.encode(values, size), coding.encode(values)
  )
  longer = coding.encode(values, size + 7)
  assert longer.size == size + 7
  assert not longer[size:].any()
  np.testing.assert_array_equal(coding.decode(longer, values.shape), values)
  longer[-1] = 1
  with pytest.raises(ValueError, match='zeros may follow'):
    coding.decode(sealed(longer, values.shape), values.shape)
  message = (
    f'values take {size} bytes when they are coded, more than {size - 1}'
  )
  with pytest.raises(ValueError, match=message):
    coding.encode(values, size - 1)


# Damage.


def test_every_cut_and_every_addition_is_refused(rng):
  values = mixed_values(rng)
  data = coding.encode(values)
  for size in range(data.size):
    with pytest.raises(ValueError, match=r'bytes|checksum'):
      coding.decode(data[:size], values.shape)
  for more in ([0], [255], [0, 0], [1] * 9):
    longer = np.append(data, np.array(more, np.uint8))
    with pytest.raises(ValueError, match='checksum'):
      coding.decode(longer, values.shape)


def test_flipped_bits_are_refused(rng):
  values = mixed_values(rng)
  data = coding.encode(values)
  for _ in range(300):
    flipped = data.copy()
    for place in rng.integers(data.size, size=rng.integers(1, 4)):
      flipped[place] ^= 1 << rng.integers(8)
    if (flipped == data).all():
      continue
    with pytest.raises(ValueError, match=r'checksum|version'):
      coding.decode(flipped, values.shape)
    with pytest.raises(ValueError, match=r'checksum|version'):
      coding.decode_rows(flipped, values.shape, 0, 1)


def test_garbage_is_refused(rng):
  for _ in range(300):
    data = rng.integers(256, size=rng.integers(100), dtype=np.uint8)
    data[:1] = 1
    with pytest.raises(ValueError, match=r'bytes|checksum'):
      coding.decode(data, (20, 3))


@pytest.mark.parametrize('shape', [(151, 6), (150, 5), (6, 150), (900, 1)])
def test_other_shapes_are_refused(shape, rng):
  data = coding.encode(mixed_values(rng))
  with pytest.raises(ValueError, match='checksum'):
    coding.decode(data, shape)


def test_hostile_streams_with_a_sound_checksum_are_refused(rng):
  """Or are values in range, where what they say makes sense."""
  values = mixed_values(rng)
  data, refused = coding.encode(values), 0
  for number in range(400):
    hostile = data.copy()
    # A third of them in the lists, the others anywhere.
    stop = 20 if number % 3 == 0 else data.size
    places = rng.integers(5, stop, size=rng.integers(1, 4))
    hostile[places] = rng.integers(256, size=places.size)
    if number % 7 == 0:
      hostile = hostile[: rng.integers(5, data.size)]
    hostile = sealed(hostile, values.shape)
    try:
      decoded = coding.decode(hostile, values.shape)
    except ValueError:
      refused += 1
    else:
      assert decoded.shape == values.shape
      assert (decoded >= -127).all()
  assert refused > 350


@pytest.mark.parametrize(
  ('body', 'message'),
  [
    ([], 'ends inside its spread indices'),
    ([90, 0], 'spread indices must be at most 81, got 90'),
    ([0, 40], 'ends inside its spread indices'),
    ([0, 1, 2], 'unused bits'),
    ([1, 0, 2, 0, 0, 0], 'ends inside its lengths'),
    ([1, 0, 255, 255, 255, 255, 0], 'lengths of chunks must be at most'),
    (
      [1, 0, 2, 0, 0, 0, 0, 1, 0],
      'chunks take 4 bytes and zeros may follow, got 2',
    ),
    ([1, 0, 1, 0, 0, 0, 0, 1, 0], 'too short for its state'),
    ([1, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0], 'first state of a chunk is below'),
    ([1, 0, 2, 0, 0, 0, 0, 1, 0, 1, 0], 'longer or shorter'),
    ([0, 0, 2, 0, 0, 0, 0, 2, 0, 1, 0], 'last state of a chunk'),
    # The escape's slot of the least spread, and then the escape's plain bits.
    ([1, 0, 2, 0, 0, 0, 0, 255, 255, 255, 255], 'stands for no value'),
  ],
)
def test_what_is_wrong_is_named(body, message):
  data = sealed(np.array([1, 0, 0, 0, 0, *body], np.uint8), (1, 1))
  with pytest.raises(ValueError, match=message):
    coding.decode(data, (1, 1))


def test_arguments_are_checked():
  with pytest.raises(ValueError, match=r'values must be integers \[W, A\]'):
    coding.encode(np.zeros(3, np.int8))
  with pytest.raises(ValueError, match=r'got float64 \[3, 1\]'):
    coding.encode(np.zeros((3, 1)))
  with pytest.raises(ValueError, match='got -128 to 0'):
    coding.encode(np.full((3, 1), -128))
  with pytest.raises(ValueError, match='got 0 to 128'):
    coding.encode(np.full((3, 1), 128, np.uint64))
  with pytest.raises(ValueError, match='got int8'):
    coding.decode(np.zeros(30, np.int8), (1, 1))
  with pytest.raises(ValueError, match='negative'):
    coding.decode(coding.encode(np.zeros((1, 1), int)), (-1, 1))
  with pytest.raises(ValueError, match='version must be 1, got 2'):
    coding.decode(np.full(30, 2, np.uint8), (1, 1))


@pytest.mark.parametrize(
  'name', ['entropy_coding', 'rans', 'rounded_normals', 'bit_packing']
)
def test_numpy_is_all_that_the_decoder_needs(name):
  path = pathlib.Path(coding.__file__).with_name(f'{name}.py')
  for node in ast.walk(ast.parse(path.read_text())):
    names = [getattr(node, 'module', None)]
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    if not isinstance(node, ast.Import | ast.ImportFrom):
      continue
    for imported in names:
      own = imported.removeprefix('embedcomp.methods.').partition('.')[0]
      known = {'numpy', 'rans', 'rounded_normals', 'bit_packing'}
      assert own in known | sys.stdlib_module_names
