"""Tests of search spaces, whose prices are those of schemes."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.compression import refinement
from embedcomp.compression.space import SearchSpace

FEATURES = 6
# All methods whose bytes grow by the word.
OPTIONS = (
  methods.Dense(),
  methods.Dense('int4'),
  methods.LowRank(3, 'int4', 'int8'),
  methods.LowRank(1, 'float16', 'int4'),
  methods.ProductQuantization(3, 5, 'int4'),
  methods.ProductQuantization(2, 2, 'int8', True),
  methods.VectorQuantization(7),
  methods.ResidualQuantization(2, 6),
  methods.DifferentiableSoftmax(3, 4, 'bfloat16'),
  methods.DifferentiableNearest(2, 4, 'int4'),
  methods.Hashed(5),
  methods.Drop('int8'),
)
BINS = (0, 3, 10, 11, 24)


def make_space(options=OPTIONS, **kwargs):
  return SearchSpace(FEATURES, BINS, options, **kwargs)


def test_prices_by_hand():
  space = make_space(
    (
      methods.Dense('int8'),
      methods.LowRank(2),
      methods.LowRank(3, 'int4', 'int4'),
      methods.ProductQuantization(3, 5),
      methods.VectorQuantization(4, 'int8'),
      methods.Drop(),
    )
  )
  np.testing.assert_array_equal(
    space.bytes_per_word, [6 + 2, 2 * 4, 3 / 2, 9 / 8, 2 / 8, 0]
  )
  np.testing.assert_array_equal(
    space.shared_bytes,
    [0, 2 * 24, 6 + 9 + 6, 5 * 24, 4 * 6 + 6 * 2, 24],
  )


@hypothesis.given(st.sampled_from(range(len(OPTIONS))), st.integers(7, 9999))
def test_prices_are_those_of_schemes_up_to_the_last_byte(option, num_words):
  space = make_space()
  scheme = Scheme(FEATURES, (Group(num_words, OPTIONS[option]),))
  priced = num_words * space.bytes_per_word[option]
  priced += space.shared_bytes[option]
  assert 0 <= scheme.num_bytes - priced < 1
  if num_words % 8 == 0:
    assert scheme.num_bytes == priced


@pytest.mark.parametrize('option', OPTIONS, ids=str)
def test_every_method_has_both_prices(option):
  space = make_space((option,))
  grows = not isinstance(option, methods.Drop)
  shares = not isinstance(option, methods.Dense)
  assert (space.bytes_per_word[0] > 0) == grows
  assert (space.shared_bytes[0] > 0) == shares


def test_sizes_of_the_vocabulary():
  space = make_space(dtype='float16')
  assert (space.num_bins, space.vocab_size) == (4, 24)
  assert space.dense_bytes == 24 * FEATURES * 2
  np.testing.assert_array_equal(space.bin_sizes, [3, 7, 1, 13])


def test_segments_add_bins_up(rng):
  space = make_space()
  losses = rng.random((space.num_bins, len(OPTIONS)))
  segments = space.segments(losses)
  ends = [(s.start, s.stop) for s in segments]
  assert ends == [(a, b) for a in range(4) for b in range(a + 1, 5)]
  for segment in segments:
    np.testing.assert_allclose(
      segment.losses, losses[segment.start : segment.stop].sum(0), 1e-12, 1e-12
    )
    num_words = BINS[segment.stop] - BINS[segment.start]
    for option, num_bytes in zip(OPTIONS, segment.num_bytes):
      try:
        expected = Scheme(FEATURES, (Group(num_words, option),)).num_bytes
      except ValueError:
        expected = -1
      assert num_bytes == expected
  # One word has no seven codewords.
  assert segments[ends.index((2, 3))].num_bytes[6] == -1


def test_schemes_of_divisions():
  space = make_space(order='stored')
  division = refinement.Division((0, 10, 24), (0, 2))
  scheme = space.scheme(division)
  assert [group.size for group in scheme.groups] == [10, 14]
  assert [group.method for group in scheme.groups] == [OPTIONS[0], OPTIONS[2]]
  assert scheme.order == 'stored'
  assert space.num_bytes(division) == scheme.num_bytes
  # 24 words of two groups take a bit each.
  without = make_space().num_bytes(division)
  assert space.num_bytes(division) - without == space.order_bytes(2) == 3
  assert space.order_bytes(1) == 0
  assert make_space().order_bytes(2) == 0
  assert space.scheme(refinement.Division((0, 24), (1,))).order == 'identity'


@pytest.mark.parametrize('order', ['identity', 'stored'])
@pytest.mark.parametrize('max_groups', [1, 2, 9])
def test_the_smallest_scheme_of_whole_bins(order, max_groups):
  options = (OPTIONS[0], OPTIONS[3], OPTIONS[6])
  space = make_space(options, order=order, max_groups=max_groups)
  sizes = [
    space.num_bytes(refinement.Division((0, *inner, 24), chosen))
    for groups in range(1, min(max_groups, 4) + 1)
    for inner in itertools.combinations(BINS[1:-1], groups - 1)
    for chosen in itertools.product(range(3), repeat=groups)
  ]
  assert space.smallest_bytes == min(sizes)


def test_bins_that_no_option_suits_are_refused():
  space = make_space((OPTIONS[6],), max_groups=4)
  assert space.smallest_bytes == space.option_bytes(24)[0]
  few = SearchSpace(FEATURES, (0, 3), (OPTIONS[6],))  # seven codewords
  with pytest.raises(ValueError, match='no division of 1 bins'):
    few.smallest_bytes  # noqa: B018


def test_divisions_that_cannot_be_cost_infinitely_much():
  space = make_space()
  division = refinement.Division(
    (0, 3, 24), (6, 0)
  )  # seven codewords, three words
  assert space.num_bytes(division) == np.inf
  with pytest.raises(ValueError, match=r'group 0 \(3 words\): codewords must'):
    space.scheme(division)
  assert space.num_bytes(refinement.Division((0, 0, 24), (0, 0))) == np.inf


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(80, 600))
@hypothesis.settings(max_examples=20)
def test_solutions_fit_and_slack_is_spent(seed, budget):
  rng = np.random.default_rng(seed)
  options = (OPTIONS[0], OPTIONS[1], OPTIONS[3], OPTIONS[-1])
  space = make_space(options, order='stored', max_groups=3)
  rates = np.sort(rng.random(4)) * [1, 1, 1, 2]  # by falling bytes
  frequent = np.sort(rng.random(24))[::-1]
  by_bin = np.add.reduceat(frequent, BINS[:-1])
  losses = by_bin[:, None] * rates[None]
  divisions = space.solve(space.segments(losses), budget)
  choices = divisions.best(budget)
  lost = sum(losses[c.start : c.stop, c.option].sum() for c in choices)

  def loss(start, stop, option):
    return rates[option] * frequent[start:stop].sum()

  scheme = space.spend_slack(choices, budget, loss)
  assert scheme.num_bytes <= budget
  assert len(scheme.groups) <= 3
  assert scheme.vocab_size == 24
  spent = sum(
    loss(start, stop, options.index(group.method))
    for start, stop, group in zip(
      scheme.splits, scheme.splits[1:], scheme.groups
    )
  )
  assert spent <= lost + 1e-9


@pytest.mark.parametrize('bins', [(0,), (1, 5), (0, 5, 5), (0, 5, 3)])
def test_bins_must_increase(bins):
  with pytest.raises(ValueError, match='bins must increase from 0 to V, got'):
    SearchSpace(FEATURES, bins, OPTIONS)


def test_there_must_be_options_and_groups():
  with pytest.raises(ValueError, match='at least one option, got none'):
    make_space(())
  for wrong in (0, 2.0, True):
    with pytest.raises(ValueError, match=f'max_groups must be .* got {wrong}'):
      make_space(max_groups=wrong)
