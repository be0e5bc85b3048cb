"""Tasks of BERT's heads, from batches to metrics, against plain NumPy."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from embedcomp import training
from embedcomp.data import Encoded, TokenBatches
from embedcomp.nn.bert import heads
from embedcomp.nn.bert.config import BertConfig
from embedcomp.training.tasks import Task

CONFIG = BertConfig(20, 8, 1, 2, 16, hidden_dropout_prob=0.3)
HEADS = {
  'classification': heads.BertClassifier(CONFIG, num_labels=3),
  'regression': heads.BertClassifier(CONFIG, num_labels=1),
  'similarity': heads.SentenceEncoder(CONFIG),
  'masked_lm': heads.BertMaskedLM(CONFIG),
}


def encoded(rng, num_texts):
  """Random texts of 2 to 6 tokens, the last of the second type."""
  lengths = rng.integers(2, 7, num_texts)
  return [
    Encoded(rng.integers(1, 20, n), np.arange(n) // (n - 1)) for n in lengths
  ]


def batches_of(kind, num_texts=10, batch_size=8):
  """Two batches, the second one with fillers."""
  rng = np.random.default_rng(5)
  texts, pairs = encoded(rng, num_texts), encoded(rng, num_texts)
  labels = rng.integers(-1, 3, num_texts)
  if kind in ('regression', 'similarity'):
    labels = rng.integers(0, 4, num_texts) / 3
  return TokenBatches(
    texts,
    labels,
    batch_size,
    pairs=pairs if kind == 'similarity' else None,
    buckets=(6,),
  )


def batch_of(kind):
  if kind != 'masked_lm':
    return batches_of(kind).at(0)
  rng = np.random.default_rng(6)
  weights = np.ones((8, 2), np.float32)
  weights[3:5, 1] = weights[6] = 0
  return {
    'ids': rng.integers(1, 20, (8, 6)).astype(np.int32),
    'mask_positions': rng.integers(0, 6, (8, 2)).astype(np.int32),
    'labels': rng.integers(0, 20, (8, 2)).astype(np.int32),
    'weights': weights,
  }


@functools.cache
def build(kind):
  """A task and its params, far enough from zero for outputs to differ."""
  task = Task(kind, HEADS[kind])
  params = task.init(jax.random.key(0), batch_of(kind))['params']
  return task, jax.tree.map(lambda leaf: leaf * 3, params)


def outputs(kind, *inputs, **more):
  _, params = build(kind)
  apply = jax.jit(HEADS[kind].apply)
  return np.asarray(apply({'params': params}, *inputs, **more), np.float64)


def predictions(kind, batch):
  if kind == 'regression':
    types = batch['token_types']
    return outputs(kind, batch['ids'], token_type_ids=types)[:, 0]
  one, two = (outputs(kind, batch[name]) for name in ('ids', 'pair_ids'))
  lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
  return (one * two).sum(1) / np.maximum(lengths, 1e-12)


def state_of(params, seed=0):
  key = jax.random.key(seed)
  return training.TrainState.create(params, optax.sgd(0.01), key)


@pytest.mark.parametrize('kind', ['regression', 'similarity'])
@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_real_numbers_are_compared_over_the_whole_data_set(kind, wrap):
  """On four devices; rows that fill up the last batch do not count."""
  batches = list(batches_of(kind).for_evaluation())
  assert len(batches) == 2
  assert not batches[1]['weights'].all()
  task, params = build(kind)
  step = wrap(training.make_eval_step(task.loss_fn), donate=False)
  found = training.evaluate(step, step.place(state_of(params)), batches)
  rows = {
    'predictions': [predictions(kind, batch) for batch in batches],
    'labels': [batch['labels'] for batch in batches],
    'weights': [batch['weights'] for batch in batches],
  }
  rows = {name: np.concatenate(parts) for name, parts in rows.items()}
  for name, values in rows.items():
    np.testing.assert_allclose(
      found['rows'][name], values, rtol=1e-4, atol=1e-6
    )
  is_real = rows['weights'] > 0
  assert is_real.sum() == 10
  values, labels = rows['predictions'][is_real], rows['labels'][is_real]
  assert np.ptp(values) > 0.05
  expected = {
    'loss': np.square(values - labels).mean(),
    'spearman': scipy.stats.spearmanr(values, labels).statistic,
    'pearson': scipy.stats.pearsonr(values, labels).statistic,
  }
  summary = task.summarise({**found, 'weight': 1.0})
  assert summary.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(summary[name], value, rtol=1e-4, err_msg=name)


def test_classification_reads_token_types():
  batch = batch_of('classification')
  task, params = build('classification')
  loss_fn = jax.jit(lambda batch: task.loss_fn(params, {}, batch, None))
  loss, weight, sums = loss_fn(batch)
  logits = outputs(
    'classification', batch['ids'], token_type_ids=batch['token_types']
  )
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  losses = -np.take_along_axis(log_probs, batch['labels'][:, None], 1)[:, 0]
  assert 0 < weight < 8, 'labels that are unseen do not count'
  np.testing.assert_allclose(loss, losses @ batch['weights'], rtol=1e-5)
  is_right = logits.argmax(1) == batch['labels']
  assert sums['accuracy'] == is_right @ batch['weights']
  other = dict(batch, token_types=1 - batch['token_types'])
  assert loss_fn(other)[0] != loss


def test_masked_words_are_guessed_at_their_positions():
  batch = batch_of('masked_lm')
  task, params = build('masked_lm')
  loss, weight, sums = jax.jit(task.loss_fn)(params, {}, batch, None)
  logits = outputs('masked_lm', batch['ids'])  # [B, T, V], at all positions
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  rows = np.arange(8)[:, None]
  losses = -log_probs[rows, batch['mask_positions'], batch['labels']]
  expected = (losses * batch['weights']).sum()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert weight == batch['weights'].sum() == 12
  found = task.summarise({**sums, 'weight': weight})
  assert found['perplexity'] == pytest.approx(np.exp(expected / 12), rel=1e-4)


@pytest.mark.parametrize('kind', HEADS)
def test_gradients_are_finite_and_fillers_add_nothing(kind):
  """Also where a row is nothing but padding, which has no length."""
  batch, (task, params) = batch_of(kind), build(kind)
  weights = batch['weights'].copy()
  weights[5:] = 0
  batch = dict(batch, weights=weights)
  empty = {name: values.copy() for name, values in batch.items()}
  for values in empty.values():
    values[5:] = 0
  gradient = jax.jit(
    jax.grad(lambda params, b: task.loss_fn(params, {}, b, None)[0])
  )
  expected = gradient(params, batch)
  assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 0
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    gradient(params, empty),
    expected,
  )


@pytest.mark.parametrize('kind', ['similarity', 'masked_lm'])
def test_a_training_step_reports_scalars_and_drops_by_its_key(kind):
  task, params = build(kind)
  step = training.make_train_step(task.loss_fn, optax.sgd(0.01))
  step = training.jit_step(step, training.data_mesh(jax.devices()[:1]))
  losses = []
  for seed in (0, 0, 1):
    state = step.place(state_of(params, seed))
    _, metrics = step(state, step.shard(batch_of(kind)))
    assert all(np.ndim(value) == 0 for value in metrics.values())
    losses.append(float(metrics['loss']))
  assert losses[0] == losses[1] != losses[2]


class Constant(nn.Module):
  """A model that ignores its input."""

  value: tuple
  dtype: Any = np.float32

  @nn.compact
  def __call__(self, ids, *, deterministic=True):
    return np.asarray(self.value, self.dtype)


def test_squared_errors_by_hand():
  task = Task('regression', Constant(((1.0,), (4.0,), (0.0,))))
  batch = {
    'ids': np.zeros((3, 2), np.int32),
    'labels': np.array([2.0, 1.0, 5.0], np.float32),
    'weights': np.array([1, 1, 0], np.float32),
  }
  loss, weight, metrics = task.loss_fn({}, {}, batch, None)
  assert (loss, weight) == (10, 2)
  assert metrics['rows']['predictions'].tolist() == [1, 4, 0]
  assert task.losses({}, batch).tolist() == [1, 9, 25]
  found = task.summarise({**metrics, 'weight': weight})
  assert found == {
    'loss': 5,
    'spearman': pytest.approx(-1),
    'pearson': pytest.approx(-1),
  }


@pytest.mark.parametrize('dtype', [np.float32, jnp.bfloat16])
def test_cosines_by_hand(dtype):
  """Vectors of first and second texts come in turns; in float32 from there."""
  vectors = ((3.0, 4.0), (4.0, 3.0), (1.0, 0.0), (0.0, 9.0), (0, 0), (0, 0))
  task = Task('similarity', Constant(vectors, dtype))
  batch = {
    'ids': np.zeros((3, 2), np.int32),
    'pair_ids': np.zeros((3, 2), np.int32),
    'labels': np.array([0.46, 1.0, 0.0], np.float32),
    'weights': np.array([1, 1, 0], np.float32),
  }
  loss, _, metrics = task.loss_fn({}, {}, batch, None)
  found = metrics['rows']['predictions']
  np.testing.assert_allclose(found, [0.96, 0, 0], atol=1e-6)
  np.testing.assert_allclose(loss, 0.5**2 + 1, rtol=1e-5)
  np.testing.assert_allclose(task.losses({}, batch), [0.25, 1, 0], rtol=1e-5)


def test_a_regression_needs_one_logit():
  task = Task('regression', HEADS['classification'])
  params = build('classification')[1]
  with pytest.raises(ValueError, match=r'one logit a row, got \[8, 3\]'):
    task.loss_fn(params, {}, batch_of('regression'), None)


def test_metrics_have_a_direction():
  expected = {
    'regression': ('spearman', True),
    'similarity': ('spearman', True),
    'masked_lm': ('perplexity', False),
  }
  for kind, (metric, is_better) in expected.items():
    task = Task(kind, HEADS[kind])
    assert (task.metric, task.higher_is_better) == (metric, is_better)
