"""Axes beside those that are stored."""

import numpy as np
import pytest

from embedcomp.methods.further_axes import full_axes, oriented


@pytest.mark.parametrize('rank', [1, 5, 11, 12])
def test_further_axes_are_orthonormal_and_orthogonal_to_the_others(rank, rng):
  axes = rng.normal(size=(rank, 12)).astype(np.float32)  # of any lengths
  found = np.asarray(full_axes(oriented(axes)))
  np.testing.assert_array_equal(abs(found[:rank]), abs(axes))
  others = found[rank:]
  np.testing.assert_allclose(others @ others.T, np.eye(12 - rank), atol=1e-5)
  np.testing.assert_allclose(others @ axes.T, 0 * axes[:, rank:].T, atol=1e-5)


def test_further_axes_move_with_the_axes(rng):
  """LAPACK's would jump where an entry of the axes changes its sign."""
  axes = oriented(rng.normal(size=(4, 9)).astype(np.float32))
  for sign in (0.0, -0.0, 1e-6, -1e-6):
    axes[0, 0] = sign
    found = np.asarray(full_axes(axes))
    if sign == 0:
      first = found
    np.testing.assert_allclose(found, first, atol=1e-4)


def test_orienting_keeps_reflections_from_cancelling(rng):
  axes = -np.eye(6, dtype=np.float32)[:3]  # v = x + |x| e1 would be zero
  found = np.asarray(full_axes(oriented(axes)))
  np.testing.assert_allclose(found, np.eye(6), atol=1e-6)
