"""Sizes of entropy-coded integers, against what coding them takes."""

import numpy as np
import pytest

from embedcomp.methods import coded_sizes, entropy_coding


def normal_values(rng, shape, spread):
  values = np.rint(rng.normal(size=shape) * spread)
  return np.clip(values, -127, 127).astype(np.int8)


@pytest.mark.parametrize('spread', [0, 0.1, 0.4, 1.0, 3.0, 30.0])
@pytest.mark.parametrize('shape', [(1, 1), (20, 5), (700, 30), (20_000, 4)])
def test_sizes_are_expected(spread, shape, rng):
  values = normal_values(rng, shape, spread)
  size = entropy_coding.encode(values).size
  expected = coded_sizes.expected_size(values)
  assert abs(size - expected) <= 12 + 0.0005 * size + shape[0] / 128 * 2
  assert size <= coded_sizes.largest_size(values)


def test_axes_of_zeros_are_the_smallest_stream():
  zeros = np.zeros((300, 4), np.int8)
  size = entropy_coding.encode(zeros).size
  assert coded_sizes.expected_size(zeros) == coded_sizes.SMALLEST == size
