"""The options that a search with a task chooses from, for any table."""

import functools
from collections.abc import Callable, Sequence

from embedcomp import methods
from embedcomp.methods import Method
from embedcomp.types import Shape

# Ranks and books as shares of the features.
_RANK_SHARES = (
  1 / 64,
  1 / 32,
  1 / 16,
  1 / 8,
  1 / 6,
  1 / 4,
  1 / 3,
  1 / 2,
  3 / 4,
)
_FINER_SHARES = (1 / 8, 1 / 3, 1 / 2)  # worth more than four bits a value
_BOOK_SHARES = (1 / 8, 1 / 4, 1 / 2)
_CODEWORDS = (16, 64)


def ranks(
  features: int, shares: Sequence[float] = _RANK_SHARES
) -> tuple[int, ...]:
  """Ranks from one to three quarters of the features, or as shares say."""
  found = {max(1, round(share * features)) for share in shares}
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
  finer = ranks(features, _FINER_SHARES)
  books = {1, min(2, features)}
  books |= {max(1, round(share * features)) for share in _BOOK_SHARES}
  options = [
    *low_rank_options(features, 'int4'),
    *(methods.LowRank(r, 'int8', 'int8') for r in finer),
    methods.Dense('int4'),
    methods.Dense('int8'),
    *(
      coded(m, k, 'int8')
      for m in sorted(books)
      for k in _CODEWORDS
      if features % m == 0
    ),
  ]
  return tuple(dict.fromkeys(options))


def rounded_options(features: int) -> tuple[Method, ...]:
  """Returns `all_options` without codes: all numbers of a word learn."""
  learning = (methods.LowRank, methods.Dense, methods.Drop)
  return tuple(o for o in all_options(features) if isinstance(o, learning))


def contextual_options(features: int) -> tuple[Method, ...]:
  """Returns `all_options` and codes of coefficients, for tables like BERT's.

  For a search whose prior decides alone: a supernet has no such codes.
  """
  shape = Shape(num_words=2**31, features=features)
  projected = methods.ProjectedQuantization.options(shape)
  return (*all_options(features), *projected)


# By name: 'learned_codes' re-assigns words to codewords in the final training
# and stores the same bytes as 'all', whose codes stay as they were fitted.
OPTION_SETS: dict[str, Callable[[int], tuple[methods.Method, ...]]] = {
  'all': all_options,
  'learned_codes': functools.partial(
    all_options, coded=methods.DifferentiableNearest
  ),
  'rounded': rounded_options,
  'contextual': contextual_options,
  'low_rank': lambda features: low_rank_options(features, 'float32'),
  'precision': precision_options,
}
