"""All losses together, against what models say when they are asked plainly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from embedcomp import Bert
from embedcomp.distillation import Objective, init_projection
from embedcomp.nn import SentenceEncoder
from embedcomp.nn.bert.outputs import OUTPUTS_COLLECTION, ModelOutputs
from tests.small_berts import CONFIG, IDS, random_params

MODEL = SentenceEncoder(CONFIG)
MASK = IDS != 0


def said_by(params, model=MODEL):
  apply = jax.jit(
    lambda params: model.apply(params, IDS, mutable=[OUTPUTS_COLLECTION])
  )
  return ModelOutputs.from_variables(*apply({'params': params}))


@pytest.fixture(scope='module')
def both():
  """A student and its teacher."""
  return said_by(random_params(MODEL)), said_by(random_params(MODEL, seed=1))


def test_what_is_sown_is_what_the_encoder_returns(both):
  params = random_params(MODEL)
  params = {'embedder': params['embedder'], **params['bert']}
  encoder = Bert(CONFIG, add_pooler=False)
  expected = encoder.apply({'params': params}, IDS, output_hidden_states=True)
  for state, other in zip(
    both[0].hidden_states, expected.hidden_states, strict=True
  ):
    np.testing.assert_allclose(state, other, atol=1e-5)
  # Queries, keys and values of the last layer, from the state below it.
  layer = params['layer_1']['query_key_value']
  projected = np.einsum(
    'btd,dcnh->btcnh', expected.hidden_states[1], layer['kernel']
  )
  np.testing.assert_allclose(
    both[0].query_key_value, projected + layer['bias'], atol=1e-5
  )


def test_nothing_is_sown_into_params_or_outputs_without_a_listener():
  variables = MODEL.init(jax.random.key(0), IDS)
  assert set(variables) == {'params'}


def plain_states(student, teacher, variances, pairs):
  errors = [
    np.square(student.hidden_states[i] - teacher.hidden_states[j])[MASK].mean()
    / variances[j]
    for i, j in pairs
  ]
  return np.mean(errors)


def plain_relations(student, teacher, num_heads):
  """KL of relations, a text, a kind and a head at a time."""
  found = []
  for text, length in enumerate(MASK.sum(1)):
    for kind in range(3):
      log_probs = []
      for one in (student, teacher):
        rows = np.asarray(one.query_key_value)[text, :length, kind]
        heads = rows.reshape(length, num_heads, -1).swapaxes(0, 1)
        scores = heads @ heads.swapaxes(1, 2) / np.sqrt(heads.shape[-1])
        log_probs.append(scipy.special.log_softmax(scores, axis=-1))
      own, theirs = log_probs
      rows = (np.exp(theirs) * (theirs - own)).sum(-1).mean(0)
      found += rows.tolist()
  return np.mean(found)


def test_each_part_is_as_worked_out_by_hand(both, rng):
  # Random weights make all texts alike; these vectors are not.
  vectors = rng.normal(size=(2, 2, 12)).astype(np.float32)
  student, teacher = (
    one.replace(output=output) for one, output in zip(both, vectors)
  )
  objective = Objective(
    embeddings=0.5,
    hidden=2.0,
    relations=3.0,
    sentence=4.0,
    similarities=5.0,
    relation_heads=2,
  ).measured(teacher, MASK)
  variances = [
    np.asarray(state)[MASK].var(0).mean() for state in teacher.hidden_states
  ]
  np.testing.assert_allclose(objective.variances, variances, rtol=1e-5)
  one, two = vectors
  lengths = [np.linalg.norm(v, axis=1) for v in (one, two)]
  expected = {
    'embeddings': plain_states(student, teacher, variances, [(0, 0)]),
    'hidden': plain_states(student, teacher, variances, [(1, 1), (2, 2)]),
    'relations': plain_relations(student, teacher, 2),
    'sentence': 1 - ((one * two).sum(1) / lengths[0] / lengths[1]).mean(),
    'similarities': (
      one[0] @ one[1] / lengths[0].prod() - two[0] @ two[1] / lengths[1].prod()
    )
    ** 2,
  }
  total, parts = objective.value(student, teacher, MASK, None)
  assert set(parts) == set(expected)
  for name, value in expected.items():
    np.testing.assert_allclose(parts[name], value, rtol=1e-4, err_msg=name)
  weights = [0.5, 2, 3, 4, 5]
  np.testing.assert_allclose(
    total, np.dot(weights, [*expected.values()]), rtol=1e-4
  )


def test_logits_are_odds_of_classes_or_one_number(rng):
  logits = rng.normal(size=(2, 2, 3)).astype(np.float32)
  objective = Objective(hidden=0, logits=1, temperature=2.0)
  student, teacher = map(ModelOutputs, logits)
  log_probs = [scipy.special.log_softmax(one / 2, axis=-1) for one in logits]
  expected = (
    4 * (np.exp(log_probs[1]) * (log_probs[1] - log_probs[0])).sum(-1).mean()
  )
  found, _ = objective.value(student, teacher, MASK, None)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  student, teacher = (ModelOutputs(one[:, :1]) for one in logits)
  found, _ = objective.value(student, teacher, MASK, None)
  expected = np.square(logits[0, :, 0] - logits[1, :, 0]).mean()
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_copy_has_nothing_to_learn(both):
  teacher = both[1]
  objective = Objective(relations=1, sentence=1, relation_heads=3)
  objective = objective.measured(teacher, MASK)

  @jax.jit
  @jax.value_and_grad
  def loss(student):
    return objective.value(student, teacher, MASK, jax.random.key(0))[0]

  value, slopes = loss(teacher)
  assert abs(value) < 1e-5
  for slope in jax.tree.leaves(slopes):
    np.testing.assert_allclose(slope, 0, atol=1e-5)
  assert loss(both[0])[0] > 1


def test_layers_learn_from_those_of_the_map(both):
  _, teacher = both
  student = ModelOutputs(
    both[0].output, both[0].hidden_states[:2]
  )  # of one layer
  objective = Objective(layer_map='uniform').measured(teacher, MASK)
  total, _ = objective.value(student, teacher, MASK, None)
  expected = plain_states(student, teacher, objective.variances, [(1, 2)])
  np.testing.assert_allclose(total, expected, rtol=1e-5)
  with pytest.raises(
    ValueError, match='identity map needs models of one depth'
  ):
    dataclasses.replace(objective, layer_map='identity').value(
      student, teacher, MASK, None
    )


def test_texts_without_tokens_do_not_count(both):
  """A row of padding, as batches are filled up with."""
  student, teacher = both
  objective = Objective(sentence=1).measured(teacher, MASK)
  filler = jax.tree.map(
    lambda a: jnp.concatenate([a, jnp.full_like(a, 9)]), both
  )
  mask = np.concatenate([MASK, np.zeros_like(MASK)])
  found, _ = objective.value(*filler, mask, None)
  expected, _ = objective.value(student, teacher, MASK, None)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_remat_tells_states_but_no_relations(both):
  again = said_by(random_params(MODEL), MODEL.clone(remat=True))
  for state, other in zip(
    again.hidden_states, both[0].hidden_states, strict=True
  ):
    np.testing.assert_allclose(state, other, atol=1e-5)
  objective = Objective(hidden=0, relations=1)
  with pytest.raises(ValueError, match='remat'):
    objective.value(again, both[1], MASK, None)


@pytest.mark.parametrize(
  ('fields', 'match'),
  [
    ({'hidden': -1.0}, 'must not be negative'),
    ({'hidden': 0.0}, 'all be zero'),
    ({'share': 0.0}, r'share must be in \(0, 1\], got 0.0'),
    ({'temperature': 0.0}, 'temperature must be positive'),
    ({'layer_map': 'every'}, "one of .*identity.*, got 'every'"),
  ],
)
def test_objectives_that_cannot_be(fields, match):
  with pytest.raises(ValueError, match=match):
    Objective(**fields)


def test_states_need_a_model_that_tells_them_and_their_variance(both):
  student, teacher = both
  with pytest.raises(ValueError, match='3 states of the teacher, got 0'):
    Objective().value(student, teacher, MASK, None)
  objective = Objective().measured(teacher, MASK)
  with pytest.raises(ValueError, match="sow its hidden states into 'distill"):
    objective.value(ModelOutputs(student.output), teacher, MASK, None)


def test_a_projection_is_a_student_of_the_other_width(both, rng):
  """Each state and vector, as if the student had the projected ones."""
  narrow, teacher = (
    one.replace(
      output=rng.normal(size=(2, 12)).astype(np.float32), query_key_value=None
    )
    for one in both
  )
  width = 5
  narrow = jax.tree.map(lambda array: array[..., :width], narrow)
  projection = rng.normal(size=(width, 12)).astype(np.float32)
  wide = jax.tree.map(lambda array: array @ projection, narrow)
  objective = Objective(embeddings=0.5, hidden=2.0, sentence=4.0)
  objective = objective.measured(teacher, MASK)
  found = objective.value(narrow, teacher, MASK, None, projection)
  expected = objective.value(wide, teacher, MASK, None)
  assert set(found[1]) == {'embeddings', 'hidden', 'sentence'}
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5),
    found,
    expected,
  )
  with pytest.raises(ValueError, match='a projection or the width'):
    objective.value(narrow, teacher, MASK, None)


def test_a_projection_starts_with_the_variance_of_its_input(rng):
  projection = init_projection(jax.random.key(0), 64, 400)
  states = 3 * rng.normal(size=(2000, 64))
  assert (states @ projection).std() == pytest.approx(3, rel=0.03)
