"""Counts of words: what is refused, and what is made of them."""

import numpy as np
import pytest

from embedcomp.compression.counts import check_counts, with_room_for_sums


@pytest.mark.parametrize(
  ('counts', 'rule'),
  [
    ([1, 2], 'for each of 3 words, got 2'),
    ([1, -2, 3], r'not negative, got -2.0 for word 1'),
    ([1.0, 2.0, float('nan')], 'finite.*nan for word 2'),
    ([float('inf'), 2.0, 1.0], 'finite.*inf for word 0'),
    ([0, 0, 0], 'all be zero, got 3 zeros'),
    (['a', 'b', 'c'], 'numbers, got dtype'),
    ([True, False, True], 'numbers, got dtype bool'),
    ([1j, 2j, 3j], 'numbers, got dtype complex'),
    ([None, 1, 2], 'numbers, got dtype object'),
    ([[1], [2, 3], []], 'numbers'),
    ([[1, 2, 3]], r'got shape \(1, 3\)'),
    ([], r'got shape \(0,\)'),
    (3, r'got shape \(\)'),
  ],
)
def test_counts_that_are_wrong_are_refused(counts, rule):
  with pytest.raises(ValueError, match=rule):
    check_counts(counts, 3)


def test_check_counts_returns_float64():
  counts = check_counts(np.array([3, 0, 255], np.uint8), 3)
  assert counts.dtype == np.float64
  assert counts.tolist() == [3, 0, 255]


@pytest.mark.parametrize('unit', [1e-320, 0.3, 1.0, 1e306])
def test_room_for_sums_changes_no_ratio(unit):
  counts = np.array([3.0, 0.0, 1.0, 179.0]) * unit
  found = with_room_for_sums(counts)
  assert 0.5 <= found.max() < 1
  assert np.isfinite(np.tile(found, 1000).sum())
  np.testing.assert_array_equal(found / found.max(), counts / counts.max())
