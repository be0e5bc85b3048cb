"""Heads of the encoder; `bert_parity_test` has their numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp import Bert, BertConfig, Group, GroupedEmbed, Scheme, methods
from embedcomp.nn import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from tests import small_berts
from tests.small_berts import IDS, random_params

SIZES = small_berts.SIZES | {'num_hidden_layers': 1}
CONFIG = BertConfig(**SIZES)


def encode(params):
  """Hidden states by the encoder alone."""
  params = {'embedder': params['embedder']} | params['bert']
  encoder = Bert(CONFIG, add_pooler=False)
  return encoder.apply({'params': params}, IDS).last_hidden_state


@pytest.mark.parametrize(
  ('kind', 'names'),
  [
    (BertClassifier, {'pooler', 'classifier'}),
    (BertTokenClassifier, {'classifier'}),
    (BertMaskedLM, {'transform', 'transform_norm', 'bias'}),
    (SentenceEncoder, set()),
  ],
)
def test_params_are_words_encoder_and_head(kind, names):
  params = random_params(kind(CONFIG))
  assert set(params) == {'embedder', 'bert'} | names
  assert set(params['bert']) == {'embeddings', 'layer_0'}
  assert params['embedder']['embedding'].shape == (20, 12)


@pytest.mark.parametrize(
  ('family', 'activation'), [('bert', np.tanh), ('distilbert', jax.nn.relu)]
)
def test_a_text_is_classified_by_its_first_token(family, activation):
  config = BertConfig(**SIZES, model_type=family)
  model = BertClassifier(config, num_labels=1)
  params = random_params(model)
  pooler, classifier = params['pooler'], params['classifier']
  first = encode(params)[:, 0]
  features = activation(first @ pooler['kernel'] + pooler['bias'][None])
  expected = features @ classifier['kernel'] + classifier['bias'][None]
  found = model.apply({'params': params}, IDS)
  assert found.shape == (2, 1)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_token_is_classified_by_its_state():
  model = BertTokenClassifier(CONFIG, num_labels=4)
  params = random_params(model)
  layer = params['classifier']
  expected = encode(params) @ layer['kernel'] + layer['bias'][None, None]
  found = model.apply({'params': params}, IDS)
  assert found.shape == (2, 5, 4)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_words_are_scored_by_the_table_that_embeds_them():
  model = BertMaskedLM(CONFIG)
  params = random_params(model)
  found = model.apply({'params': params}, IDS)
  assert found.shape == (2, 5, 20)
  # The logits of two words whose rows are equal differ by their biases.
  table = params['embedder']['embedding']
  table[11] = table[12]
  found = model.apply({'params': params}, IDS)
  gap = params['bias'][11] - params['bias'][12]
  np.testing.assert_allclose(found[..., 11] - found[..., 12], gap, atol=1e-5)


def test_only_the_places_asked_for_are_scored():
  model = BertMaskedLM(CONFIG)
  params = random_params(model)
  places = np.array([[1, 3], [4, 0]])
  whole = np.asarray(model.apply({'params': params}, IDS))
  found = model.apply({'params': params}, IDS, mask_positions=places)
  expected = np.stack([whole[b, places[b]] for b in range(2)])
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_compressed_words_are_scored_as_their_table_is():
  scheme = Scheme(
    12,
    (Group(8, methods.Dense('int8')), Group(12, methods.LowRank(3))),
    order='stored',
  )
  words = embedcomp.quantize_params(
    scheme, embedcomp.init(jax.random.key(0), scheme)
  )
  params = random_params(BertMaskedLM(CONFIG))
  model = BertMaskedLM(CONFIG, GroupedEmbed(scheme))
  found = model.apply({'params': params | {'embedder': words}}, IDS)
  table = np.asarray(embedcomp.reconstruct(scheme, words))
  params['embedder'] = {'embedding': table}
  expected = BertMaskedLM(CONFIG).apply({'params': params}, IDS)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_sentence_is_the_mean_of_its_tokens():
  params = random_params(SentenceEncoder(CONFIG))
  hidden = np.asarray(encode(params))
  mean = np.stack([hidden[0, :4].mean(axis=0), hidden[1].mean(axis=0)])
  plain = SentenceEncoder(CONFIG, normalize=False)
  found = plain.apply({'params': params}, IDS)
  np.testing.assert_allclose(found, mean, atol=1e-5)
  unit = SentenceEncoder(CONFIG).apply({'params': params}, IDS)
  length = np.linalg.norm(mean, axis=1, keepdims=True)
  np.testing.assert_allclose(unit, mean / length, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


def test_a_text_without_tokens_has_finite_scores_and_gradients():
  model = SentenceEncoder(CONFIG)
  params = random_params(model)
  ids = np.zeros((1, 3), int)

  def total(params):
    return model.apply({'params': params}, ids).sum()

  value, gradients = jax.jit(jax.value_and_grad(total))(params)
  assert value == 0
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
  ('family', 'rate', 'is_random'),
  [
    ('bert', 0.0, False),
    ('bert', 0.5, True),
    ('bert', None, True),
    ('distilbert', 0.0, True),  # whose token classifier has the hidden rate
  ],
)
def test_dropout_of_a_classifier_is_its_own(family, rate, is_random):
  rates = {'hidden_dropout_prob': 0.5, 'classifier_dropout': rate}
  config = BertConfig(**SIZES, model_type=family, **rates)
  model = BertTokenClassifier(config)
  params = random_params(model)
  # States that dropout further down cannot change: those of the last norm.
  norm = params['bert']['layer_0']['mlp_norm']
  norm['scale'] *= 0

  def score(seed):
    rngs = {'dropout': jax.random.key(seed)}
    return model.apply({'params': params}, IDS, deterministic=False, rngs=rngs)

  assert np.allclose(score(0), score(1)) != is_random


@pytest.mark.parametrize(
  'kind', [BertClassifier, BertTokenClassifier, BertMaskedLM, SentenceEncoder]
)
def test_results_are_float32_whatever_the_arithmetic(kind):
  params = random_params(kind(CONFIG))
  half = kind(CONFIG, dtype=jnp.bfloat16).apply({'params': params}, IDS)
  assert half.dtype == jnp.float32
  whole = kind(CONFIG).apply({'params': params}, IDS)
  np.testing.assert_allclose(half, whole, atol=0.15)


@pytest.mark.parametrize(
  ('kwargs', 'match'),
  [
    ({'attention_mask': np.zeros((2, 5), np.float32)}, 'attention_mask > -1'),
    (
      {'attention_mask': np.ones(5, bool)},
      r'attention_mask must be .*\[2, 5\]',
    ),
    ({'token_type_ids': np.ones((2, 4), int)}, 'token_type_ids must have'),
  ],
)
@pytest.mark.parametrize('kind', [SentenceEncoder, BertMaskedLM])
def test_bad_inputs_are_named(kind, kwargs, match):
  """A head reads the mask as well as the encoder."""
  with pytest.raises(ValueError, match=match):
    jax.eval_shape(lambda: kind(CONFIG).init(jax.random.key(0), IDS, **kwargs))


@pytest.mark.parametrize(
  'positions', [np.array([1, 2]), np.ones((3, 2), int), np.ones((2, 2))]
)
def test_positions_to_score_are_integers_for_each_text(positions):
  with pytest.raises(ValueError, match=r'mask_positions must be \[2, '):
    jax.eval_shape(
      lambda: BertMaskedLM(CONFIG).init(
        jax.random.key(0), IDS, mask_positions=positions
      )
    )
