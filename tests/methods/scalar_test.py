"""Scalar codes by themselves: sizes, errors, and what is refused."""

import numpy as np
import pytest

from embedcomp.methods import ScalarCodes, entropy_coding, part_tensors
from embedcomp.methods.coded_factor import CodedFactor
from embedcomp.types import Shape

SHAPE = Shape(3000, 16)


def mean_error(method, table):
  params = method.quantize(method.fit(table, np.ones(len(table)), 0), SHAPE)
  words = method.lookup(params, np.arange(len(table)), SHAPE)
  return float(np.square(np.asarray(words) - table).mean()), params


@pytest.mark.parametrize('num_bytes', [2000, 6000, 15_000, 30_000])
def test_white_words_lose_little_more_than_the_bound(num_bytes, rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  method = ScalarCodes(0, 16, num_bytes, 'int8')
  error, params = mean_error(method, table)
  size = entropy_coding.encode(np.asarray(params['codes'].values)).size
  assert 0.99 * num_bytes - 30 < size <= num_bytes
  rate = 8 * num_bytes / table.size
  # 1.53 dB at high rates, nearly nothing at low ones; and what streams take
  # beside the bits.
  free = 8 * (num_bytes - 36 - 4 * 24) / table.size
  assert 2 ** (-2 * rate) < error < 2 ** (-2 * free) * (1 + 0.47 * free)


def test_axes_that_cost_more_are_rounded_finer(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  costs = np.r_[np.full(8, 16.0), np.ones(8)]
  method = ScalarCodes(0, 16, 9000, 'float32')
  params = method.fit_on_axes(
    np.zeros((0, 16), np.float32), table.copy(), np.ones(len(table)), 0, costs
  )
  words = np.asarray(method.lookup(params, np.arange(len(table)), SHAPE))
  errors = np.square(words - table).mean(axis=0)
  ratio = errors[8:].mean() / errors[:8].mean()
  assert 12 < ratio < 26  # 16 at high rates; at low ones steps grow


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ((17, 1, 100), 'rank must be 0 to the 16 features, got 17'),
    ((4, 17, 100), '16 features have at most as many coded axes, got 17'),
    ((4, -1, 100), '16 features have at most as many coded axes, got -1'),
    ((4, 3, 11), 'code_bytes must be 12 or more for 3000 words and 3 axes'),
    ((4, 0, 12), 'code_bytes must be 0 .* got 12'),
    ((4, 3, 99, 'int8', 'int8', 11), 'axes_bytes must be 0, or 12 or more'),
    ((4, 3, 99, 'int8', 'int4', 99), 'for int8 axes, got 99 .* in int4'),
    ((0, 3, 99, 'int8', 'int8', 99), 'axes_bytes must be 0'),
  ],
)
def test_what_does_not_suit_the_table_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    ScalarCodes(*fields).validate(SHAPE)


def test_coded_factors_are_as_fine_as_their_bytes_allow(rng):
  values = rng.normal(size=(20, 300)) * np.arange(1, 21)[:, None]
  values = values.astype(np.float32)
  errors = []
  for num_bytes in (600, 2000, 4500):
    part = CodedFactor('axes', values.shape, 'int8', num_bytes=num_bytes)
    stored = part.quantize(part.trainable(values))
    tensors = part_tensors.pack({'of': [part]}, {'of': {'axes': stored}})
    assert tensors['of.axes.values'].size == num_bytes
    again = part_tensors.unpack({'of': [part]}, tensors)['of']['axes']
    np.testing.assert_array_equal(again.values, stored.values)
    np.testing.assert_array_equal(again.scale, stored.scale)
    same = part.quantize(part.dequantize(again))
    np.testing.assert_array_equal(same.values, stored.values)
    read = np.asarray(part.dequantize(stored)['values'])
    np.testing.assert_allclose(read, part.round_trip(values), rtol=1e-6)
    by_row = np.square(read - values).mean(axis=1) / np.arange(1, 21) ** 2
    assert by_row.max() < 2 * by_row.min()  # alike in terms of their length
    errors.append(by_row.mean())
  assert errors[0] > 5 * errors[1] > 20 * errors[2]


def test_factors_that_training_has_spread_out_still_fit(rng):
  values = rng.normal(size=(8, 200)).astype(np.float32)
  part = CodedFactor('axes', values.shape, 'int8', num_bytes=700)
  leaf = part.trainable(values)
  leaf['values'] = np.asarray(leaf['values']) * 4  # with scales as they were
  stored = part.quantize(leaf)
  tensors = part_tensors.pack({'of': [part]}, {'of': {'axes': stored}})
  assert tensors['of.axes.values'].size == 700
