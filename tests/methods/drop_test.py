"""Dropping: every word is the weighted mean."""

import numpy as np

from embedcomp import methods
from embedcomp.types import Shape


def test_all_words_are_the_weighted_mean():
  method, shape = methods.Drop(), Shape(2, 2)
  table = np.array([[1.0, 2], [4, 8]], np.float32)
  params = method.fit(table, np.array([2.0, 1]), 0)
  words = method.lookup(params, np.array([0, 1]), shape)
  np.testing.assert_allclose(words, [[2, 4], [2, 4]])
  scores = method.logits(params, np.array([[1.0, 1.0]], np.float32), shape)
  np.testing.assert_allclose(scores, [[6, 6]])


def test_bytes_do_not_grow_with_the_words():
  method = methods.Drop('int8')
  assert method.num_bytes(Shape(10**6, 300)) == 300 + 2
