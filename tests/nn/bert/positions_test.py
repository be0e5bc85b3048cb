"""Longer tables of positions."""

import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp.nn import extend_positions


def make_table(rng, rows=9, features=4):
  return rng.normal(size=(rows, features)).astype(np.float32)


@pytest.mark.parametrize(('num_fixed', 'rows'), [(0, 30), (1, 31), (3, 64)])
def test_rows_lie_on_straight_lines_between_the_old_ones(rng, num_fixed, rows):
  table = make_table(rng)
  found = np.asarray(extend_positions(table, rows, num_fixed=num_fixed))
  assert found.shape == (rows, 4)
  np.testing.assert_array_equal(found[:num_fixed], table[:num_fixed])
  moved, num_new = table[num_fixed:], rows - num_fixed
  places = np.arange(num_new) * (len(moved) - 1) / (num_new - 1)
  for feature in range(4):
    expected = np.interp(places, np.arange(len(moved)), moved[:, feature])
    np.testing.assert_allclose(
      found[num_fixed:, feature], expected, rtol=1e-5, atol=1e-6
    )
  np.testing.assert_array_equal(found[-1], table[-1])


def test_twice_as_many_gaps_keep_every_row(rng):
  table = make_table(rng)
  found = np.asarray(extend_positions(table, 16))  # 7 gaps become 14
  np.testing.assert_allclose(found[1::2], table[1:], atol=1e-6)
  middles = (table[1:-1] + table[2:]) / 2
  np.testing.assert_allclose(found[2::2], middles, atol=1e-6)


def test_tiles_repeat_all_rows_but_the_fixed_ones(rng):
  table = make_table(rng)
  found = extend_positions(table, 26, 'tiled', num_fixed=2)
  expected = np.concatenate([table, table[2:], table[2:], table[2:5]])
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('how', ['interpolated', 'tiled'])
def test_a_table_of_the_same_length_is_the_same(rng, how):
  table = make_table(rng, rows=512)
  found = extend_positions(table, 512, how)
  np.testing.assert_array_equal(found, table)


def test_one_row_fills_a_table(rng):
  table = make_table(rng, rows=2)
  found = extend_positions(table, 5)
  np.testing.assert_array_equal(found, table[[0, 1, 1, 1, 1]])


def test_half_precision_stays(rng):
  table = jnp.asarray(make_table(rng), jnp.bfloat16)
  found = extend_positions(table, 20)
  assert found.dtype == jnp.bfloat16
  whole = extend_positions(table.astype(jnp.float32), 20)
  np.testing.assert_allclose(found.astype(np.float32), whole, rtol=0.01)


@pytest.mark.parametrize(
  ('rows', 'how', 'num_fixed', 'match'),
  [
    (8, 'tiled', 1, 'num_positions must be at least the 9 rows .* got 8'),
    (20, 'cubic', 1, "how must be one of .*got 'cubic'"),
    (20, 'tiled', 9, 'num_fixed must leave one of 9 rows .* got 9'),
    (20, 'tiled', -1, 'num_fixed must leave .* got -1'),
  ],
)
def test_bad_sizes_are_named(rng, rows, how, num_fixed, match):
  with pytest.raises(ValueError, match=match):
    extend_positions(make_table(rng), rows, how, num_fixed=num_fixed)
