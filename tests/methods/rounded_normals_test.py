"""Rounded normal distributions against their definition and Monte Carlo."""

import math
import zlib

import numpy as np
import pytest

from embedcomp.methods import entropy_coding as coding
from embedcomp.methods import rounded_normals as normals

SPREADS = [0.05, 0.11, 0.16, 0.25, 0.4, 0.7, 1, 1.9, 5, 14, 27, 60]


def shares_of(spread):
  """The share of each value in [-127, 127] before clipping."""
  edges = (np.arange(-127, 129) - 0.5) / spread / math.sqrt(2)
  return np.diff([math.erf(edge) for edge in edges]) / 2


def draw(rng, spread, shape=(20_000, 32)):
  numbers = rng.normal(size=shape) * spread
  return numbers, np.clip(np.rint(numbers), -127, 127).astype(np.int8)


def test_frequencies_are_the_same_on_every_machine():
  tables = [normals.frequencies_of(table) for table in range(83)]
  assert zlib.crc32(np.stack(tables).astype('<u2').tobytes()) == 4019311281
  means = [normals.means_of(index) for index in range(82)]
  assert (
    zlib.crc32((np.stack(means) * 256).astype('<u2').tobytes()) == 374491104
  )


@pytest.mark.parametrize('index', range(1, 82))
def test_frequencies_are_those_of_normal_numbers(index):
  counts = normals.frequencies_of(index)
  assert counts.sum() == 2**14
  assert (counts[:255] == counts[254::-1]).all()
  shares = shares_of(2 ** ((index - 1) / 8 - 3)) * 2**14
  shares[[0, -1]] += (2**14 - shares.sum()) / 2  # clipped values
  own = counts[:255] > 0
  own[127] = False  # which takes what rounding leaves
  np.testing.assert_allclose(counts[:255][own], shares[own], atol=0.51)
  assert (shares[counts[:255] == 0] < 0.51).all()
  rest = shares[counts[:255] == 0].sum()
  assert abs(counts[255] - rest) < 1.01
  assert abs(counts[127] - shares[127]) < 24
  assert (counts[:255] > 0).all() or counts[255] > 0


def test_costs_are_rounded_far_from_ties():
  costs = np.log2(np.arange(1, 2**14 + 1)) * normals.COST_UNIT
  assert abs(costs % 1 - 0.5).min() > 1e-6
  assert normals.costs_of_magnitudes().min() >= 0


@pytest.mark.parametrize('index', [1, 10, 20, 33, 50, 81])
def test_means_are_those_of_cells(index):
  spread = 2 ** ((index - 1) / 8 - 3)
  means = normals.means_of(index)
  assert means[0] == 0
  assert (np.diff(means) > 0).all()
  for k in range(1, min(int(5 * spread) + 2, 128)):
    cell = np.linspace(k - 0.5, k + 0.5, 20_001)
    density = np.exp(
      -((cell / spread) ** 2) / 2 + ((k - 0.5) / spread) ** 2 / 2
    )
    mean = (cell * density).sum() / density.sum()
    assert abs(means[k] - mean) < 0.01


@pytest.mark.parametrize('spread', SPREADS)
def test_plans_are_what_streams_take(spread, rng):
  numbers, values = draw(rng, spread)
  data = coding.encode(values)
  overhead = 12 + values.any(axis=0).any() * (20 + len(values) / 128 * 4)
  bits = (data.size - overhead) * 8 / values.size
  assert abs(normals.bits_of(spread) - bits) < 0.01 * bits + 0.004
  grid = np.mean((numbers - values) ** 2)
  indices = coding.spread_indices(data, values.shape)
  means = np.mean((numbers - normals.dequantize(values, indices)) ** 2)
  if spread < 25:  # no value is clipped
    assert normals.rounding_error_of(spread) == pytest.approx(grid, rel=0.01)
    assert normals.distortion_of(spread) == pytest.approx(means, rel=0.015)


def test_plans_are_smooth():
  spreads = np.exp2(np.linspace(-6, 7, 5000))
  bits = normals.bits_of(spreads)
  assert (np.diff(bits) >= 0).all()
  assert np.diff(bits).max() < 0.01
  for errors in (normals.distortion_of, normals.rounding_error_of):
    values = errors(spreads)
    assert abs(np.diff(np.log(values))).max() < 0.005
  own = normals.distortion_of(spreads)
  assert (own <= np.minimum(spreads**2, 1 / 12) * (1 + 1e-6)).all()
  assert (own <= normals.rounding_error_of(spreads) * (1 + 1e-4)).all()


def test_plans_of_limits():
  none = np.zeros((2, 3))
  assert normals.bits_of(none).tolist() == none.tolist()
  assert normals.distortion_of(none).shape == (2, 3)
  assert normals.distortion_of(none).max() < 1e-30
  assert normals.rounding_error_of(none).tolist() == none.tolist()
  assert normals.rounding_error_of(1e3) == pytest.approx(1 / 12)
  assert normals.distortion_of(1e3) == pytest.approx(1 / 12)


def test_zeros_stand_for_zero_and_signs_are_kept(rng):
  values = rng.integers(-127, 128, (500, 3))
  means = normals.dequantize(values, np.array([0, 1, 60]))
  assert means.dtype == np.float32
  np.testing.assert_array_equal(means[:, 0], values[:, 0])
  np.testing.assert_array_equal(np.sign(means), np.sign(values))
  np.testing.assert_array_equal(means, -normals.dequantize(-values, [0, 1, 60]))
  assert (abs(means - values) <= 0.5).all()
