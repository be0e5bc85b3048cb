"""Sensitivities against closed forms and against moved tables."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp.nn.classifiers import PooledClassifier
from embedcomp.nn.language_models import RecurrentLanguageModel
from embedcomp.search import sensitivity
from embedcomp.search.embeddings import EmbedModule
from embedcomp.search.sensitivity import GatedEmbedding, measure_sensitivity
from embedcomp.training import tasks

V, D, CLASSES = 7, 4, 3
IDS = np.array([[2, 3, 2, 0], [4, 5, 0, 0]])
COUNTS = np.array([0, 0, 2, 1, 1, 1, 0])


def classifier(embedder):
  return PooledClassifier(embedder, CLASSES)


@pytest.fixture(name='variables')
def random_variables():
  return classifier(nn.Embed(V, D)).init(jax.random.key(0), IDS)


def closed_form(variables, direction_of, chance=0.0):
  """Mean over examples of 1/2 E[(dl / ds)^2]."""
  params = jax.tree.map(np.asarray, variables['params'])
  table, kernel = params['embedder']['embedding'], params['head']['kernel']
  expected = np.zeros(V)
  for row in IDS:
    words = row[row != 0]
    logits = table[words].mean(0) @ kernel + params['head']['bias']
    probabilities = np.exp(logits) / np.exp(logits).sum()
    drawn = (1 - chance) * probabilities + chance / CLASSES
    for word in set(words.tolist()):
      share = (words == word).mean()
      slopes = share * direction_of(word) @ kernel  # of each logit
      scores = slopes - probabilities @ slopes
      expected[word] += drawn @ scores**2 / 2 / len(IDS)
  return expected


def measured(variables, times=3000, chance=0.0, **batch):
  batch = {'ids': IDS, 'weights': np.ones(2), **batch}

  def log_likelihood_fn(params, embed, batch, key):
    model = classifier(EmbedModule(embed))
    drawn = tasks.Task(tasks.CLASSIFICATION, model).drawn_log_likelihood(
      {'params': params}, batch, key, chance=chance
    )
    return drawn, batch['weights'].sum()

  params = dict(variables['params'])
  table = params.pop('embedder')['embedding']
  found, seen = measure_sensitivity(
    log_likelihood_fn, params, table, [batch] * times, COUNTS, progress=False
  )
  expected = times * np.bincount(IDS.ravel(), minlength=V)
  np.testing.assert_array_equal(seen, expected)
  return found


@pytest.mark.parametrize('chance', [0.0, 0.3])
def test_drops_are_what_the_fisher_matrix_says(variables, chance):
  found = measured(variables, chance=chance)
  table = np.asarray(variables['params']['embedder']['embedding'])
  average = COUNTS @ table / COUNTS.sum()
  expected = closed_form(variables, lambda word: table[word] - average, chance)
  np.testing.assert_allclose(found.drops, expected, rtol=0.1, atol=1e-9)
  each = np.eye(D)
  squares = (
    sum(closed_form(variables, lambda _, e=e: e, chance) for e in each) / D
  )
  np.testing.assert_allclose(found.weights, squares, rtol=0.1, atol=1e-9)


def test_rows_without_weight_count_for_nothing(variables):
  alone = measured(variables, 3000, weights=np.array([1.0, 0.0]))
  assert (alone.drops[[4, 5]] == 0).all()
  both = measured(variables, 3000)
  # Twice, for the mean is over one example, not two.
  np.testing.assert_allclose(alone.drops[2], 2 * both.drops[2], rtol=0.1)


def test_nothing_to_measure_is_refused(variables):
  with pytest.raises(ValueError, match='weights are zero'):
    measured(variables, 1, weights=np.zeros(2))
  with pytest.raises(ValueError, match=r'between 0 and 1, got 1\.5'):
    measured(variables, 1, chance=1.5)


@pytest.mark.parametrize(
  'model', [classifier, lambda e: RecurrentLanguageModel(e, hidden_size=8)]
)
def test_gates_move_words_in_inputs_and_outputs(model, rng):
  variables = model(nn.Embed(V, D)).init(jax.random.key(0), IDS)
  params = dict(variables['params'])
  table = params.pop('embedder')['embedding']
  directions = rng.normal(size=(V, D)).astype(np.float32)
  embed = gated(table, directions, jnp.ones((2, V)))
  found = model(EmbedModule(embed)).apply({'params': params}, IDS)
  moved = dict(params, embedder={'embedding': table + directions})
  expected = model(nn.Embed(V, D)).apply({'params': moved}, IDS)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def gated(table, directions, gates):
  return GatedEmbedding(table, directions, gates, jnp.zeros(V))


def test_two_texts_of_an_example_share_its_gates(rng):
  """Texts come side by side: first and second of one example, of the next."""
  table, directions = rng.normal(size=(2, V, D)).astype(np.float32)
  gates = rng.normal(size=(2, V)).astype(np.float32)
  ids = rng.integers(0, V, (4, 3))
  found = gated(table, directions, gates)(ids)
  for row in range(4):
    for place, word in enumerate(ids[row]):
      moved = table[word] + gates[row // 2, word] * directions[word]
      np.testing.assert_allclose(found[row, place], moved, rtol=1e-5)


@pytest.mark.parametrize('shape', [(2,), (2, 3), (2, 3, 2)])
def test_ids_may_have_any_axes_after_the_examples(rng, shape):
  table, directions = rng.normal(size=(2, V, D)).astype(np.float32)
  gates = rng.normal(size=(2, V)).astype(np.float32)
  ids = rng.integers(0, V, shape)
  found = gated(table, directions, gates)(ids)
  for place in np.ndindex(shape):
    word = ids[place]
    moved = table[word] + gates[place[0], word] * directions[word]
    np.testing.assert_allclose(found[place], moved, rtol=1e-5)


def test_rows_of_no_example_are_refused(rng):
  table, directions = rng.normal(size=(2, V, D)).astype(np.float32)
  with pytest.raises(ValueError, match=r'each of the 2 examples .* got 3 rows'):
    gated(table, directions, np.ones((2, V)))(np.zeros((3, 4), int))


def test_lookups_are_counted_whatever_becomes_of_them():
  """Also inside of loops and of what is computed again."""

  def loss(counter):
    embed = GatedEmbedding(*jnp.ones((2, V, D)), jnp.ones((2, V)), counter)
    words = jax.checkpoint(lambda ids: 0 * embed(ids))(IDS)
    return jax.lax.map(embed, jnp.stack([IDS, IDS])).sum() + words.sum()

  counted = jax.grad(loss)(jnp.zeros(V))
  expected = 3 * np.bincount(IDS.ravel(), minlength=V)
  np.testing.assert_array_equal(counted, expected)


def test_tokens_in_one_axis_share_the_gates_of_their_example(rng):
  table, directions = rng.normal(size=(2, V, D)).astype(np.float32)
  gates = rng.normal(size=(2, V)).astype(np.float32)
  query = rng.normal(size=(2, 3, D)).astype(np.float32)
  embed = gated(table, directions, gates)
  flat = embed.attend(query.reshape(6, D))
  for example in range(2):
    moved = table + gates[example][:, None] * directions
    np.testing.assert_allclose(
      flat[3 * example : 3 * example + 3], query[example] @ moved.T, atol=1e-5
    )
  whole = embed.attend(query)
  np.testing.assert_allclose(whole.reshape(6, V), flat, atol=1e-5)


def test_importance_is_positive():
  found = sensitivity.Sensitivity(np.array([0.0, 4, 2]), np.ones(3))
  # A thousandth of the mean is added.
  np.testing.assert_allclose(found.importance, [0.002, 4.002, 2.002])
  nothing = sensitivity.Sensitivity(np.zeros(3), np.zeros(3)).importance
  assert (nothing > 0).all()
  assert len(set(nothing)) == 1


def test_words_are_ordered_by_drops_but_for_the_first():
  drops = np.array([0.0, 3.0, 1.0, 2.0])
  found = sensitivity.Sensitivity(np.ones(4), drops)
  assert found.order(fixed=1).tolist() == [0, 1, 3, 2]
  assert found.order().tolist() == [1, 3, 2, 0]
  moved = found.reordered(found.order())
  assert moved.drops.tolist() == [3.0, 2.0, 1.0, 0.0]


def test_words_that_were_not_seen_matter_as_the_average_word():
  # Four occurrences cost 2.0 on average; one more such is added to each word.
  part = sensitivity.Sensitivity(np.array([1.5, 0.5, 0.0]), np.ones(3))
  found = part.extrapolate(seen=[3, 1, 0], counts=[30, 10, 40])
  for_each = np.array([(4 * 1.5 + 2) / 4, (4 * 0.5 + 2) / 2, 2.0])
  expected = for_each * np.array([30, 10, 40]) / 80
  np.testing.assert_allclose(found.weights, expected)
  with pytest.raises(ValueError, match='positive, got 0 seen of 80'):
    part.extrapolate([0, 0, 0], [30, 10, 40])


def test_a_part_says_what_matters_in_all(rng):
  """Words that cost alike for each occurrence, seen often."""
  counts = np.array([4000, 2000, 1000, 1000])
  cost = np.array([3.0, 1.0, 2.0, 5.0])
  seen = rng.binomial(counts, 0.5)
  part = cost * seen / seen.sum()
  found = sensitivity.Sensitivity(part, 2 * part).extrapolate(seen, counts)
  np.testing.assert_allclose(found.weights, cost * counts / 8000, rtol=1e-2)
  np.testing.assert_allclose(found.drops, 2 * found.weights)


def test_blending_keeps_what_all_words_cost_together(rng):
  weights, drops, importance = rng.random((3, 9))
  measured = sensitivity.Sensitivity(weights, drops)
  found = measured.blended(importance, 0.25)
  np.testing.assert_allclose(found.weights.sum(), weights.sum())
  np.testing.assert_allclose(found.drops.sum(), drops.sum())
  all_of_it = measured.blended(importance, 1.0).drops
  np.testing.assert_allclose(
    all_of_it / importance, all_of_it[0] / importance[0]
  )
  np.testing.assert_array_equal(measured.blended(importance, 0).drops, drops)


def test_blending_is_a_mean_of_logarithms():
  measured = sensitivity.Sensitivity(
    np.array([8.0, 2, 0]), np.array([1.0, 1, 1])
  )
  found = measured.blended([9.0, 1, 1], 0.5).weights
  # sqrt(8 * 9) over sqrt(2 * 1)
  np.testing.assert_allclose(found[0] / found[1], 6, rtol=1e-5)
  assert 0 < found[2] < 0.01 * found[1]
