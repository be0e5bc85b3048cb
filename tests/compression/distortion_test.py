"""Measured losses against fits of whole segments."""

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.compression import distortion
from embedcomp.types import Shape

OPTIONS = (
  methods.Dense('float32'),
  methods.Dense('int4'),
  methods.LowRank(6, 'int8', 'int8'),
  methods.ProductQuantization(4, 16, 'int8'),
  methods.VectorQuantization(64, 'int8'),
)


@pytest.fixture
def words(rng):
  basis = rng.normal(size=(16, 16)) / np.arange(1, 17)[:, None]
  table = (rng.normal(size=(2000, 16)) @ basis).astype(np.float32)
  return table, 1 / np.arange(1, 2001)


def fitted_loss(table, weights, option):
  shape = Shape(*table.shape)
  params = option.quantize(option.fit(table, weights, seed=0), shape)
  found = np.asarray(option.lookup(params, np.arange(len(table)), shape))
  return weights @ np.square(table - found).sum(axis=1)


def test_losses_and_bytes_are_those_of_fits(words):
  table, weights = words
  bins = (0, 40, 200, 2000)
  segments = distortion.measure(
    lambda ranks: table[ranks], weights, OPTIONS, bins, progress=False
  )
  ends = [(s.start, s.stop) for s in segments]
  assert sorted(ends) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
  for segment in segments:
    ranks = slice(bins[segment.start], bins[segment.stop])
    for index, option in enumerate(OPTIONS):
      shape = Shape(len(table[ranks]), 16)
      if not distortion.suits(option, shape):
        assert segment.num_bytes[index] == -1
        assert segment.losses[index] == np.inf
        continue
      assert segment.num_bytes[index] == option.num_bytes(shape)
      exact = fitted_loss(table[ranks], weights[ranks], option)
      # Codebooks are measured on some blocks, with few iterations.
      np.testing.assert_allclose(
        segment.losses[index], exact, rtol=0.25, atol=1e-9
      )


def test_long_segments_take_the_errors_of_a_longer_fit(words, monkeypatch):
  table, weights = words
  monkeypatch.setattr(distortion, 'SAMPLE_WORDS', 600)
  bins = (0, 1000, 2000)
  segments = distortion.measure(
    lambda ranks: table[ranks], weights, OPTIONS, bins, progress=False
  )
  by_ends = {(s.start, s.stop): s.losses for s in segments}
  exact = [fitted_loss(table[:1000], weights[:1000], o) for o in OPTIONS]
  np.testing.assert_allclose(by_ends[0, 1], exact, rtol=0.3, atol=1e-9)
  assert (by_ends[0, 1] <= by_ends[0, 2] + 1e-9).all()


def test_more_codewords_than_sampled_words(words, monkeypatch):
  table, weights = words
  monkeypatch.setattr(distortion, 'SAMPLE_WORDS', 100)
  option = methods.VectorQuantization(256)
  (segment,) = distortion.measure(
    lambda ranks: table[ranks], weights, [option], (0, 2000), progress=False
  )
  exact = fitted_loss(table, weights, option)
  np.testing.assert_allclose(segment.losses, [exact], rtol=0.25)


def test_same_seed_same_losses(words):
  table, weights = words
  arguments = (lambda ranks: table[ranks], weights, OPTIONS, (0, 500, 2000))
  first = distortion.measure(*arguments, seed=5, progress=False)
  second = distortion.measure(*arguments, seed=5, progress=False)
  for one, other in zip(first, second):
    np.testing.assert_array_equal(one.losses, other.losses)
