"""The metric of word vectors against closed forms and finite differences."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp.nn.classifiers import PooledClassifier
from embedcomp.search import EmbedModule
from embedcomp.search.input_metric import WatchedEmbedding

V, D = 6, 4
IDS = np.array([[2, 3, 2], [4, 5, 1]])


@pytest.fixture(name='table')
def random_table(rng):
  return rng.normal(size=(V, D)).astype(np.float32)


def measured(output_fn, table, params=None, batches=(IDS,), **more):
  return embedcomp.measure_metric(
    output_fn, params, table, batches, progress=False, **more
  )


def of_trace_d(metric):
  return metric * (len(metric) / np.trace(metric))


def test_one_linear_output_has_one_direction(table, rng):
  """Every gradient is a multiple of the same vector, whatever u is."""
  kernel = rng.normal(size=D).astype(np.float32)
  found = measured(
    lambda kernel, embed, ids: embed(ids) @ kernel, table, kernel
  )
  expected = of_trace_d(np.outer(kernel, kernel))
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_many_linear_outputs_have_their_gram_matrix(table, rng):
  kernel = rng.normal(size=(D, 3)).astype(np.float32)
  found = measured(
    lambda kernel, embed, ids: embed(ids).mean(axis=1) @ kernel,
    table,
    kernel,
    batches=[np.tile(IDS, (500, 1))] * 4,
  )
  np.testing.assert_allclose(found, of_trace_d(kernel @ kernel.T), atol=0.1)
  assert np.trace(found) == pytest.approx(D)
  np.testing.assert_array_equal(found, found.T)
  assert np.linalg.eigvalsh(found)[0] > -1e-6


def unit_vectors(xp, words):
  """[B, D] of [B, T, D] words, which count the more the longer they are."""
  mixed = (words * xp.sqrt((words**2).sum(axis=-1, keepdims=True))).sum(axis=1)
  return mixed / xp.sqrt((mixed**2).sum(axis=-1, keepdims=True))


def test_finite_differences_find_the_same(table):
  """J'J of each token, from texts moved a little one number at a time."""
  words, step = table[IDS].astype(np.float64), 1e-6
  expected = np.zeros((D, D))
  for row, place in np.ndindex(IDS.shape):
    columns = []
    for feature in range(D):
      moved = [words.copy(), words.copy()]
      moved[0][row, place, feature] += step
      moved[1][row, place, feature] -= step
      more, less = (unit_vectors(np, each)[row] for each in moved)
      columns.append((more - less) / (2 * step))
    jacobian = np.stack(columns, axis=1)
    expected += jacobian.T @ jacobian
  found = measured(
    lambda _, embed, ids: unit_vectors(jnp, embed(ids)),
    table,
    batches=[np.tile(IDS, (500, 1))] * 4,
  )
  np.testing.assert_allclose(found, of_trace_d(expected), atol=0.1)


def test_outer_products_are_those_of_the_gradients(table, rng):
  """To the last digit, for words that come twice and for any axes of ids."""
  weights = rng.normal(size=(2, 3, 1, D)).astype(np.float32)
  ids = IDS[:, :, None]

  def loss(words):
    return (weights * words**3).sum()

  gradients = np.asarray(jax.grad(loss)(table[ids])).reshape(-1, D)
  found = jax.grad(lambda outer: loss(WatchedEmbedding(table, outer)(ids)))(
    jnp.zeros((D, D))
  )
  np.testing.assert_allclose(found, gradients.T @ gradients, rtol=1e-5)


def test_words_are_the_same_while_they_are_watched(table):
  embed = WatchedEmbedding(table, jnp.zeros((D, D)))
  np.testing.assert_array_equal(embed(IDS), table[IDS])
  assert np.isnan(embed(np.array([V]))).all()
  np.testing.assert_allclose(embed.attend(table), table @ table.T, rtol=1e-5)


def test_gradients_are_taken_half_way(table, rng):
  """Of x^2 / 2 the derivative is x, here of one word alone."""
  compressed = rng.normal(size=(V, D)).astype(np.float32)
  batches = [np.full((4000, 1), 2)] * 4
  for other, point in (
    (None, table[2]),
    (compressed, (table[2] + compressed[2]) / 2),
  ):
    found = measured(
      lambda _, embed, ids: embed(ids) ** 2 / 2,
      table,
      batches=batches,
      compressed=other,
    )
    expected = of_trace_d(np.diag(point.astype(np.float64) ** 2))
    np.testing.assert_allclose(found, expected, atol=0.15)


def test_all_outputs_count_and_words_that_are_scored_do_not(table):
  def output_fn(_, embed, batch):
    words = embed(batch['ids'])
    scores = embed.attend(jax.lax.stop_gradient(words))
    return {'first': words[..., 0], 'third': words[..., 2], 'scores': scores}

  found = measured(output_fn, table, batches=[{'ids': np.tile(IDS, (500, 1))}])
  expected = np.diag([2.0, 0, 2, 0])
  np.testing.assert_allclose(found, expected, atol=0.15)


def test_a_linen_model_takes_the_table_as_a_module(table):
  """What is padding has no gradient, however much of it there is."""
  model = PooledClassifier(nn.Embed(V, D), 3)
  params = model.init(jax.random.key(0), IDS)['params']
  rest = {name: params[name] for name in params if name != 'embedder'}

  def output_fn(params, embed, ids):
    return PooledClassifier(EmbedModule(embed), 3).apply(
      {'params': params}, ids
    )

  kernel = np.asarray(params['head']['kernel'])
  for ids in (IDS, np.pad(IDS, ((0, 0), (0, 9)))):
    found = measured(
      output_fn, table, rest, batches=[np.tile(ids, (500, 1))] * 4
    )
    np.testing.assert_allclose(found, of_trace_d(kernel @ kernel.T), atol=0.15)


def test_the_seed_decides(table):
  def output_fn(_, embed, ids):
    return embed(ids)

  first = measured(output_fn, table)
  np.testing.assert_array_equal(first, measured(output_fn, table))
  assert (first != measured(output_fn, table, seed=1)).any()


def test_what_cannot_be_measured_is_refused(table):
  def words(_, embed, ids):
    return embed(ids)

  with pytest.raises(ValueError, match='needs batches'):
    measured(words, table, batches=())
  with pytest.raises(ValueError, match='must depend on the words'):
    measured(lambda _, embed, ids: jnp.ones(3), table)
  with pytest.raises(ValueError, match='must depend on the words'):
    measured(lambda _, embed, ids: (), table)
  with pytest.raises(ValueError, match='outputs must be floats, got int32'):
    measured(lambda _, embed, ids: ids, table)
  with pytest.raises(ValueError, match='gradients must be finite'):
    measured(lambda _, embed, ids: jnp.sqrt(0 * embed(ids)), table)
  with pytest.raises(ValueError, match=r'shape of the table, \(6, 4\), got'):
    measured(words, table, compressed=table[1:])
  with pytest.raises(ValueError, match=r'the table must be \[V, D\]'):
    measured(words, table[0])
  with pytest.raises(ValueError, match='seed must be an int of at least 0'):
    measured(words, table, seed=-1)
