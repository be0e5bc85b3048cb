"""Relaxed splits and options against all of their discrete outcomes."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.compression.space import SearchSpace
from embedcomp.search import relaxation

BINS, SPLITS = 5, 3
OPTIONS = (
  methods.Dense('int4'),
  methods.LowRank(2, 'int4'),
  methods.ProductQuantization(2, 3),
  methods.Drop(),
)
SPACE = SearchSpace(4, (0, 4, 11, 24, 43, 70), OPTIONS, SPLITS + 1)
group_probabilities = jax.jit(relaxation.group_probabilities)
visit_probabilities = jax.jit(relaxation.visit_probabilities)
gumbel_softmax = jax.jit(relaxation.gumbel_softmax)


def expected_bytes_of(splits, options):
  return relaxation.expected_bytes(
    splits,
    options,
    SPACE.bin_sizes.astype(np.float32),
    SPACE.bytes_per_word.astype(np.float32),
    SPACE.shared_bytes.astype(np.float32),
  )


expected_bytes = jax.jit(expected_bytes_of)


def outcomes(splits):
  """Every outcome of the splits with its probability, a plain product."""
  for places in itertools.product(range(BINS), repeat=SPLITS):
    probabilities = np.prod(
      [splits[s, place] for s, place in enumerate(places)]
    )
    yield places, probabilities


def groups_of_bins(places):
  """The group of each bin: how many splits come after an earlier one."""
  return [sum(place < b for place in places) for b in range(BINS)]


def random_probabilities(rng, *shape):
  probabilities = rng.random(shape) ** 3  # some of them small
  return probabilities / probabilities.sum(-1, keepdims=True)


def test_group_probabilities_count_all_outcomes(rng):
  for _ in range(3):
    splits = random_probabilities(rng, SPLITS, BINS)
    expected = np.zeros((BINS, SPLITS + 1))
    for places, probabilities in outcomes(splits):
      expected[range(BINS), groups_of_bins(places)] += probabilities
    np.testing.assert_allclose(
      group_probabilities(splits), expected, 1e-5, 1e-7
    )


def test_visit_probabilities_count_all_outcomes(rng):
  for _ in range(3):
    splits = random_probabilities(rng, SPLITS, BINS)
    expected = np.zeros(SPLITS + 1)
    for places, probabilities in outcomes(splits):
      expected[list(set(groups_of_bins(places)))] += probabilities
    np.testing.assert_allclose(
      visit_probabilities(splits), expected, 1e-5, 1e-6
    )


def test_expected_bytes_average_all_outcomes(rng):
  splits = random_probabilities(rng, SPLITS, BINS)
  options = random_probabilities(rng, SPLITS + 1, len(OPTIONS))
  per_group = options @ np.stack([SPACE.bytes_per_word, SPACE.shared_bytes], 1)
  expected = 0.0
  for places, probabilities in outcomes(splits):
    groups = groups_of_bins(places)
    words = np.bincount(groups, SPACE.bin_sizes, SPLITS + 1)
    per_word, shared = per_group.T
    expected += probabilities * (words @ per_word + (words > 0) @ shared)
  np.testing.assert_allclose(expected_bytes(splits, options), expected, 1e-6)


@hypothesis.given(
  st.lists(st.integers(0, BINS - 1), min_size=SPLITS, max_size=SPLITS),
  st.lists(st.integers(0, 3), min_size=SPLITS + 1, max_size=SPLITS + 1),
)
def test_one_hot_inputs_give_the_discrete_answers(places, options):
  splits, choices = np.eye(BINS)[places], np.eye(len(OPTIONS))[options]
  groups = groups_of_bins(places)
  np.testing.assert_array_equal(
    group_probabilities(splits), np.eye(SPLITS + 1)[groups]
  )
  visited = sorted(set(groups))
  np.testing.assert_array_equal(
    visit_probabilities(splits), np.isin(range(SPLITS + 1), visited)
  )
  sizes = np.bincount(groups, SPACE.bin_sizes)
  scheme = Scheme(
    SPACE.features,
    tuple(Group(int(sizes[g]), OPTIONS[options[g]]) for g in visited),
  )
  # A file fills up the last byte of each group.
  filled = scheme.num_bytes - float(expected_bytes(splits, choices))
  assert 0 <= filled < len(visited)


def test_samples_become_one_hot_as_the_temperature_falls(rng):
  logits = rng.normal(size=(SPLITS, BINS)).astype(np.float32)
  key = jax.random.key(3)
  noise = np.asarray(jax.random.gumbel(key, logits.shape))
  winners = (logits + noise).argmax(-1)
  one_hot = np.eye(BINS)[winners]
  errors = []
  for temperature in (1.0, 0.1, 1e-4):
    sample = np.asarray(gumbel_softmax(key, logits, temperature))
    np.testing.assert_allclose(sample.sum(-1), 1, 1e-6)
    errors.append(np.abs(sample - one_hot).max())
  assert errors[0] > errors[1] > errors[2]
  assert errors[2] < 1e-6
  np.testing.assert_allclose(
    group_probabilities(sample),
    np.eye(SPLITS + 1)[groups_of_bins(winners)],
    atol=1e-6,
  )


def test_samples_follow_the_probabilities():
  logits = np.tile(np.log(np.float32([0.6, 0.3, 0.1])), (4000, 1))
  sample = np.asarray(gumbel_softmax(jax.random.key(0), logits, 0.5))
  shares = np.bincount(sample.argmax(-1), minlength=3) / 4000
  # Five standard deviations of a share of 4,000 draws at most.
  np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.04)


def test_small_probabilities_keep_their_digits():
  """They are what tells options apart that a search has all but given up."""
  rare = 1e-12
  splits = np.array([[1 - rare, 0, 0, 0, rare], [0, 0, 0, rare, 1.0]])
  probabilities = np.asarray(group_probabilities(splits))
  np.testing.assert_allclose(probabilities[1], [rare, 1, 0], 1e-6)
  np.testing.assert_allclose(probabilities[4], [rare, 1, rare], 1e-6)
  assert (probabilities >= 0).all()


def test_no_splits_make_one_group():
  nothing = np.zeros((0, 3))
  np.testing.assert_array_equal(group_probabilities(nothing), np.ones((3, 1)))
  np.testing.assert_array_equal(visit_probabilities(nothing), [1])


def test_one_bin_is_one_group():
  unused = np.ones((2, 1))
  np.testing.assert_array_equal(group_probabilities(unused), [[1, 0, 0]])
  np.testing.assert_array_equal(visit_probabilities(unused), [1, 0, 0])


@jax.jit
@jax.value_and_grad
def size_of_logits(logits):
  return expected_bytes_of(**jax.tree.map(jax.nn.softmax, logits))


@jax.jit
@jax.value_and_grad
def total_entropy(logits):
  return relaxation.entropy(logits).sum()


@pytest.mark.parametrize('scale', [0.0, 1.0, 300.0])
def test_gradients_are_finite_and_right(rng, scale):
  """300 makes most of them exactly zero, as at the end of a search."""
  logits = {
    'splits': scale * rng.normal(size=(SPLITS, BINS)).astype(np.float32),
    'options': scale * rng.normal(size=(SPLITS + 1, 4)).astype(np.float32),
  }
  found = [size_of_logits(logits), total_entropy(logits['splits'])]
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
  if scale == 1.0:
    for name, place in [('splits', (1, 2)), ('options', (0, 3))]:
      values = []
      for step in (0.1, -0.1):
        moved = jax.tree.map(np.copy, logits)
        moved[name][place] += step
        values.append(size_of_logits(moved)[0])
      slope = (values[0] - values[1]) / 0.2
      np.testing.assert_allclose(found[0][1][name][place], slope, 1e-2)


def test_entropy_is_that_of_the_probabilities(rng):
  logits = 3 * rng.normal(size=(SPLITS, BINS)).astype(np.float32)
  probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  expected = -(probabilities * np.log(probabilities)).sum()
  np.testing.assert_allclose(total_entropy(logits)[0], expected, 1e-5)
