"""Projected product codes against the two methods that they join."""

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.types import Shape

SHAPE = Shape(600, 16)
ROWS = np.arange(SHAPE.num_words)


@pytest.fixture
def table(rng):
  """Directions of falling spread, turned away from the features' axes."""
  turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
  words = rng.normal(size=SHAPE) * 0.7 ** np.arange(16)
  return (words @ turn).astype(np.float32)


def error(method, table):
  params = method.fit(table, np.ones(len(table)), 0)
  words = method.lookup(params, ROWS, SHAPE)
  return float(np.square(table - words).sum())


def test_with_a_codeword_for_every_word_it_is_low_rank(table):
  few = table[:40]
  shape, rows = Shape(40, 16), ROWS[:40]
  weights = np.ones(40)
  coded = methods.ProjectedQuantization(6, 3, 40)
  words = coded.lookup(coded.fit(few, weights, 0), rows, shape)
  rank = methods.LowRank(6)
  best = rank.lookup(rank.fit(few, weights, 0), rows, shape)
  np.testing.assert_allclose(words, best, atol=1e-5)


def test_at_equal_codes_it_loses_less_than_plain_codes(table):
  plain = methods.ProductQuantization(4, 16)
  projected = methods.ProjectedQuantization(8, 4, 16)
  assert error(projected, table) < 0.7 * error(plain, table)


def test_measured_errors_are_those_of_fits(table):
  options = [
    methods.ProjectedQuantization(4, 2, 16, 'int8'),
    methods.ProjectedQuantization(12, 4, 16, 'int8'),
  ]
  found = methods.ProjectedQuantization.distortions(
    options, table, np.ones(len(table)), 0
  )
  exact = [error(option, table) for option in options]
  np.testing.assert_allclose(found.sum(axis=1), exact, rtol=0.15)


def test_options_by_hand():
  found = methods.ProjectedQuantization.options(Shape(100, 96))
  # An eighth to a half of the features in blocks of eight axes, then a half in
  # smaller ones; 256 codewords are more than words.
  sizes = [(16, 2), (32, 4), (24, 3), (48, 6), (48, 8), (48, 12), (48, 16)]
  assert set(found) == {
    methods.ProjectedQuantization(rank, books, codewords, 'int8')
    for rank, books in sizes
    for codewords in (16, 64)
  }
  assert len(set(found)) == len(found)
  # Two features are one block, of 6 bits at most.
  assert methods.ProjectedQuantization.options(Shape(1000, 2)) == (
    methods.ProjectedQuantization(2, 1, 16, 'int8'),
    methods.ProjectedQuantization(2, 1, 64, 'int8'),
  )


def test_bytes_by_hand():
  method = methods.ProjectedQuantization(6, 3, 16, 'int8')
  assert method.bytes_by_role(SHAPE) == {
    'codes': 600 * 3 // 2,  # 4 bits each
    'codebooks': 16 * 6,
    'factors': 6 * 16,
    # One for each of 6 coefficients, and one for each row of the basis.
    'scales': 2 * (6 + 6),
  }


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ((0, 1, 2), 'rank must be 1 to the 16 features, got 0'),
    ((17, 1, 2), 'rank must be 1 to the 16 features, got 17'),
    ((6, 4, 2), 'books must divide the rank 6, got 4'),
    ((6, 3, 601), 'codewords must be 1 to .* got 601'),
  ],
)
def test_wrong_sizes_are_refused(config, message):
  with pytest.raises(ValueError, match=message):
    methods.ProjectedQuantization(*config).validate(SHAPE)
