"""What scalars are expected to take and leave, against what they do."""

import numpy as np
import pytest

from embedcomp.methods import coded_sizes, entropy_coding
from embedcomp.methods.scalar_rates import best_rates

WORTHS = [0.85, 1.0, 1.5, 4.0, 30.0, 500.0, 4000.0]


def taken(variance, spread, rng):
  """Bits and squared error of normal numbers rounded to a step."""
  numbers = rng.normal(size=(20_000, 16)) * np.sqrt(variance)
  step = np.sqrt(variance) / spread
  values = np.clip(np.rint(numbers / step), -127, 127).astype(np.int8)
  size = entropy_coding.encode(values).size
  size -= coded_sizes.overhead(*values.shape)
  centres = {
    value: numbers[values == value].mean() for value in np.unique(values)
  }
  meant = np.vectorize(centres.get)(values)
  return max(8 * size / values.size, 0), np.mean((numbers - meant) ** 2)


@pytest.mark.parametrize('worth', WORTHS)
def test_rates_are_what_streams_take(worth, rng):
  rates = best_rates(np.array([worth * 0.01]), price=0.01)
  bits, error = taken(worth * 0.01, float(rates.spreads[0]), rng)
  assert rates.bits[0] == pytest.approx(bits, rel=0.012, abs=0.004)
  assert rates.errors[0] == pytest.approx(error, rel=0.015)


@pytest.mark.parametrize('worth', WORTHS)
def test_no_other_step_costs_less(worth, rng):
  rates = best_rates(np.array([worth]), price=1.0)
  own = float(rates.errors[0] + rates.bits[0])
  for factor in (0.5, 0.8, 1.25, 2.0):
    bits, error = taken(worth, float(rates.spreads[0]) * factor, rng)
    assert error + bits > own * 0.99


def test_what_is_not_worth_a_bit_takes_none():
  rates = best_rates(np.array([[0.0, 0.5], [0.79, 1e-40]]), price=1.0)
  assert rates.bits.tolist() == rates.spreads.tolist() == [[0, 0], [0, 0]]
  assert rates.errors.tolist() == [[0.0, 0.5], [0.79, 1e-40]]


def test_rates_rise_with_the_variance_and_scale_with_its_units():
  variances = np.exp(np.linspace(-1, 14, 400))
  rates = best_rates(variances, 1.0)
  assert (np.diff(rates.bits) >= 0).all()
  assert (rates.errors <= variances).all()
  # At high rates, 1.53 dB above the bound: a quarter of a bit a value.
  bound = 0.5 * np.log2(variances / rates.errors)
  assert 0.24 < (rates.bits - bound)[200] < 0.27
  scaled = best_rates(variances * 1e-6, 1e-6)
  np.testing.assert_allclose(scaled.bits, rates.bits, rtol=1e-9)
  np.testing.assert_allclose(scaled.errors, rates.errors * 1e-6, rtol=1e-9)
