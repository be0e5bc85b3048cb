"""Tables in all their forms, as a loss function sees them."""

import jax
import numpy as np
import pytest

from embedcomp import Group, GroupedEmbed, Scheme, methods
from embedcomp.nn import PooledClassifier
from embedcomp.nn.language_models import RecurrentLanguageModel
from embedcomp.search.embeddings import (
  CompressedEmbedding,
  DenseEmbedding,
  EmbedModule,
  SupernetEmbedding,
)
from embedcomp.training.tasks import Task
from tests.search.plain_supernet import (
  FEATURES,
  IDS,
  OPTIONS,
  SUPERNET,
  VOCAB,
  close,
  plain_table,
  weights,
)

CHOICE = np.array([1, 6, 3], np.int32)


def embeddings():
  """One of each form, with the table that it stands for."""
  table = plain_table(1)
  ranks = np.random.default_rng(1).permutation(VOCAB).astype(np.int32)
  choice = np.full(3, 1, np.int32)
  yield DenseEmbedding(table), table
  yield SupernetEmbedding(SUPERNET, *weights(), choice), table
  yield SupernetEmbedding(SUPERNET, *weights(), choice, ranks), table[ranks]
  scheme = Scheme(FEATURES, (Group(VOCAB, methods.Dense()),))
  params = {'group_0': methods.Dense().fit(table, np.ones(VOCAB), 0)}
  yield CompressedEmbedding(scheme, params), table


@pytest.mark.parametrize('number', range(4))
def test_words_are_looked_up_and_scored_by_the_callers_ids(number, rng):
  embedding, table = list(embeddings())[number]
  hidden = rng.normal(size=(2, 3, FEATURES)).astype(np.float32)
  close(jax.jit(embedding.__call__)(IDS), table[IDS])
  close(jax.jit(embedding.attend)(hidden), hidden @ table.T, atol=1e-5)


@pytest.mark.parametrize('number', range(4))
@pytest.mark.parametrize('wrong', [-1, VOCAB])
def test_ids_that_do_not_exist_give_no_other_word(number, wrong):
  embedding, _ = list(embeddings())[number]
  words = np.asarray(jax.jit(embedding.__call__)(np.array([[3, wrong]])))
  assert np.isfinite(words[0, 0]).all()
  assert np.isnan(words[0, 1]).all()


@pytest.mark.parametrize(
  'model',
  [
    lambda e: PooledClassifier(e, 3),
    lambda e: RecurrentLanguageModel(e, hidden_size=8),
  ],
)
def test_a_linen_model_has_no_params_of_its_table(model):
  scheme_embedding = list(embeddings())[3][0]
  embedder = GroupedEmbed(scheme_embedding.scheme)
  params = dict(model(embedder).init(jax.random.key(0), IDS)['params'])
  params['embedder'] = scheme_embedding.params
  expected = model(embedder).apply({'params': params}, IDS)
  del params['embedder']
  wrapped = model(EmbedModule(scheme_embedding))
  close(wrapped.apply({'params': params}, IDS), expected)
  assert set(wrapped.init(jax.random.key(0), IDS)['params']) == set(params)


def test_a_model_around_a_supernet_learns_weights_and_mixtures():
  params, buffers = weights()
  batch = {
    'ids': IDS,
    'labels': np.array([1, 2]),
    'weights': np.ones(2, np.float32),
  }
  model = PooledClassifier(EmbedModule(DenseEmbedding(plain_table(1))), 3)
  others = model.init(jax.random.key(0), IDS)['params']

  def loss_of(params, mixture):
    embed = SupernetEmbedding(SUPERNET, params, buffers, mixture)
    task = Task('classification', PooledClassifier(EmbedModule(embed), 3))
    return task.loss_fn(others, {}, batch, None)[0]

  relaxed = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1)))
  even = np.full((3, len(OPTIONS)), 1 / len(OPTIONS), np.float32)
  _, (of_weights, of_mixture) = relaxed(params, even)
  assert np.abs(of_weights['coefficients']).max() > 0
  assert np.abs(of_mixture).max() > 0
  # A mixture of one option is that option.
  chosen = jax.jit(loss_of)(params, CHOICE)
  loss, _ = relaxed(params, np.eye(len(OPTIONS), dtype=np.float32)[CHOICE])
  np.testing.assert_allclose(chosen, loss, rtol=1e-5)
