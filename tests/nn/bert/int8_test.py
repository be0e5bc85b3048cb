"""The encoder's weights as int8, against plain NumPy and a float32 model."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import embedcomp
from embedcomp import (
  Bert,
  Group,
  GroupedEmbed,
  Scheme,
  dequantize_encoder,
  methods,
  quantize_encoder,
)
from embedcomp.nn import BertClassifier, BertMaskedLM, SentenceEncoder
from embedcomp.nn.bert import int8
from embedcomp.nn.bert.encoder import is_lower
from embedcomp.nn.sparse_attention import RecursiveAttention
from embedcomp.training import TrainState, make_train_step, partial_training
from embedcomp.training.tasks import Task
from tests.small_berts import CONFIG, IDS, random_params

ONE_LAYER = dataclasses.replace(CONFIG, num_hidden_layers=1)
# By the end of their paths: the axes that share a scale.
SHARED = {
  ('query_key_value', 'kernel'): (0,),
  ('attention_out', 'kernel'): (0, 1),
  ('mlp_in', 'kernel'): (0,),
  ('mlp_out', 'kernel'): (0,),
  ('pooler', 'kernel'): (0,),
  ('transform', 'kernel'): (0,),
  ('position', 'embedding'): (1,),
  ('token_type', 'embedding'): (1,),
}


def plain_round(array, shared):
  """What is left of an array, in plain NumPy."""
  array = np.asarray(array)
  scale = np.abs(array).max(axis=shared, keepdims=True) / 127
  scale = scale.astype(ml_dtypes.bfloat16).astype(np.float64)
  scale[scale == 0] = 1
  steps = np.clip(np.round(array / scale), -127, 127)
  return (steps * scale).astype(np.float32)


def plain_rounded(params):
  """Params of a float32 model that computes what an int8 one does."""

  def rounded(path, leaf):
    shared = SHARED.get(tuple(part.key for part in path)[-2:])
    return leaf if shared is None else plain_round(leaf, shared)

  return jax.tree_util.tree_map_with_path(rounded, params)


def variables(params):
  trainable, fixed = embedcomp.split_params(params)
  return {'params': trainable, 'stored': fixed}


def assert_same(left, right):
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right)):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def assert_close(left, right, tolerance=1e-5):
  for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right)):
    atol = tolerance * max(np.abs(other).max(), 1e-3)
    np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.fixture(scope='module')
def classifier():
  model = BertClassifier(ONE_LAYER)
  return model, random_params(model)


# Arrays


def test_a_kernel_worked_by_hand():
  # 0.5 / 127 lies between 2^-8 and 2^-8 (1 + 2^-7), nearer to the latter; the
  # outputs of nothing but zeros have a scale that does not divide by zero.
  kernel = np.array([[127.0, -0.5, 0.0], [-63.6, 0.25, 0.0]], np.float32)
  leaf = int8.quantize(kernel, (1,), 'kernel')
  scale = 2.0**-8 * (1 + 2.0**-7)
  np.testing.assert_array_equal(leaf.values, [[127, -127, 0], [-64, 64, 0]])
  np.testing.assert_array_equal(leaf.scale.astype(np.float32), [[1, scale, 1]])
  assert (leaf.values.dtype, leaf.scale.dtype) == (np.int8, jnp.bfloat16)
  np.testing.assert_array_equal(
    int8.dequantize(leaf), [[127, -127 * scale, 0], [-64, 64 * scale, 0]]
  )


@pytest.mark.parametrize(
  ('shape', 'axes'),
  [((40, 3, 2, 5), (1, 2, 3)), ((4, 5, 70), (2,)), ((9, 30), (0,))],
)
def test_arrays_lose_half_a_step_at_most_and_that_only_once(rng, shape, axes):
  sizes = np.exp(rng.normal(0, 8, shape[:1] if axes == (0,) else shape[-1:]))
  sizes = sizes[:, None] if axes == (0,) else sizes
  array = (rng.normal(size=shape) * sizes).astype(np.float32)
  leaf = int8.quantize(array, axes, 'array')
  shared = tuple(axis for axis in range(len(shape)) if axis not in axes)
  step = leaf.scale.astype(np.float32)
  exact = np.abs(array).max(axis=shared, keepdims=True) / 127
  np.testing.assert_allclose(step, exact, rtol=2**-8)
  thawed = np.asarray(int8.dequantize(leaf))
  assert (np.abs(thawed - array) <= 0.5001 * step).all()
  assert (np.abs(leaf.values.astype(int)).max(axis=shared) == 127).all()
  assert_same(int8.quantize(thawed, axes, 'array'), leaf)
  assert_same(
    jax.jit(int8.round_as_stored, static_argnums=1)(array, axes), thawed
  )
  np.testing.assert_allclose(
    thawed, plain_round(array, shared), rtol=0, atol=1e-6 * np.abs(array).max()
  )


def test_the_largest_number_has_a_gradient_too():
  values = jnp.array([[3.0, 1.0, -0.2]])
  factors = jnp.array([[2.0, 5.0, 7.0]])

  def total(values):
    return (factors * int8.round_as_stored(values, (0,))).sum()

  np.testing.assert_array_equal(jax.grad(total)(values), factors)


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(classifier, wrong):
  model, params = classifier
  kernel = np.array(params['bert']['layer_0']['mlp_in']['kernel'])
  kernel[3, 2] = wrong
  layer = params['bert']['layer_0'] | {'mlp_in': {'kernel': kernel}}
  params = params | {'bert': params['bert'] | {'layer_0': layer}}
  with pytest.raises(
    ValueError, match='bert/layer_0/mlp_in/kernel must be fin'
  ):
    quantize_encoder(model, params)


# Models


@pytest.mark.parametrize('kind', [Bert, BertClassifier, BertMaskedLM])
def test_what_is_stored_as_int8(kind):
  model = kind(CONFIG)
  params = random_params(model)
  small, stored = quantize_encoder(model, params)
  assert small == kind(CONFIG, weights='int8')
  assert random_params(small).keys() == params.keys()
  found, expected = set(), set()
  for path, leaf in jax.tree_util.tree_leaves_with_path(stored):
    if leaf.dtype == np.int8:
      found.add(tuple(part.key for part in path[:-1]))
  for path, _ in jax.tree_util.tree_leaves_with_path(params):
    keys = tuple(part.key for part in path)
    if keys[-2:] in SHARED:
      expected.add(keys)
  assert found == expected
  trainable, fixed = embedcomp.split_params(stored)
  assert all(x.dtype == np.float32 for x in jax.tree.leaves(trainable))
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(fixed)}
  assert dtypes == {np.dtype('i1'), np.dtype(ml_dtypes.bfloat16)}
  assert_same(quantize_encoder(small, stored)[1], stored)
  dense, floats = dequantize_encoder(small, stored)
  assert dense == model
  assert_close(floats, plain_rounded(params), 1e-6)
  assert_same(dequantize_encoder(small, params)[1], floats)
  assert_same(quantize_encoder(dense, floats)[1], stored)
  assert_same(dequantize_encoder(model, params)[1], params)


def test_a_new_model_starts_from_the_same_params():
  models = Bert(CONFIG), Bert(CONFIG, weights='int8')
  init = [jax.jit(model.init)(jax.random.key(0), IDS) for model in models]
  assert_same(*init)


def test_both_forms_compute_what_rounded_weights_do(classifier):
  model, params = classifier
  small, stored = quantize_encoder(model, params)
  apply = jax.jit(small.apply)
  expected = jax.jit(model.apply)({'params': plain_rounded(params)}, IDS)
  mixed = params | {'pooler': stored['pooler']}
  for given in ({'params': params}, variables(stored), {'params': mixed}):
    np.testing.assert_allclose(apply(given, IDS), expected, atol=2e-6)
  before = jax.jit(model.apply)({'params': params}, IDS)
  difference = np.abs(expected - before).max()
  assert 1e-5 < difference < 0.02 * np.abs(before).max()


def test_both_forms_give_the_same_bits(classifier):
  """Operation by operation: of whole programs XLA joins other loops."""
  model, params = classifier
  small, stored = quantize_encoder(model, params)
  found = small.apply(variables(stored), IDS)
  assert_same(small.apply({'params': params}, IDS), found)
  floats = dequantize_encoder(small, stored)[1]
  assert_same(model.apply({'params': floats}, IDS), found)


def test_gradients_are_those_of_the_rounded_weights(classifier):
  model, params = classifier
  small, stored = quantize_encoder(model, params)

  def gradient(model, trainable, fixed):
    def total(trainable):
      given = {'params': trainable, 'stored': fixed}
      return jnp.square(model.apply(given, IDS)).sum()

    return jax.jit(jax.grad(total))(trainable)

  expected = gradient(model, plain_rounded(params), {})
  assert_close(gradient(small, params, {}), expected, 1e-4)
  found = gradient(small, *embedcomp.split_params(stored))
  for path, leaf in jax.tree_util.tree_leaves_with_path(found):
    keys = tuple(part.key for part in path)
    assert keys[-2:] not in SHARED
    dense = expected
    for key in keys:
      dense = dense[key]
    assert_close(leaf, dense, 1e-4)


def test_it_goes_with_remat_and_recursive_attention():
  learned = RecursiveAttention(chunk_size=2, num_summaries=2, learned=True)
  model = SentenceEncoder(ONE_LAYER, attention_fn=learned)
  params = random_params(model)
  small, stored = quantize_encoder(model, params)
  assert_same(
    stored['bert']['layer_0']['attention'],
    params['bert']['layer_0']['attention'],
  )

  def derived(model, params):
    trainable, fixed = embedcomp.split_params(params)

    def total(trainable):
      given = {'params': trainable, 'stored': fixed}
      return jnp.square(model.apply(given, IDS)[:, :5]).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(trainable)
    return value, gradient['bert']['layer_0']['attention_out']['bias']

  expected = derived(model, plain_rounded(params))
  again = small.clone(remat=True)
  assert_close(derived(again, params), expected, 1e-4)
  assert_close(derived(again, stored), expected, 1e-4)


def test_arithmetic_may_be_in_bfloat16():
  model = Bert(ONE_LAYER, dtype=jnp.bfloat16)
  params = random_params(model)
  small, stored = quantize_encoder(model, params)
  found = jax.jit(small.apply)({'params': stored}, IDS)
  assert found.pooler_output.dtype == jnp.bfloat16
  expected = model.apply({'params': plain_rounded(params)}, IDS)
  floats = (x.pooler_output.astype(np.float32) for x in (found, expected))
  np.testing.assert_allclose(*floats, atol=0.02)


def test_stored_integers_are_neither_trained_nor_remembered(classifier):
  model, params = classifier
  small, stored = quantize_encoder(model, params)
  trainable, fixed = embedcomp.split_params(stored)
  loss_fn, optimizer = partial_training.freeze(
    Task('classification', small).loss_fn,
    optax.adam(0.1),
    lambda path: is_lower(path, 0),
  )
  trainable = jax.tree.map(jnp.asarray, trainable)
  state = TrainState.create(
    trainable, optimizer, jax.random.key(0), buffers={'stored': fixed}
  )
  batch = {
    'ids': IDS,
    'labels': np.array([0, 1]),
    'weights': np.ones(2, np.float32),
  }
  step = jax.jit(make_train_step(loss_fn, optimizer))
  for _ in range(2):
    state, _ = step(state, batch)
  assert step._cache_size() == 1
  assert np.int8 not in {
    leaf.dtype for leaf in jax.tree.leaves(state.opt_state)
  }
  moved = embedcomp.merge_params(state.params, state.buffers['stored'])
  for path, leaf in jax.tree_util.tree_leaves_with_path(moved):
    keys = tuple(part.key for part in path if hasattr(part, 'key'))
    before = stored
    for key in keys:
      before = before[key]
    if isinstance(before, embedcomp.Stored):
      before = getattr(before, path[-1].name)
    stays = is_lower(keys, 0) or keys[-2:] in SHARED
    assert (leaf != before).any() != stays, keys


def test_what_does_not_fit_is_refused(classifier):
  with pytest.raises(ValueError, match=r"weights must be one of .*'int4'"):
    Bert(CONFIG, weights='int4')
  with pytest.raises(ValueError, match=r"weights must be one of .*'int4'"):
    SentenceEncoder(CONFIG, weights='int4')
  small, stored = quantize_encoder(*classifier)
  trainable, _ = embedcomp.split_params(stored)
  with pytest.raises(ValueError, match=r'embedding is missing; pass both'):
    small.apply({'params': trainable}, IDS)
  kernel = stored['pooler']['kernel']
  kernel = dataclasses.replace(kernel, values=kernel.values[1:])
  cut = stored['pooler'] | {'kernel': kernel}
  with pytest.raises(
    ValueError, match=r'pooler/kernel.* must .*got \[11, 12\]'
  ):
    small.apply({'params': stored | {'pooler': cut}}, IDS)


def test_compressed_words_stay_as_they_are(classifier, rng):
  """Their factors are values and scales as well, of forms of their own."""
  model, params = classifier
  table = rng.normal(size=(20, 12)).astype(np.float32)
  scheme = Scheme(12, (Group(20, methods.LowRank(3, 'int8', 'int8')),))
  words = embedcomp.fit(table, scheme, progress=False)
  embedder = GroupedEmbed(scheme)
  packed = model.clone(embedder=embedder, parent=None)
  packed_params = params | {'embedder': words}
  small, stored = quantize_encoder(packed, packed_params)
  again, floats = dequantize_encoder(small, stored)
  for found in (stored, floats):
    assert jax.tree.structure(found['embedder']) == jax.tree.structure(words)
    jax.tree.map(np.testing.assert_array_equal, found['embedder'], words)
  logits = again.apply(variables(floats), IDS)
  np.testing.assert_allclose(
    logits, small.apply(variables(stored), IDS), atol=1e-5
  )
