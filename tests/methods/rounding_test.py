"""Rounding of known values, which needs no compilation, and of traced ones."""

import jax
import ml_dtypes
import numpy as np
import pytest

from embedcomp.methods import rounding


@pytest.mark.parametrize('dtype', [ml_dtypes.bfloat16, np.float16, np.float32])
def test_known_values_are_cast_as_traced_ones_are(dtype, rng):
  values = rng.normal(size=1000) * 10.0 ** rng.integers(-30, 30, size=1000)
  values = np.r_[values, 0, -0.0, 1e38, -1e38, np.inf].astype(np.float32)
  known = rounding.cast(values, np.dtype(dtype))
  traced = jax.jit(rounding.cast, static_argnums=1)(values, np.dtype(dtype))
  assert known.dtype == traced.dtype == dtype
  np.testing.assert_array_equal(known, traced)


@pytest.mark.parametrize('bits', [4, 8])
def test_known_values_have_the_grid_points_of_traced_ones(bits, rng):
  values = np.r_[50 * rng.normal(size=500), np.arange(-30, 30) + 0.5, np.nan]
  values = np.r_[values, np.inf, -np.inf].astype(np.float32)[:, None]
  for step in (0.25, 1, 3, 1e-30, 0):
    scale = np.array([[step]], rounding.SCALE_DTYPE)
    known = rounding.grid_points(values, scale, bits)
    traced = jax.jit(rounding.grid_points, static_argnums=2)(
      values, scale, bits
    )
    assert known.dtype == traced.dtype == np.int8
    np.testing.assert_array_equal(known, traced)
    if step == 1:  # to even, as NumPy rounds, and no further than the last
      limit = 2 ** (bits - 1) - 1
      wanted = np.clip(
        np.round(np.nan_to_num(values, posinf=999, neginf=-999)), -limit, limit
      )
      np.testing.assert_array_equal(known, wanted)
