"""Tests that a step does the same on one device and on many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import training
from tests.training import tiny_run

ONE = functools.partial(training.data_mesh, jax.devices()[:1])


def plain_loss(params, buffers, batch, dropout_key):
  """Without dropout, which `pmap` draws by replica."""
  return tiny_run.loss_fn(params, buffers, batch, None)


def uneven_batch(step):
  """One shard of four has nothing, another nearly all of the weight."""
  batch = tiny_run.batch_of(step)
  batch['weights'][:2] = 0
  batch['weights'][2:4] = 50
  return batch


def states_and_metrics(step_fn, num_steps=5):
  state = step_fn.place(tiny_run.first_state())
  history = []
  for number in range(num_steps):
    state, metrics = step_fn(state, step_fn.shard(uneven_batch(number)))
    history.append(jax.device_get((state.params, state.opt_state, metrics)))
  return history


@pytest.mark.parametrize(
  'wrap', [training.jit_step, training.pmap_step], ids=['jit', 'pmap']
)
def test_many_devices_do_what_one_does(wrap):
  """Sums in another order differ in the last bits of float32 only."""
  step = training.make_train_step(plain_loss, tiny_run.OPTIMIZER)
  one = states_and_metrics(training.jit_step(step, ONE()))
  many = states_and_metrics(wrap(step))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=2e-7),
    one,
    many,
  )


def test_the_loss_is_a_mean_over_the_whole_batch():
  batch, state = uneven_batch(0), tiny_run.first_state()
  step = training.make_train_step(plain_loss, tiny_run.OPTIMIZER)
  step_fn = training.pmap_step(step)
  _, metrics = step_fn(step_fn.place(state), step_fn.shard(batch))
  weights = batch['weights'] / batch['weights'].sum()
  expected = weights @ batch['labels'] ** 2  # all predictions are zero
  np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-6)
  slope = -2 * weights * batch['labels']
  inputs = batch['inputs'] * np.arange(1, 4)
  norm = np.linalg.norm([*(slope @ inputs), slope.sum()])
  np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-6)


def noise_step(state, batch, axis_name=None):
  """Reports noise that replicas share, and the sum of what each has of its own.

  `held_out` noise of a search is Gumbel's; dropout's key differs.
  """
  key = state.step_key()
  own = jax.random.uniform(training.replica_key(key, axis_name))
  gumbel = jax.random.gumbel(key, (3,))
  if axis_name:
    gumbel = jax.lax.all_gather(gumbel, axis_name)
    own = jax.lax.all_gather(own, axis_name)
  return state.replace(step=state.step + 1), {'gumbel': gumbel, 'own': own}


def test_search_noise_is_equal_on_all_replicas_and_dropout_is_not():
  def noise(step_fn):
    state = step_fn.place(tiny_run.first_state())
    return step_fn(state, step_fn.shard(uneven_batch(0)))[1]

  jitted = noise(training.jit_step(noise_step))
  mapped = noise(training.pmap_step(noise_step))
  assert mapped['gumbel'].shape == (4, 3)
  for replica in mapped['gumbel']:
    np.testing.assert_array_equal(replica, jitted['gumbel'])
  assert len(np.unique(mapped['own'])) == 4


@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_steps_may_take_several_batches(wrap):
  def step(state, batch, held_out_batch, axis_name=None):
    sums = jnp.stack([batch['labels'].sum(), held_out_batch['labels'].sum()])
    return state, training.total(sums, axis_name)

  step_fn = wrap(step)
  batches = [uneven_batch(0), uneven_batch(1)]
  placed = [step_fn.shard(batch) for batch in batches]
  _, sums = step_fn(step_fn.place(tiny_run.first_state()), *placed)
  expected = [batch['labels'].sum() for batch in batches]
  np.testing.assert_allclose(sums, expected, rtol=1e-6)


@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_evaluation_is_a_mean_over_all_batches(wrap):
  step_fn = wrap(training.make_eval_step(tiny_run.loss_fn), donate=False)
  batches = [uneven_batch(0), tiny_run.batch_of(1)]
  state = step_fn.place(tiny_run.first_state())
  found = training.evaluate(step_fn, state, batches)
  weights = np.concatenate([batch['weights'] for batch in batches])
  labels = np.concatenate([batch['labels'] for batch in batches])
  assert set(found) == {'loss', 'error'}
  np.testing.assert_allclose(
    [found['loss'], found['error']],
    [np.average(labels**2, weights=weights),
     np.average(np.abs(labels), weights=weights)],
    rtol=1e-6,
  )  # fmt: skip
  assert not state.params['kernel'].is_deleted()


def test_there_must_be_something_to_evaluate():
  step_fn = training.jit_step(
    training.make_eval_step(tiny_run.loss_fn), donate=False
  )
  batch = {**tiny_run.batch_of(0), 'weights': np.zeros(8, np.float32)}
  for batches in ([], [batch]):
    with pytest.raises(ValueError, match='nothing to evaluate'):
      training.evaluate(step_fn, tiny_run.first_state(), batches)


def test_a_batch_without_weight_changes_nothing():
  step_fn = tiny_run.train_step()
  batch = {**tiny_run.batch_of(0), 'weights': np.zeros(8, np.float32)}
  state = tiny_run.first_state()
  new, metrics = step_fn(step_fn.place(state), step_fn.shard(batch))
  assert metrics['loss'] == 0
  np.testing.assert_array_equal(new.params['kernel'], state.params['kernel'])


@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_a_batch_must_divide_among_the_devices(wrap):
  step_fn = wrap(noise_step)
  with pytest.raises(ValueError, match=r'number of devices \(4\), got .*\(6,'):
    step_fn.shard({'inputs': np.zeros((6, 3))})
  with pytest.raises(ValueError, match=r'got an array of shape \(\)'):
    step_fn.shard({'inputs': np.float32(1)})


@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_one_compilation_a_shape(wrap):
  traces = []

  def step(state, batch, axis_name=None):
    traces.append(batch['labels'].shape)
    return train(state, batch, axis_name)

  train = training.make_train_step(tiny_run.loss_fn, tiny_run.OPTIMIZER)
  step_fn = wrap(step, ONE())
  # A weak type, as Python's numbers have, must not cost a second compilation.
  state = tiny_run.first_state().replace(step=0)
  state = step_fn.place(state)
  for size in (4, 8, 4, 8, 8):
    batch = {k: v[:size] for k, v in tiny_run.batch_of(size).items()}
    state, _ = step_fn(state, step_fn.shard(batch))
  assert len(traces) == 2


def test_keys_must_be_typed():
  with pytest.raises(ValueError, match=r'must be typed \(jax.random.key\)'):
    training.TrainState.create({}, tiny_run.OPTIMIZER, jax.random.PRNGKey(0))


@pytest.mark.parametrize('wrap', [training.jit_step, training.pmap_step])
def test_a_state_stays_usable_after_it_was_placed_and_donated(wrap):
  state = jax.device_put({'x': jnp.arange(3.0)}, jax.devices()[0])

  def step(state, batch, axis_name=None):
    return {'x': state['x'] + 1}, {'loss': jnp.float32(0)}

  wrapped = wrap(step)
  batch = wrapped.shard({'y': np.zeros((4, 1), np.float32)})
  wrapped(wrapped.place(state), batch)
  np.testing.assert_array_equal(state['x'], [0, 1, 2])
