"""Product quantization: hand-worked codes, rotations, nesting."""

import jax
import numpy as np
import pytest

from embedcomp import methods
from embedcomp.methods import forms, product_quantization
from embedcomp.types import Shape

SHAPE = Shape(300, 8)
ROWS = np.arange(SHAPE.num_words)


def correlated(rng):
  table = rng.normal(size=(SHAPE.num_words, 2)) @ rng.normal(size=(2, 8))
  return (table + 0.05 * rng.normal(size=SHAPE)).astype(np.float32)


def test_lookup_by_hand():
  method = methods.ProductQuantization(2, 3)
  params = {
    'codes': forms.Stored(np.array([[2, 0], [1, 1]], np.uint8)),
    'codebooks': np.arange(12, dtype=np.float32).reshape(2, 3, 2),
  }
  words = method.lookup(params, np.array([1, 0]), Shape(2, 4))
  np.testing.assert_array_equal(words, [[2, 3, 8, 9], [4, 5, 6, 7]])


def test_encode_and_decode_by_hand():
  codebooks = np.array([[[0.0], [1]], [[5], [-5]]], np.float32)
  table = np.array([[0.9, -3], [0.2, 4]], np.float32)
  codes = product_quantization.encode(table, codebooks)
  assert codes.tolist() == [[1, 1], [0, 0]]
  words = product_quantization.decode(codes, codebooks)
  assert words.tolist() == [[1, -5], [0, 5]]


def test_codewords_are_the_means_of_their_words(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = rng.exponential(size=SHAPE.num_words)
  params = methods.ProductQuantization(4, 5).fit(table, weights, 0)
  codes = np.asarray(params['codes'].values)
  for m in range(4):
    for k in range(5):
      chosen = codes[:, m] == k
      block = table[chosen, 2 * m : 2 * m + 2]
      mean = np.average(block, axis=0, weights=weights[chosen])
      np.testing.assert_allclose(params['codebooks'][m, k], mean, atol=1e-5)


def test_as_many_codewords_as_words_are_exact(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  method = methods.ProductQuantization(2, SHAPE.num_words)
  params = method.fit(table, np.ones(SHAPE.num_words), 0)
  words = method.lookup(params, ROWS, SHAPE)
  np.testing.assert_allclose(words, table, atol=1e-5)


def test_rotation_is_orthogonal_and_helps_correlated_features(rng):
  table = correlated(rng)
  weights = rng.exponential(size=SHAPE.num_words)
  errors = {}
  for rotation in (False, True):
    method = methods.ProductQuantization(4, 8, rotation=rotation)
    params = method.fit(table, weights, 0)
    words = np.asarray(method.lookup(params, ROWS, SHAPE))
    errors[rotation] = weights @ np.square(words - table).sum(axis=1)
  matrix = np.asarray(params['rotation'])
  np.testing.assert_allclose(matrix @ matrix.T, np.eye(8), atol=1e-5)
  assert errors[True] < 0.9 * errors[False]


def test_allocated_rotation_balances_blocks(rng):
  table = rng.normal(size=(5000, 4)) * [8, 4, 2, 1]
  rotation = product_quantization.allocate_rotation(
    table, np.ones(len(table)), 2
  )
  variances = (table @ rotation.T).var(axis=0).reshape(2, 2)
  np.testing.assert_allclose(variances.prod(axis=1), [64, 64], rtol=0.1)


def test_random_codes_use_codewords_evenly():
  codes = product_quantization.random_codes(
    jax.random.key(0), Shape(100, 8), 3, 7
  )
  counts = np.stack([np.bincount(c, minlength=7) for c in np.asarray(codes).T])
  assert counts.min() == 14
  assert counts.max() == 15


def test_options_by_hand():
  found = methods.ProductQuantization.options(Shape(1000, 8))
  # Blocks of two features take 6 bits at most.
  assert [(o.books, o.codewords) for o in found] == [
    *((1, k) for k in (16, 64, 256)),
    *((2, k) for k in (16, 64, 256)),
    *((4, k) for k in (16, 64)),
  ]


def test_blocks_of_many_widths_are_tried():
  # 66 blocks of 2 features, 44 of 3, ... and one of all 132; where a width
  # does not divide them, the nearest one by its factor.
  found = methods.ProductQuantization.options(Shape(1000, 132))
  assert {o.books for o in found} == {1, 3, 4, 6, 11, 22, 33, 44, 66}
  assert {o.storage for o in found} == {'int8'}
  assert not methods.ProductQuantization.options(Shape(1000, 1))


def test_vector_options_have_no_more_codewords_than_words():
  found = methods.VectorQuantization.options(Shape(64, 8))
  assert found == tuple(methods.VectorQuantization(k, 'int8') for k in (16, 64))
  (*_, last) = methods.VectorQuantization.options(Shape(256, 8))
  assert last.codewords == 256


def test_integer_codebooks_keep_a_scale_for_each_feature():
  method = methods.ProductQuantization(2, 16, 'int8')
  codes, codebooks = method.parts(SHAPE)
  assert codes.bytes_by_role() == {'codes': 300}  # 600 codes of 4 bits
  # 16 codewords of 8 features in all, and 8 scales of two bytes.
  assert codebooks.bytes_by_role() == {'codebooks': 128, 'scales': 16}


@pytest.mark.parametrize('stored', ['float32', 'int8', 'int4'])
def test_a_look_at_all_blocks_is_the_error_of_a_fit(rng, stored):
  table = rng.normal(size=SHAPE).astype(np.float32)
  table[3] *= 30  # what integers of the others are rounded by
  weights = rng.exponential(size=SHAPE.num_words)
  method = methods.ProductQuantization(2, 8, stored)
  found = product_quantization.quick_distortion(method, table, weights, 3)
  params = method.quantize(method.fit(table, weights, 3), SHAPE)
  lost = np.square(table - method.lookup(params, ROWS, SHAPE)).sum(axis=1)
  np.testing.assert_allclose(weights @ found, weights @ lost, rtol=0.01)


def test_of_many_blocks_each_stands_for_those_that_hold_as_much(rng):
  table = rng.normal(size=(300, 24)).astype(np.float32)
  table *= np.repeat(rng.permutation(2.0 ** np.arange(12)), 2)  # 12 blocks
  table[:, :4] = 0
  weights = rng.exponential(size=300)
  method = methods.ProductQuantization(12, 16)
  found = product_quantization.quick_distortion(method, table, weights, 0)
  params = method.fit(table, weights, 0)
  words = method.lookup(params, np.arange(300), Shape(300, 24))
  lost = np.square(table - words).sum(axis=1)
  np.testing.assert_allclose(weights @ found, weights @ lost, rtol=0.1)


def test_wrong_sizes_are_refused():
  with pytest.raises(ValueError, match=r'\[1, 2, 4, 8\]\), got 3'):
    methods.ProductQuantization(3, 2).validate(SHAPE)
  with pytest.raises(ValueError, match="group's 300 words, got 301"):
    methods.ProductQuantization(2, 301).validate(SHAPE)
  with pytest.raises(ValueError, match="group's 300 words, got 0"):
    methods.VectorQuantization(0).validate(SHAPE)


def test_vector_quantization_is_one_book(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = rng.exponential(size=SHAPE.num_words)
  vector, product = (
    methods.VectorQuantization(6),
    methods.ProductQuantization(1, 6),
  )
  params = vector.fit(table, weights, 0)
  jax.tree.map(
    np.testing.assert_array_equal, params, product.fit(table, weights, 0)
  )
  hidden = rng.normal(size=(3, 8)).astype(np.float32)
  scores = hidden @ vector.lookup(params, ROWS, SHAPE).T
  for method in (vector, product):
    found = method.logits(params, hidden, SHAPE)
    np.testing.assert_allclose(found, scores, atol=1e-5)
    # Each codeword is scored once: no block of words is decoded.
    program = jax.jit(method.logits, static_argnums=2)
    assert 'while' not in program.lower(params, hidden, SHAPE).as_text()
