"""Tensor trains: modes, full-rank exactness, weights, both ways to logits."""

import math

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp import methods
from embedcomp.methods import base, tensor_train
from embedcomp.types import Shape

SHAPE = Shape(29, 10)
ROWS = np.arange(SHAPE.num_words)


@hypothesis.given(st.integers(1, 200_000))
@hypothesis.example(1)
@hypothesis.example(30_522)
def test_modes_are_balanced_and_hardly_padded(size):
  modes = tensor_train.balanced_modes(size)
  product = math.prod(modes)
  assert list(modes) == sorted(modes)
  assert size <= product
  assert modes[-1] <= 2 * math.ceil(round(size ** (1 / 3), 6))
  if size >= 100:
    assert product <= 1.07 * size
  if size >= 1000:
    assert product <= 1.014 * size


@pytest.mark.parametrize(
  ('size', 'modes'),
  [(1, (1, 1, 1)), (2, (1, 1, 2)), (8, (2, 2, 2)), (300, (5, 6, 10))],
)
def test_modes_by_hand(size, modes):
  assert tensor_train.balanced_modes(size) == modes


def test_lookup_by_hand():
  # One rank and one feature: a word is the product of three digits' numbers.
  shape = Shape(8, 1)
  method = methods.TensorTrain(1)
  params = {
    'first': np.array([2.0, 3], np.float32).reshape(2, 1, 1),
    'middle': np.array([5.0, 7], np.float32).reshape(1, 2, 1, 1),
    'last': np.array([11.0, 13], np.float32).reshape(1, 2, 1),
  }
  words = method.lookup(params, np.arange(8), shape)[:, 0]
  wanted = [a * b * c for a in (2, 3) for b in (5, 7) for c in (11, 13)]
  np.testing.assert_allclose(words, wanted)


def test_full_rank_is_exact(rng):
  table = rng.normal(size=SHAPE).astype(np.float32)
  weights = 1 / (1.0 + ROWS)
  method = methods.TensorTrain(max(tensor_train._full_ranks(SHAPE)))
  method.validate(SHAPE)
  params = method.fit(table, weights, 0)
  words = method.lookup(params, ROWS, SHAPE)
  np.testing.assert_allclose(words, table, atol=1e-5)


def test_fit_recovers_a_tensor_train():
  method = methods.TensorTrain(2)
  params = method.init(jax.random.key(0), SHAPE)
  table = np.asarray(method.lookup(params, ROWS, SHAPE))
  # The padding is no longer of this rank, so only its words are compared.
  again = method.fit(table, np.ones(SHAPE.num_words), 0)
  drop = np.square(table - table.mean(axis=0)).sum()
  error = np.square(table - method.lookup(again, ROWS, SHAPE)).sum()
  assert error < 0.05 * drop


def test_fit_keeps_heavy_leading_slices(rng):
  shape = Shape(64, 8)
  table = rng.normal(size=shape).astype(np.float32)
  method = methods.TensorTrain(6)
  heavy = np.arange(64) < 16

  def error(weights):
    params = method.fit(table, weights, 0)
    words = np.asarray(method.lookup(params, np.arange(64), shape))
    return np.square(words - table)[heavy].sum()

  assert error(np.where(heavy, 1000.0, 1.0)) < 0.5 * error(np.ones(64))


@pytest.mark.parametrize('num', [1, 3, 200])
def test_few_and_many_tokens_read_the_same(num, rng):
  method = methods.TensorTrain(3)
  params = method.init(jax.random.key(0), SHAPE)
  cores = (params[name] for name in ('first', 'middle', 'last'))
  table = np.einsum('xjp,pykr,rzq->xyzjkq', *map(np.asarray, cores))
  table = table.reshape(math.prod(table.shape[:3]), -1)[:, :10]
  rows = rng.integers(SHAPE.num_words, size=num)
  np.testing.assert_allclose(
    method.lookup(params, rows, SHAPE), table[rows], atol=1e-5
  )


def test_many_tokens_join_each_pair_of_digits_once(rng, monkeypatch):
  method = methods.TensorTrain(3)
  params = method.init(jax.random.key(0), SHAPE)
  join, joined = methods.TensorTrain._join, []

  def counting(self, params, middle, firsts, seconds):
    joined.append(len(firsts))
    return join(self, params, middle, firsts, seconds)

  monkeypatch.setattr(methods.TensorTrain, '_join', counting)
  # 29 words in modes 5, 2 and 3: ten pairs of leading digits.
  assert tensor_train.word_modes(29) == (5, 2, 3)
  for num in (9, 10, 11, 200):
    method.lookup(params, rng.integers(29, size=num), SHAPE)
  assert joined == [9, 10, 10, 10]


@pytest.mark.parametrize('rank', [1, 8])
def test_both_ways_to_logits_agree(rank, rng):
  shape = Shape(500, 20)
  method = methods.TensorTrain(rank)
  cheap = method._contraction_cost(shape) <= math.prod(shape)
  assert cheap == (rank == 1)
  params = method.init(jax.random.key(0), shape)
  hidden = rng.normal(size=(3, 20)).astype(np.float32)
  np.testing.assert_allclose(
    method.logits(params, hidden, shape),
    base.Method.logits(method, params, hidden, shape),
    atol=1e-5,
  )


def test_options_by_hand():
  # Words in modes 16, 16, 16 and features in 4, 4, 4: ranks of 64 are full.
  found = methods.TensorTrain.options(Shape(4096, 64))
  assert [o.rank for o in found] == [4, 8, 16, 32, 64]
  assert {o.storage for o in found} == {'int8'}
  # 10, 10, 10 and 4, 4, 6: full at 40 and 60.
  found = methods.TensorTrain.options(Shape(1000, 96))
  assert [o.rank for o in found] == [4, 8, 16, 32]


@pytest.mark.parametrize('rank', [0, 1000])
def test_wrong_ranks_are_refused(rank):
  with pytest.raises(ValueError, match=f'rank must be 1 to .* got {rank}'):
    methods.TensorTrain(rank).validate(SHAPE)
