"""Windows of a text are read apart, and put together by their features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert
from embedcomp.nn.bert.heads import BertClassifier
from embedcomp.nn.bert.windowed import WindowClassifier

CONFIG = BertConfig(30, 8, 1, 2, 16, initializer_range=0.4)
PLAIN = BertClassifier(CONFIG, num_labels=3)
W, T = 3, 5


@pytest.fixture(scope='module')
def params():
  ids = jnp.ones((1, 4), jnp.int32)
  return jax.jit(PLAIN.init)(jax.random.key(0), ids)['params']


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, params, ids, **others):
  return model.apply({'params': params}, ids, **others)


@pytest.fixture
def ids(rng):
  """Three windows; of the second text the last is short, the third has one."""
  ids = rng.integers(1, 30, (3, W * T)).astype(np.int32)
  ids[1, 2 * T + 2 :] = 0
  ids[2, T:] = 0
  return ids


@pytest.mark.parametrize('pool', ['mean', 'max'])
def test_features_are_pooled_before_the_classifier(params, ids, pool):
  """Window by window through the encoder and its pooler, then in NumPy."""
  encode = jax.jit(Bert(CONFIG).apply)
  own = {
    'embedder': params['embedder'],
    'pooler': params['pooler'],
    **params['bert'],
  }
  expected = []
  for text in ids:
    windows = [window for window in text.reshape(W, T) if window.any()]
    features = [
      np.asarray(encode({'params': own}, window[None]).pooler_output[0])
      for window in windows
    ]
    pooled = np.max(features, 0)
    if pool == 'mean':
      pooled = np.average(features, 0, weights=[(w > 0).sum() for w in windows])
    last = params['classifier']
    expected.append(pooled @ last['kernel'] + last['bias'])
  model = WindowClassifier.around(PLAIN, T, pool)
  np.testing.assert_allclose(
    logits_of(model, params, ids), expected, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize('pool', ['mean', 'max'])
def test_one_window_is_the_plain_classifier(params, ids, pool):
  plain = logits_of(PLAIN, params, ids)
  for window in (W * T, 512):
    model = WindowClassifier.around(PLAIN, window, pool)
    np.testing.assert_allclose(
      logits_of(model, params, ids), plain, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('pool', ['mean', 'max'])
def test_the_order_of_windows_does_not_matter_nor_do_empty_ones(
  params, ids, pool
):
  model = WindowClassifier.around(PLAIN, T, pool)
  logits = logits_of(model, params, ids)
  turned = ids.reshape(3, W, T)[:, ::-1].reshape(3, W * T)
  longer = np.pad(ids, ((0, 0), (0, 2 * T)))
  for others in (turned, longer):
    np.testing.assert_allclose(
      logits_of(model, params, others), logits, rtol=1e-5, atol=1e-5
    )


def test_masks_and_token_types_are_those_of_their_window(params, ids):
  model = WindowClassifier.around(PLAIN, T)
  mask = ids != 0
  np.testing.assert_array_equal(
    logits_of(model, params, ids, attention_mask=mask.astype(np.int32)),
    logits_of(model, params, ids),
  )
  types = np.zeros_like(ids)
  types[:, T : 2 * T] = 1
  changed = logits_of(model, params, ids, token_type_ids=types)
  plain = logits_of(model, params, ids)
  assert (np.abs(changed - plain).max(1)[:2] > 1e-3).all()
  # What is left out by a mask need not be there.
  mask = mask.copy()
  mask[:, 2 * T :] = False
  np.testing.assert_allclose(
    logits_of(model, params, ids, attention_mask=mask),
    logits_of(model, params, ids[:, : 2 * T]),
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize('pool', ['mean', 'max'])
def test_a_row_of_padding_has_a_finite_gradient(params, ids, pool):
  model = WindowClassifier.around(PLAIN, T, pool)
  ids = np.concatenate([ids, np.zeros((1, W * T), np.int32)])

  def loss_fn(params):
    return jnp.square(model.apply({'params': params}, ids)).sum()

  gradients = jax.jit(jax.grad(loss_fn))(params)
  for gradient in jax.tree.leaves(gradients):
    assert np.isfinite(gradient).all()


def test_it_is_made_of_a_classifier_and_back():
  model = WindowClassifier.around(PLAIN, 7, 'max')
  assert (model.window, model.pool, model.num_labels) == (7, 'max', 3)
  assert model.of_one_window() == PLAIN


def test_what_cannot_be_read_says_why(params, ids):
  with pytest.raises(ValueError, match=r"pool must be one of .*, got 'sum'"):
    WindowClassifier(CONFIG, pool='sum')
  with pytest.raises(ValueError, match='whole windows of 4 tokens, got 15'):
    logits_of(WindowClassifier.around(PLAIN, 4), params, ids)
