"""Teachers, batches with what they say, and tasks that learn from it."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from embedcomp import training
from embedcomp.data import Encoded, TokenBatches
from embedcomp.distillation import Objective, TaughtBatches, Teacher
from embedcomp.nn import BertClassifier, SentenceEncoder
from embedcomp.training.tasks import Task
from tests.small_berts import CONFIG, random_params

ENCODER = SentenceEncoder(CONFIG)


def batches_of(num_texts=10, seed=0):
  rng = np.random.default_rng(5)
  texts = [
    Encoded(rng.integers(1, 20, n), np.zeros(n, int))
    for n in rng.integers(2, 7, num_texts)
  ]
  return TokenBatches(texts, np.zeros(num_texts, int), 4, seed, buckets=(4, 8))


def teacher_of(objective, model=ENCODER):
  teacher = Teacher(model, {'params': random_params(model)}, objective)
  return teacher.measured(batches_of().for_evaluation())


@pytest.fixture(scope='module')
def teacher():
  return teacher_of(Objective(sentence=1.0))


def test_a_teacher_says_no_more_than_is_asked_for(teacher):
  batch = batches_of().at(0)
  outputs = teacher(batch)
  assert len(outputs.hidden_states) == 3
  assert outputs.query_key_value is None
  expected = ENCODER.apply(
    teacher.variables, batch['ids'], token_type_ids=batch['token_types']
  )
  np.testing.assert_allclose(outputs.output, expected, atol=1e-5)
  objective = Objective(hidden=0, sentence=1)
  alone = dataclasses.replace(teacher, objective=objective)
  assert alone(batch).hidden_states == ()


@pytest.mark.slow
@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_students_become_their_teacher(teacher, wrap):
  task = Task('distillation', ENCODER, objective=teacher.objective)
  params = jax.tree.map(
    lambda a: a + 0.05 * np.sin(np.arange(a.size)).reshape(a.shape),
    teacher.variables['params'],
  )
  optimizer = optax.adam(0.003)
  state = training.TrainState.create(params, optimizer, jax.random.key(0))
  step = wrap(training.make_train_step(task.loss_fn, optimizer))
  taught = TaughtBatches(batches_of(), teacher)
  measure = training.make_evaluator(task)
  before = measure({'params': params}, taught.for_evaluation())
  losses, state = [], step.place(state)
  for number in range(45):
    state, metrics = step(state, step.shard(taught.at(number)))
    losses.append(float(metrics['loss']))
  after = measure({'params': state.params}, taught.for_evaluation())
  assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
  assert after['cosine'] > before['cosine']
  same = measure(teacher.variables, taught.for_evaluation())
  assert same['cosine'] == pytest.approx(1, abs=1e-5)
  assert same['loss'] == pytest.approx(0, abs=1e-5)


def test_labels_and_teacher_share_the_loss():
  model = BertClassifier(CONFIG, num_labels=3)
  taught = {}
  params = random_params(model, seed=1)
  for share in (0.25, 1.0):
    objective = Objective(hidden=0, logits=1, share=share)
    teacher = teacher_of(objective, model)
    task = Task('classification', model, objective=teacher.objective)
    batch = TaughtBatches(batches_of(), teacher).at(0)
    taught[share], weight, _ = task.loss_fn(params, {}, batch, None)
  plain = Task('classification', model)
  alone, _, _ = plain.loss_fn(params, {}, batch, None)
  assert weight == 4
  np.testing.assert_allclose(
    taught[0.25], 0.75 * alone + 0.25 * taught[1.0], rtol=1e-5
  )


def test_dropout_is_for_learning_from_labels():
  config = dataclasses.replace(CONFIG, hidden_dropout_prob=0.5)
  model = BertClassifier(config, num_labels=2)
  params = random_params(model)

  def loss(share):
    teacher = teacher_of(Objective(logits=1.0, share=share), model)
    task = Task('classification', model, objective=teacher.objective)
    batch = TaughtBatches(batches_of(), teacher).at(0)
    return task.loss_fn(params, {}, batch, jax.random.key(3))[0]

  assert loss(1.0) == pytest.approx(0, abs=1e-4)
  assert loss(0.5) > 0.1


def test_a_cache_is_asked_instead_of_the_teacher(teacher, tmp_path):
  path = tmp_path / 'said' / 'train.array_record'
  kept = TaughtBatches(batches_of(), teacher, path, progress=False)
  epochs = [[kept.at(3 * epoch + i) for i in range(3)] for epoch in range(2)]
  assert [p.name for p in path.parent.iterdir()] == ['train.array_record']
  for batches in epochs:
    for batch in batches:
      expected = teacher(batch)
      pair = map(jax.tree.leaves, (batch['teacher'], expected))
      for one, other in zip(*pair, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
  order = [[batch['ids'].tobytes() for batch in epoch] for epoch in epochs]
  assert sorted(order[0]) == sorted(order[1])
  assert order[0] != order[1]

  def refuse(batch):
    raise AssertionError('the teacher was asked')

  silent = dataclasses.replace(teacher)
  object.__setattr__(silent, '_apply', refuse)
  again = TaughtBatches(batches_of(), silent, path, progress=False)
  np.testing.assert_array_equal(again.at(4)['ids'], kept.at(4)['ids'])


def test_caches_of_other_batches_or_teachers_are_refused(teacher, tmp_path):
  path = tmp_path / 'said'
  TaughtBatches(batches_of(), teacher, path, progress=False).at(0)
  stranger = Teacher(
    ENCODER, {'params': random_params(ENCODER, seed=9)}, teacher.objective
  )
  for batches, other in (
    (batches_of(seed=1), teacher),
    (batches_of(), stranger),
  ):
    with pytest.raises(ValueError, match='other batches or of another teacher'):
      TaughtBatches(batches, other, path, progress=False).at(0)
  with pytest.raises(ValueError, match='must hold 5 batches, got 3'):
    TaughtBatches(batches_of(20), teacher, path, progress=False).at(0)
  path.write_bytes(b'damaged' * 50)
  with pytest.raises(ValueError, match='must hold 3 batches, got 0'):
    TaughtBatches(batches_of(), teacher, path, progress=False).at(0)


def test_a_teacher_that_fails_leaves_no_cache(teacher, tmp_path):
  path = tmp_path / 'said'
  broken = dataclasses.replace(teacher)

  def fail(*inputs):
    raise RuntimeError('no more memory')

  object.__setattr__(broken, '_apply', fail)
  with pytest.raises(RuntimeError, match='no more memory'):
    TaughtBatches(batches_of(), broken, path, progress=False).at(0)
  assert list(tmp_path.iterdir()) == []


def test_tasks_that_cannot_have_a_teacher():
  with pytest.raises(ValueError, match='needs a teacher'):
    Task('distillation', ENCODER)
  with pytest.raises(ValueError, match="got 'masked_lm'"):
    Task('masked_lm', ENCODER, objective=Objective())
  task = Task('distillation', ENCODER, objective=Objective())
  with pytest.raises(ValueError, match='TaughtBatches'):
    task.loss_fn(random_params(ENCODER), {}, batches_of().at(0), None)


def test_labels_are_evaluated_without_a_teacher():
  model = BertClassifier(CONFIG, num_labels=3)
  params, batch = random_params(model), batches_of().at(0)
  taught = Task('classification', model, objective=Objective())
  plain = Task('classification', model)
  found, expected = (
    task.loss_fn(params, {}, batch, None) for task in (taught, plain)
  )
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  with pytest.raises(ValueError, match='TaughtBatches'):
    taught.loss_fn(params, {}, batch, jax.random.key(0))
