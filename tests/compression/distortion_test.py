"""Measured losses against fits of whole segments."""

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.compression import distortion
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.types import Shape

OPTIONS = (
  methods.Dense('float32'),
  methods.Dense('int4'),
  methods.LowRank(6, 'int8', 'int8'),
  methods.ProductQuantization(4, 16, 'int8'),
  methods.VectorQuantization(64, 'int8'),
)


@pytest.fixture
def table(rng):
  """A table whose ids are by falling importance."""
  basis = rng.normal(size=(16, 16)) / np.arange(1, 17)[:, None]
  vectors = (rng.normal(size=(2000, 16)) @ basis).astype(np.float32)
  return WeightedTable.create(vectors, importance=1 / np.arange(1, 2001))


def measure(table, bins, options=OPTIONS, seed=0):
  space = SearchSpace(16, bins, options)
  segments = distortion.measure_segments(
    table, space, seed=seed, progress=False
  )
  return {(s.start, s.stop): s for s in segments}


def fitted_loss(table, start, stop, option):
  """Loss of a fit to the words of some ranks."""
  words, importance = table.values[start:stop], table.importance[start:stop]
  shape = Shape(*words.shape)
  params = option.quantize(option.fit(words, importance, seed=0), shape)
  found = np.asarray(option.lookup(params, np.arange(len(words)), shape))
  return importance @ np.square(words - found).sum(axis=1)


def test_losses_and_bytes_are_those_of_fits(table):
  bins = (0, 40, 200, 2000)
  segments = measure(table, bins)
  assert list(segments) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
  for (first, last), segment in segments.items():
    start, stop = bins[first], bins[last]
    for index, option in enumerate(OPTIONS):
      if (
        option == OPTIONS[4] and stop - start < 64
      ):  # more codewords than words
        assert segment.num_bytes[index] == -1
        assert segment.losses[index] == np.inf
        continue
      assert segment.num_bytes[index] == option.num_bytes(
        Shape(stop - start, 16)
      )
      if (first, last) not in ((0, 1), (0, 3), (1, 2)):
        continue  # fits of so many shapes take long
      np.testing.assert_allclose(
        segment.losses[index],
        fitted_loss(table, start, stop, option),
        rtol=0.02,
        atol=1e-9,
      )


NAMES = ('dense', 'low_rank', 'pq', 'vq', 'projected_pq')


def random_tables(rng, num_words, features):
  """Words of several kinds, by name."""
  normal = rng.normal(size=(num_words, features))
  low_rank = rng.normal(size=(num_words, 2)) @ rng.normal(size=(2, features))
  outlier = normal.copy()
  outlier[5] *= 30
  return {
    'normal': normal,
    'heavy-tailed': rng.standard_t(3, size=(num_words, features)),
    'low-rank': low_rank + 0.3 * normal,
    'outlier': outlier,
  }


def errors_as_fitted(vectors, importance, names):
  """Expected over real relative errors of each option for all words."""
  weighted = WeightedTable.create(vectors, importance=importance)
  shape = Shape(*vectors.shape)
  options = [o for n in names for o in methods.get(n).options(shape)]
  space = SearchSpace(shape.features, (0, shape.num_words), tuple(options))
  (segment,) = distortion.measure_segments(weighted, space, progress=False)
  for option, loss in zip(options, segment.losses):
    real = fitted_loss(weighted, 0, shape.num_words, option)
    yield option, np.sqrt(loss), np.sqrt(real)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('is_zipf', [False, True])
def test_expected_errors_are_those_of_what_is_stored(rng, name, is_zipf):
  importance = 1 / np.arange(1, 241) if is_zipf else np.ones(240)
  for vectors in random_tables(rng, 240, 12).values():
    for option, *errors in errors_as_fitted(vectors, importance, [name]):
      np.testing.assert_allclose(
        *errors, rtol=0.02, atol=1e-6, err_msg=str(option)
      )


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES[:4])
@pytest.mark.parametrize('is_zipf', [False, True])
def test_expected_errors_of_a_sample_are_those_of_all_words(rng, name, is_zipf):
  num_words = 20_000
  importance = 1 / np.arange(1, num_words + 1) if is_zipf else None
  vectors = rng.normal(size=(num_words, 8))
  # Twice as much would be lost as a sample by importance alone lets expect.
  vectors *= rng.lognormal(0, 1, size=(num_words, 1))
  for option, *errors in errors_as_fitted(vectors, importance, [name]):
    np.testing.assert_allclose(
      *errors, rtol=0.04, atol=1e-6, err_msg=str(option)
    )


def test_words_are_measured_by_rank_whatever_their_ids(table, rng):
  ids = rng.permutation(2000)
  shuffled = WeightedTable.create(
    table.values[ids], importance=table.importance[ids]
  )
  bins = (0, 40, 200, 2000)
  by_rank, by_id = measure(table, bins), measure(shuffled, bins)
  for ends, segment in by_rank.items():
    # The same words in the same order, but for the last bit of their weights.
    np.testing.assert_allclose(by_id[ends].losses, segment.losses, rtol=0.02)


def test_long_segments_take_the_errors_of_a_longer_fit(table, monkeypatch):
  monkeypatch.setattr(distortion, 'OWN_WORDS', 600)
  monkeypatch.setattr(distortion, 'SAMPLE_WORDS', 600)
  bins = (0, 100, 1000, 2000)
  segments = measure(table, bins)
  for first in (0, 1):
    losses = segments[first, 2].losses
    exact = [fitted_loss(table, bins[first], 1000, o) for o in OPTIONS]
    np.testing.assert_allclose(losses, exact, rtol=0.3, atol=1e-9)
    # Words of later bins, 8 % of the importance or more, are left out.
    assert (losses[1:] < 0.95 * segments[first, 3].losses[1:]).all()


def test_segments_as_long_as_a_sample_are_fitted_by_themselves(
  table, monkeypatch
):
  fitted = []

  class Spied(methods.Dense):
    @classmethod
    def distortions(cls, options, table, weights, seed):
      fitted.append(len(table))
      return super().distortions(options, table, weights, seed)

  monkeypatch.setattr(distortion, 'OWN_WORDS', 600)
  measure(table, (0, 600, 1201, 1400, 2000), [Spied('int8')])
  # To the end from each bin; of the others, those of at most 600 words.
  assert len(fitted) == 4 + 2
  assert sorted(fitted)[:2] == [199, 600]


def test_more_codewords_than_sampled_words(table, monkeypatch):
  monkeypatch.setattr(distortion, 'SAMPLE_WORDS', 100)
  option = methods.VectorQuantization(256)
  segment = measure(table, (0, 2000), [option])[0, 1]
  exact = fitted_loss(table, 0, 2000, option)
  np.testing.assert_allclose(segment.losses, [exact], rtol=0.25)


def test_words_of_no_importance_lose_nothing(table):
  importance = np.where(np.arange(2000) < 1000, 1.0, 0.0)
  without = WeightedTable.create(table.values, importance=importance)
  segments = measure(without, (0, 1000, 2000), OPTIONS[1:])
  assert (segments[1, 2].losses == 0).all()
  assert (segments[0, 1].losses > 0).all()


def test_same_seed_same_losses(table):
  first = measure(table, (0, 500, 2000), seed=5)
  second = measure(table, (0, 500, 2000), seed=5)
  other = measure(table, (0, 500, 2000), seed=6)
  for ends in first:
    np.testing.assert_array_equal(first[ends].losses, second[ends].losses)
  assert any((first[e].losses != other[e].losses).any() for e in first)
