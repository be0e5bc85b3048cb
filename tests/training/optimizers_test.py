"""Tests of optimizers against steps worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from embedcomp.training import optimizers

PARAMS = {
  'embedder': {'group_0': {'table': jnp.full((2, 2), 2.0)}},
  'layer': {
    'kernel': jnp.full((2, 2), 2.0),
    'bias': jnp.full(2, 2.0),
    'norm': {'scale': jnp.full(2, 2.0)},
  },
}


def updates(optimizer, grads, steps=1):
  state, params = optimizer.init(PARAMS), PARAMS

  @jax.jit
  def step(grad, state, params):
    found, state = optimizer.update(grad, state, params)
    return state, optax.apply_updates(params, found)

  for grad in grads[:steps]:
    state, params = step(grad, state, params)
  return jax.tree.map(lambda new, old: np.asarray(new - old), params, PARAMS)


def constant(value):
  return jax.tree.map(lambda x: jnp.full(x.shape, value), PARAMS)


def test_the_rate_rises_and_falls_in_straight_lines():
  rates = optimizers.warmed_up(1.0, 11, 0.0909)
  found = [float(rates(step)) for step in range(12)]
  # Two steps up, then nine down to zero.
  np.testing.assert_allclose(found[:3], [0, 0.5, 1], atol=1e-6)
  np.testing.assert_allclose(np.diff(found[2:]), -1 / 9, atol=1e-6)
  assert found[-1] == pytest.approx(0, abs=1e-6)


def test_only_kernels_decay():
  plain = optimizers.adam(0.1, 100)
  decaying = optimizers.adam(0.1, 100, weight_decay=0.5)
  grads = [constant(1.0)] * 2
  without, with_decay = updates(plain, grads, 2), updates(decaying, grads, 2)
  # The second rate is 0.1: each kernel loses 0.1 * 0.5 of itself besides.
  np.testing.assert_allclose(
    with_decay['layer']['kernel'] - without['layer']['kernel'], -0.1, rtol=1e-4
  )
  for tree in (without, with_decay):
    tree['layer'].pop('kernel')
  jax.tree.map(np.testing.assert_array_equal, without, with_decay)


def test_tables_have_a_rate_of_their_own():
  grads = [constant(1.0)] * 2
  found = updates(optimizers.adam(0.1, 100, table_rate=3.0), grads, 2)
  np.testing.assert_allclose(found['layer']['bias'], -0.1, rtol=1e-4)
  table = found['embedder']['group_0']['table']
  np.testing.assert_allclose(table, -0.3, rtol=1e-4)


def test_accumulated_gradients_count_as_their_mean():
  """The rate goes by updates, not by batches."""
  grads = [constant(v) for v in (1.0, 3.0, -2.0, 6.0)] * 2
  means = [constant(v) for v in (2.0, 2.0)] * 2
  batches = updates(optimizers.adam(0.1, 8, accumulate=2, clip=1.0), grads, 8)
  one_by_one = updates(optimizers.adam(0.1, 4, clip=1.0), means, 4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
    batches,
    one_by_one,
  )
  halfway = updates(optimizers.adam(0.1, 4, accumulate=2), grads, 1)
  assert not any(leaf.any() for leaf in jax.tree.leaves(halfway))


def test_gradients_are_clipped_to_a_norm():
  """Adam's first step hides their size, but not what the second makes of it."""
  large, small = constant(20.0), constant(0.01)  # norms 69 and 0.03
  cut = constant(1 / np.sqrt(12))  # of the 12 numbers, of norm 1
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    updates(optimizers.adam(0.1, 9, clip=1.0), [large, small], 2),
    updates(optimizers.adam(0.1, 9), [cut, small], 2),
  )


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('accumulate', 0),
    ('accumulate', 1.5),
    ('weight_decay', -1.0),
    ('clip', -1.0),
    ('table_rate', float('nan')),
  ],
)
def test_what_cannot_be_is_refused(field, value):
  with pytest.raises(ValueError, match=field):
    optimizers.adam(0.1, 10, **{field: value})
