"""Models are measured as plain NumPy measures them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from embedcomp import training
from embedcomp.training.tasks import Task

VOCAB, CLASSES = 7, 3
TRACES = []


class Scores(nn.Module):
  """Sums of rows of a table, times a number that is not trained."""

  num_scores: int = CLASSES

  @nn.compact
  def __call__(self, ids, *, deterministic=True):
    TRACES.append(ids.shape)
    shape = (VOCAB, self.num_scores)
    table = self.param('table', nn.initializers.normal(), shape)
    factor = self.variable('buffers', 'factor', jnp.float32, 1)
    scores = table[ids].sum(1) * factor.value
    return nn.Dropout(0.5)(scores, deterministic=deterministic)


def batches_of(rng, labels):
  """Of two shapes, unlike in weight; some rows have none."""
  return [
    {
      'ids': rng.integers(0, VOCAB, (size, 4)).astype(np.int32),
      'labels': labels(size),
      'weights': np.where(np.arange(size) < used, weight, 0).astype('f4'),
    }
    for size, used, weight in ((8, 8, 1), (4, 1, 5), (8, 6, 0.5))
  ]


def variables_of(rng, num_scores):
  table = rng.normal(size=(VOCAB, num_scores)).astype(np.float32)
  return {'params': {'table': table}, 'buffers': {'factor': np.float32(3)}}


def joined(batches, variables):
  """Scores in float64, labels and weights of all rows."""
  ids, labels, weights = (
    np.concatenate([batch[name] for batch in batches])
    for name in ('ids', 'labels', 'weights')
  )
  table = variables['params']['table'].astype(np.float64)
  return 3 * table[ids].sum(1), labels, weights


@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_means_are_over_all_batches_without_dropout(wrap, rng):
  batches = batches_of(rng, lambda size: rng.integers(0, CLASSES, size))
  variables = variables_of(rng, CLASSES)
  logits, labels, weights = joined(batches, variables)
  probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  losses = -np.log(probs[np.arange(len(labels)), labels])
  is_right = logits.argmax(1) == labels
  assert 0 < is_right @ weights < weights.sum()
  found = training.make_evaluator(Task('classification', Scores()), wrap)(
    variables, iter(batches)
  )
  assert list(found) == ['loss', 'accuracy']
  for name, values in (('loss', losses), ('accuracy', is_right)):
    expected = np.average(values, weights=weights)
    assert found[name] == pytest.approx(expected, rel=1e-6), name


def test_ranks_are_over_all_batches(rng):
  batches = batches_of(rng, lambda size: rng.normal(size=size).astype('f4'))
  variables = variables_of(rng, 1)
  scores, labels, weights = joined(batches, variables)
  scores, is_used = scores[:, 0], weights > 0
  measure = training.make_evaluator(Task('regression', Scores(1)))
  found = measure(variables, batches)
  expected = scipy.stats.spearmanr(scores[is_used], labels[is_used]).statistic
  assert found['spearman'] == pytest.approx(expected)
  squares = np.average((scores - labels) ** 2, weights=weights)
  assert found['loss'] == pytest.approx(squares, rel=1e-6)


def test_each_shape_compiles_once_and_variables_stay_usable(rng):
  batches = batches_of(rng, lambda size: rng.integers(0, CLASSES, size))
  measure = training.make_evaluator(Task('classification', Scores()))
  one, two = (
    jax.device_put(variables_of(rng, CLASSES), jax.devices()[0])
    for _ in range(2)
  )
  TRACES.clear()
  first = measure(one, batches)
  assert measure(two, batches) != first
  assert measure(one, batches) == first
  assert sorted(TRACES) == [(4, 4), (8, 4)]


def test_there_must_be_something_to_measure(rng):
  measure = training.make_evaluator(Task('classification', Scores()))
  with pytest.raises(ValueError, match='nothing to evaluate'):
    measure(variables_of(rng, CLASSES), [])
