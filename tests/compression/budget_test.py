"""Tests of budgets and tolerances: what is read, and what is refused."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from embedcomp.compression.budget import check_tolerance, parse_budget


@hypothesis.given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_bytes_factors_and_shares(dense_bytes, num_bytes):
  if num_bytes <= dense_bytes:
    assert parse_budget(num_bytes, dense_bytes) == num_bytes
  assert parse_budget('1x', dense_bytes) == dense_bytes
  assert parse_budget('2x', dense_bytes) == dense_bytes // 2
  assert parse_budget(0.5, dense_bytes) == dense_bytes // 2


@pytest.mark.parametrize(
  ('budget', 'num_bytes'),
  [
    (1, 1),
    (1000, 1000),
    (np.int64(7), 7),
    (np.uint8(200), 200),
    (np.float32(0.5), 500),
    (np.float16(0.25), 250),
    (0.0019, 1),
    ('40x', 25),
    ('2.5x', 400),
    ('3x', 333),
    ('1.x', 1000),
  ],
)
def test_budgets_of_a_thousand_bytes(budget, num_bytes):
  found = parse_budget(budget, 1000)
  assert (found, type(found)) == (num_bytes, int)


def test_factors_are_exact():
  # 33 / 1.1 is 29.999999999999996 in floating point.
  assert parse_budget('1.1x', 33) == 30


@pytest.mark.parametrize(
  'budget',
  [
    *(0, -5, 0.0, -0.5, 1.0, 1.5, float('nan'), float('inf')),
    *(True, False, np.True_, None, [3], (0.5,), 1j, np.array([0.5])),
    *('', 'x', '40', '40 x', ' 40x', '40X', '-4x', '0x', '0.0x', 'nanx'),
    *('infx', '1e2x', '4_0x', '40xx', '.x', '4,5x', '50%', '0.5x', '.001x'),
  ],
)
def test_anything_else_is_refused_by_name(budget):
  with pytest.raises(ValueError, match='budget must be a share in') as error:
    parse_budget(budget, 1000)
  assert repr(budget) in str(error.value)


@pytest.mark.parametrize('budget', [1001, np.int64(10**9)])
def test_more_than_the_dense_table_is_refused(budget):
  with pytest.raises(ValueError, match="at most the dense table's 1000 bytes"):
    parse_budget(budget, 1000)


@pytest.mark.parametrize(
  'tolerance', [0.5, 1e-9, np.float32(0.5), np.float64(0.999)]
)
def test_tolerances_may_be_numbers_of_numpy(tolerance):
  found = check_tolerance(tolerance)
  assert (found, type(found)) == (tolerance, float)


@pytest.mark.parametrize(
  'tolerance',
  [0, 1, 0.0, 1.0, -0.1, 1.5, float('nan'), 'a', '0.5', True, False, None, 1j],
)
def test_malformed_tolerances(tolerance):
  with pytest.raises(ValueError, match=r'tolerance must be in \(0, 1\), got'):
    check_tolerance(tolerance)
