"""The sets of options that searches choose from, worked out by hand."""

import pytest

from embedcomp import methods
from embedcomp.methods import (
  Dense,
  DifferentiableNearest,
  Drop,
  LowRank,
  ProductQuantization,
)
from embedcomp.search import options
from embedcomp.search.options import OPTION_SETS

# Shares of 40 features from 1 / 64 to 3 / 4; the first two are the one rank.
RANKS = (1, 2, 5, 7, 10, 13, 20, 30)
ROUNDED = (
  Drop('int8'),
  *(LowRank(rank, 'int4', 'int8') for rank in RANKS),
  *(LowRank(rank, 'int8', 'int8') for rank in (5, 13, 20)),
  Dense('int4'),
  Dense('int8'),
)
CODES = [(books, k) for books in (1, 2, 5, 10, 20) for k in (16, 64)]


def test_ranks_are_shares_of_the_features():
  wide = (144, 288, 576, 1152, 1536, 2304, 3072, 4608, 6912)
  assert options.ranks(64 * 144) == wide
  assert options.ranks(40) == RANKS
  assert options.ranks(1) == (1,)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('all', (*ROUNDED, *(ProductQuantization(*c, 'int8') for c in CODES))),
    (
      'learned_codes',
      (*ROUNDED, *(DifferentiableNearest(*c, 'int8') for c in CODES)),
    ),
    ('rounded', ROUNDED),
    ('low_rank', (Drop(), *(LowRank(rank) for rank in RANKS))),
    ('precision', (Drop('int8'), Dense('int4'), Dense('int8'), Dense())),
  ],
)
def test_the_options_of_forty_features(name, expected):
  found = OPTION_SETS[name](40)
  assert set(found) == set(expected)
  assert len(found) == len(expected)


def test_books_divide_the_features():
  def books(features):
    found = OPTION_SETS['all'](features)
    return {o.books for o in found if isinstance(o, ProductQuantization)}

  assert books(18) == {1, 2, 9}  # a quarter would be four and a half
  assert books(3) == {1}
  assert books(1) == {1}


def test_contextual_tables_may_have_codes_of_coefficients_too():
  found = OPTION_SETS['contextual'](768)
  others = OPTION_SETS['all'](768)
  assert found[: len(others)] == others
  # Blocks of eight axes for up to half of the features; then smaller ones.
  sizes = [(96, 12), (128, 16), (192, 24), (256, 32)]
  sizes += [(384, books) for books in (48, 64, 96, 128)]
  assert set(found[len(others) :]) == {
    methods.ProjectedQuantization(rank, books, codewords, 'int8')
    for rank, books in sizes
    for codewords in (16, 64, 256)
  }
