"""Tests of the models that classify texts."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from embedcomp import Group, GroupedEmbed, Scheme, methods
from embedcomp.nn import (
  ConvolutionalClassifier,
  PooledClassifier,
  TransformerClassifier,
)
from embedcomp.nn.classifiers import masked_max, masked_mean

VOCAB, FEATURES, CLASSES = 20, 8, 3
SCHEME = Scheme(
  FEATURES,
  (
    Group(4, methods.Dense()),
    Group(16, methods.LowRank(3)),
  ),
)
EMBEDDERS = {
  'embed': lambda: nn.Embed(VOCAB, FEATURES),
  'grouped': lambda: GroupedEmbed(SCHEME),
}
MODELS = {
  'pooled': lambda embedder, **kwargs: PooledClassifier(
    embedder, CLASSES, (6,), ('mean', 'max'), **kwargs
  ),
  'convolutional': lambda embedder, **kwargs: ConvolutionalClassifier(
    embedder, CLASSES, 5, **kwargs
  ),
  'transformer': lambda embedder, **kwargs: TransformerClassifier(
    embedder, CLASSES, 1, 8, 2, **kwargs
  ),
}
IDS = np.array([[3, 14, 5, 0, 0], [0, 0, 0, 0, 0], [19, 2, 7, 7, 1]], np.int32)


@functools.cache
def build(model_name: str, embedder_name: str = 'embed'):
  """The model, its variables and its compiled apply."""
  model = MODELS[model_name](EMBEDDERS[embedder_name]())
  variables = jax.jit(model.init)(jax.random.key(0), IDS)
  return model, variables, jax.jit(model.apply)


@pytest.fixture(params=MODELS)
def name(request):
  return request.param


def split(variables: dict) -> tuple[dict, dict]:
  rest = dict(variables)
  return rest.pop('params'), rest


def numpy_params(variables: dict) -> dict:
  return jax.tree.map(np.asarray, variables['params'])


def test_masked_pools_by_hand():
  hidden = jnp.array([[[-1.0, 2], [-3, 4], [9, 9]], [[5, 5]] * 3])
  mask = jnp.array([[True, True, False], [False] * 3])
  np.testing.assert_allclose(masked_mean(hidden, mask), [[-2, 3], [0, 0]])
  np.testing.assert_allclose(masked_max(hidden, mask), [[-1, 4], [0, 0]])


@pytest.mark.parametrize('embedder', EMBEDDERS)
def test_gradients_are_finite_and_reach_any_table(name, embedder):
  params, rest = split(build(name, embedder)[1])
  model = MODELS[name](EMBEDDERS[embedder](), dropout=0.2, word_dropout=0.2)

  @jax.jit
  @jax.value_and_grad
  def loss_and_gradient(params, dropout_key):
    logits = model.apply(
      {'params': params, **rest},
      IDS,
      deterministic=False,
      rngs={'dropout': dropout_key},
    )
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, jnp.array([0, 1, 2])
    ).sum()

  loss, gradient = loss_and_gradient(params, jax.random.key(1))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert all(leaf.any() for leaf in jax.tree.leaves(gradient['embedder']))
  assert loss != loss_and_gradient(params, jax.random.key(2))[0]


def test_padding_and_neighbours_change_nothing(name):
  _, variables, apply_fn = build(name)
  logits = apply_fn(variables, IDS)
  longer = np.pad(IDS, [(1, 0), (0, 6)])
  assert logits.shape == (3, CLASSES)
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(
    apply_fn(variables, longer)[1:], logits, rtol=1e-5, atol=1e-6
  )


def test_words_matter_and_an_empty_document_is_finite(name):
  _, variables, apply_fn = build(name)
  logits = apply_fn(variables, IDS)
  changed = apply_fn(variables, np.where(IDS == 5, 6, IDS))
  assert np.isfinite(logits).all()
  assert np.abs(changed - logits)[0].max() > 1e-4
  np.testing.assert_array_equal(changed[1:], logits[1:])


def test_embedder_keeps_its_name_and_its_collections(name):
  grouped = build(name, 'grouped')[1]
  assert set(grouped['params']['embedder']) == {'group_0', 'group_1'}
  dense = build(name)[1]
  assert dense['params']['embedder']['embedding'].shape == (VOCAB, FEATURES)


def test_logits_are_float32_whatever_the_vectors(name):
  model = MODELS[name](nn.Embed(VOCAB, FEATURES, dtype=jnp.bfloat16))
  logits = jax.eval_shape(model.apply, build(name)[1], IDS)
  assert logits.dtype == jnp.float32


def test_pooled_equals_plain_loops():
  _, variables, apply_fn = build('pooled')
  params = numpy_params(variables)
  for row, ids in zip(apply_fn(variables, IDS), IDS, strict=True):
    pooled = np.zeros(2 * FEATURES)
    if ids.any():
      words = params['embedder']['embedding'][ids[ids != 0]]
      pooled = np.concatenate([words.mean(0), words.max(0)])
    hidden = params['hidden_0']
    hidden = np.maximum(pooled @ hidden['kernel'] + hidden['bias'], 0)
    expected = hidden @ params['head']['kernel'] + params['head']['bias']
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


def test_convolutional_equals_plain_loops():
  _, variables, apply_fn = build('convolutional')
  params = numpy_params(variables)
  for row, ids in zip(apply_fn(variables, IDS), IDS, strict=True):
    ids = ids[ids != 0]
    # One zero vector on each side: as much as a width of 3 needs.
    words = np.zeros((len(ids) + 2, FEATURES))
    words[1:-1] = params['embedder']['embedding'][ids]
    largest = np.zeros((3, 5))
    for width in (1, 2, 3):
      weights = params[f'width_{width}']
      for t in range(len(ids)):
        begin = t + 1 - (width - 1) // 2
        window = words[begin : begin + width]
        values = np.einsum('wd,wdf->f', window, weights['kernel'])
        values = np.maximum(values + weights['bias'], 0)
        largest[width - 1] = np.maximum(largest[width - 1], values)
    expected = largest.ravel() @ params['head']['kernel']
    expected += params['head']['bias']
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('pools', [(), ('mean', 'sum')])
def test_unknown_pools_are_refused(pools):
  with pytest.raises(ValueError, match="pools must be out of \\('mean', 'max'"):
    PooledClassifier(nn.Embed(VOCAB, FEATURES), CLASSES, pools=pools)


RATES = pytest.mark.parametrize(
  ('name', 'rate'), [('dropout', -0.1), ('word_dropout', 1.5), ('dropout', 1)]
)
BAD_IDS = pytest.mark.parametrize(
  'ids', [np.zeros((2, 0), int), np.zeros((0, 3), int), IDS[0], IDS * 1.0]
)


@RATES
@pytest.mark.parametrize('model_name', MODELS)
def test_rates_are_shares_below_one(model_name, name, rate):
  embedder = nn.Embed(VOCAB, FEATURES)
  with pytest.raises(ValueError, match=f'^{name} must be a number in'):
    MODELS[model_name](embedder, **{name: rate})


@BAD_IDS
@pytest.mark.parametrize('model_name', MODELS)
def test_ids_are_integers_of_texts_and_tokens(model_name, ids):
  model = MODELS[model_name](nn.Embed(VOCAB, FEATURES))
  with pytest.raises(
    ValueError, match=r'ids must be \[batch, tokens\] integer'
  ):
    model.init(jax.random.key(0), ids)
