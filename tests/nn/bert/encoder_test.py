"""The encoder by itself; `bert_parity_test` has its numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import embedcomp
from embedcomp import Bert, BertConfig, Group, GroupedEmbed, Scheme, methods
from embedcomp.nn.bert.config import ACTIVATIONS
from tests.small_berts import CONFIG, IDS, random_params


def replaced(**changes) -> BertConfig:
  fields = {f: getattr(CONFIG, f) for f in CONFIG.__dataclass_fields__}
  return BertConfig(**(fields | changes))


@pytest.fixture(scope='module')
def model():
  return Bert(CONFIG)


@pytest.fixture(scope='module')
def params(model):
  return random_params(model)


def test_params_are_where_the_docs_say(model):
  params = jax.eval_shape(model.init, jax.random.key(0), IDS)['params']
  assert set(params) == {
    'embedder',
    'embeddings',
    'layer_0',
    'layer_1',
    'pooler',
  }
  layer = params['layer_0']
  assert layer['query_key_value']['kernel'].shape == (12, 3, 3, 4)
  assert layer['query_key_value']['bias'].shape == (3, 3, 4)
  assert layer['attention_out']['kernel'].shape == (3, 4, 12)
  assert layer['mlp_in']['kernel'].shape == (12, 16)
  assert layer['mlp_out']['kernel'].shape == (16, 12)
  assert params['embeddings']['position']['embedding'].shape == (9, 12)
  assert params['embedder']['embedding'].shape == (20, 12)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype('f4')}


def test_new_weights_have_the_deviation_of_the_config():
  sizes = {'vocab_size': 500, 'hidden_size': 60, 'num_hidden_layers': 1}
  config = replaced(**sizes, initializer_range=0.1)
  params = jax.jit(Bert(config).init)(jax.random.key(0), IDS)['params']
  for leaf in (
    params['embedder']['embedding'],
    params['layer_0']['query_key_value']['kernel'],
    params['layer_0']['mlp_out']['kernel'],
  ):
    assert abs(np.std(leaf) - 0.1) < 0.01
  assert (np.asarray(params['layer_0']['mlp_in']['bias']) == 0).all()


def test_states_and_weights_of_all_layers_on_request(model, params):
  def encode(**kwargs):
    return model.apply({'params': params}, IDS, **kwargs)

  output = encode()
  assert output.hidden_states is None
  assert output.attentions is None
  more = encode(output_hidden_states=True, output_attentions=True)
  assert len(more.hidden_states) == 3
  last = output.last_hidden_state
  np.testing.assert_allclose(more.hidden_states[-1], last, atol=1e-6)
  assert len(more.attentions) == 2
  for weights in more.attentions:
    assert weights.shape == (2, 3, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert (np.asarray(weights)[0, :, :, 4] == 0).all()  # padding


def test_padding_changes_nothing(model, params):
  apply = jax.jit(model.apply)
  whole = apply({'params': params}, IDS).last_hidden_state
  alone = apply({'params': params}, IDS[:1, :4]).last_hidden_state
  np.testing.assert_allclose(whole[:1, :4], alone, atol=1e-6)
  longer = np.pad(IDS, ((0, 0), (0, 3)))
  padded = apply({'params': params}, longer).last_hidden_state
  np.testing.assert_allclose(padded[1, :5], whole[1], atol=1e-6)


def test_padding_is_found_by_its_id_and_types_are_zero(model, params):
  implied = model.apply({'params': params}, IDS)
  zeros = np.zeros_like(IDS)
  for mask in (IDS != 0, (IDS != 0).astype(np.int32)):
    stated = model.apply({'params': params}, IDS, mask, zeros)
    chex.assert_trees_all_close(implied, stated, atol=1e-6)
  other = model.apply({'params': params}, IDS, None, zeros + 1)
  assert not np.allclose(other.last_hidden_state, implied.last_hidden_state)


def test_positions_of_roberta_are_counted_behind_the_padding_id():
  config = replaced(model_type='roberta', pad_token_id=1)
  ids = np.array([[0, 7, 1, 8, 1], [1, 1, 9, 9, 9]])
  expected = [[2, 3, 1, 4, 1], [1, 1, 2, 3, 4]]
  assert config.position_ids(ids).tolist() == expected
  assert config.longest_input == 7
  assert CONFIG.position_ids(ids).tolist() == [[0, 1, 2, 3, 4]]
  assert CONFIG.longest_input == 9


def test_one_dense_group_is_a_dense_table(model, params):
  scheme = Scheme(12, (Group(20, methods.Dense()),))
  grouped = Bert(CONFIG, GroupedEmbed(scheme))
  table = params['embedder']['embedding']
  words = {'group_0': {'table': table}}
  found = grouped.apply({'params': params | {'embedder': words}}, IDS)
  expected = model.apply({'params': params}, IDS)
  chex.assert_trees_all_close(found, expected, atol=1e-6)


def test_stored_words_are_read_from_params(params):
  scheme = Scheme(
    12,
    (Group(8, methods.Dense('int8')), Group(12, methods.VectorQuantization(4))),
  )
  words = embedcomp.quantize_params(
    scheme, embedcomp.init(jax.random.key(0), scheme)
  )
  model = Bert(CONFIG, GroupedEmbed(scheme))
  params = params | {'embedder': words}
  found = jax.jit(model.apply)({'params': params}, IDS)
  table = np.asarray(embedcomp.reconstruct(scheme, words))
  dense = params | {'embedder': {'embedding': table}}
  expected = Bert(CONFIG).apply({'params': dense}, IDS)
  chex.assert_trees_all_close(found, expected, atol=1e-5)


def test_another_attention_takes_the_place_of_the_dense_one(params):
  calls = []

  def attend(query, key, value, mask, **kwargs):
    calls.append((query.shape, mask.shape, kwargs['dropout_rate']))
    return embedcomp.dense_attention(query, key, value, mask, **kwargs)

  found = Bert(CONFIG, attention_fn=attend).apply({'params': params}, IDS)
  assert calls == [((2, 5, 3, 4), (2, 5), 0.0)] * 2
  expected = Bert(CONFIG).apply({'params': params}, IDS)
  chex.assert_trees_all_close(found, expected)


def test_dropout_is_on_request_and_by_its_key(model, params):
  @jax.jit
  def encode(seed):
    rngs = {'dropout': jax.random.key(seed)}
    output = model.apply(
      {'params': params}, IDS, deterministic=False, rngs=rngs
    )
    return output.last_hidden_state

  plain = model.apply({'params': params}, IDS).last_hidden_state
  assert not np.allclose(encode(0), plain)
  np.testing.assert_array_equal(encode(0), encode(0))
  assert not np.allclose(encode(0), encode(1))
  config = replaced(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
  still = Bert(config).apply({'params': params}, IDS, deterministic=False)
  np.testing.assert_allclose(still.last_hidden_state, plain, atol=1e-6)


def test_half_precision_is_close_and_params_stay_whole(params):
  model = Bert(CONFIG, dtype=jnp.bfloat16)
  found = model.apply({'params': params}, IDS).last_hidden_state
  assert found.dtype == jnp.bfloat16
  expected = Bert(CONFIG).apply({'params': params}, IDS).last_hidden_state
  np.testing.assert_allclose(found.astype(np.float32), expected, atol=0.1)
  made = jax.eval_shape(model.init, jax.random.key(0), IDS)['params']
  assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype('f4')}


def test_without_a_pooler_there_is_no_pooled_output(params):
  model = Bert(CONFIG, add_pooler=False)
  params = {k: v for k, v in params.items() if k != 'pooler'}
  assert model.apply({'params': params}, IDS).pooler_output is None


@pytest.mark.parametrize(
  ('ids', 'kwargs', 'match'),
  [
    (np.zeros((1, 10), int), {}, r'positions for 9 tokens, got 10'),
    (np.zeros(5, int), {}, r'\[B, T\] integers, got int.*\[5\]'),
    (np.zeros((1, 5), np.float32), {}, r'integers, got float32'),
    (np.zeros((0, 5), int), {}, r'input_ids must hold .*\[0, 5\]'),
    (np.zeros((2, 0), int), {}, r'input_ids must hold a text and a token'),
    (
      IDS,
      {'attention_mask': np.ones((2, 4), bool)},
      r'attention_mask must be .*\[2, 5\], got bool\[2, 4\]',
    ),
    (
      IDS,
      {'attention_mask': np.ones((2, 5), np.float32)},
      r'attention_mask must be bool or integers .* attention_mask > -1',
    ),
    (
      IDS,
      {'attention_mask': np.full((2, 5), -10_000)},
      r'attention_mask must be of 0 and 1, got values from -10000',
    ),
    (
      IDS,
      {'token_type_ids': np.ones((2, 5), np.float32)},
      r'token_type_ids must be \[B, T\] integers, got float32',
    ),
    (
      IDS,
      {'token_type_ids': np.ones((1, 5), int)},
      r'token_type_ids must have .*\[2, 5\], got \[1, 5\]',
    ),
  ],
)
def test_bad_inputs_are_named(model, params, ids, kwargs, match):
  with pytest.raises(ValueError, match=match):
    model.apply({'params': params}, ids, **kwargs)


def test_inputs_may_be_lists(model, params):
  mask = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
  types = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
  wanted, found = (
    model.apply({'params': params}, *arrays).last_hidden_state
    for arrays in (
      (IDS, jnp.asarray(mask, bool), types),
      (IDS.tolist(), mask.tolist(), types.tolist()),
    )
  )
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  ('changes', 'match'),
  [
    ({'vocab_size': 0}, 'vocab_size must be an int of at least 1, got 0'),
    ({'hidden_size': 12.0}, 'hidden_size must be an int'),
    ({'num_hidden_layers': True}, 'num_hidden_layers must be an int'),
    ({'type_vocab_size': -1}, 'type_vocab_size must be .* at least 0'),
    ({'num_attention_heads': 5}, 'must divide hidden_size 12, got 5'),
    ({'hidden_act': 'mish'}, "hidden_act must be one of .*, got 'mish'"),
    ({'hidden_act': ['gelu']}, 'hidden_act must be one of'),
    ({'model_type': 'gpt2'}, "model_type must be one of .*, got 'gpt2'"),
    ({'hidden_dropout_prob': 1.0}, r'hidden_dropout_prob must be .*\[0, 1\)'),
    ({'classifier_dropout': -0.1}, 'classifier_dropout must be a number'),
    ({'layer_norm_eps': float('nan')}, 'layer_norm_eps must be a number'),
    ({'initializer_range': float('inf')}, 'initializer_range must be positive'),
    ({'pad_token_id': 20}, 'pad_token_id must be below vocab_size 20, got 20'),
    ({'model_type': 'roberta', 'pad_token_id': 8}, 'leave no room'),
  ],
)
def test_bad_sizes_are_named(changes, match):
  with pytest.raises(ValueError, match=match):
    replaced(**changes)


def test_activations_are_the_named_functions():
  x = np.linspace(-6, 6, 101)
  tanh = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
  expected = {
    'gelu': x * special.ndtr(x),
    'gelu_new': x * (1 + tanh) / 2,
    'gelu_pytorch_tanh': x * (1 + tanh) / 2,
    'relu': np.maximum(x, 0),
    'silu': x * special.expit(x),
    'swish': x * special.expit(x),
    'tanh': np.tanh(x),
  }
  assert set(ACTIVATIONS) == set(expected)
  for name, values in expected.items():
    found = ACTIVATIONS[name](jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, values, atol=2e-6, err_msg=name)
