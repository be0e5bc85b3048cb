"""Recursive attention: against its plain form, and where it is dense."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp.attention import recursive
from tests.attention.plain_recursive import plain_attention

B, T, N, H = 4, 71, 2, 4
SIZES = {'chunk_size': 8, 'num_summaries': 4}  # 9 chunks, 3 levels
TILED = {
  'default': SIZES,
  'one_level': {**SIZES, 'num_global': 0, 'num_levels': 1, 'shift': 3},
  'two_levels': {
    'chunk_size': 8,
    'num_summaries': 1,
    'num_global': 3,
    'num_levels': 2,
  },
  'no_neighbours': {**SIZES, 'num_global': 6, 'num_levels': 3, 'reach': 0},
  'far_neighbours': {
    'chunk_size': 8,
    'num_summaries': 8,
    'num_global': 11,
    'reach': 2,
  },
  'large_chunks': {'chunk_size': 16, 'num_summaries': 2, 'shift': 15},
}
CASES = {
  **TILED,
  'window': {**SIZES, 'num_levels': 0, 'reach': 2},
  'local': {
    **SIZES,
    'num_global': 0,
    'num_levels': 0,
    'reach': 0,
    'shift': 5,
  },
}
EACH_CASE = pytest.mark.parametrize('sizes', CASES.values(), ids=CASES)
# Where all tokens are read, one by one or in summaries.
EACH_TILED = pytest.mark.parametrize('sizes', TILED.values(), ids=TILED)


@functools.partial(jax.jit, static_argnames='sizes')
def _attend_and_pull(inputs, mask, cotangent, sizes):
  def attend(inputs):
    arrays = dict(inputs)
    learned = recursive.SummaryParams(
      arrays.pop('anchor'), arrays.pop('level_bias')
    )
    return recursive.recursive_attention(
      mask=mask, learned=learned, **arrays, **dict(sizes)
    )

  attended, pull = jax.vjp(attend, inputs)
  return attended, pull(cotangent)[0]


def attend_and_pull(inputs, mask=None, cotangent=None, **sizes):
  """What is attended, and the gradients by the names of the inputs."""
  query = inputs['query']
  heads, features = query.shape[2:]
  learned = {
    'anchor': np.zeros((heads, features), np.float32),
    'level_bias': np.zeros((2, heads), np.float32),
  }
  mask = np.ones(query.shape[:2], bool) if mask is None else mask
  cotangent = np.ones_like(query) if cotangent is None else cotangent
  sizes = tuple(sorted(sizes.items()))
  return _attend_and_pull({**learned, **inputs}, mask, cotangent, sizes)


def attend(inputs, mask=None, **sizes):
  return np.asarray(attend_and_pull(inputs, mask, **sizes)[0])


@jax.jit
def dense_and_pull(inputs, mask, cotangent):
  def attend(inputs):
    return embedcomp.dense_attention(mask=mask, **inputs)

  attended, pull = jax.vjp(attend, inputs)
  return attended, pull(cotangent)[0]


def dense(inputs, mask):
  return np.asarray(
    dense_and_pull(inputs, mask, np.ones_like(inputs['query']))[0]
  )


def normal(rng, *shape):
  return rng.normal(size=shape).astype(np.float32)


def texts(rng, batch=B, length=T, heads=N, features=H):
  shape = batch, length, heads, features
  return {name: normal(rng, *shape) for name in ('query', 'key', 'value')}


def masks(length):
  """All tokens, padding behind and in the middle, one token alone."""
  places, third = np.arange(length), length // 3
  return np.stack(
    [
      places >= 0,
      places < 2 * third,
      (places < third // 2) | (places > 2 * third),
      places == third,
    ]
  )


@pytest.fixture
def inputs(rng):
  return texts(rng)


def assert_close_where(mask, found, wanted, atol):
  """What masked tokens read is of no use, but finite."""
  assert np.isfinite(found).all()
  np.testing.assert_allclose(
    np.asarray(found)[mask], np.asarray(wanted)[mask], atol=atol
  )


# The plain form


@EACH_CASE
def test_it_is_the_plain_form(rng, inputs, sizes):
  inputs['anchor'] = normal(rng, N, H)
  inputs['level_bias'] = normal(rng, 2, N)
  mask = masks(T)
  found = attend(inputs, mask, **sizes)
  wanted = plain_attention(**inputs, mask=mask, **sizes)
  assert_close_where(mask, found, wanted, 2e-6)


@EACH_CASE
def test_its_gradients_are_slopes_of_the_plain_form(rng, inputs, sizes):
  """Along a random direction for each input; finite differences in float64."""
  inputs['anchor'] = normal(rng, N, H)
  inputs['level_bias'] = normal(rng, 2, N)
  mask = masks(T)
  cotangent = normal(rng, B, T, N, H) * mask[:, :, None, None]
  _, gradients = attend_and_pull(inputs, mask, cotangent, **sizes)
  for name, gradient in gradients.items():
    direction = rng.normal(size=gradient.shape)

    def total(step, name=name, direction=direction):
      moved = {**inputs, name: inputs[name] + step * direction}
      return (plain_attention(**moved, mask=mask, **sizes) * cotangent).sum()

    slope = (total(1e-5) - total(-1e-5)) / 2e-5
    error = abs((gradient * direction).sum() - slope)
    assert error <= 1e-5 * np.linalg.norm(gradient) + 1e-6, name


def test_each_entry_of_its_gradient_is_a_slope(rng):
  inputs = texts(rng, length=35)  # 5 chunks, 2 levels
  mask = np.arange(35)[None].repeat(B, axis=0) % 7 != 3
  cotangent = normal(rng, B, 35, N, H) * mask[..., None, None]
  _, gradients = attend_and_pull(inputs, mask, cotangent, **SIZES)
  count = 35 * N * H
  for name in inputs:
    steps = 1e-5 * np.eye(count).reshape(count, 35, N, H)  # a text for each
    many = {other: inputs[other][:1].repeat(2 * count, 0) for other in inputs}
    many[name] = many[name] + np.concatenate([steps, -steps])
    many_masks = mask[:1].repeat(2 * count, axis=0)
    attended = plain_attention(**many, mask=many_masks, **SIZES)
    totals = (attended * cotangent[:1]).sum(axis=(1, 2, 3))
    slopes = (totals[:count] - totals[count:]) / 2e-5
    found = np.ravel(gradients[name][0])
    np.testing.assert_allclose(found, slopes, atol=3e-6)


def test_its_gradients_are_its_own_slopes(rng, inputs):
  mask = masks(T)
  cotangent = normal(rng, B, T, N, H) * mask[:, :, None, None]
  _, gradients = attend_and_pull(inputs, mask, cotangent, **SIZES)
  for name, gradient in gradients.items():
    norm = np.linalg.norm(gradient)
    step = 0.05 * gradient / norm  # rounding is 1e-4 of the difference
    both = [
      {**inputs, name: inputs.get(name, 0) + np.asarray(sign * step)}
      for sign in (1, -1)
    ]
    totals = [(attend(one, mask, **SIZES) * cotangent).sum() for one in both]
    np.testing.assert_allclose((totals[0] - totals[1]) / 0.1, norm, rtol=5e-3)


def test_zeros_for_what_is_learned_are_the_default(inputs):
  def without(inputs):
    return recursive.recursive_attention(**inputs, **SIZES)

  found = jax.jit(without)(inputs)
  np.testing.assert_allclose(found, attend(inputs, **SIZES), atol=1e-6)


# Where it is dense


@pytest.mark.parametrize('length', [1, 9, 16])
def test_texts_of_two_chunks_have_dense_attention(rng, length):
  inputs = texts(rng, length=length)
  mask = masks(length)
  cotangent = normal(rng, *inputs['query'].shape)
  found, gradients = attend_and_pull(inputs, mask, cotangent, **SIZES)
  wanted, dense_gradients = dense_and_pull(inputs, mask, cotangent)
  np.testing.assert_array_equal(found, wanted)
  for name, gradient in dense_gradients.items():
    np.testing.assert_allclose(gradients[name], gradient, atol=1e-6)


def test_four_chunks_whose_tokens_are_all_summaries_are_dense(rng):
  inputs = texts(rng, length=32)
  mask = masks(32)
  cotangent = normal(rng, B, 32, N, H) * mask[:, :, None, None]
  found, gradients = attend_and_pull(
    inputs, mask, cotangent, chunk_size=8, num_summaries=8
  )
  wanted, dense_gradients = dense_and_pull(inputs, mask, cotangent)
  assert_close_where(mask, found, wanted, 1e-6)
  for name, gradient in dense_gradients.items():
    np.testing.assert_allclose(gradients[name], gradient, atol=2e-6)


def test_texts_of_global_tokens_are_dense(rng):
  inputs = texts(rng, length=17)
  found = attend(inputs, masks(17), **SIZES, num_global=20)
  np.testing.assert_allclose(found, dense(inputs, masks(17)), atol=1e-6)


@EACH_TILED
def test_queries_of_zeros_read_the_mean(inputs, sizes):
  inputs['query'] *= 0
  mask = masks(T)
  found = attend(inputs, mask, **sizes)
  shares = mask / mask.sum(axis=1, keepdims=True)
  mean = np.einsum('BTNH,BT->BNH', inputs['value'], shares)[:, None]
  assert_close_where(mask, found, mean.repeat(T, axis=1), 1e-6)


@pytest.mark.parametrize('size', [1.0, 300.0])
def test_keys_that_are_constant_in_blocks_are_read_exactly(rng, inputs, size):
  """Of the largest summaries, 8 tokens; logits reach a thousand."""
  inputs['key'] = size * normal(rng, B, 9, N, H).repeat(8, axis=1)[:, :T]
  logits = np.einsum('BTNH,BSNH->BNTS', inputs['query'], inputs['key']) / 2
  assert size == 1 or abs(logits).max() > 1e3
  mask = masks(T)
  found = attend(inputs, mask, **SIZES)
  atol = 1e-6 if size == 1 else 1e-3  # a thousand has four digits left
  assert_close_where(mask, found, dense(inputs, mask), atol)


def test_equal_queries_have_dense_attention(rng, inputs):
  """The mean query is each of them."""
  inputs['query'] = normal(rng, B, 1, N, H).repeat(T, axis=1)
  mask = masks(T)
  found = attend(inputs, mask, **SIZES)
  assert_close_where(mask, found, dense(inputs, mask), 1e-6)


def test_summaries_are_exact_at_the_anchor(inputs):
  wanted = dense(inputs, np.ones((B, T), bool))[0, 37]
  query = inputs['query'][0]
  anchor = query[37] - query.mean(axis=0)
  found = attend({**inputs, 'anchor': anchor}, **SIZES)[0, 37]
  np.testing.assert_allclose(found, wanted, atol=2e-6)
  assert abs(attend(inputs, **SIZES)[0, 37] - wanted).max() > 1e-3


@EACH_CASE
def test_global_tokens_have_dense_attention(inputs, sizes):
  mask = masks(T)
  first = slice(sizes.get('num_global', 1))
  found = attend(inputs, mask, **sizes)[:, first]
  wanted = dense(inputs, mask)[:, first]
  assert_close_where(mask[:, first], found, wanted, 1e-6)


def test_it_is_closer_to_dense_attention_than_a_window_is(inputs):
  mask = masks(T)[:1].repeat(B, axis=0)
  wanted = dense(inputs, mask)
  error = np.linalg.norm(attend(inputs, mask, **SIZES) - wanted)
  window = attend(inputs, mask, **CASES['window'])
  assert error < 0.7 * np.linalg.norm(window - wanted)


# Masks and extremes


@EACH_CASE
def test_what_is_masked_has_no_influence(rng, inputs, sizes):
  mask = masks(T)
  cotangent = normal(rng, B, T, N, H) * mask[:, :, None, None]
  found, gradients = attend_and_pull(inputs, mask, cotangent, **sizes)
  hidden = ~mask[..., None, None]
  junk = {name: inputs[name] + 1e4 * hidden for name in inputs}
  again, same = attend_and_pull(junk, mask, cotangent, **sizes)
  assert_close_where(mask, again, found, 1e-6)
  for name in inputs:
    assert not np.asarray(gradients[name])[~mask].any()
    np.testing.assert_allclose(same[name], gradients[name], atol=1e-6)


def test_padding_changes_nothing(rng, inputs):
  mask = np.ones((B, T), bool)
  mask[:, 35:] = False
  cotangent = normal(rng, B, T, N, H) * mask[..., None, None]
  long, long_gradients = attend_and_pull(inputs, mask, cotangent, **SIZES)
  short = {name: array[:, :35] for name, array in inputs.items()}
  found, gradients = attend_and_pull(short, None, cotangent[:, :35], **SIZES)
  np.testing.assert_allclose(found, long[:, :35], atol=1e-6)
  for name in inputs:
    np.testing.assert_allclose(
      gradients[name], long_gradients[name][:, :35], atol=2e-6
    )


@EACH_TILED
@pytest.mark.parametrize('place', [0, 40, T - 1])
def test_all_read_the_only_token_that_there_is(inputs, sizes, place):
  mask = np.arange(T)[None].repeat(B, axis=0) == place
  found, gradients = attend_and_pull(inputs, mask, **sizes)
  wanted = inputs['value'][:, place : place + 1].repeat(T, axis=1)
  np.testing.assert_allclose(found, wanted, atol=1e-6)
  received = T * mask[..., None, None] + np.zeros_like(wanted)
  np.testing.assert_allclose(gradients['value'], received, rtol=1e-5)
  np.testing.assert_allclose(gradients['query'], 0, atol=1e-5)


@EACH_CASE
def test_scores_of_thousands_stay_finite(inputs, sizes):
  inputs['query'] *= 60
  inputs['key'] *= 60
  mask = masks(T)
  mask[0] = False  # a text without any token
  found, gradients = attend_and_pull(inputs, mask, **sizes)
  assert np.isfinite(found).all()
  assert abs(found).max() <= abs(inputs['value']).max() + 1e-3
  assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_half_precision_is_close_and_stays_so(rng):
  inputs = texts(rng, length=35)
  cotangent = normal(rng, B, 35, N, H)
  half = {name: jnp.bfloat16(array) for name, array in inputs.items()}
  rounded = {name: np.float32(array) for name, array in half.items()}
  found, gradients = attend_and_pull(
    half, None, jnp.bfloat16(cotangent), **SIZES
  )
  wanted, full = attend_and_pull(rounded, None, cotangent, **SIZES)
  assert found.dtype == gradients['key'].dtype == jnp.bfloat16
  np.testing.assert_allclose(np.float32(found), wanted, atol=0.02)
  for name in half:
    error = np.linalg.norm(np.float32(gradients[name]) - full[name])
    assert error < 0.01 * np.linalg.norm(full[name]), name


def test_one_shape_is_compiled_once(rng, inputs):
  attend(inputs, masks(T), **SIZES)
  count = _attend_and_pull._cache_size()
  attend(texts(rng), ~masks(T), **SIZES)
  assert _attend_and_pull._cache_size() == count
