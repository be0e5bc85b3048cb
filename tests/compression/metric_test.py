"""Metrics of word vectors: what is allowed, and the mix with the identity."""

import numpy as np
import pytest

import embedcomp
from embedcomp.compression import check_metric

METRIC = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]])


@pytest.mark.parametrize('mix', [0.0, 0.25, 1.0])
def test_a_mix_worked_by_hand(mix):
  """The trace of the metric is 9, of the identity 3."""
  expected = (1 - mix) * np.eye(3) + mix * METRIC / 3
  np.testing.assert_allclose(embedcomp.ridge_metric(METRIC, mix), expected)


@pytest.mark.parametrize('scale', [1e-30, 7, 1e30])
def test_the_scale_of_a_metric_does_not_count(scale):
  np.testing.assert_allclose(
    embedcomp.ridge_metric(METRIC * scale, 0.8),
    embedcomp.ridge_metric(METRIC, 0.8),
  )


def test_a_singular_metric_has_an_inverse_once_it_is_mixed(rng):
  vectors = rng.normal(size=(4, 9))
  metric = vectors.T @ vectors  # of rank 4
  check_metric(metric, 9)
  with pytest.raises(ValueError, match=r'positive eigenvalues alone.*ridge'):
    check_metric(metric, 9, definite=True)
  mixed = embedcomp.ridge_metric(metric, 0.99)
  check_metric(mixed, 9, definite=True)
  assert np.trace(mixed) == pytest.approx(9)
  np.testing.assert_allclose(np.linalg.eigvalsh(mixed)[0], 0.01)


def test_what_rounding_leaves_is_mended():
  metric = METRIC.astype(np.float32)
  metric[0, 1] += 1e-7
  found = check_metric(metric, 3)
  assert found.dtype == np.float64
  np.testing.assert_array_equal(found, found.T)
  np.testing.assert_allclose(found, METRIC, atol=1e-7)
  assert metric[0, 1] != metric[1, 0]  # the caller's own is left alone


def changed(row, column, value):
  metric = METRIC.copy()
  metric[row, column] = value
  return metric


@pytest.mark.parametrize(
  ('metric', 'reason'),
  [
    (np.eye(2), r'D = 3 features of the table, got shape \(2, 2\)'),
    (np.ones(3), r'got shape \(3,\)'),
    (np.ones((3, 2)), r'got shape \(3, 2\)'),
    ([[1, 2], [3]], r'metric must be \[D, D\] numbers'),
    (np.full((3, 3), 'x'), 'must be numbers, got dtype <U1'),
    (METRIC.astype(complex), 'must be numbers, got dtype complex128'),
    (changed(1, 2, np.nan), 'must be finite, got nan in row 1, column 2'),
    (changed(2, 2, np.inf), 'must be finite, got inf in row 2, column 2'),
    (np.zeros((3, 3)), 'must not be all zero'),
    (changed(0, 2, 0.5), r'must be symmetric, got entries that differ by 0\.5'),
    (changed(2, 2, -5), 'no negative eigenvalue, got -5'),
  ],
)
def test_what_is_no_metric_is_refused(metric, reason):
  with pytest.raises(ValueError, match=reason):
    check_metric(metric, 3)


@pytest.mark.parametrize('mix', [-0.1, 1.1, np.nan, True])
def test_a_mix_is_a_share(mix):
  with pytest.raises(
    ValueError, match=r'mix must be a number in \[0, 1\], got'
  ):
    embedcomp.ridge_metric(METRIC, mix)


@pytest.mark.parametrize('metric', [1.0, np.ones(3), np.zeros((0, 0))])
def test_only_a_metric_can_be_mixed(metric):
  with pytest.raises(ValueError, match=r'metric must be \[D, D\], got shape'):
    embedcomp.ridge_metric(metric, 0.5)
