"""Layers computed again for the gradient, and attentions in turn."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import Bert, BertConfig, dense_attention
from embedcomp.nn import BertClassifier
from embedcomp.nn.bert.layers import BertLayer
from embedcomp.nn.bert.remat import recomputed
from embedcomp.nn.sparse_attention import LocalAttention, RecursiveAttention
from tests import small_berts

CONFIG = small_berts.CONFIG
IDS = np.array([[2, 5, 6, 3, 0, 0, 0, 0, 0], [2, 9, 8, 7, 3, 4, 4, 6, 3]])
random_params = functools.partial(small_berts.random_params, ids=IDS)
LEARNED = RecursiveAttention(chunk_size=2, num_summaries=2, learned=True)


def derived(model, params, **kwargs):
  """Outputs of an encoder and the gradient of a sum of all of them."""

  @jax.jit
  @functools.partial(jax.grad, has_aux=True)
  def derive(params):
    found = model.apply({'params': params}, IDS, **kwargs)
    squares = [jnp.square(leaf).sum() for leaf in jax.tree.leaves(found)]
    return sum(squares), found

  return derive(params)


def assert_close(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    size = np.abs(other).max()
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize(
  'attention_fn',
  [dense_attention, (LocalAttention(2), LEARNED)],
  ids=['dense', 'in_turn'],
)
def test_recomputing_changes_neither_outputs_nor_gradients(attention_fn):
  model = Bert(CONFIG, attention_fn=attention_fn)
  again = model.clone(remat=True)
  params = random_params(model)
  shapes = jax.tree.map(np.shape, params)
  assert jax.tree.map(np.shape, random_params(again)) == shapes
  kwargs = {'output_hidden_states': True, 'output_attentions': True}
  expected = derived(model, params, **kwargs)
  found = derived(again, params, **kwargs)
  assert len(found[1].hidden_states) == 3
  assert_close(found, expected)


def test_recomputing_takes_less_memory():
  config = BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=5,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=256,
  )
  ids = np.ones((1, 256), np.int32)

  def temporary_bytes(remat):
    model = BertClassifier(config, remat=remat)
    params = jax.eval_shape(model.init, jax.random.key(0), ids)['params']

    def total(params):
      return model.apply({'params': params}, ids).sum()

    compiled = jax.jit(jax.grad(total)).lower(params).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary_bytes(True) < 0.5 * temporary_bytes(False)


def test_what_is_dropped_is_dropped_again_for_the_gradient():
  config = dataclasses.replace(
    CONFIG,
    num_hidden_layers=1,
    hidden_dropout_prob=0.4,
    attention_probs_dropout_prob=0.4,
  )
  model = Bert(config, remat=True)
  params = random_params(model)

  def score(params, seed):
    rngs = {'dropout': jax.random.key(seed)}
    found = model.apply({'params': params}, IDS, deterministic=False, rngs=rngs)
    return jnp.square(found.pooler_output).sum()

  derive = jax.jit(jax.value_and_grad(score))
  value, gradient = derive(params, 0)
  assert value == derive(params, 0)[0]
  assert value != derive(params, 1)[0]
  rng = np.random.default_rng(1)
  step = jax.tree.map(lambda leaf: 1e-3 * rng.normal(size=leaf.shape), params)

  def moved(sign):
    return jax.tree.map(lambda p, s: np.float32(p + sign * s), params, step)

  rise = derive(moved(1), 0)[0] - derive(moved(-1), 0)[0]
  products = jax.tree.map(lambda g, s: (g * s).sum(), gradient, step)
  slope = sum(map(float, jax.tree.leaves(products)))
  np.testing.assert_allclose(rise / 2, slope, rtol=0.01)


def test_the_gradient_of_a_recomputed_function_is_its_own():
  def fn(weights, x, others):
    mask, key = others
    y = jnp.where(mask, jnp.sin(x @ weights), x)
    kept = jax.random.bernoulli(key, 0.5, y.shape)
    return jnp.where(kept, y, 0), y.sum()

  rng = np.random.default_rng(0)
  weights, x = rng.normal(size=(4, 4)), rng.normal(size=(3, 4))
  others = rng.random((3, 4)) < 0.5, jax.random.key(0)

  def total(fn, weights, x):
    y, more = fn(weights, x, others)
    return (y**2).sum() + more

  derive = jax.grad(total, argnums=(1, 2))
  assert_close(derive(recomputed(fn), weights, x), derive(fn, weights, x))


def test_layers_take_attentions_in_turn():
  fns = (LocalAttention(2, num_global=0), dense_attention)
  model = Bert(CONFIG, attention_fn=fns)
  params = random_params(model)
  apply = jax.jit(functools.partial(model.apply, output_hidden_states=True))
  output = apply({'params': params}, IDS)
  states, mask = output.hidden_states, IDS != 0
  for index in range(2):
    layer = BertLayer(CONFIG, fns[index % 2])
    variables = {'params': params[f'layer_{index}']}
    expected, _ = layer.apply(
      variables, states[index], mask, deterministic=True
    )
    np.testing.assert_allclose(states[index + 1], expected, atol=1e-5)


def test_there_must_be_an_attention():
  model = Bert(CONFIG, attention_fn=())
  with pytest.raises(ValueError, match='one or several'):
    model.init(jax.random.key(0), IDS)


def test_an_attention_makes_its_params_in_the_layer():
  params = random_params(Bert(CONFIG, attention_fn=(dense_attention, LEARNED)))
  made = ['attention' in params[f'layer_{index}'] for index in range(2)]
  assert made == [False, True]
  assert set(params['layer_1']) - set(params['layer_0']) == {'attention'}


@pytest.mark.parametrize('remat', [False, True])
def test_heads_hand_attention_and_remat_on(remat):
  fns = (dense_attention, LEARNED)
  model = BertClassifier(CONFIG, attention_fn=fns, remat=remat)
  params = random_params(model)
  assert 'attention' in params['bert']['layer_1']
  encoder = Bert(CONFIG, attention_fn=fns, add_pooler=False)
  inner = {'embedder': params['embedder'], **params['bert']}
  hidden = jax.jit(encoder.apply)({'params': inner}, IDS).last_hidden_state
  pooler, classifier = params['pooler'], params['classifier']
  first = np.tanh(hidden[:, 0] @ pooler['kernel'] + pooler['bias'][None])
  expected = first @ classifier['kernel'] + classifier['bias'][None]
  found = jax.jit(model.apply)({'params': params}, IDS)
  np.testing.assert_allclose(found, expected, atol=1e-5)
