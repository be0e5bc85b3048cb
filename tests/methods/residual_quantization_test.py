"""Residual quantization: sums by hand, greedy codes, nested books."""

import jax
import numpy as np
import pytest

from embedcomp import methods
from embedcomp.methods import forms
from embedcomp.types import Shape

SHAPE = Shape(200, 6)
ROWS = np.arange(SHAPE.num_words)


def error(method, params, table):
  words = np.asarray(method.lookup(params, ROWS, SHAPE))
  return np.square(words - table).sum()


def test_lookup_by_hand():
  method = methods.ResidualQuantization(2, 2)
  params = {
    'codes': forms.Stored(np.array([[0, 1], [1, 1], [0, 0]], np.uint8)),
    'codebooks': np.array([[[1.0, 2], [3, 4]], [[10, 20], [30, 40]]]).astype(
      np.float32
    ),
  }
  words = method.lookup(params, np.arange(3), Shape(3, 2))
  np.testing.assert_array_equal(words, [[31, 42], [33, 44], [11, 22]])


def test_leading_books_are_the_quantizer_of_fewer_books(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = np.ones(SHAPE.num_words)
  method = methods.ResidualQuantization(4, 8)
  params = method.fit(table, weights, 0)
  errors = [np.square(table).sum()]
  for books in (1, 2, 3, 4):
    smaller = methods.ResidualQuantization(books, 8)
    leading = {
      'codes': forms.Stored(params['codes'].values[:, :books]),
      'codebooks': params['codebooks'][:books],
    }
    refitted = smaller.fit(table, weights, 0)
    jax.tree.map(
      np.testing.assert_array_equal, leading['codes'], refitted['codes']
    )
    np.testing.assert_allclose(leading['codebooks'], refitted['codebooks'])
    errors.append(error(smaller, leading, table))
  assert (np.diff(errors) < 0).all()


def test_one_book_is_vector_quantization(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = rng.exponential(size=SHAPE.num_words)
  residual = methods.ResidualQuantization(1, 7)
  vector = methods.VectorQuantization(7)
  np.testing.assert_allclose(
    residual.lookup(residual.fit(table, weights, 0), ROWS, SHAPE),
    vector.lookup(vector.fit(table, weights, 0), ROWS, SHAPE),
    atol=1e-6,
  )


def test_options_by_hand():
  found = methods.ResidualQuantization.options(Shape(64, 6))
  assert found == tuple(
    methods.ResidualQuantization(books, codewords, 'int8')
    for books in (2, 4, 8)
    for codewords in (16, 64)
  )


def test_wrong_sizes_are_refused():
  with pytest.raises(ValueError, match='books must be at least 1, got 0'):
    methods.ResidualQuantization(0, 2).validate(SHAPE)
  with pytest.raises(ValueError, match="group's 200 words, got 201"):
    methods.ResidualQuantization(2, 201).validate(SHAPE)
