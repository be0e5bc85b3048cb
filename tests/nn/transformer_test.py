"""Tests of the parts that models of text share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp.nn.transformer import (
  Encoder,
  EncoderBlock,
  embed_words,
  sinusoids,
)

BATCH, LENGTH, FEATURES, HEADS = 2, 5, 8, 2
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)


class Words(nn.Module):
  rate: float

  @nn.compact
  def __call__(self, ids, deterministic):
    embedder = nn.Embed(9, 4, embedding_init=nn.initializers.ones)
    return embed_words(embedder, ids, self.rate, deterministic=deterministic)


def random_block(causal: bool):
  block = EncoderBlock(HEADS, 16, causal=causal)
  hidden = jax.random.normal(jax.random.key(0), (BATCH, LENGTH, FEATURES))
  params = jax.jit(block.init)(jax.random.key(1), hidden, MASK)['params']
  leaves, tree = jax.tree.flatten(params)
  # Biases begin as zeros and scales as ones, which would hide mistakes.
  rng = np.random.default_rng(2)
  leaves = [leaf + 0.2 * rng.normal(size=leaf.shape) for leaf in leaves]
  return block, {'params': jax.tree.unflatten(tree, leaves)}, hidden


def normalised(values: np.ndarray, params: dict) -> np.ndarray:
  centred = values - values.mean()
  centred /= np.sqrt(np.square(centred).mean() + 1e-6)
  return centred * params['scale'] + params['bias']


def plain_block(params: dict, rows: np.ndarray, allowed) -> np.ndarray:
  """One text, head by head and token by token, in float64.

  Args:
    params: of an `EncoderBlock`.
    rows: [T, D].
    allowed: [T, T] bool, True where a token (row) may read another.
  """
  weights = params['query_key_value']
  normed = np.stack([normalised(r, params['attention_norm']) for r in rows])
  out = np.zeros_like(rows)
  for head in range(HEADS):
    query, key, value = (
      normed @ weights['kernel'][:, part, head] + weights['bias'][part, head]
      for part in range(3)
    )
    for t in range(len(rows)):
      seen = np.flatnonzero(allowed[t])
      if not len(seen):
        continue
      terms = np.exp(key[seen] @ query[t] / np.sqrt(query.shape[1]))
      attended = terms / terms.sum() @ value[seen]
      out[t] += attended @ params['attention_out']['kernel'][head]
  rows = rows + out + params['attention_out']['bias'][None]
  result = []
  for row in rows:
    inner = normalised(row, params['mlp_norm']) @ params['mlp_in']['kernel']
    inner += params['mlp_in']['bias']
    waves = np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3))
    inner *= 0.5 * (1 + waves)
    row = row + inner @ params['mlp_out']['kernel'] + params['mlp_out']['bias']
    result.append(row)
  return np.stack(result)


@pytest.mark.parametrize('causal', [False, True])
def test_block_equals_plain_loops(causal):
  block, variables, hidden = random_block(causal)
  got = jax.jit(block.apply)(variables, hidden, MASK)
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
  for row, mask, rows in zip(got, MASK, np.asarray(hidden), strict=True):
    allowed = np.broadcast_to(mask[None], (LENGTH, LENGTH))
    if causal:
      allowed = np.tril(allowed)
    allowed = allowed & mask[:, None]
    expected = plain_block(params['params'], rows.astype(np.float64), allowed)
    np.testing.assert_allclose(row, expected, rtol=2e-4, atol=2e-5)


def test_masked_tokens_do_not_reach_others():
  block, variables, hidden = random_block(causal=False)

  def loss_fn(hidden):
    return jnp.sin(block.apply(variables, hidden, MASK)[1, :2]).sum()

  gradient = jax.jit(jax.grad(loss_fn))(hidden)
  assert not gradient[1, 2:].any()
  assert not gradient[0].any()
  assert gradient[1, :2].all()


def test_heads_must_divide_the_features():
  hidden = jnp.zeros((1, 2, 10))
  with pytest.raises(ValueError, match='10 features, got 4'):
    EncoderBlock(4, 8).init(jax.random.key(0), hidden, MASK[:1, :2])


@pytest.mark.parametrize(
  'mask',
  [np.where(MASK, 0, -1e4), MASK[:, :3], MASK[:, None], MASK.astype(int)],
)
def test_masks_are_booleans_of_each_token(mask):
  hidden = jnp.zeros((BATCH, LENGTH, FEATURES))
  with pytest.raises(ValueError, match='mask must be '):
    EncoderBlock(HEADS, 8).init(jax.random.key(0), hidden, mask)


def test_sinusoids_by_hand():
  got = sinusoids(3, 4)
  expected = [
    [0, 0, 1, 1],
    [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)],
    [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)],
  ]
  np.testing.assert_allclose(got, expected, atol=1e-7)
  assert got.dtype == np.float32
  assert sinusoids(7, 5).shape == (7, 5)


def test_encoder_tells_the_order_of_words():
  encoder = Encoder(1, 8, 2)
  words = jax.random.normal(jax.random.key(0), (1, 3, 4))
  mask = np.ones((1, 3), bool)
  variables = jax.jit(encoder.init)(jax.random.key(1), words, mask)
  apply_fn = jax.jit(encoder.apply)
  there = apply_fn(variables, words, mask)
  back = apply_fn(variables, words[:, ::-1], mask)[:, ::-1]
  assert there.shape == (1, 3, 8)
  assert np.abs(there - back).max() > 0.01


def test_words_left_out_are_zero_and_masked():
  ids = np.ones((50, 40), np.int32)
  ids[:, 20:] = 0
  module = Words(0.3)
  rngs = {'params': jax.random.key(0), 'dropout': jax.random.key(1)}
  (words, kept), _ = module.init_with_output(rngs, ids, False)
  np.testing.assert_array_equal(words[..., 0], kept)
  assert not kept[:, 20:].any()
  assert 0.65 < kept[:, :20].mean() < 0.75
  (words, kept), _ = module.init_with_output(rngs, ids, True)
  np.testing.assert_array_equal(kept, ids != 0)
