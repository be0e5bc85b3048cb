"""Schemes made by rules of thumb, as large as a budget allows."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from embedcomp import methods
from embedcomp.table.scheme import Group, Scheme
from embedcomp.types import Shape

# Where a person who knows Zipf's law would cut: shares of the vocabulary.
HAND_SPLITS = (1 / 64, 1 / 16, 1 / 4)


def _group_sizes(num_words: int) -> np.ndarray:
  """Words of the hand-made groups, from the most frequent on."""
  inner = [int(num_words * share) for share in HAND_SPLITS]
  return np.diff([0, *inner, num_words])


def largest(schemes: Sequence[Scheme], budget: int) -> Scheme:
  """The scheme that makes most of a budget.

  Raises:
    ValueError: if none fits; names the smallest.
  """
  fitting = [s for s in schemes if s.num_bytes <= budget]
  if not fitting:
    smallest = min((s.num_bytes for s in schemes), default=None)
    raise ValueError(
      f'no scheme of this kind fits into {budget} bytes, the smallest takes '
      f'{smallest}: allow more or choose another method.'
    )
  return max(fitting, key=lambda s: s.num_bytes)


def group_reduce(
  counts: np.ndarray,
  shape: Shape,
  budget: int,
  stored: str = 'float32',
  order: str = 'stored',
) -> Scheme:
  """Groups by frequency with ranks in proportion to their mean count.

  GroupReduce (Chen et al., NeurIPS 2018) without moving words afterwards.

  Args:
    counts: [V] how often each word occurs.
    shape: of the table.
    budget: bytes.
    stored: storage of all factors.
    order: 'identity' if words are sorted by count already.

  Returns:
    The largest such scheme within the budget.

  Raises:
    ValueError: if none is that small.
  """
  sizes = _group_sizes(shape.num_words)
  by_rank = np.sort(counts)[::-1]
  ends = np.cumsum(sizes)
  means = np.array(
    [by_rank[end - size : end].mean() for size, end in zip(sizes, ends)]
  )
  limits = np.minimum(sizes, shape.features)

  def scheme(scale):
    ranks = np.clip((scale * means).astype(int), 1, limits)
    groups = tuple(
      Group(int(size), methods.LowRank(int(rank), stored, stored))
      for size, rank in zip(sizes, ranks)
    )
    return Scheme(shape.features, groups, order)

  highest = shape.features / max(means.min(), 1e-6)
  scales = np.geomspace(1e-6, highest, 2000)
  return largest([scheme(scale) for scale in scales], budget)


def mgqe(shape: Shape, budget: int) -> Scheme:
  """Codes learned with the task, fewer codewords for rarer words.

  As MGQE (Kang et al., WWW 2020), but that each group has its own codebooks
  instead of sharing the leading codewords, which costs some bytes.

  Args:
    shape: of the table, the most frequent words first.
    budget: bytes.

  Returns:
    The largest such scheme within the budget.

  Raises:
    ValueError: if none is that small.
  """
  sizes = _group_sizes(shape.num_words).tolist()

  def schemes() -> Iterator[Scheme]:
    for books in _divisors(shape.features):
      for codewords in (16, 32, 64, 128, 256):
        if codewords > sizes[0]:
          continue  # no more codewords than words
        kept = [max(codewords >> step, 2) for step in range(len(sizes))]
        groups = tuple(
          Group(size, methods.DifferentiableNearest(books, k, 'int8'))
          for size, k in zip(sizes, kept)
        )
        yield Scheme(shape.features, groups)

  return largest(list(schemes()), budget)


def uniform(
  option: str, shape: Shape, budget: int, stored: str = 'float32'
) -> Scheme:
  """One method for all words.

  Args:
    option: name of a method, whose largest size within the budget is taken,
      or the text of one config, which has to fit.
    shape: of the table.
    budget: bytes.
    stored: storage of factors and codebooks, where only a name is given.

  Returns:
    The scheme.

  Raises:
    ValueError: if the method is not known or nothing fits.
  """
  if '(' in option:
    configs = [methods.parse(option)]
  elif option in _SIZES:
    configs = list(_SIZES[option](shape, stored))
  else:
    raise ValueError(
      f'method.option must be one of {sorted(_SIZES)} or a config such as '
      f'"low_rank(rank=16)", got {option!r}.'
    )
  schemes = []
  for config in configs:
    try:
      schemes.append(Scheme(shape.features, (Group(shape.num_words, config),)))
    except ValueError:
      if len(configs) == 1:
        raise
  return largest(schemes, budget)


def _divisors(number: int) -> list[int]:
  return [n for n in range(1, number + 1) if number % n == 0]


def _coded(
  make: Callable[[int, int, str], methods.Method],
) -> Callable[[Shape, str], Iterator[methods.Method]]:
  def sizes(shape, stored):
    for books in _divisors(shape.features):
      for codewords in (4, 8, 16, 32, 64, 128, 256):
        yield make(books, codewords, stored)

  return sizes


def _all_ranks(shape: Shape, stored: str) -> Iterator[methods.Method]:
  for rank in range(1, shape.features + 1):
    yield methods.LowRank(rank, stored, stored)


# By method: its configs of all sizes for a shape and a storage.
_SIZES: dict[str, Callable[[Shape, str], Iterator[methods.Method]]] = {
  'dense': lambda shape, stored: iter([methods.Dense(stored)]),
  'drop': lambda shape, stored: iter([methods.Drop(stored)]),
  'low_rank': _all_ranks,
  'pq': _coded(methods.ProductQuantization),
  'rvq': _coded(methods.ResidualQuantization),
  'dpq_vq': _coded(methods.DifferentiableNearest),
  'dpq_sx': _coded(methods.DifferentiableSoftmax),
  'vq': lambda shape, stored: (
    methods.VectorQuantization(2**bits, stored) for bits in range(1, 13)
  ),
  'hashed': lambda shape, stored: (
    methods.Hashed(max(2, round(shape.num_words * share)), stored)
    for share in np.geomspace(1e-4, 0.9, 60)
  ),
  'tensor_train': lambda shape, stored: (
    methods.TensorTrain(rank, stored) for rank in range(1, 257)
  ),
}
