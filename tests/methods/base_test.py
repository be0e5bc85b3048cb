"""What decoding blocks of words costs: their starts, and what is held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import methods
from embedcomp.methods import base
from embedcomp.types import Shape

SHAPE = Shape(64, 8)


@pytest.mark.parametrize('size', range(1, 12))
@pytest.mark.parametrize('block', [1, 2, 3, 5])
def test_full_blocks_cover_a_range(size, block):
  block = min(block, size)
  starts = base.block_starts(size, block)
  assert len(starts) == -(-size // block)
  assert starts.dtype == np.int32
  covered = [row for s in starts.tolist() for row in range(s, s + block)]
  assert set(covered) == set(range(size))


@pytest.mark.parametrize(
  ('dtype', 'size', 'is_held'),
  [
    ('bfloat16', 32, True),
    ('float16', 40, True),
    ('bfloat16', 31, False),
    ('float32', 40, False),
    ('uint16', 40, False),
    ('int8', 40, False),
  ],
)
def test_large_arrays_of_short_floats_are_held(dtype, size, is_held):
  params = {'a': {'b': jnp.ones(size, dtype)}}
  program = jax.make_jaxpr(lambda p, s: base.hold_floats(p, s, 32))(params, 0)
  held = [e for e in program.eqns if e.primitive.name == 'optimization_barrier']
  assert len(held) == is_held
  found = base.hold_floats(params, jnp.int32(0), 32)
  np.testing.assert_array_equal(found['a']['b'], params['a']['b'])


@pytest.mark.parametrize(
  ('method', 'is_held'),
  [
    (methods.Dense('bfloat16'), True),
    (methods.ProductQuantization(2, 16, 'bfloat16'), False),
  ],
)
def test_codebooks_are_not_held_while_words_are_decoded(
  method, is_held, monkeypatch
):
  """An array is large if a block of words, here of 32, fits into it."""
  monkeypatch.setattr(base, 'LOGITS_BLOCK', 32)
  stored = method.quantize(method.init(jax.random.key(0), SHAPE), SHAPE)
  hidden = np.ones((8, 8), np.float32)
  program = jax.make_jaxpr(lambda p, h: method.logits(p, h, SHAPE))(
    stored, hidden
  )
  assert ('optimization_barrier' in str(program)) == is_held
