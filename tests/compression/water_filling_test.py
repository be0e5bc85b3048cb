"""Graded codes planned for a table: what they cost, lose and keep."""

import numpy as np
import pytest

import embedcomp
from embedcomp.compression import graded_choice, scalar_choice
from embedcomp.compression.rate_allocation import Run, runs_of
from embedcomp.compression.shared_axes import Axes
from embedcomp.compression.water_filling import WaterFilling
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.methods import entropy_coding

V, D = 2_000, 24


@pytest.fixture(scope='module')
def table():
  """Words on decaying axes."""
  rng = np.random.default_rng(0)
  axes = np.linalg.qr(rng.normal(size=(D, D)))[0]
  spread = 2.0 ** -np.arange(D)[:, None].clip(max=6)
  words = rng.normal(size=(V, D)) @ (spread * axes) + 0.2
  return words.astype(np.float32)


@pytest.fixture(scope='module')
def counts():
  return 10**5 // np.arange(1, V + 1)


def weighted_loss(table, weights, found, metric=None):
  """Plain sum of weighted errors of what was compressed, e H e'."""
  errors = table - np.asarray(embedcomp.reconstruct(*found))
  metric = np.eye(D) if metric is None else metric
  return weights @ np.einsum('wd,de,we->w', errors, metric, errors)


@pytest.mark.parametrize('factor', [6, 12, 30])
@pytest.mark.parametrize('has_metric', [False, True])
@pytest.mark.parametrize('method', ['graded', 'scalar'])
def test_what_is_expected_is_lost(table, counts, factor, has_metric, method):
  """Losses are those of Gaussian axes; the few words here lose a bit less."""
  rng = np.random.default_rng(2)
  root = rng.normal(size=(D, D))
  metric = np.eye(D) + root @ root.T / D if has_metric else None
  weighted = WeightedTable.create(table, counts)
  filling = WaterFilling(weighted, metric, [method])
  plan = filling.plan(table.nbytes // factor)
  found = filling.fit(plan, progress=False)
  lost = weighted_loss(table, weighted.importance, found, metric)
  least = 0.75 if method == 'graded' else 0.9
  # At 5 bits a number, how axes are rounded is no longer nothing.
  most = 1.2 if method == 'scalar' and factor == 6 else 1.05
  assert least * plan.loss < lost < most * plan.loss
  assert 0.98 < plan.scheme.num_bytes * factor / table.nbytes <= 1


def test_words_that_matter_more_get_more_bits(table, counts):
  filling = WaterFilling(WeightedTable.create(table, counts), None, ['graded'])
  plan = filling.plan(table.nbytes // 20)
  assert len(plan.scheme.groups) > 2
  bits = [
    len(group.method.widths) * np.log2(group.method.codewords)
    for group in plan.scheme.groups
  ]
  assert (np.diff(bits) <= 0).all()
  assert bits[0] > bits[-1]


def test_a_metric_moves_errors_to_where_they_cost_little(table, counts):
  cheap = np.diag(np.r_[np.full(D // 2, 0.02), np.full(D // 2, 1.98)])
  weights = counts + 1.0
  options = {'methods': 'graded', 'budget': '12x', 'progress': False}
  plain = embedcomp.compress(table, counts, **options)
  found = embedcomp.compress(table, counts, metric=cheap, **options)
  assert weighted_loss(table, weights, found, cheap) < 0.8 * weighted_loss(
    table, weights, plain, cheap
  )
  assert weighted_loss(table, weights, plain) < weighted_loss(
    table, weights, found
  )


@pytest.mark.slow
def test_less_is_lost_than_by_menus_of_options(table, counts):
  options = {'budget': '12x', 'progress': False}
  menus = embedcomp.compress(
    table, counts, methods=('dense', 'low_rank', 'pq', 'vq'), **options
  )
  found = embedcomp.compress(table, counts, **options)
  assert found[0].groups[-1].method.name == 'scalar'
  weights = counts + 1.0
  assert weighted_loss(table, weights, found) < 0.7 * weighted_loss(
    table, weights, menus
  )


def test_words_already_in_order_need_no_order(counts):
  words = np.random.default_rng(0).normal(size=(V, D))
  words /= np.linalg.norm(words, axis=1, keepdims=True)  # equal energies
  filling = WaterFilling(WeightedTable.create(words, counts))
  assert filling.plan(words.size * 4 // 12).scheme.order == 'identity'


def test_budgets_below_the_smallest_codes_say_how_small_they_get(table):
  filling = WaterFilling(WeightedTable.create(table))
  with pytest.raises(
    ValueError, match=f'choice takes {filling.smallest_bytes}'
  ):
    filling.plan(filling.smallest_bytes - 1)
  plan = filling.plan(filling.smallest_bytes)
  assert plan.scheme.num_bytes == filling.smallest_bytes


def test_axes_hold_errors_and_most_of_the_energy(table):
  rng = np.random.default_rng(3)
  root = rng.normal(size=(D, D))
  metric = np.eye(D) + root @ root.T / D
  weighted = WeightedTable.create(table, np.arange(1, V + 1))
  axes = Axes.of(weighted, metric)
  np.testing.assert_allclose(
    axes.to_axes @ axes.from_axes, np.eye(D), atol=1e-4
  )
  found = table @ axes.to_axes
  energy = np.einsum('wd,de,we->w', table, metric, table)
  np.testing.assert_allclose(np.square(found).sum(1), energy, rtol=1e-3)
  by_axis = weighted.importance @ np.square(found)
  assert (np.diff(by_axis) <= 1e-4 * by_axis[0]).all()
  assert axes.energy == pytest.approx(weighted.importance @ energy, rel=1e-3)


def test_runs_end_where_costs_have_fallen():
  costs = np.r_[np.full(200, 8.0), np.full(500, 4.0), np.full(900, 1.0)]
  assert runs_of(costs) == (0, 700, 1600)  # 4 is within a factor of 2.3
  rising = np.r_[np.full(300, 1.0), np.full(300, 8.0), np.full(300, 0.1)]
  assert runs_of(rising) == (0, 600, 900)  # what comes later counts
  assert runs_of(np.zeros(5)) == (0, 5)
  least = runs_of(2.0 ** -np.arange(300.0))
  assert least == (0, 128, 300)  # no run of fewer, not even the last


def test_scalars_lose_less_than_product_codes(table, counts):
  weights = counts + 1.0
  lost = {}
  for method in ('graded', 'scalar', ('graded', 'scalar')):
    found = embedcomp.compress(
      table, counts, methods=method, budget='12x', progress=False
    )
    lost[method] = weighted_loss(table, weights, found)
  assert lost['scalar'] < 0.8 * lost['graded']
  assert lost['graded', 'scalar'] < 1.02 * lost['scalar']


def test_scalars_take_every_byte(table, counts):
  filling = WaterFilling(WeightedTable.create(table, counts), None, ['scalar'])
  for budget in (table.nbytes // 40, 10_001, 12_345):
    scheme, params = filling.fit(filling.plan(budget), progress=False)
    assert scheme.num_bytes == budget
    name = f'group_{np.argmax([g.method.code_bytes for g in scheme.groups])}'
    codes = np.asarray(params[name]['codes'].values)
    most = max(group.method.code_bytes for group in scheme.groups)
    assert 0.985 * most - 40 < entropy_coding.encode(codes).size <= most


def test_bits_of_scalars_are_those_of_reverse_water_filling():
  run = Run(10**6, 3.0, np.zeros(3), np.array([400.0, 100.0, 0.01]))
  choice = scalar_choice.choose(run, 3, price=3.0 * 8 * 0.5)
  # A bit saves half: D = 0.5 / (2 ln 2), at a quarter of a bit more.
  level = 0.5 / (2 * np.log(2))
  bits = 0.5 * np.log2(np.array([400, 100]) / level) + 0.25
  assert choice.method.axes == 2  # the third is below the water
  assert choice.method.code_bytes == pytest.approx(
    bits.sum() * 10**6 / 8 + 4 * 10**6 / 128, rel=0.03
  )
  losses = 2 * level + 0.01
  assert choice.loss == pytest.approx(3.0 * 10**6 * losses, rel=0.03)
  dear = scalar_choice.choose(run, 3, np.inf)
  assert (dear.method.axes, dear.num_bytes) == (0, 3 + 2)
  assert dear.loss == pytest.approx(3.0 * 10**6 * 500.01)


def test_a_byte_too_dear_buys_the_mean_alone():
  energies, means = np.array([5.0, 3.0]), np.array([1.0, 0.5])
  run = Run(1000, 2.0, means, energies)
  choice = graded_choice.choose(run, 1, np.inf)
  assert (choice.method.blocks, choice.num_bytes) == ('', 1 + 2)
  assert choice.loss == 2.0 * 1000 * (5 + 3 - 1)
  choice = graded_choice.choose(
    run, 0, np.inf
  )  # without axes, a codeword for all
  assert (choice.method.blocks, choice.num_bytes) == ('1x2', 2 + 4)
  assert choice.loss == 2.0 * 1000 * (5 + 3 - 1 - 0.25)
  assert graded_choice.choose(run, 1, 1e-9).loss < 0.01 * choice.loss
