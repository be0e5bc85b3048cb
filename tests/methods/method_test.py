"""The one table of tests that every compression method passes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import methods
from embedcomp.methods import base, forms, part_tensors, storage
from embedcomp.types import Shape
from tests.methods.plain_tables import plain_table, plain_values

SHAPE = Shape(61, 12)
CONFIGS = (
  methods.Dense(),
  methods.LowRank(3),
  methods.ProductQuantization(3, 8),
  methods.ProductQuantization(4, 7, rotation=True),
  methods.ProjectedQuantization(6, 3, 8),
  methods.VectorQuantization(9),
  methods.ResidualQuantization(2, 7),
  methods.DifferentiableSoftmax(3, 8),
  methods.DifferentiableNearest(3, 8),
  methods.TensorTrain(2),
  methods.TensorTrain(5),
  methods.Hashed(13),
  methods.GradedCodes(4, '2x1+2x3', 8),  # on an axis of the complement, too
  methods.GradedCodes(4, '1x1+1x2', 7),
  methods.GradedCodes(0, '2x2+1x3', 8),
  methods.ScalarCodes(4, 8, 300),  # on axes of the complement, too
  methods.ScalarCodes(4, 3, 150),
  methods.ScalarCodes(0, 12, 400),
  methods.ScalarCodes(4, 0, 0),
  methods.Drop(),
)
# Trainable, these have gradients of their own (see differentiable_test.py).
RELAXED = (methods.DifferentiableSoftmax, methods.DifferentiableNearest)
# Without a code, all words are one vector.
CODED = tuple(
  config
  for config in CONFIGS
  if config not in (methods.Drop(), methods.ScalarCodes(4, 0, 0))
)
EDGES = (
  (methods.Dense(), Shape(1, 1)),
  (methods.LowRank(1), Shape(1, 5)),
  (methods.LowRank(1), Shape(5, 1)),
  (methods.ProductQuantization(1, 1), Shape(1, 1)),
  (methods.ProductQuantization(5, 3), Shape(17, 5)),
  (methods.ProductQuantization(1, 2, rotation=True), Shape(5, 1)),
  (methods.ProjectedQuantization(1, 1, 1), Shape(1, 1)),
  (methods.ProjectedQuantization(4, 2, 3), Shape(3, 5)),
  (methods.VectorQuantization(1), Shape(3, 2)),
  (methods.ResidualQuantization(3, 1), Shape(1, 1)),
  (methods.DifferentiableSoftmax(1, 1), Shape(1, 1)),
  (methods.DifferentiableSoftmax(2, 1), Shape(3, 4)),
  (methods.DifferentiableNearest(2, 1), Shape(3, 4)),
  (methods.TensorTrain(1), Shape(1, 1)),
  (methods.TensorTrain(2), Shape(7, 5)),
  (methods.Hashed(1), Shape(1, 1)),
  (methods.Hashed(2), Shape(3, 1)),
  (methods.GradedCodes(1, '', 1), Shape(1, 1)),
  (methods.GradedCodes(0, '1x1', 1), Shape(1, 1)),
  (methods.GradedCodes(3, '1x5', 3), Shape(3, 5)),
  (methods.GradedCodes(5, '5x1', 2), Shape(7, 5)),
  (methods.ScalarCodes(1, 1, 20), Shape(1, 1)),
  (methods.ScalarCodes(0, 1, 12), Shape(1, 1)),
  (methods.ScalarCodes(3, 5, 60), Shape(3, 5)),
  (methods.Drop(), Shape(1, 1)),
)


def name_of(value):
  return str(value) if isinstance(value, base.Method) else None


def stored_as(method, kind):
  if isinstance(method, methods.GradedCodes | methods.ScalarCodes):
    return dataclasses.replace(method, storage=kind, axes_storage=kind)
  if isinstance(method, methods.LowRank):
    return dataclasses.replace(method, storage=kind, basis_storage=kind)
  return dataclasses.replace(method, storage=kind)


ALL = tuple(stored_as(c, kind) for c in CONFIGS for kind in methods.STORAGES)


@functools.cache
def sample(shape=SHAPE):
  """A table with clusters, a mean and decaying directions, and its weights."""
  rng = np.random.default_rng(7)
  spread = np.linspace(1.5, 0.2, shape.features)
  centers = rng.normal(size=(5, shape.features))
  table = centers[rng.integers(5, size=shape.num_words)]
  table = table + 0.5 * rng.normal(size=shape)
  table = 0.2 * table * spread + 0.05
  return table.astype(np.float32), 1 / (1.0 + np.arange(shape.num_words))


@functools.cache
def fitted(method, shape=SHAPE):
  params = method.fit(*sample(shape), seed=0)
  return params, quantize(method, params, shape)


@functools.partial(jax.jit, static_argnums=(0, 2))
def quantize(method, params, shape):
  return method.quantize(params, shape)


@functools.partial(jax.jit, static_argnums=(0, 2))
def dequantize(method, params, shape):
  return method.dequantize(params, shape)


@functools.partial(jax.jit, static_argnums=(0, 3))
def lookup(method, params, rows, shape):
  return method.lookup(params, rows, shape)


@functools.partial(jax.jit, static_argnums=(0, 3))
def logits(method, params, hidden, shape):
  return method.logits(params, hidden, shape)


def whole(method, params, shape=SHAPE):
  rows = np.arange(shape.num_words)
  return np.asarray(lookup(method, params, rows, shape))


def expected(method, stored, shape=SHAPE):
  codes = np.asarray(stored['codes'].values) if 'codes' in stored else None
  real = {k: plain_values(v) for k, v in stored.items() if k != 'codes'}
  blocks = getattr(method, 'blocks', '')
  return plain_table(method.name, real, codes, shape, blocks=blocks)


def assert_same(left, right):
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right)):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def assert_like(params, other):
  def spec(leaf):
    return leaf.shape, leaf.dtype

  assert jax.tree.map(spec, params) == jax.tree.map(spec, other)


def weighted_error(method, params, weights, shape=SHAPE):
  squares = np.square(sample(shape)[0] - whole(method, params, shape))
  return np.average(squares.sum(axis=1), weights=weights)


def test_table_covers_every_method():
  assert {config.name for config in CONFIGS} == set(methods.names())


@pytest.mark.parametrize('method', CONFIGS, ids=name_of)
def test_init_has_the_variance_of_a_fresh_table(method):
  shape = Shape(300, 60)
  words = whole(method, method.init(jax.random.key(0), shape), shape)
  assert words.shape == shape
  assert words.dtype == np.float32
  assert 0.6 < words.var() * shape.features < 1.6


@pytest.mark.parametrize('method', ALL, ids=name_of)
def test_init_and_fit_give_the_same_leaves(method):
  init = method.init(jax.random.key(0), SHAPE)
  params, stored = fitted(method)
  assert_like(init, params)
  assert_like(quantize(method, init, SHAPE), stored)


@pytest.mark.parametrize('kind', methods.STORAGES)
@pytest.mark.parametrize('method', CODED, ids=name_of)
def test_fit_beats_the_mean(method, kind):
  method = stored_as(method, kind)
  weights = sample()[1]
  drop = methods.Drop()
  error = weighted_error(method, fitted(method)[0], weights)
  assert error < 0.9 * weighted_error(drop, fitted(drop)[0], weights)


@pytest.mark.parametrize('method', CONFIGS, ids=name_of)
def test_fit_is_deterministic(method):
  assert_same(method.fit(*sample(), seed=0), fitted(method)[0])


@pytest.mark.parametrize('method', CONFIGS[1:], ids=name_of)
def test_weights_decide_which_words_are_kept_well(method):
  heavy = np.arange(SHAPE.num_words) < 16
  table, _ = sample()
  uniform = method.fit(table, np.ones(SHAPE.num_words), 0)
  weighted = method.fit(table, np.where(heavy, 50.0, 1.0), 0)
  before = weighted_error(method, uniform, heavy)
  assert weighted_error(method, weighted, heavy) < before


@pytest.mark.parametrize('method', ALL, ids=name_of)
def test_both_forms_are_told_apart_and_pass_no_gradient(method):
  params, stored = fitted(method)
  assert forms.is_stored(stored)
  assert not forms.is_stored(params)
  for form in (params, stored, method.init(jax.random.key(0), SHAPE)):
    method.check(form, SHAPE)
  assert forms.split_params(stored)[0] == {}
  trainable, codes = forms.split_params(params)
  assert set(codes) <= {'codes'}
  assert all(x.dtype == np.float32 for x in jax.tree.leaves(trainable))
  floats, tree = jax.tree.flatten(stored)
  is_float = [jnp.issubdtype(x.dtype, jnp.floating) for x in floats]

  def total(given):
    leaves = [g if f else x for g, f, x in zip(given, is_float, floats)]
    filled = jax.tree.unflatten(tree, leaves)
    return method.lookup(filled, np.arange(3), SHAPE).sum()

  given = [x if f else 0.0 for x, f in zip(floats, is_float)]
  for gradient in jax.tree.leaves(jax.grad(total)(given)):
    assert not np.asarray(gradient, np.float32).any()


@pytest.mark.parametrize('method', ALL, ids=name_of)
def test_arrays_of_another_shape_or_form_are_refused(method):
  larger = Shape(SHAPE.num_words + 2, SHAPE.features)
  params, stored = fitted(method)
  for form in (params, stored):
    if method.parts(SHAPE) != method.parts(larger):
      with pytest.raises(ValueError, match=r'must be \[.*got \['):
        method.check(form, larger)
    for name in form:
      others = {k: v for k, v in form.items() if k != name}
      with pytest.raises(ValueError, match=r'params must have .*both coll'):
        method.check(others, SHAPE)
    with pytest.raises(ValueError, match=r"params must have .*'more'"):
      method.check(form | {'more': form[name]}, SHAPE)
  factors = [k for k in stored if k != 'codes']
  if len(factors) > 1:
    mixed = params | {factors[-1]: stored[factors[-1]]}
    with pytest.raises(ValueError, match=f'{factors[-1]} is Stored where'):
      method.check(mixed, SHAPE)


@pytest.mark.parametrize('method', ALL, ids=name_of)
def test_lookup_equals_the_plain_table(method):
  params, stored = fitted(method)
  table = expected(method, stored)
  np.testing.assert_allclose(whole(method, stored), table, atol=3e-6)
  # What training sees is what will be written, to the bit.
  np.testing.assert_array_equal(whole(method, params), whole(method, stored))


@pytest.mark.parametrize('method', CONFIGS, ids=name_of)
@pytest.mark.parametrize('form', [0, 1], ids=['trainable', 'stored'])
def test_lookup_takes_rows_of_any_shape(method, form):
  params = fitted(method)[form]
  table = whole(method, params)
  for rows in (np.int32(7), np.array([60, 0, 7]), np.arange(6).reshape(2, 3)):
    words = lookup(method, params, rows, SHAPE)
    np.testing.assert_allclose(words, table[rows], atol=1e-6)


@pytest.mark.parametrize('kind', ['float32', 'int4'])
@pytest.mark.parametrize('form', [0, 1], ids=['trainable', 'stored'])
@pytest.mark.parametrize('method', CONFIGS, ids=name_of)
def test_logits_equal_products_with_the_plain_table(
  method, form, kind, rng, monkeypatch
):
  method = stored_as(method, kind)
  monkeypatch.setattr(base, 'LOGITS_BLOCK', 16)  # 61 words: the last overlaps
  params, stored = fitted(method)
  hidden = rng.normal(size=(2, 3, SHAPE.features)).astype(np.float32)
  scores = logits(method, (params, stored)[form], hidden, SHAPE)
  table = expected(method, stored)
  np.testing.assert_allclose(scores, hidden @ table.T, atol=1e-5)


@pytest.mark.parametrize('kind', ['float32', 'bfloat16', 'int4'])
@pytest.mark.parametrize(
  'method', [m for m in CONFIGS if not isinstance(m, RELAXED)], ids=name_of
)
def test_gradients_equal_those_of_the_plain_table(
  method, kind, rng, monkeypatch
):
  monkeypatch.setattr(base, 'LOGITS_BLOCK', 16)
  method = stored_as(method, kind)
  params, _ = fitted(method)
  trainable, codes = forms.split_params(params)
  rows = rng.integers(SHAPE.num_words, size=(2, 9))
  hidden = rng.normal(size=(4, SHAPE.features)).astype(np.float32)
  storages = {
    part.name: part.storage
    for part in method.parts(SHAPE)
    if isinstance(part, storage.Factor)
  }

  plain_codes = codes['codes'].values if codes else None

  def plain(trainable):
    real = {k: storage.read(v, storages[k]) for k, v in trainable.items()}
    blocks = getattr(method, 'blocks', '')
    return plain_table(method.name, real, plain_codes, SHAPE, jnp, blocks)

  def loss(words, scores):
    return jnp.sin(words).sum() + jnp.sin(scores).sum()

  @jax.jit
  @jax.grad
  def wanted(trainable, hidden):
    table = plain(trainable)
    return loss(table[rows], hidden @ table.T)

  @jax.jit
  @jax.grad
  def found(trainable, hidden):
    params = forms.merge_params(trainable, codes)
    words = method.lookup(params, rows, SHAPE)
    return loss(words, method.logits(params, hidden, SHAPE))

  def assert_close(x, y):
    # Gradients of scales are sums of many terms that nearly cancel.
    tolerance = 1e-4 * max(1.0, np.abs(np.asarray(y)).max())
    np.testing.assert_allclose(x, y, atol=tolerance)

  expected_gradients = wanted(trainable, hidden)
  jax.tree.map(assert_close, found(trainable, hidden), expected_gradients)


@pytest.mark.parametrize('method', ALL, ids=name_of)
def test_quantizing_reverses_dequantizing(method):
  _, stored = fitted(method)
  assert_same(quantize(method, stored, SHAPE), stored)
  masters = dequantize(method, stored, SHAPE)
  assert_like(masters, fitted(method)[0])
  assert_same(quantize(method, masters, SHAPE), stored)
  np.testing.assert_array_equal(whole(method, masters), whole(method, stored))


def assert_packs(method, stored, shape):
  owned = {'group': method.parts(shape)}
  tensors = part_tensors.pack(owned, {'group': stored})
  promised = part_tensors.file_tensors(owned)
  assert {k: (v.dtype, v.shape) for k, v in tensors.items()} == promised
  num_bytes = sum(tensor.nbytes for tensor in tensors.values())
  assert_same(part_tensors.unpack(owned, tensors)['group'], stored)
  assert num_bytes == method.num_bytes(shape)
  assert num_bytes == sum(method.bytes_by_role(shape).values())


@pytest.mark.parametrize('method', ALL, ids=name_of)
def test_packed_bytes_are_counted_and_come_back(method):
  _, stored = fitted(method)
  assert set(stored) == {part.name for part in method.parts(SHAPE)}
  assert_packs(method, stored, SHAPE)


@pytest.mark.parametrize('kind', ['float32', 'int4'])
@pytest.mark.parametrize(('method', 'shape'), EDGES, ids=name_of)
def test_smallest_shapes(method, shape, kind):
  method = stored_as(method, kind)
  method.validate(shape)
  method.init(jax.random.key(0), shape)
  params, stored = fitted(method, shape)
  table = expected(method, stored, shape)
  np.testing.assert_allclose(whole(method, params, shape), table, atol=1e-6)
  hidden = np.ones((2, shape.features), np.float32)
  scores = logits(method, params, hidden, shape)
  np.testing.assert_allclose(scores, hidden @ table.T, atol=1e-5)
  masters = dequantize(method, stored, shape)
  assert_same(quantize(method, masters, shape), stored)
  assert_packs(method, stored, shape)


@pytest.mark.parametrize('kind', ['float32', 'int8'])
@pytest.mark.parametrize('method', CONFIGS, ids=name_of)
def test_words_that_are_zero_or_have_no_weight(method, kind):
  method = stored_as(method, kind)
  table, weights = sample()
  weights = np.where(np.arange(SHAPE.num_words) % 2, weights, 0)
  assert np.isfinite(whole(method, method.fit(table, weights, 0))).all()
  zeros = whole(method, method.fit(np.zeros_like(table), weights, 0))
  np.testing.assert_array_equal(zeros, np.zeros_like(zeros))


@pytest.mark.parametrize('config', CONFIGS, ids=name_of)
@pytest.mark.parametrize('shape', [Shape(1, 1), Shape(40, 7), Shape(999, 96)])
def test_options_suit_the_shape(config, shape):
  for option in type(config).options(shape):
    option.validate(shape)
    assert methods.from_dict(methods.to_dict(option)) == option
  # Codes on shared axes are planned for a whole table.
  if shape.num_words > 900 and config.name not in ('graded', 'scalar'):
    assert type(config).options(shape)


@pytest.mark.parametrize('config', CONFIGS, ids=name_of)
def test_unknown_storage_is_refused(config):
  with pytest.raises(ValueError, match="got 'int3'"):
    dataclasses.replace(config, storage='int3')
