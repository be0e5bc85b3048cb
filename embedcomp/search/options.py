"""The options that a search with a task chooses from, for any table."""

import functools
from collections.abc import Callable

from embedcomp import methods
from embedcomp.methods import Method

# Ranks and books as shares of the features.
_RANK_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
_BOOK_SHARES = (1 / 16, 1 / 8, 1 / 4)
_CODEWORDS = 16
_MORE_CODEWORDS = 64


def ranks(features: int) -> tuple[int, ...]:
  """Ranks from one to three quarters of the features, about doubling."""
  found = {max(1, round(share * features)) for share in _RANK_SHARES}
  return tuple(sorted(found))


def low_rank_options(features: int, storage: str) -> tuple[Method, ...]:
  """Dropping words and all ranks, the basis stored as the coefficients are."""
  kept = 'float32' if storage == 'float32' else 'int8'
  lower = [methods.LowRank(r, storage, kept) for r in ranks(features)]
  return (methods.Drop(kept), *lower)


def precision_options(features: int) -> tuple[Method, ...]:
  """Dropping words, or storing them whole in 4, 8 or 32 bits a value."""
  del features
  kept = [methods.Dense(s) for s in ('int4', 'int8', 'float32')]
  return (methods.Drop('int8'), *kept)


def all_options(
  features: int, coded: Callable[..., Method] = methods.ProductQuantization
) -> tuple[Method, ...]:
  """Low rank, whole words and product codes, all of them quantized.

  Args:
    features: D.
    coded: makes a coded option from its books, codewords and storage.
  """
  books = [
    m
    for share in _BOOK_SHARES
    if features % (m := max(1, round(share * features))) == 0
  ]
  sizes = [(m, _CODEWORDS) for m in books]
  sizes += [(books[-1], _MORE_CODEWORDS), (1, _MORE_CODEWORDS)]
  finer = [
    methods.LowRank(r, 'int8', 'int8')
    for r in ranks(features)
    if features / 8 <= r <= features / 2
  ]
  options = [
    *low_rank_options(features, 'int4'),
    *finer,
    methods.Dense('int4'),
    methods.Dense('int8'),
    *(coded(m, k, 'int8') for m, k in sizes),
  ]
  return tuple(dict.fromkeys(options))


# By name: 'learned_codes' re-assigns words to codewords in the final training
# and stores the same bytes as 'all', whose codes stay as they were fitted.
OPTION_SETS = {
  'all': all_options,
  'learned_codes': functools.partial(
    all_options, coded=methods.DifferentiableNearest
  ),
  'low_rank': lambda features: low_rank_options(features, 'float32'),
  'precision': precision_options,
}
