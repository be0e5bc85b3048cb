"""One step of a search, with a small linear model around a supernet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from embedcomp import methods, training
from embedcomp.compression.space import SearchSpace
from embedcomp.search import step as search_step
from embedcomp.search.controller import Controller, Schedule
from embedcomp.search.supernet import Supernet

OPTIONS = (methods.Dense(), methods.LowRank(1), methods.Drop())
SPACE = SearchSpace(3, (0, 2, 5, 12), OPTIONS, max_groups=2)
SUPERNET = Supernet(SPACE, 3)
CONTROLLER = Controller(SPACE)
# Two steps of warm-up, then five of search; logits move in steps 2, 4 and 6.
SCHEDULE = Schedule(7, warmup=2 / 7, every=2, multiplier_rate=0.5)
BUDGET = 60
OPTIMIZER = search_step.make_optimizer(
  optax.sgd(0.01), optax.adamw(0.1, weight_decay=0.5)
)
ONE = functools.partial(training.data_mesh, jax.devices()[:1])
BATCH, TOKENS = 8, 3


def loss_fn(params, buffers, mixture, batch, dropout_key):
  """Squared errors of sums of words; reports what mixture it was given."""
  words = SUPERNET.lookup(params['embedder'], buffers, mixture, batch['ids'])
  errors = batch['labels'] - words.sum(1) @ params['head']
  weights = batch['weights']
  sums = {'is_choice': weights.sum() * (mixture.ndim == 1)}
  if mixture.ndim == 1:
    options = weights.sum() * mixture.astype(jnp.float32)
    sums |= {'options': options, 'squares': options * mixture}
  return (weights * errors**2).sum(), weights.sum(), sums


def make_step():
  return search_step.make_search_step(loss_fn, OPTIMIZER, CONTROLLER, SCHEDULE)


@functools.cache
def variables():
  table = np.random.default_rng(0).normal(size=(12, 3))
  params, buffers = SUPERNET.from_table(table, np.ones(12))
  weights = {'embedder': params, 'head': jnp.arange(1.0, 4.0)}
  return weights, buffers


def first_state(step=0, multiplier=0.5, budget=BUDGET):
  weights, buffers = variables()
  params = {'weights': weights, 'architecture': CONTROLLER.init()}
  state = training.TrainState.create(
    params,
    OPTIMIZER,
    jax.random.key(7),
    buffers=buffers,
    extra=search_step.init_search_state(budget)
    | {'multiplier': jnp.float32(multiplier)},
  )
  return state.replace(step=jnp.int32(step))


def batch_of(seed, size=BATCH):
  """One shard of four has no weight, another nearly all of it."""
  rng = np.random.default_rng([1, seed])
  weights = rng.random(size).astype(np.float32)
  weights[:2], weights[2:4] = 0, 50
  return {
    'ids': rng.integers(0, 12, (size, TOKENS)).astype(np.int32),
    'labels': rng.normal(size=size).astype(np.float32),
    'weights': weights,
  }


@pytest.fixture(autouse=True, scope='module')
def compile_fast():
  """Compiling is nearly all that these tests wait for."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@functools.cache
def compiled(wrap=training.jit_step, mesh=ONE):
  """The step, and a list of its traces; it leaves old states alone."""
  traces = []

  def counted(*args, axis_name=None):
    traces.append(axis_name)
    return step(*args, axis_name=axis_name)

  step = make_step()
  return wrap(counted, mesh(), donate=False), traces


def take_step(state, train_seed=0, held_out_seed=1):
  step_fn, _ = compiled()
  batches = batch_of(train_seed), batch_of(held_out_seed)
  return step_fn(step_fn.place(state), *map(step_fn.shard, batches))


def assert_equal(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def differs(left, right):
  pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
  return any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)


@functools.cache
def history(*args):
  """Params, extra and metrics after each step of a whole search."""
  step_fn, _ = compiled(*args)
  state, found = step_fn.place(first_state()), []
  for number in range(SCHEDULE.num_steps):
    batches = batch_of(number), batch_of(100 + number)
    state, metrics = step_fn(state, *map(step_fn.shard, batches))
    found.append(jax.device_get((state.params, state.extra, metrics)))
  return found


WRAPPERS = [training.jit_step, training.pmap_step]


@pytest.mark.parametrize('wrap', WRAPPERS)
def test_many_devices_do_what_one_does(wrap):
  """Sums in another order differ in the last bits of float32 only."""
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-6),
    history(wrap, training.data_mesh),
    history(),
  )


@pytest.mark.parametrize('wrap', WRAPPERS)
def test_replicas_train_the_same_sizes(wrap):
  for _, _, metrics in history(wrap, training.data_mesh):
    # The mean over replicas of a square is the square of the mean.
    np.testing.assert_array_equal(metrics['squares'], metrics['options'] ** 2)


def test_weights_take_discrete_choices_and_the_largest_of_three():
  for number, (_, _, metrics) in enumerate(history()):
    assert metrics['is_choice'] == 1
    assert set(metrics['options'].tolist()) <= {0.0, 1.0, 2.0}
    if number % 3 == 0 and number < SCHEDULE.warmup_steps:
      np.testing.assert_array_equal(metrics['options'], [0, 0, 0])


def test_held_out_data_leaves_weights_alone_and_training_data_the_logits():
  state = first_state(SCHEDULE.warmup_steps)
  first, _ = take_step(state, 0, 1)
  held_out, _ = take_step(state, 0, 2)
  trained, _ = take_step(state, 2, 1)
  for name, other in [('weights', held_out), ('architecture', trained)]:
    assert_equal(other.params[name], first.params[name])
    assert differs(other.params[name], state.params[name])
  assert differs(held_out.params['architecture'], first.params['architecture'])
  assert differs(trained.params['weights'], first.params['weights'])


def architecture_state(state):
  return state.opt_state.inner_states['architecture'].inner_state.inner_state


def test_logits_and_their_optimizer_sleep_while_weights_are_warmed_up():
  """Decay would else fade the first ones, and Adam's counts start too late."""
  first = state = first_state()
  for number in range(SCHEDULE.warmup_steps):
    state, metrics = take_step(state, number, 9)
    assert metrics['held_out_loss'] == 0
  assert differs(state.params['weights'], first.params['weights'])
  assert_equal(state.params['architecture'], first.params['architecture'])
  assert_equal(architecture_state(state), architecture_state(first))
  assert state.extra['multiplier'] == first.extra['multiplier']
  assert metrics['multiplier'] == first.extra['multiplier']


def test_the_first_step_of_the_logits_is_one_of_adam():
  """Every logit moves by the learning rate, however long the warm-up was."""
  state = first_state()
  for number in range(SCHEDULE.warmup_steps + 1):
    state, _ = take_step(state, number)
  options = state.params['architecture']['options']  # from zero: no decay
  np.testing.assert_allclose(np.abs(options), 0.1, rtol=1e-3)


def test_logits_may_take_fewer_steps_than_weights():
  state = first_state()
  for number in range(SCHEDULE.num_steps):
    before, (state, metrics) = state, take_step(state, number, 9)
    is_due = number >= SCHEDULE.warmup_steps and number % 2 == 0
    architectures = [s.params['architecture'] for s in (before, state)]
    assert differs(*architectures) == is_due
    assert differs(*map(architecture_state, (before, state))) == is_due
    # What was measured last stands in the log until the next time.
    losses = [s.extra['held_out_loss'] for s in (before, state)]
    assert (losses[0] != losses[1]) == is_due
    assert metrics['held_out_loss'] == losses[1]
    assert differs(before.params['weights'], state.params['weights'])


def test_the_step_follows_the_gradient_of_what_the_module_states():
  """Relaxed held-out loss, price, penalty and entropy, put together by hand."""
  state = first_state(SCHEDULE.num_steps - 1, multiplier=0.7)
  batch = batch_of(1)
  sample_key = jax.random.split(state.step_key(), 4)[1]
  progress = 4 / 5
  temperature = 0.2**progress
  entropy = SCHEDULE.entropy * (2 * progress - 1)

  @jax.jit
  @jax.grad
  def gradient(architecture):
    sample = CONTROLLER.sample(architecture, sample_key, temperature)
    mixture = CONTROLLER.mixture(sample)
    loss, weight, _ = loss_fn(
      state.params['weights'], state.buffers, mixture, batch, None
    )
    probabilities = jax.tree.map(jax.nn.softmax, architecture)
    g = jnp.log(CONTROLLER.expected_bytes(probabilities) / BUDGET)
    price = 0.7 * g + 0.5 * jnp.maximum(g, 0) ** 2
    return loss / weight + price + entropy * CONTROLLER.entropy(architecture)

  old = state.params['architecture']
  assert CONTROLLER.excess(old, BUDGET) > 0
  new, _ = take_step(state, 0, 1)
  first_moment = architecture_state(new)[0].mu['architecture']
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-6),
    jax.tree.map(lambda moment: moment / 0.1, first_moment),  # 1 - b1
    gradient(old),
  )


def test_the_multiplier_follows_the_excess():
  state = first_state(SCHEDULE.warmup_steps)
  new, metrics = take_step(state)
  expected_bytes = CONTROLLER.expected_bytes(
    CONTROLLER.probabilities(state.params['architecture'])
  )
  excess = np.log(float(expected_bytes) / BUDGET)
  np.testing.assert_allclose(metrics['expected_bytes'], expected_bytes, 1e-6)
  expected = 0.5 + SCHEDULE.multiplier_rate * excess
  np.testing.assert_allclose(new.extra['multiplier'], expected, 1e-5)
  assert metrics['multiplier'] == new.extra['multiplier']
  assert metrics['temperature'] == 1
  assert 0 < metrics['entropy'] <= 1


@pytest.mark.parametrize('wrap', WRAPPERS)
def test_all_steps_are_one_compilation(wrap):
  """Neither the end of the warm-up nor any other step compiles again."""
  history(wrap, training.data_mesh)
  _, traces = compiled(wrap, training.data_mesh)
  assert len(traces) == 1


def test_budgets_may_exceed_two_gigabytes():
  state = first_state(budget=1 << 40)
  assert state.extra['budget'] == 2.0**40
  jax.eval_shape(make_step(), state, batch_of(0), batch_of(1))
