"""Dense storage: the table itself, rounded row by row."""

import flax.linen as nn
import jax
import numpy as np

from embedcomp import methods
from embedcomp.types import Shape

SHAPE = Shape(11, 4)


def test_float32_is_flax_embed(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  method = methods.Dense()
  params = method.fit(table, np.ones(11), 0)
  embed = nn.Embed(*SHAPE)
  variables = {'params': {'embedding': table}}
  rows = np.array([[3, 10], [0, 3]])
  np.testing.assert_array_equal(
    method.lookup(params, rows, SHAPE), embed.apply(variables, rows)
  )
  hidden = rng.normal(size=(2, 4)).astype(np.float32)
  np.testing.assert_allclose(
    method.logits(params, hidden, SHAPE),
    embed.apply(variables, hidden, method=embed.attend),
    atol=1e-6,
  )


def test_each_row_has_its_own_scale():
  table = np.array([[1.0, -0.5], [100.0, 50.0]], np.float32)
  method = methods.Dense('int8')
  params = method.fit(table, np.ones(2), 0)
  words = method.lookup(params, np.arange(2), Shape(2, 2))
  np.testing.assert_allclose(words, table, rtol=0.01)
  assert method.num_bytes(Shape(2, 2)) == 4 + 2 * 2


def test_trained_scales_stay_in_use():
  method = methods.Dense('int4')
  params = method.init(jax.random.key(0), SHAPE)
  halved = dict(params['table'], scale=params['table']['scale'] / 2)
  words = method.lookup({'table': halved}, np.arange(11), SHAPE)
  largest = np.asarray(halved['scale'], np.float32) * 7 * 1.01
  assert (np.abs(words) <= largest).all()


def test_options_by_hand():
  found = methods.Dense.options(SHAPE)
  assert {o.num_bytes(SHAPE) for o in found} == {
    4 * 44,
    2 * 44,
    44 + 2 * 11,  # a scale of two bytes a word
    22 + 2 * 11,
  }
  assert len(found) == 5  # of two bytes there are bfloat16 and float16
