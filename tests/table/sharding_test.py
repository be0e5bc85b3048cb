"""Tables on meshes whose axes are explicit."""

import jax
import numpy as np
import pytest

from embedcomp.table import read
from tests.table.read_test import EVERY, params_of, plain_words


@pytest.mark.parametrize('is_stored', [False, True])
def test_the_axes_of_a_mesh_may_be_explicit(is_stored, rng):
  """Outputs are sharded like ids and hidden vectors, and are the same."""
  params = params_of(EVERY, 0, is_stored)
  table = plain_words(EVERY, params_of(EVERY, 0, is_stored=True))
  hidden = rng.normal(size=(4, 12)).astype(np.float32)
  explicit = (jax.sharding.AxisType.Explicit,)
  mesh = jax.make_mesh((4,), ('batch',), axis_types=explicit)
  with jax.set_mesh(mesh):
    params = jax.device_put(params, jax.P())
    there = jax.device_put(hidden, jax.P('batch'))
    logits = read.logits(EVERY, params, there)
    assert jax.typeof(logits).sharding.spec == jax.P('batch', None)
    np.testing.assert_allclose(logits, hidden @ table.T, rtol=1e-4, atol=2e-5)
    for num_tokens in (2, 300):  # read token by token, and in blocks
      ids = rng.integers(EVERY.vocab_size, size=(4, num_tokens))
      words = read.lookup(EVERY, params, jax.device_put(ids, jax.P('batch')))
      assert jax.typeof(words).sharding.spec == jax.P('batch', None, None)
      np.testing.assert_allclose(words, table[ids], rtol=1e-5, atol=3e-6)
    alone = read.lookup(EVERY, params, ids[0])  # of NumPy
    np.testing.assert_allclose(alone, table[ids[0]], rtol=1e-5, atol=3e-6)
