"""Relations and samples of tokens, against plain loops."""

import functools
import math

import jax
import numpy as np
import pytest
import scipy.special

from embedcomp import distillation
from embedcomp.attention.dot_product import attention_weights
from embedcomp.distillation import sample_tokens, take_tokens

LENGTHS = (5, 0, 2)
MASK = np.arange(5) < np.array(LENGTHS)[:, None]  # [3, 5]
draw = jax.jit(sample_tokens, static_argnums=2)
relation_loss = jax.jit(distillation.relation_loss, static_argnums=3)


def plain_relations(text, num_heads):
  """R(A) of the real tokens [T, N, H] of one text: a list of [T, T]."""
  features = text.reshape(len(text), text[0].size).astype(np.float64)
  relations = []
  for part in np.split(features, num_heads, axis=1):
    terms = np.exp(part @ part.T / math.sqrt(part.shape[1]))
    relations.append(terms / terms.sum(1, keepdims=True))
  return relations


def plain_losses(student, teacher, lengths, num_heads):
  """The loss of every real token."""
  losses = []
  for b in np.flatnonzero(lengths):
    length = lengths[b]
    pairs = zip(
      plain_relations(student[b, :length], num_heads),
      plain_relations(teacher[b, :length], num_heads),
    )
    kls = [(t * np.log(t / s)).sum(1) for s, t in pairs]
    losses.extend(np.mean(kls, 0))
  return losses


@pytest.mark.parametrize('num_heads', [1, 2, 6])
@pytest.mark.parametrize('heads', [(3, 4), (2, 6), (1, 6), (6, 1)])
def test_relations_of_any_heads_and_widths_compare(rng, heads, num_heads):
  student = rng.normal(size=(3, 5, *heads)).astype(np.float32)
  teacher = rng.normal(size=(3, 5, 4, 6)).astype(np.float32)
  found = relation_loss(student, teacher, MASK, num_heads)
  losses = plain_losses(student, teacher, LENGTHS, num_heads)
  np.testing.assert_allclose(found.weight, len(losses))
  np.testing.assert_allclose(found.value, np.mean(losses), 1e-5)


def test_a_loss_worked_by_hand():
  """Scores are 4 / sqrt(4) on the teacher's diagonal, zero elsewhere."""
  teacher = np.zeros((1, 2, 1, 4), np.float32)
  teacher[0, 0, 0, 0] = teacher[0, 1, 0, 1] = 2
  found = relation_loss(np.zeros_like(teacher), teacher, [[True, True]], 1)
  own = math.exp(2) / (math.exp(2) + 1)
  expected = own * math.log(2 * own) + (1 - own) * math.log(2 * (1 - own))
  np.testing.assert_allclose(found.value, expected, 1e-6)


def test_relations_are_attention_of_states_to_themselves(rng):
  """With as many relation heads as heads of attention."""
  student, teacher = rng.normal(size=(2, 3, 5, 2, 4)).astype(np.float32)
  mask = MASK.copy()
  mask[1, 0] = True
  weights = [
    np.asarray(attention_weights(a, a, mask)) for a in (student, teacher)
  ]
  kl = scipy.special.rel_entr(weights[1], weights[0]).sum(-1).mean(1)  # [B, T]
  found = relation_loss(student, teacher, mask, 2)
  np.testing.assert_allclose(found.value, kl[mask].mean(), 1e-5)


def test_one_token_relates_to_itself_alone(rng):
  student, teacher = rng.normal(size=(2, 1, 1, 2, 4))
  assert relation_loss(student, teacher, [[True]], 2).value == 0


def test_relations_do_not_change_under_rotations_within_heads(rng):
  student = rng.normal(size=(3, 5, 2, 4)).astype(np.float32)
  rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
  assert relation_loss(student, student @ rotation, MASK, 2).value < 1e-6
  assert relation_loss(student, student @ rotation, MASK, 4).value > 1e-3


@pytest.mark.parametrize('num_heads', [0, -1, 5])
def test_heads_that_do_not_divide_features_are_refused(num_heads):
  states = np.ones((3, 5, 3, 4))
  with pytest.raises(ValueError, match=rf'12 features, got {num_heads}'):
    relation_loss(states, states, MASK, num_heads)


@pytest.mark.parametrize('num_tokens', [1, 3, 5, 9])
def test_samples_are_of_real_tokens_without_repeats(num_tokens):
  for seed in range(20):
    positions, drawn = map(
      np.asarray, draw(jax.random.key(seed), MASK, num_tokens)
    )
    assert positions.shape == drawn.shape == (3, min(num_tokens, 5))
    for b, length in enumerate(LENGTHS):
      assert drawn[b].sum() == min(length, num_tokens)
      assert (positions[b][drawn[b]] < length).all()
      assert (np.diff(positions[b]) > 0).all()


def test_all_tokens_are_as_likely():
  mask = np.array([[True, False, True, True, False, True, True]])
  keys = jax.random.split(jax.random.key(0), 4000)
  positions, drawn = jax.jit(
    jax.vmap(functools.partial(sample_tokens, mask=mask, num_tokens=2))
  )(keys)
  assert np.asarray(drawn).all()
  shares = np.bincount(np.ravel(positions), minlength=7) / 4000
  # Five standard deviations of a share of 4,000 draws.
  np.testing.assert_allclose(shares, 0.4 * mask[0], atol=0.04)


def test_texts_draw_apart():
  positions, _ = draw(jax.random.key(0), np.ones((8, 40), bool), 6)
  assert len({tuple(row) for row in np.asarray(positions).tolist()}) == 8


def test_a_sample_of_all_tokens_is_the_text_itself(rng):
  """Gaps of padding go wherever they stood."""
  student, teacher = rng.normal(size=(2, 3, 5, 2, 4)).astype(np.float32)
  mask = rng.random((3, 5)) < 0.6
  positions, drawn = draw(jax.random.key(1), mask, 5)
  sampled = [take_tokens(a, positions) for a in (student, teacher)]
  found = relation_loss(*sampled, drawn, 2)
  expected = relation_loss(student, teacher, mask, 2)
  np.testing.assert_allclose(found.value, expected.value, 1e-6)
  assert found.weight == expected.weight == mask.sum()


def test_taken_states_are_those_at_the_positions(rng):
  states = rng.normal(size=(3, 5, 2, 4))
  positions = np.array([[0, 4], [1, 1], [3, 2]])
  found = take_tokens(states, positions)
  for b, p in np.ndindex(3, 2):
    np.testing.assert_allclose(found[b, p], states[b, positions[b, p]], 1e-6)


def test_samples_estimate_the_loss_of_all_tokens(rng):
  """Relations to half of the tokens are nearly as far apart as those to all."""
  num_tokens, texts = 128, 16
  teacher = rng.normal(size=(texts, num_tokens, 2, 8)).astype(np.float32)
  noise = rng.normal(size=teacher.shape).astype(np.float32)
  mask = np.arange(num_tokens) < rng.integers(100, 129, texts)[:, None]

  @jax.jit
  def estimate(student, key):
    positions, drawn = sample_tokens(key, mask, 64)
    sampled = [take_tokens(a, positions) for a in (student, teacher)]
    return distillation.relation_loss(*sampled, drawn, 2).value

  whole, found = [], []
  for scale in (0.2, 0.5):
    student = teacher + scale * noise
    whole.append(float(relation_loss(student, teacher, mask, 2).value))
    found.append(float(estimate(student, jax.random.key(0))))
  np.testing.assert_allclose(found, whole, 0.1)
  np.testing.assert_allclose(found[1] / found[0], whole[1] / whole[0], 0.05)


def test_gradients_reach_sampled_tokens_alone(rng):
  student, teacher = rng.normal(size=(2, 1, 6, 2, 4)).astype(np.float32)
  positions, drawn = sample_tokens(jax.random.key(0), np.ones((1, 6), bool), 3)

  def loss_of(states):
    sampled = [take_tokens(a, positions) for a in (states, teacher)]
    return distillation.relation_loss(*sampled, drawn, 2).value

  slope = np.asarray(jax.jit(jax.grad(loss_of))(student))
  reached = np.abs(slope).max((2, 3))[0] > 0
  np.testing.assert_array_equal(np.flatnonzero(reached), positions[0])


@pytest.mark.parametrize(
  ('mask', 'num_tokens', 'rule'),
  [
    (MASK, 0, 'num_tokens must be at least 1'),
    (MASK[0], 2, r'must be \[B, T\]'),
  ],
)
def test_samples_that_cannot_be_are_refused(mask, num_tokens, rule):
  with pytest.raises(ValueError, match=rule):
    sample_tokens(jax.random.key(0), mask, num_tokens)
