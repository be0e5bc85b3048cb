"""Rounded normal distributions against their definition."""

import math
import zlib

import numpy as np
import pytest

from embedcomp.methods import rounded_normals as normals


def shares_of(spread):
  """The share of each value in [-127, 127] before clipping."""
  edges = (np.arange(-127, 129) - 0.5) / spread / math.sqrt(2)
  return np.diff([math.erf(edge) for edge in edges]) / 2


def test_frequencies_are_the_same_on_every_machine():
  tables = [normals.frequencies_of(table) for table in range(83)]
  assert zlib.crc32(np.stack(tables).astype('<u2').tobytes()) == 4019311281


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
