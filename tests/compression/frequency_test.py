"""Tests of word frequencies: ranks, coverage, Zipf-Mandelbrot fits, bins."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.compression import frequency

COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=60).filter(any)


def zipf(num_words: int, exponent: float, shift: float) -> np.ndarray:
  shares = (np.arange(1, num_words + 1) + shift) ** -exponent
  return shares / shares.sum()


def test_rank_order_of_unsigned_counts_with_ties_and_zeros():
  counts = np.array([0, 5, 200, 5, 0], np.uint8)
  assert frequency.rank_order(counts).tolist() == [2, 1, 3, 0, 4]


@hypothesis.given(COUNTS)
def test_rank_order_sorts_by_count_then_id(counts):
  expected = sorted(range(len(counts)), key=lambda word: -counts[word])
  assert frequency.rank_order(counts).tolist() == expected


def test_coverage_of_hand_worked_counts():
  assert frequency.coverage([0, 1, 4, 5]).tolist() == [0.5, 0.9, 1.0, 1.0]
  assert frequency.coverage([7]).tolist() == [1.0]


@hypothesis.given(COUNTS)
def test_coverage_is_concave_and_ends_at_one(counts):
  shares = np.diff(frequency.coverage(counts), prepend=0.0)
  assert frequency.coverage(counts)[-1] == 1
  assert (np.diff(shares) <= 1e-12).all()


@pytest.mark.parametrize(
  ('exponent', 'shift'), [(1.1, 2.7), (0.9, 0.0), (1.5, 10.0)]
)
def test_fit_recovers_the_law_that_tokens_were_drawn_from(exponent, shift):
  rng = np.random.default_rng(0)
  counts = rng.multinomial(2_000_000, zipf(3000, exponent, shift))
  law = frequency.fit_zipf_mandelbrot(rng.permutation(counts))
  assert law.exponent == pytest.approx(exponent, abs=0.01)
  assert law.shift == pytest.approx(shift, abs=0.15)
  assert law.r_squared > 0.99
  assert law.ks_distance < 0.005
  ranks = np.arange(1, 3001)
  assert law.frequency(ranks).sum() == pytest.approx(2_000_000)


def test_fit_is_exact_on_exact_frequencies():
  shares = zipf(500, 1.2, 4.0)
  law = frequency.fit_zipf_mandelbrot(shares)
  assert law.exponent == pytest.approx(1.2, rel=1e-4)
  assert law.shift == pytest.approx(4.0, rel=1e-3)
  np.testing.assert_allclose(
    law.frequency(np.arange(1, 501)), shares, rtol=1e-4
  )
  assert law.r_squared == pytest.approx(1)
  assert law.ks_distance < 1e-5


def test_fit_leaves_out_words_that_never_occur():
  counts = np.array([50, 0, 20, 11, 0, 7, 5])
  assert frequency.fit_zipf_mandelbrot(counts) == (
    frequency.fit_zipf_mandelbrot(counts[counts > 0])
  )


def test_fit_of_equal_counts_is_flat_and_perfect():
  law = frequency.fit_zipf_mandelbrot([5, 5, 5, 5])
  assert law.exponent == pytest.approx(0, abs=1e-6)
  assert law.r_squared == pytest.approx(1)
  assert law.ks_distance == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('counts', [[9], [3, 0, 4, 0]])
def test_fit_needs_three_words_that_occur(counts):
  with pytest.raises(ValueError, match='at least 3 words that occur, got'):
    frequency.fit_zipf_mandelbrot(counts)


@pytest.mark.parametrize(
  ('weights', 'num_bins', 'min_size', 'expected'),
  [
    ([1], 8, 1, (0, 1)),
    ([1, 1, 1], 2, 5, (0, 3)),
    ([4, 3, 2, 1], 4, 1, (0, 1, 2, 3, 4)),
    ([4, 3, 2, 1], 9, 2, (0, 2, 4)),
    # Sizes 1, 2, 4, and each holds 1/3 of the mass: nothing needs to move.
    ([4, 2, 2, 1, 1, 1, 1], 3, 1, (0, 1, 3, 7)),
  ],
)
def test_bins_of_hand_worked_weights(weights, num_bins, min_size, expected):
  assert frequency.log_bins(weights, num_bins, min_size) == expected


@hypothesis.given(COUNTS, st.integers(1, 80), st.integers(1, 80))
def test_bins_are_valid_for_any_weights(counts, num_bins, min_size):
  weights = sorted(counts, reverse=True)
  points = frequency.log_bins(weights, num_bins, min_size)
  assert points[0] == 0
  assert points[-1] == len(weights)
  assert all(type(point) is int for point in points)
  sizes = np.diff(points)
  assert len(sizes) == min(num_bins, max(len(weights) // min_size, 1))
  assert (sizes >= min(min_size, len(weights))).all()


def test_bins_of_natural_frequencies_carry_comparable_mass():
  weights = zipf(30_000, 1.05, 5.0)
  points = frequency.log_bins(weights, 16)
  mass = np.add.reduceat(weights, points[:-1])
  assert mass.max() / mass.min() < 3
  growth = np.array(points[2:]) / points[1:-1]
  assert growth.max() < 3


def test_bins_cope_with_more_bins_than_floats_can_grow():
  points = frequency.log_bins(np.ones(5000), 5000)
  assert points == tuple(range(5001))


@pytest.mark.parametrize(
  ('num_bins', 'min_size', 'rule'),
  [(0, 1, 'num_bins'), (4, 0, 'min_size'), (2.0, 1, 'num_bins')],
)
def test_bins_name_the_argument_that_is_wrong(num_bins, min_size, rule):
  with pytest.raises(ValueError, match=f'{rule} must be an int'):
    frequency.log_bins([3, 2, 1], num_bins, min_size)


def test_order_around_fixed_ids_by_hand():
  counts = [0, 2, 9, 2, 5, 0]
  assert frequency.rank_order_around(counts, []).tolist() == (
    frequency.rank_order(counts).tolist()
  )
  assert frequency.rank_order_around(counts, [0]).tolist() == [0, 2, 4, 1, 3, 5]
  assert frequency.rank_order_around(counts, [5, 1]).tolist() == (
    [2, 1, 4, 3, 0, 5]
  )
  everything = range(6)
  assert frequency.rank_order_around(counts, everything).tolist() == (
    [*everything]
  )


@hypothesis.given(COUNTS, st.sets(st.integers(0, 59)))
def test_order_around_fixed_ids_is_an_order(counts, fixed):
  fixed = sorted(id for id in fixed if id < len(counts))
  order = frequency.rank_order_around(counts, fixed)
  assert sorted(order) == list(range(len(counts)))
  assert order[fixed].tolist() == fixed
  others = np.delete(order, fixed)
  assert others.tolist() == sorted(others, key=lambda id: (-counts[id], id))


@pytest.mark.parametrize('id', [-1, 3])
def test_fixed_ids_that_are_no_words_are_refused(id):
  with pytest.raises(ValueError, match=rf'in \[0, 3\), got {id}'):
    frequency.rank_order_around([1, 2, 3], [0, id])


@pytest.mark.parametrize('unit', [1e301, 1e-310])
def test_a_law_is_fitted_to_counts_of_any_magnitude(unit):
  """Sums of the largest of them are no float64."""
  counts = np.round(1e6 * zipf(300, 1.1, 2.0) / zipf(300, 1.1, 2.0)[0])
  law, found = (
    frequency.fit_zipf_mandelbrot(counts * factor) for factor in (1, unit)
  )
  for name in ('exponent', 'shift', 'r_squared', 'ks_distance'):
    assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-6)
  assert found.scale / unit == pytest.approx(law.scale, rel=1e-6)


def test_a_law_that_is_no_float64_is_refused():
  with pytest.raises(ValueError, match=r'up to 1.7e\+308 .* divide them'):
    frequency.fit_zipf_mandelbrot(np.linspace(1.7e308, 1.6e308, 40))


def test_contextual_importance_by_hand():
  found = frequency.contextual_importance([0.95, 0, 3.95])
  np.testing.assert_allclose(found, [1, 0.05**0.5, 2])
  with pytest.raises(ValueError, match='not negative'):
    frequency.contextual_importance([1, -1])


@hypothesis.given(COUNTS)
def test_contextual_importance_is_between_counts_and_none(counts):
  found = frequency.contextual_importance(counts)
  assert (found > 0).all()
  by_count = np.argsort(counts, kind='stable')
  assert (np.diff(found[by_count]) >= 0).all()
  # Shares of frequent words are smaller than by their counts.
  most = np.argmax(counts)
  assert found[most] / found.sum() <= counts[most] / sum(counts) + 1e-9
