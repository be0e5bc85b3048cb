"""Priors start a search at the best measured division."""

import itertools

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.compression import RateDistortionCurve
from embedcomp.compression.distortion import measure_segments
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.search.controller import Controller
from embedcomp.search.prior import Prior

OPTIONS = (
  methods.Drop('int8'),
  methods.LowRank(2, 'int8', 'int8'),
  methods.Dense('int4'),
  methods.Dense('int8'),
)
SPACE = SearchSpace(8, (0, 16, 48, 112, 240), OPTIONS, max_groups=3)


@pytest.fixture(name='curve', scope='module')
def measured_curve():
  rng = np.random.default_rng(0)
  table = rng.normal(size=(240, 8)).astype(np.float32)
  weights = rng.permutation(1 / np.arange(1, 241))  # in no order
  weights[:16] += 1
  weighted = WeightedTable.create(table, importance=weights).in_id_order()
  segments = measure_segments(weighted, SPACE, progress=False)
  return RateDistortionCurve(weighted, SPACE, segments)


def division_of(space, logits):
  """Bins and options that are likeliest, group by group."""
  stops = sorted({int(row.argmax()) + 1 for row in logits['splits']})
  stops = [stop for stop in stops if stop < space.num_bins]
  edges = [0, *stops, space.num_bins]
  options = logits['options'].argmax(axis=1)
  return [
    (start, stop, int(options[group]))
    for group, (start, stop) in enumerate(itertools.pairwise(edges))
  ]


def price_of_a_byte(curve, budget):
  """Loss saved from four fifths to five quarters of a budget, for each byte."""
  low, high = max(budget * 4 // 5, curve.smallest_bytes), budget * 5 // 4
  losses = [
    sum(
      curve.segment(c.start, c.stop).losses[c.option]
      for c in curve.choices(size)
    )
    for size in (low, high)
  ]
  return (losses[0] - losses[1]) / (high - low)


@pytest.mark.parametrize('budget', [150, 300, 600, 1000, 1800])
def test_the_likeliest_division_is_the_best_one(curve, budget):
  found = division_of(SPACE, Prior(curve).logits(budget))
  best = curve.choices(budget)
  assert [f[:2] for f in found] == [(c.start, c.stop) for c in best]
  price = price_of_a_byte(curve, budget)
  for start, stop, option in found:
    segment = curve.segment(start, stop)
    costs = [
      loss + price * num_bytes if num_bytes >= 0 else np.inf
      for loss, num_bytes in zip(segment.losses, segment.num_bytes)
    ]
    assert option == int(np.argmin(costs))


@pytest.mark.parametrize('budget', [150, 300, 600])
def test_logits_are_costs_in_shares_of_the_best_loss(curve, budget):
  best = curve.choices(budget)
  segments = [curve.segment(choice.start, choice.stop) for choice in best]
  total = sum(s.losses[c.option] for s, c in zip(segments, best))
  price = price_of_a_byte(curve, budget)
  logits = Prior(curve, strength=10.0).logits(budget)
  for found, segment in zip(logits['options'], segments):
    costs = segment.losses + price * segment.num_bytes
    costs = np.where(segment.num_bytes < 0, np.inf, costs)
    expected = -10 * (costs - costs.min()) / total
    np.testing.assert_allclose(found, expected.clip(-8), rtol=1e-5)
    assert (expected > -8).sum() > 1  # more than the best one is told
  # Groups that are not there have no cost, and their splits are unused.
  assert not logits['options'][len(best) :].any()
  stops = [c.stop for c in best] + [4] * 3
  np.testing.assert_array_equal(
    logits['splits'], 4 * np.eye(4)[[stop - 1 for stop in stops[:2]]]
  )


def test_logits_have_the_form_that_a_controller_learns(curve):
  logits = Prior(curve).logits(600)
  expected = Controller(SPACE).init()
  assert set(logits) == set(expected)
  for name, value in expected.items():
    assert logits[name].shape == value.shape
    assert np.isfinite(logits[name]).all()


def test_a_stronger_prior_is_surer(curve):
  weak, strong = Prior(curve, 1.0), Prior(curve, 5.0)
  assert weak.temperature(600) == pytest.approx(5 * strong.temperature(600))
  total = sum(
    curve.segment(c.start, c.stop).losses[c.option] for c in curve.choices(600)
  )
  assert weak.temperature(600) == pytest.approx(total)


def test_a_prior_without_strength_is_refused(curve):
  with pytest.raises(ValueError, match='must be positive, got 0'):
    Prior(curve, 0.0)


def test_a_table_that_loses_nothing_has_a_prior():
  weighted = WeightedTable.create(np.zeros((240, 8), np.float32))
  segments = measure_segments(weighted, SPACE, progress=False)
  prior = Prior(RateDistortionCurve(weighted, SPACE, segments))
  assert prior.temperature(600) > 0
  assert np.isfinite(prior.logits(600)['options']).all()


def test_what_is_added_to_losses_changes_the_choice(curve):
  same = curve.adjusted(np.zeros((4, 4)))
  assert same.scheme(600) == curve.scheme(600)
  dear = np.zeros((4, 4))
  dear[:, 2] = 1e6  # never int4
  methods_of = [g.method for g in curve.adjusted(dear).scheme(600).groups]
  assert methods.Dense('int4') in [g.method for g in curve.scheme(600).groups]
  assert methods.Dense('int4') not in methods_of
