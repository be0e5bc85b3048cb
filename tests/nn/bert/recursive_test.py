"""Attentions that read few keys, by themselves and inside of a BERT."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import Bert, BertConfig
from embedcomp.attention.recursive import recursive_attention
from embedcomp.nn.sparse_attention import (
  LearnedSummaries,
  LocalAttention,
  RecursiveAttention,
  SlidingWindowAttention,
)
from tests import small_berts

T = 32
CONFIG = BertConfig(
  vocab_size=20,
  hidden_size=8,
  num_hidden_layers=1,
  num_attention_heads=2,
  intermediate_size=8,
  max_position_embeddings=T,
)
RECURSIVE = RecursiveAttention(chunk_size=8, num_summaries=2)
# Large enough for attention to differ from an average.
random_params = functools.partial(small_berts.random_params, scale=0.5)
LEARNED = dataclasses.replace(RECURSIVE, learned=True)


@pytest.fixture
def ids(rng):
  ids = rng.integers(1, 20, (2, T))
  ids[1, 27:] = 0  # padding
  return ids


@functools.partial(jax.jit, static_argnums=0)
def hidden_states(model, params, ids):
  return model.apply({'params': params}, ids).last_hidden_state


@functools.partial(jax.jit, static_argnums=0)
def states_and_gradient(model, params, ids):
  def energy(params):
    hidden = model.apply({'params': params}, ids).last_hidden_state
    return (hidden[:, 3:5] ** 4).sum(), hidden

  gradient, hidden = jax.grad(energy, has_aux=True)(params)
  return hidden, gradient


def masked_attention(query, key, value, is_read):
  """Softmax over the pairs of tokens [T, T] that a pattern allows."""
  scores = np.einsum('BTNH,BSNH->BNTS', query, key) / query.shape[-1] ** 0.5
  weights = np.exp(scores) * is_read
  weights /= weights.sum(axis=-1, keepdims=True)
  return np.einsum('BNTS,BSNH->BTNH', weights, value)


@pytest.mark.parametrize(
  ('attention_fn', 'shift', 'reach'),
  [
    (SlidingWindowAttention(4), 0, 1),
    (SlidingWindowAttention(4, num_global=0, reach=2), 0, 2),
    (LocalAttention(8, num_global=3), 0, 0),
    (LocalAttention(8, num_global=0, shift=3), 3, 0),
  ],
)
def test_windows_read_the_chunks_in_reach(rng, attention_fn, shift, reach):
  arrays = rng.normal(size=(3, 2, 29, 2, 4)).astype(np.float32)
  places = np.arange(29)
  chunks = (places + shift) // attention_fn.chunk_size
  is_global = places < attention_fn.num_global
  is_read = abs(np.subtract.outer(chunks, chunks)) <= reach
  is_read |= is_global[:, None] | is_global
  found = jax.jit(attention_fn)(*arrays)
  wanted = masked_attention(*arrays, is_read)
  np.testing.assert_allclose(found, wanted, atol=1e-6)
  num_keys = is_read[~is_global].sum(axis=1).max()
  assert attention_fn.pattern.num_keys(29) >= num_keys


def test_the_recursive_one_hands_on_its_sizes(rng):
  attention_fn = RecursiveAttention(8, 2, num_summaries=4, num_levels=1)
  arrays = jnp.asarray(rng.normal(size=(3, 1, 70, 2, 4)), jnp.float32)
  key = jax.random.key(0)
  plain = functools.partial(
    recursive_attention,
    chunk_size=8,
    num_global=2,
    num_summaries=4,
    num_levels=1,
  )

  def program(function):
    def attend(*arrays):
      return function(*arrays, dropout_rate=0.1, dropout_key=key)

    return jax.jit(attend).lower(*arrays, jnp.ones((1, 70), bool)).as_text()

  assert program(attention_fn) == program(plain)


def test_they_are_values():
  assert RecursiveAttention(128) == RecursiveAttention(chunk_size=128)
  assert len({LocalAttention(8), LocalAttention(8), LocalAttention(8, 2)}) == 2
  with pytest.raises(dataclasses.FrozenInstanceError):
    RECURSIVE.chunk_size = 4


@pytest.mark.parametrize(
  ('make', 'rule'),
  [
    (lambda: RecursiveAttention(8), 'num_summaries must divide .* got 16'),
    (lambda: RecursiveAttention(num_levels=-1), 'num_levels must .* got -1'),
    (lambda: SlidingWindowAttention(0), 'chunk_size must .* got 0'),
    (lambda: SlidingWindowAttention(reach=-1), 'reach must .* got -1'),
    (lambda: LocalAttention(8.0), r'chunk_size must be an int .* got 8\.0'),
    (lambda: LocalAttention(8, shift=8), 'shift must be below .* got 8'),
    (lambda: LocalAttention(num_global=-1), 'num_global must .* got -1'),
  ],
)
def test_errors_name_the_value_and_the_rule(make, rule):
  with pytest.raises(ValueError, match=rule):
    make()


# In a BERT


def test_it_has_the_params_of_a_dense_bert(ids):
  dense, model = (
    jax.eval_shape(Bert(CONFIG, **kwargs).init, jax.random.key(0), ids)
    for kwargs in ({}, {'attention_fn': RECURSIVE})
  )
  assert jax.tree.map(jnp.shape, dense) == jax.tree.map(jnp.shape, model)


@pytest.mark.parametrize(
  'attention_fn',
  [
    RecursiveAttention(16, num_summaries=2),
    RecursiveAttention(8, num_summaries=8),
  ],
  ids=['two_chunks', 'all_tokens_are_summaries'],
)
def test_it_is_a_dense_bert_on_short_texts(ids, attention_fn):
  params = random_params(Bert(CONFIG), ids)
  wanted = hidden_states(Bert(CONFIG), params, ids)
  found = hidden_states(Bert(CONFIG, attention_fn=attention_fn), params, ids)
  is_token = ids > 0
  np.testing.assert_allclose(found[is_token], wanted[is_token], atol=3e-6)


def test_learned_summaries_begin_as_those_of_the_mean_query(ids):
  zeros = LearnedSummaries().init(jax.random.key(0), 2, 4)['params']
  assert not any(map(np.any, jax.tree.leaves(zeros)))
  model = Bert(CONFIG, attention_fn=LEARNED)
  params = random_params(model, ids)
  shapes = jax.tree.map(jnp.shape, params['layer_0']['attention'])
  assert shapes == {'anchor': (2, 4), 'level_bias': (8, 2)}
  assert shapes == jax.tree.map(jnp.shape, zeros)
  params['layer_0']['attention'] = zeros
  found, gradient = states_and_gradient(model, params, ids)
  learned = jax.tree.map(np.asarray, gradient['layer_0']['attention'])
  assert (abs(learned['anchor']) > 1e-5).all()
  assert (abs(learned['level_bias'][0]) > 1e-5).all()
  assert not learned['level_bias'][1:].any()  # four chunks have one level
  del params['layer_0']['attention']
  plain = Bert(CONFIG, attention_fn=RECURSIVE)
  wanted = hidden_states(plain, params, ids)
  np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_gradients_of_learned_summaries_may_be_computed_again(ids):
  model = Bert(CONFIG, attention_fn=LEARNED, remat=True)
  params = random_params(model, ids)
  hidden, gradient = jax.eval_shape(
    functools.partial(states_and_gradient.__wrapped__, model), params, ids
  )
  assert hidden.shape == (2, T, 8)
  assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)


def test_local_layers_that_take_turns_pass_on_what_crosses_chunks(rng):
  config = dataclasses.replace(CONFIG, num_hidden_layers=2)
  local = LocalAttention(8, num_global=0)
  shifted = dataclasses.replace(local, shift=4)
  ids = rng.integers(1, 20, T)
  changed = np.where(np.eye(T), 1 + ids % 19, ids)  # one token in each text

  def places_that_matter(attention_fn):
    """To the first chunk."""
    model = Bert(config, attention_fn=attention_fn)
    params = random_params(model, changed)
    hidden = hidden_states(model, params, np.stack([ids, *changed]))[:, :8]
    moved = abs(hidden[1:] - hidden[0][None]).max(axis=(1, 2))
    return np.flatnonzero(moved > 1e-5).tolist()

  assert places_that_matter(local) == list(range(8))
  assert places_that_matter((local, shifted)) == list(range(16))


def test_half_precision_stays_so(ids):
  half = Bert(CONFIG, attention_fn=LEARNED, dtype=jnp.bfloat16)
  output, _ = jax.eval_shape(half.init_with_output, jax.random.key(0), ids)
  assert output.last_hidden_state.dtype == jnp.bfloat16
