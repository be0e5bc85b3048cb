"""Tests that a run ends the same however often it is interrupted."""

import jax
import numpy as np
import pytest
import tiny_run


def assert_same(one, other):
  """To the bit."""
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An uninterrupted run: its folder and its last state."""
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, tiny_run.run(workdir)


class InterruptedRunError(Exception):
  pass


def interrupted_at(stop):
  def batch_at(step):
    if step == stop:
      raise InterruptedRunError
    return tiny_run.batch_at(step)

  return batch_at


@pytest.mark.parametrize('stops', [[3], [12, 27], [10, 10, 38]])
def test_resumed_is_uninterrupted(whole, tmp_path, stops):
  for stop in stops:
    with pytest.raises(InterruptedRunError):
      tiny_run.run(tmp_path, interrupted_at(stop))
  assert_same(tiny_run.run(tmp_path), whole[1])
  assert tiny_run.metrics_of(tmp_path) == tiny_run.metrics_of(whole[0])
