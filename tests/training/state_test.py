"""States and steps refuse what no optimizer may move."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import embedcomp
from embedcomp import Group, GroupedEmbed, Scheme, methods, training
from embedcomp.nn import PooledClassifier
from embedcomp.training.tasks import Task

SCHEME = Scheme(
  4,
  (
    Group(3, methods.Dense('bfloat16')),
    Group(6, methods.ProductQuantization(2, 3, 'int8')),
  ),
)
BATCH = {
  'ids': np.arange(16, dtype=np.int32).reshape(4, 4) % 9,
  'labels': np.array([0, 1, 0, 1]),
  'weights': np.ones(4, np.float32),
}
KEY = jax.random.key(0)


@pytest.fixture(scope='module')
def task():
  model = PooledClassifier(GroupedEmbed(SCHEME), num_classes=2)
  return Task('classification', model)


@pytest.fixture(scope='module')
def params(task):
  """Params of the model around a table in stored form."""
  params = embedcomp.to_params(task.init(KEY, BATCH))
  table = next(name for name, value in params.items() if 'group_0' in value)
  stored = embedcomp.quantize_params(SCHEME, params[table])
  return params | {table: stored}


def test_stored_params_are_refused_with_the_way_out(task, params):
  optimizer = optax.adam(1e-2)
  with pytest.raises(TypeError, match=r'3 stored.*embedcomp\.split_params'):
    training.TrainState.create(params, optimizer, KEY)
  trainable, stored = embedcomp.split_params(params)
  buffers = {'stored': stored}
  state = training.TrainState.create(trainable, optimizer, KEY, buffers=buffers)
  step = training.make_train_step(task.loss_fn, optimizer)
  with pytest.raises(TypeError, match=r'3 stored.*embedcomp\.split_params'):
    jax.jit(step)(state.replace(params=params), BATCH)
  moved, _ = jax.jit(step)(state, BATCH)
  jax.tree.map(np.testing.assert_array_equal, moved.buffers, buffers)
  assert any(jax.tree.leaves(jax.tree.map(jnp.any, moved.opt_state)))


def test_stored_params_are_measured_wherever_they_are(task, params):
  measure = training.make_evaluator(task)
  expected = measure(embedcomp.to_variables(params), [BATCH])
  assert measure({'params': params}, [BATCH]) == expected
