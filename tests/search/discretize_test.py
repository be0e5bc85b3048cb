"""Schemes decided for are the best within budget, and spend it."""

import itertools

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.compression import refinement
from embedcomp.compression.space import SearchSpace
from embedcomp.search.discretize import decide, decide_greedily
from embedcomp.search.options import OPTION_SETS

OPTIONS = (
  methods.Drop('int8'),
  methods.LowRank(1, 'int8', 'int8'),
  methods.Dense('int4'),
  methods.Dense('int8'),
)
SPACE = SearchSpace(8, (0, 10, 40, 100), OPTIONS, max_groups=3)


def all_divisions(space):
  """Every division into whole bins with every choice of options."""
  inner = range(1, space.num_bins)
  for num in range(space.max_groups):
    for cuts in itertools.combinations(inner, num):
      edges = (0, *cuts, space.num_bins)
      for options in itertools.product(
        range(len(space.options)), repeat=len(edges) - 1
      ):
        splits = tuple(space.bins[edge] for edge in edges)
        yield edges, refinement.Division(splits, options)


def loss_of(edges, division, losses):
  return sum(
    losses[start:stop, option].sum()
    for start, stop, option in zip(edges, edges[1:], division.options)
  )


@pytest.mark.parametrize('budget', [60, 200, 420, 700])
def test_the_decision_is_at_least_as_good_as_any_of_whole_bins(rng, budget):
  losses = np.sort(rng.random((3, 4)), axis=1)[:, ::-1]
  scheme = decide(SPACE, losses, budget)
  assert scheme.num_bytes <= budget
  best = min(
    loss_of(edges, division, losses)
    for edges, division in all_divisions(SPACE)
    if SPACE.num_bytes(division) <= budget
  )
  # Words of a bin lose alike, wherever the splits have moved to.
  per_word = np.repeat(losses / SPACE.bin_sizes[:, None], SPACE.bin_sizes, 0)
  options = [OPTIONS.index(group.method) for group in scheme.groups]
  found = sum(
    per_word[start:stop, option].sum()
    for start, stop, option in zip(scheme.splits, scheme.splits[1:], options)
  )
  assert found <= best + 1e-9


def test_words_lose_their_share_of_what_their_bin_loses(monkeypatch):
  losses = np.array([[8, 6, 4, 2], [9, 6, 3, 1], [12, 6, 3, 0]])
  found = []

  def spend_slack(space, choices, budget, loss):
    del space, choices, budget
    found.extend([loss(5, 50, 1), loss(0, 100, 2), loss(40, 41, 0)])

  monkeypatch.setattr(SearchSpace, 'spend_slack', spend_slack)
  decide(SPACE, losses, 10_000)
  # Half of the first bin, the second one and a sixth of the last one; all of
  # them; one word of 60.
  np.testing.assert_allclose(found, [3 + 6 + 1, 4 + 3 + 3, 12 / 60])


def test_bins_can_be_kept_apart():
  space = SearchSpace(8, SPACE.bins, OPTIONS, max_groups=3)
  losses = np.tile([4.0, 3.0, 2.0, 1.0], (3, 1))
  scheme = decide(space, losses, 10_000, merge_bins=False)
  assert scheme.splits == (0, 10, 40, 100)


def test_what_is_likeliest_everywhere_is_taken_if_it_fits():
  log_probs = np.log(np.full((3, 4), 0.1) + 0.6 * np.eye(4)[[3, 2, 0]])
  scheme = decide_greedily(SPACE, log_probs, 10_000)
  assert [group.method for group in scheme.groups] == [
    OPTIONS[3],
    OPTIONS[2],
    OPTIONS[0],
  ]


def test_the_likeliest_options_are_made_cheaper_until_they_fit():
  log_probs = np.log(np.tile([0.1, 0.2, 0.3, 0.4], (3, 1)))
  scheme = decide_greedily(SPACE, log_probs, 150)
  assert scheme.num_bytes <= 150
  with pytest.raises(ValueError, match='no options are left'):
    decide_greedily(SPACE, log_probs, 5)


@pytest.mark.parametrize(
  ('likely', 'changed', 'option'),
  [
    # All as sure: the largest bin gives up the most bytes for its margin.
    ([[-9, -8, -1, 0]] * 3, 2, 2),
    # Fewer bytes for a still smaller margin: 0.1 / 300 of the second bin.
    ([[-9, -8, -1, 0], [-9, -8, -0.1, 0], [-9, -8, -1, 0]], 1, 2),
    # The runner-up is cheaper by two options.
    ([[-9, -8, -4, 0]] * 2 + [[-9, -1, -2, 0]], 2, 1),
    # What is as dear goes with what was likeliest: the runner-up does not fit.
    ([[-9, -8, -4, 0]] * 2 + [[-9, -2, 0, -1]], 2, 1),
    # The option that cannot be taken is none to give up for.
    ([[-9, -8, -4, 0]] * 2 + [[-np.inf, -np.inf, -np.inf, 0]], 1, 2),
  ],
)
def test_the_cheapest_change_is_made_first(likely, changed, option):
  likely = np.array(likely, np.float64)
  first = likely.argmax(axis=1).tolist()
  whole = decide_greedily(SPACE, likely, 10_000)
  assert [OPTIONS.index(g.method) for g in whole.groups] == [
    o for i, o in enumerate(first) if i == 0 or o != first[i - 1]
  ]
  found = decide_greedily(SPACE, likely, whole.num_bytes - 1)
  by_word = np.repeat(
    [OPTIONS.index(g.method) for g in found.groups], np.diff(found.splits)
  )
  wanted = [*first[:changed], option, *first[changed + 1 :]]
  np.testing.assert_array_equal(by_word, np.repeat(wanted, SPACE.bin_sizes))


@pytest.mark.parametrize('losses', [np.zeros((2, 4)), np.full((3, 4), np.inf)])
def test_losses_that_are_no_losses_are_refused(losses):
  with pytest.raises(ValueError, match='losses must be'):
    decide(SPACE, losses, 100)


@pytest.mark.parametrize('name', OPTION_SETS)
@pytest.mark.parametrize('features', [8, 64, 300])
def test_option_sets_suit_tables_of_any_width(name, features):
  options = OPTION_SETS[name](features)
  assert len(set(options)) == len(options) > 3
  space = SearchSpace(features, (0, 1000, 5000), options)
  sizes = space.bytes_per_word
  assert sizes.min() == 0 < sizes.max() <= 4 * features + 4
