"""Params that are not trained."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from embedcomp.nn import BertClassifier
from embedcomp.nn.bert.encoder import is_lower
from embedcomp.search.step import make_optimizer
from embedcomp.training import make_train_step, optimizers, partial_training
from embedcomp.training.state import TrainState
from embedcomp.training.tasks import Task
from tests.small_berts import CONFIG, IDS, random_params

BATCH = {
  'ids': IDS,
  'labels': np.array([0, 1]),
  'weights': np.ones(2, np.float32),
}


def in_lower(num_layers):
  return lambda path: is_lower(path, num_layers)


def make_optimizers():
  return optimizers.adam(0.1, 4, clip=1.0, weight_decay=0.1, accumulate=2)


@pytest.fixture(scope='module')
def params():
  return random_params(BertClassifier(CONFIG), BATCH['ids'])


def step_and_state(params, num_layers, remat=False):
  """A training step and the state before it."""
  task = Task('classification', BertClassifier(CONFIG, remat=remat))
  loss_fn, optimizer = partial_training.freeze(
    task.loss_fn, make_optimizers(), in_lower(num_layers)
  )
  state = jax.jit(functools.partial(TrainState.create, optimizer=optimizer))(
    params, key=jax.random.key(0)
  )
  return jax.jit(make_train_step(loss_fn, optimizer)), state


def test_what_is_below_a_layer():
  paths = {
    ('embedder', 'embedding'): True,
    ('embedder', 'group_0', 'table'): False,
    ('weights', 'embedder', 'basis'): False,
    ('bert', 'embeddings', 'position', 'embedding'): True,
    ('embeddings', 'norm', 'scale'): True,
    ('layer_1', 'mlp_in', 'kernel'): True,
    ('weights', 'bert', 'layer_2', 'attention', 'anchor'): False,
    ('bert', 'layer_10', 'mlp_in', 'kernel'): False,
    ('pooler', 'kernel'): False,
    ('bias',): False,
  }
  assert {path: is_lower(path, 2) for path in paths} == paths


@pytest.mark.parametrize('remat', [False, True])
def test_frozen_params_stay_and_the_others_learn(params, remat):
  step, state = step_and_state(params, 1, remat)
  for _ in range(4):
    state, metrics = step(state, BATCH)
  assert metrics['gradient_norm'] > 0
  # By NumPy, which compiles nothing for each shape.
  new_params = jax.device_get(state.params)
  moved = jax.tree.map(lambda a, b: (a != b).any(), params, new_params)
  for path, has_moved in jax.tree_util.tree_leaves_with_path(moved):
    keys = tuple(part.key for part in path)
    assert has_moved != is_lower(keys, 1), keys


def test_the_optimizer_remembers_what_is_trained_alone(params):
  _, state = step_and_state(params, 1)
  trained = [
    leaf.size
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if not is_lower(tuple(part.key for part in path), 1)
  ]
  found = [leaf.size for leaf in jax.tree.leaves(state.opt_state)]
  counts = [size for size in found if size == 1]
  # Two moments, and the sum of what is accumulated.
  assert sum(found) - len(counts) == 3 * sum(trained)


def test_trained_params_move_as_if_all_were_trained(params):
  """By plain descent; Adam's clipping knows the norm of them all."""
  task = Task('classification', BertClassifier(CONFIG))
  loss_fn, optimizer = partial_training.freeze(
    task.loss_fn, optax.sgd(1.0), in_lower(2)
  )

  def updates(loss_fn, optimizer):
    grads = jax.grad(lambda p: loss_fn(p, {}, BATCH, None)[0])(params)
    return optimizer.update(grads, optimizer.init(params), params)[0]

  found = jax.jit(updates, static_argnums=(0, 1))(loss_fn, optimizer)
  whole = jax.jit(updates, static_argnums=(0, 1))(task.loss_fn, optax.sgd(1.0))
  for name in ('pooler', 'classifier'):
    for leaf, expected in zip(
      jax.tree.leaves(found[name]), jax.tree.leaves(whole[name])
    ):
      np.testing.assert_allclose(leaf, expected, atol=1e-6)
  for leaf in jax.tree.leaves((found['bert'], found['embedder'])):
    assert not np.asarray(leaf).any()


@pytest.mark.parametrize('remat', [False, True])
def test_layers_below_have_no_gradient_to_compute(params, remat):
  whole = Task('classification', BertClassifier(CONFIG, remat=remat)).loss_fn
  partial, _ = partial_training.freeze(whole, optax.sgd(1.0), in_lower(2))

  def flops(loss_fn):
    grad = jax.grad(lambda p: loss_fn(p, {}, BATCH, jax.random.key(0))[0])
    return jax.jit(grad).lower(params).cost_analysis()['flops']

  assert flops(partial) < 0.5 * flops(whole)


def test_logits_of_a_search_learn_beside_frozen_weights(params):
  params = {'weights': params, 'architecture': {'logits': jnp.ones(3)}}
  _, weights = partial_training.freeze(None, make_optimizers(), in_lower(2))
  optimizer = make_optimizer(weights, optax.sgd(1.0))
  grads = jax.tree.map(np.ones_like, params)
  state = jax.jit(optimizer.init)(params)
  update = jax.jit(functools.partial(optimizer.update, is_due=True))
  for _ in range(3):  # the first rate is zero
    updates, state = update(grads, state, params)
  assert (np.asarray(updates['architecture']['logits']) == -1).all()
  assert not np.asarray(updates['weights']['embedder']['embedding']).any()
