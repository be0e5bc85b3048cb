"""Graded codes by themselves, and the text that says their blocks."""

import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp.methods import graded
from embedcomp.methods.axes_method import Coder, lookup_groups
from embedcomp.types import Shape


@pytest.mark.parametrize(
  'blocks', ['2x', 'x1', '0x1', '1x0', '1x1+', '+1x1', '1x1 ', '1', '-1x2']
)
def test_texts_that_say_no_blocks_are_refused(blocks):
  with pytest.raises(ValueError, match=r"blocks must be like '4x1\+10x2'"):
    graded.parse_blocks(blocks)


def test_blocks_are_said_and_read_back(rng):
  for _ in range(20):
    widths = tuple(rng.integers(1, 4, size=rng.integers(0, 9)).tolist())
    text = graded.describe_blocks(widths)
    assert graded.parse_blocks(text) == widths
    assert graded.count_axes(text) == sum(widths)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ((9, '1x1', 2), 'rank must be 0 to the 8 features, got 9'),
    ((-1, '1x1', 2), 'rank must be 0 to the 8 features, got -1'),
    ((2, '3x3', 2), "8 features have at most as many .* got 9 in .*'3x3'"),
    ((2, '9999999x9999999', 2), '8 features have at most as many coded axes'),
    ((2, '1x1', 21), "codewords must be 1 to the group's 20 words, got 21"),
  ],
)
def test_what_does_not_suit_the_table_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    graded.GradedCodes(*fields).validate(Shape(20, 8))


def test_tokens_of_no_group_are_zero(rng):
  method = graded.GradedCodes(2, '1x1+1x2', 4)
  params = method.fit(rng.normal(size=(20, 5)), np.ones(20), 0)
  inside = jnp.array([True, False, True])
  rows = jnp.array([3, 3, 7])
  coder = Coder(method, params, inside, rows)
  words = np.asarray(lookup_groups([coder], 5))
  own = np.asarray(method.lookup(params, rows, Shape(20, 5)))
  np.testing.assert_allclose(words, own * np.array([[1], [0], [1]]), atol=1e-6)
