"""Tests of language models with a tied table."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from embedcomp import Group, GroupedEmbed, Scheme, methods
from embedcomp.nn import RecurrentLanguageModel, TransformerLanguageModel

VOCAB, FEATURES, HIDDEN = 20, 8, 12
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
  'recurrent': lambda embedder, **kwargs: RecurrentLanguageModel(
    embedder, HIDDEN, 2, **kwargs
  ),
  'transformer': lambda embedder, **kwargs: TransformerLanguageModel(
    embedder, 1, HIDDEN, 4, **kwargs
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


def test_padding_and_neighbours_change_nothing(name):
  _, variables, apply_fn = build(name)
  logits = apply_fn(variables, IDS)
  longer = apply_fn(variables, np.pad(IDS, [(1, 0), (0, 4)]))
  assert logits.shape == (3, 5, VOCAB)
  assert logits.dtype == jnp.float32
  assert np.isfinite(logits).all()
  np.testing.assert_allclose(longer[1:, :5], logits, rtol=1e-4, atol=1e-5)


def test_later_words_do_not_matter_and_earlier_ones_do(name):
  _, variables, apply_fn = build(name)
  logits = apply_fn(variables, IDS)[2]
  for place in range(5):
    ids = IDS.copy()
    ids[2, place] = 11
    changed = apply_fn(variables, ids)[2]
    np.testing.assert_array_equal(changed[:place], logits[:place])
    assert (np.abs(changed - logits)[place:].max(axis=-1) > 1e-5).all()


@pytest.mark.parametrize('embedder', EMBEDDERS)
def test_gradients_are_finite_and_reach_any_table(name, embedder):
  model = MODELS[name](EMBEDDERS[embedder](), dropout=0.2, word_dropout=0.2)
  rest = dict(build(name, embedder)[1])
  params = rest.pop('params')

  @jax.jit
  @jax.value_and_grad
  def loss_and_gradient(params, dropout_key):
    logits = model.apply(
      {'params': params, **rest},
      IDS,
      deterministic=False,
      rngs={'dropout': dropout_key},
    )
    return optax.softmax_cross_entropy_with_integer_labels(logits, IDS).sum()

  loss, gradient = loss_and_gradient(params, jax.random.key(1))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert all(leaf.any() for leaf in jax.tree.leaves(gradient['embedder']))
  assert loss != loss_and_gradient(params, jax.random.key(2))[0]
  assert np.asarray(gradient['head']['bias']).all()


def test_one_table_is_read_at_both_ends(name):
  _, variables, apply_fn = build(name)
  assert list(variables['params']['embedder']) == ['embedding']
  assert 'embedder' not in variables['params']['head']
  before = apply_fn(variables, IDS)[2]
  # Word 11 is not read, so that its vector matters to its own logit alone.
  params = dict(variables['params'])
  table = params['embedder']['embedding']
  params['embedder'] = {'embedding': table.at[11].multiply(3)}
  after = apply_fn({'params': params}, IDS)[2]
  np.testing.assert_allclose(after[:, 11], 3 * before[:, 11], rtol=1e-5)
  np.testing.assert_array_equal(
    np.delete(after, 11, axis=1), np.delete(before, 11, axis=1)
  )


def test_bias_is_added_and_can_be_left_out(name):
  _, variables, apply_fn = build(name)
  bias = jnp.arange(VOCAB, dtype=jnp.float32)
  plain = apply_fn(variables, IDS)
  head = variables['params']['head']
  biased = {**variables['params'], 'head': {**head, 'bias': bias}}
  np.testing.assert_allclose(
    apply_fn({'params': biased}, IDS), plain + bias[None, None], rtol=1e-5
  )
  bare = MODELS[name](nn.Embed(VOCAB, FEATURES), use_bias=False)
  shapes = jax.eval_shape(bare.init, jax.random.key(0), IDS)
  assert set(shapes['params']['head']) == {'project'}


def test_recurrent_equals_plain_loops():
  _, variables, apply_fn = build('recurrent')
  params = jax.tree.map(np.asarray, variables['params'])
  table, head = params['embedder']['embedding'], params['head']['project']

  def sigmoid(x):
    return 1 / (1 + np.exp(-x))

  states, memories = np.zeros((2, 2, HIDDEN))
  for word, got in zip(IDS[2], apply_fn(variables, IDS)[2], strict=True):
    state = table[word] * np.sqrt(FEATURES)
    for layer in range(2):
      cell = params[f'lstm_{layer}']
      gate = {
        name: state @ cell[f'i{name}']['kernel']
        + states[layer] @ cell[f'h{name}']['kernel']
        + cell[f'h{name}']['bias']
        for name in 'ifgo'
      }
      memories[layer] *= sigmoid(gate['f'])
      memories[layer] += sigmoid(gate['i']) * np.tanh(gate['g'])
      states[layer] = sigmoid(gate['o']) * np.tanh(memories[layer])
      state = states[layer]
    expected = table @ (state @ head['kernel'] + head['bias'])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_learns_what_follows(name):
  model, variables, _ = build(name)
  ids = np.tile(np.array([[4, 9, 4, 12, 4, 9]], np.int32), (2, 1))
  params = variables['params']
  optimizer = optax.adam(0.03)

  @jax.jit
  def step(params, state):
    def loss_fn(params):
      logits = model.apply({'params': params}, ids[:, :-1])
      return optax.softmax_cross_entropy_with_integer_labels(
        logits, ids[:, 1:]
      ).mean()

    loss, gradient = jax.value_and_grad(loss_fn)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, loss

  state = optimizer.init(params)
  for _ in range(60):
    params, state, loss = step(params, state)
  # Only by counting can 9 and 12 be told apart after 4.
  assert loss < 0.1


@pytest.mark.parametrize(
  ('name', 'rate'), [('dropout', -0.1), ('word_dropout', 1.5)]
)
@pytest.mark.parametrize('model_name', MODELS)
def test_rates_are_shares_below_one(model_name, name, rate):
  with pytest.raises(ValueError, match=f'^{name} must be a number in'):
    MODELS[model_name](nn.Embed(VOCAB, FEATURES), **{name: rate})


@pytest.mark.parametrize('ids', [np.zeros((2, 0), int), IDS[0]])
@pytest.mark.parametrize('model_name', MODELS)
def test_ids_are_integers_of_texts_and_tokens(model_name, ids):
  model = MODELS[model_name](nn.Embed(VOCAB, FEATURES))
  with pytest.raises(
    ValueError, match=r'ids must be \[batch, tokens\] integer'
  ):
    model.init(jax.random.key(0), ids)
