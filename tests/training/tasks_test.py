"""Losses and metrics of tasks against plain NumPy."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from embedcomp import Group, GroupedEmbed, Scheme, methods
from embedcomp.training.tasks import Task

VOCAB, FEATURES, CLASSES = 12, 4, 3
SCHEME = Scheme(
  FEATURES,
  (Group(4, methods.Dense()), Group(8, methods.DifferentiableNearest(2, 3))),
)


class Model(nn.Module):
  """The least that a task needs: a score for each row, or for each token."""

  embedder: nn.Module
  by_token: bool

  @nn.compact
  def __call__(self, ids, *, deterministic=True):
    words = nn.Dropout(0.5)(self.embedder(ids), deterministic=deterministic)
    if self.by_token:
      return self.embedder.attend(words)
    return nn.Dense(CLASSES, name='head')(words.sum(1))


def batch_of(kind, seed=0):
  rng = np.random.default_rng(seed)
  shape = (16, 5) if kind == 'language_model' else (16,)
  largest = VOCAB if kind == 'language_model' else CLASSES
  weights = rng.random(shape).astype(np.float32)
  weights[rng.random(shape) < 0.4] = 0
  return {
    'ids': rng.integers(0, VOCAB, (16, 5)).astype(np.int32),
    'labels': rng.integers(0, largest, shape).astype(np.int32),
    'weights': weights,
  }


KINDS = ('classification', 'language_model')


@functools.cache
def build(kind):
  """A task, its variables and its compiled loss and gradient."""
  model = Model(GroupedEmbed(SCHEME), kind == 'language_model')
  task = Task(kind, model, commitment=0.5)
  variables = task.init(jax.random.key(0), batch_of(kind))
  params = variables.pop('params')

  def loss_fn(params, batch, dropout_key):
    loss, weight, sums = task.loss_fn(params, variables, batch, dropout_key)
    return loss, (weight, sums)

  value_and_grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
  return task, params, variables, value_and_grad


def sums_of(kind, batch, dropout_key=None):
  _, params, _, value_and_grad = build(kind)
  (loss, (weight, sums)), grads = value_and_grad(params, batch, dropout_key)
  return {'loss': loss, 'weight': weight, **sums}, grads


def plain_losses(kind, batch):
  """[...] cross-entropies in float64, and whether the best score is right."""
  task, params, variables, _ = build(kind)
  logits = task.model.apply({'params': params, **variables}, batch['ids'])
  logits = np.asarray(logits, np.float64)
  probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  labels = batch['labels'][..., None]
  losses = -np.log(np.take_along_axis(probs, labels, -1))[..., 0]
  return losses, logits.argmax(-1) == batch['labels']


@pytest.mark.parametrize('kind', KINDS)
def test_sums_over_a_batch(kind):
  batch = batch_of(kind)
  sums, _ = sums_of(kind, batch)
  losses, is_right = plain_losses(kind, batch)
  expected = {
    'loss': (losses * batch['weights']).sum(),
    'cross_entropy': (losses * batch['weights']).sum(),
    'weight': batch['weights'].sum(),
  }
  if kind == 'classification':
    expected['accuracy'] = (is_right * batch['weights']).sum()
    assert 0 < expected['accuracy'] < expected['weight']
  assert set(sums) == set(expected)
  for name, value in expected.items():
    np.testing.assert_allclose(sums[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize('kind', KINDS)
def test_what_has_no_weight_does_not_count(kind):
  """Neither do labels out of range, as of classes that training never saw."""
  batch = batch_of(kind)
  changed = dict(
    batch, labels=np.where(batch['weights'] == 0, -1, batch['labels'])
  )
  if kind == 'classification':
    empty = (batch['weights'] == 0)[:, None]
    changed['ids'] = np.where(empty, (batch['ids'] + 1) % VOCAB, batch['ids'])
  (sums, grads), (others, other_grads) = (
    sums_of(kind, b) for b in (batch, changed)
  )
  for name, value in sums.items():
    np.testing.assert_allclose(others[name], value, rtol=1e-6)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    other_grads,
    grads,
  )


def test_dropout_follows_its_key():
  batch = batch_of('classification')
  losses = [
    float(sums_of('classification', batch, key)[0]['cross_entropy'])
    for key in (None, None, *map(jax.random.key, (1, 1, 2)))
  ]
  assert losses[0] == losses[1]
  assert losses[2] == losses[3]
  assert len(set(losses)) == 3


@pytest.mark.parametrize('kind', KINDS)
def test_commitment_is_added_in_training_alone(kind):
  batch, key = batch_of(kind), jax.random.key(1)
  embedder = {'params': build(kind)[1]['embedder']}
  _, sown = GroupedEmbed(SCHEME).apply(
    embedder, batch['ids'], mutable=['losses']
  )
  terms = sown['losses']['commitment']
  assert terms[0] > 0
  trained, grads = sums_of(kind, batch, key)
  added = trained['loss'] - trained['cross_entropy']
  expected = 0.5 * batch['weights'].sum() * terms[0]
  np.testing.assert_allclose(added, expected, rtol=1e-4)
  evaluated, _ = sums_of(kind, batch)
  assert evaluated['loss'] == evaluated['cross_entropy']
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_embedders_may_have_no_commitment():
  task = Task('classification', Model(nn.Embed(VOCAB, FEATURES), False))
  batch = batch_of('classification')
  variables = task.init(jax.random.key(0), batch)
  assert set(variables) == {'params'}
  loss, _, sums = jax.jit(task.loss_fn)(
    variables['params'], {}, batch, jax.random.key(1)
  )
  assert loss == sums['cross_entropy']


def test_init_needs_one_row_and_leaves_no_losses():
  _, params, variables, _ = build('classification')
  assert set(params) == {'embedder', 'head'}
  assert not variables


@pytest.mark.parametrize('kind', KINDS)
def test_a_data_set_is_summarised_as_one_batch(kind):
  task = build(kind)[0]
  batches = [batch_of(kind, seed) for seed in (1, 2)]
  sums = [sums_of(kind, batch)[0] for batch in batches]
  total = {name: sum(float(s[name]) for s in sums) for name in sums[0]}
  losses, is_right = map(
    np.concatenate, zip(*(plain_losses(kind, batch) for batch in batches))
  )
  weights = np.concatenate([batch['weights'] for batch in batches])
  loss = np.average(losses, weights=weights)
  expected = {'loss': loss, 'perplexity': np.exp(loss)}
  if kind == 'classification':
    accuracy = np.average(is_right, weights=weights)
    expected = {'loss': loss, 'accuracy': accuracy}
  found = task.summarise(total)
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-5)
  assert task.metric in found


def test_metrics_have_a_direction():
  classification, language_model = (build(kind)[0] for kind in KINDS)
  assert (classification.metric, classification.higher_is_better) == (
    'accuracy',
    True,
  )
  assert (language_model.metric, language_model.higher_is_better) == (
    'perplexity',
    False,
  )


def test_perplexities_stay_finite():
  task = build('language_model')[0]
  found = task.summarise({'weight': 2.0, 'cross_entropy': 4000.0})
  assert found == {'loss': 2000.0, 'perplexity': np.exp(80.0)}


def test_there_must_be_something_to_summarise():
  with pytest.raises(ValueError, match='nothing to evaluate'):
    build('language_model')[0].summarise({'weight': 0, 'cross_entropy': 0})


def correlations_of(predictions, labels, weights=None):
  """Spearman's and Pearson's r of rows that carry some weight."""
  weights = np.ones(len(labels)) if weights is None else weights
  rows = {
    'predictions': np.array(predictions, np.float32),
    'labels': np.array(labels, np.float32),
    'weights': np.array(weights, np.float32),
  }
  sums = {'weight': 2.0, 'squared_error': 3.0, 'rows': rows}
  found = Task('regression', model=None).summarise(sums)
  assert found.pop('loss') == 1.5
  return found


def test_correlations_by_hand():
  """Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 of sqrt(4.5 * 5)."""
  found = correlations_of([0, 7, 7, 8], [-9, -1, 0, 1e30])
  assert found['spearman'] == pytest.approx(np.sqrt(0.9))
  # Deviations -1, 0, 1 against -1, 1, 0: 1 of sqrt(2 * 2).
  found = correlations_of([1, 2, 3], [0, 2, 1])
  assert found['pearson'] == pytest.approx(0.5)
  found = correlations_of([1, 2, 4], [3, 2, 0])
  assert found == {
    'spearman': pytest.approx(-1),
    'pearson': pytest.approx(-1),
  }


def test_only_rows_with_weight_correlate():
  found = correlations_of([1, 2, 3, 9], [0, 2, 1, 0], [1, 0.5, 1, 0])
  assert found['pearson'] == pytest.approx(0.5)


@pytest.mark.parametrize(
  ('predictions', 'labels'),
  [([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [0.5] * 3), ([1], [1])],
)
def test_what_is_constant_has_no_correlation(predictions, labels):
  found = correlations_of(predictions, labels)
  assert found == {'spearman': 0, 'pearson': 0}


def test_rounding_does_not_lead_beyond_one():
  first = np.array([0.8, 1.5], np.float32)
  found = correlations_of(first, 3 * first + 1)
  assert found['pearson'] <= 1
  assert found['pearson'] == pytest.approx(1)


def test_other_kinds_are_refused():
  with pytest.raises(ValueError, match=r"one of .* got 'ranking'"):
    Task('ranking', Model(nn.Embed(VOCAB, FEATURES), False))


@pytest.mark.parametrize('kind', KINDS)
def test_losses_are_those_of_single_labels(kind):
  batch = batch_of(kind)
  task, params, variables, _ = build(kind)
  found = jax.jit(task.losses)({'params': params, **variables}, batch)
  assert found.shape == batch['labels'].shape
  expected, _ = plain_losses(kind, batch)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  total = sums_of(kind, batch)[0]['loss']
  np.testing.assert_allclose((found * batch['weights']).sum(), total, rtol=1e-5)


class Output(nn.Module):
  """A model whose only param is what it puts out."""

  value: tuple

  @nn.compact
  def __call__(self, ids, *, deterministic=True):
    value = np.asarray(self.value, np.float32)
    return self.param('output', lambda key: value)


def drawn_slopes(kind, value, batch, num_draws, **more):
  """[draws, ...] gradients of drawn log-likelihoods by the model's output."""
  task = Task(kind, Output(value))
  variables = {'params': {'output': np.asarray(value, np.float32)}}

  def slope(key):
    def log_likelihood(variables):
      return task.drawn_log_likelihood(variables, batch, key, **more)

    return jax.grad(log_likelihood)(variables)['params']['output']

  keys = jax.random.split(jax.random.key(0), num_draws)
  return np.asarray(jax.jit(jax.vmap(slope))(keys))


@pytest.mark.parametrize('chance', [0.0, 0.5])
def test_classes_are_drawn_from_what_the_model_says(chance):
  """Slopes are e_k - p, with the probabilities that class k is drawn by."""
  probs = np.array([0.5, 0.3, 0.2])
  batch = {'ids': np.zeros((2, 1), np.int32), 'weights': np.array([2.0, 0.0])}
  value = (tuple(np.log(probs)),) * 2
  found = drawn_slopes('classification', value, batch, 4000, chance=chance)
  assert (found[:, 1] == 0).all(), 'what has no weight does not count'
  drawn = found[:, 0].argmax(-1)
  expected = 2 * (np.eye(3)[drawn] - probs)
  np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)
  shares = np.bincount(drawn, minlength=3) / 4000
  wanted = (1 - chance) * probs + chance / 3
  np.testing.assert_allclose(shares, wanted, atol=0.03)


def test_numbers_are_drawn_around_what_the_model_says():
  """Slopes of a normal log-likelihood: how far a draw is off, by weight."""
  batch = {'ids': np.zeros((2, 1), np.int32), 'weights': np.array([1.0, 3.0])}
  found = drawn_slopes('regression', ((5.0,), (-1.0,)), batch, 4000)[..., 0]
  np.testing.assert_allclose(found.mean(0), [0, 0], atol=0.15)
  np.testing.assert_allclose(found.std(0), [1, 3], rtol=0.05)


def test_similarities_are_drawn_around_cosines():
  """The cosine of (3, 4) and (1, 0) is 0.6."""
  batch = {
    'ids': np.zeros((1, 1), np.int32),
    'pair_ids': np.zeros((1, 1), np.int32),
    'weights': np.ones(1),
  }
  found = drawn_slopes('similarity', ((3.0, 4.0), (1.0, 0.0)), batch, 4000)
  # By the first vector: ((1, 0) - 0.6 (0.6, 0.8)) / 5, times a normal draw.
  direction = np.array([0.128, -0.096])
  scale = found[:, 0] @ direction / (direction @ direction)
  np.testing.assert_allclose(found[:, 0], scale[:, None] * direction, atol=1e-5)
  np.testing.assert_allclose(scale.std(), 1, rtol=0.05)
