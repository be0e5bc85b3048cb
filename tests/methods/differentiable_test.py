"""What the trainable forms of differentiable quantization promise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from embedcomp import methods
from embedcomp.methods import differentiable
from embedcomp.types import Shape

SHAPE = Shape(50, 12)
BOTH = (methods.DifferentiableSoftmax, methods.DifferentiableNearest)
ROWS = np.arange(SHAPE.num_words)


@pytest.mark.parametrize('kind', ['float32', 'int4'])
@pytest.mark.parametrize('cls', BOTH)
def test_random_params_export_exactly(cls, kind):
  method = cls(4, 7, kind)
  params = method.init(jax.random.key(1), SHAPE)
  stored = method.quantize(params, SHAPE)
  assert set(stored) == {'codes', 'codebooks'}
  np.testing.assert_array_equal(
    method.lookup(params, ROWS, SHAPE), method.lookup(stored, ROWS, SHAPE)
  )
  np.testing.assert_array_equal(
    method.codes(params, ROWS), method.codes(stored, ROWS)
  )
  np.testing.assert_array_equal(
    method.lookup(stored, ROWS, SHAPE),
    method.product.lookup(stored, ROWS, SHAPE),
  )


@pytest.mark.parametrize('cls', BOTH)
def test_many_words_are_coded_in_turns(cls, monkeypatch):
  method = cls(3, 5)
  params = method.init(jax.random.key(1), SHAPE)
  stored = method.quantize(params, SHAPE)
  monkeypatch.setattr(differentiable, '_CODED_AT_ONCE', 7)
  again = method.quantize(params, SHAPE)
  np.testing.assert_array_equal(again['codes'].values, stored['codes'].values)


@pytest.mark.parametrize('cls', BOTH)
def test_dequantized_queries_choose_the_codes_of_any_quantizer(cls):
  product = methods.ProductQuantization(3, 16)
  params = product.init(jax.random.key(0), SHAPE)
  stored = product.quantize(params, SHAPE)
  method = cls(3, 16)
  masters = method.dequantize(stored, SHAPE)
  assert 'queries' in masters
  np.testing.assert_array_equal(
    method.quantize(masters, SHAPE)['codes'].values, stored['codes'].values
  )


@pytest.mark.parametrize('cls', BOTH)
def test_fit_is_at_least_as_good_as_product_quantization(cls, rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = np.ones(SHAPE.num_words)
  method = cls(3, 8, 'int8')

  def error(method):
    words = method.lookup(method.fit(table, weights, 0), ROWS, SHAPE)
    return np.square(table - words).sum()

  assert error(method) <= error(method.product)


def test_closeness_orders_keys_by_distance(rng):
  queries = rng.normal(size=(5, 2, 3)).astype(np.float32)
  keys = rng.normal(size=(2, 4, 3)).astype(np.float32)
  distances = np.square(queries[:, :, None] - keys).sum(-1)  # [5, M, K]
  own = np.square(queries).sum(-1, keepdims=True)
  np.testing.assert_allclose(
    differentiable.closeness(queries, keys),
    (own - distances) / 2,
    atol=1e-5,
  )


def test_standardized_scores_keep_their_order(rng):
  scores = rng.normal(size=(6, 9)).astype(np.float32) * 1e-2 + 0.5
  standard = np.asarray(differentiable.standardize(scores))
  np.testing.assert_allclose(standard.mean(-1), np.zeros(6), atol=1e-4)
  np.testing.assert_allclose(standard.std(-1), np.ones(6), atol=1e-4)
  np.testing.assert_array_equal(standard.argmax(-1), scores.argmax(-1))


@pytest.mark.parametrize('cls', BOTH)
def test_gradients_are_finite_where_all_keys_score_the_same(cls):
  method = cls(2, 3)
  params = jax.tree.map(jnp.zeros_like, method.init(jax.random.key(0), SHAPE))
  grads = jax.grad(lambda p: jnp.sin(method.lookup(p, ROWS, SHAPE)).sum())(
    params
  )
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def sum_by_codeword(codes, blocks, codewords):
  """[M, K, d] sums of the [T, M, d] blocks that took each codeword."""
  tokens, books, width = blocks.shape
  sums = np.zeros((books, codewords, width), np.float32)
  for token in range(tokens):
    for m in range(books):
      sums[m, codes[token, m]] += blocks[token, m]
  return sums


def test_softmax_passes_its_gradient_to_queries_and_keys():
  method = methods.DifferentiableSoftmax(3, 5)
  params = method.init(jax.random.key(2), SHAPE)
  codebooks = params['codebooks']

  def soft(queries, keys):
    queries = queries.reshape(-1, 3, 1, 4)
    scores = -jnp.square(queries - keys[None]).sum(-1)  # [W, M, K]
    scores = scores - scores.mean(-1, keepdims=True)
    scores = scores / scores.std(-1, keepdims=True)
    odds = jax.nn.softmax(scores)
    return jnp.einsum('WMK,MKd->WMd', odds, codebooks).reshape(SHAPE)

  probe = jax.random.normal(jax.random.key(3), SHAPE)
  wanted = jax.jit(
    jax.grad(lambda *x: (soft(*x) * probe).sum(), argnums=(0, 1))
  )(params['queries'], params['keys'])
  found = jax.jit(
    jax.grad(lambda p: (method.lookup(p, ROWS, SHAPE) * probe).sum())
  )(params)
  np.testing.assert_allclose(found['queries'], wanted[0], atol=2e-4)
  np.testing.assert_allclose(found['keys'], wanted[1], atol=2e-4)
  codes = np.asarray(method.codes(params, ROWS))
  blocks = np.asarray(probe).reshape(-1, 3, 4)
  np.testing.assert_allclose(
    found['codebooks'], sum_by_codeword(codes, blocks, 5), atol=1e-5
  )


def test_soft_mean_becomes_the_hard_choice_as_scores_grow_apart():
  method = methods.DifferentiableSoftmax(3, 5)
  params = method.init(jax.random.key(2), SHAPE)
  queries = differentiable.split_blocks(params['queries'], 3)
  scores = differentiable.standardize(
    differentiable.closeness(queries, params['keys'])
  )
  hard = differentiable.split_blocks(method.lookup(params, ROWS, SHAPE), 3)
  odds = jax.nn.softmax(scores / 1e-4)  # a temperature close to zero
  soft = jnp.einsum('...MK,MKd->...Md', odds, params['codebooks'])
  np.testing.assert_allclose(soft, hard, atol=1e-5)


def test_nearest_passes_gradients_straight_through():
  method = methods.DifferentiableNearest(3, 5)
  params = method.init(jax.random.key(2), SHAPE)
  rows = np.array([4, 9, 4])
  probe = jax.random.normal(jax.random.key(3), (3, 12))
  grads = jax.grad(lambda p: (method.lookup(p, rows, SHAPE) * probe).sum())(
    params
  )
  queries = np.zeros(SHAPE, np.float32)
  np.add.at(queries, rows, np.asarray(probe))
  np.testing.assert_allclose(grads['queries'], queries, atol=1e-6)
  codes = np.asarray(method.codes(params, rows))
  blocks = np.asarray(probe).reshape(-1, 3, 4)
  np.testing.assert_allclose(
    grads['codebooks'], sum_by_codeword(codes, blocks, 5), atol=1e-6
  )


def test_commitment_by_hand():
  method = methods.DifferentiableNearest(2, 2)
  shape = Shape(2, 2)
  params = {
    'codebooks': jnp.array([[[1.0], [-1.0]], [[2.0], [-2.0]]]),
    'queries': jnp.array([[1.5, -2.0], [0.0, 5.0]]),
  }
  rows = np.array([[0, 1]])
  # Squared lengths are 1 + 4; distances 0.5^2 + 0 and 1^2 + 3^2.
  found = method.commitment(params, rows, shape)
  np.testing.assert_allclose(found, [[0.05, 2.0]], rtol=1e-6)
  grads = jax.grad(lambda p: method.commitment(p, rows, shape).sum())(params)
  assert not np.asarray(grads['codebooks']).any()
  wanted = 2 * np.array([[0.5, 0.0], [-1.0, 3.0]]) / 5
  np.testing.assert_allclose(grads['queries'], wanted, rtol=1e-6)


@pytest.mark.parametrize('cls', BOTH)
def test_training_lowers_the_exported_error(cls, rng):
  target = 0.3 * rng.normal(size=SHAPE).astype(np.float32)
  method = cls(3, 4)
  params = method.init(jax.random.key(0), SHAPE)
  optimizer = optax.adam(0.01)
  state = optimizer.init(params)

  def loss(params):
    error = jnp.square(method.lookup(params, ROWS, SHAPE) - target).sum()
    if cls is methods.DifferentiableNearest:
      error += 0.25 * method.commitment(params, ROWS, SHAPE).sum()
    return error

  @jax.jit
  def step(params, state):
    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  def exported(params):
    stored = method.quantize(params, SHAPE)
    return np.square(method.lookup(stored, ROWS, SHAPE) - target).sum()

  before = exported(params)
  for _ in range(150):
    params, state = step(params, state)
  assert exported(params) < min(0.6 * before, 0.8 * np.square(target).sum())


@pytest.mark.parametrize('cls', BOTH)
def test_queries_choose_the_nearest_key(cls):
  method = cls(3, 8)
  params = method.init(jax.random.key(0), SHAPE)
  keys = params.get('keys', params['codebooks'])
  queries = params['queries'].reshape(-1, 3, 1, 4)
  distances = np.square(queries - np.asarray(keys)[None]).sum(-1)
  np.testing.assert_array_equal(
    method.codes(params, ROWS), distances.argmin(-1)
  )


def test_wrong_sizes_are_refused():
  with pytest.raises(ValueError, match=r'books must divide the 12 .* got 5'):
    methods.DifferentiableSoftmax(5, 4).validate(SHAPE)
  with pytest.raises(ValueError, match="group's 50 words, got 51"):
    methods.DifferentiableNearest(3, 51).validate(SHAPE)
