"""Error of the real MiniLM-L6 table at 10x to 80x: uniform, by hand, chosen."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

import embedcomp
from embedcomp import Group, Scheme, methods
from embedcomp.methods import storage
from embedcomp.methods.base import Method
from embedcomp.types import Shape
from experiments import heuristic_schemes
from experiments.benchmarks import minilm, synthetic
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation

SEEDS = 3
_FACTORS = (10, 20, 40, 80)
_CODE_BITS = range(2, 10)
_DETERMINISTIC = ('low_rank', 'tensor_train')


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each size and contestant.

  A contestant may have many configs of nearly the same bytes; each is fitted
  with the first seed and the one of least weighted error stands for it, which
  is more tuning than `compress` gets.

  Args:
    smoke: whether to use a small synthetic table and two sizes.
    seeds: how often to fit what is random.
  """
  factors = (8, 16) if smoke else _FACTORS
  contestants = {
    **{name: functools.partial(_uniform, name) for name in _UNIFORM},
    'GroupReduce ranks': _group_reduce,
    'GroupReduce ranks, int8': functools.partial(_group_reduce, stored='int8'),
    'most frequent words': _pruned,
    'compress': None,
  }
  return [
    Job(
      f'{name} {factor}x',
      functools.partial(_run, smoke, name, make, factor, seeds),
    )
    for factor in factors
    for name, make in contestants.items()
  ]


@functools.cache
def _data(smoke: bool) -> tuple[np.ndarray, np.ndarray]:
  if not smoke:
    return minilm.load_minilm_table(), minilm.newsgroups_counts()
  table = np.empty((600, 24), np.float32)
  synthetic.fill_table(table)
  return table, synthetic.zipf_counts(len(table))


def _run(smoke, name, make, factor, seeds) -> list[Row]:
  table, counts = _data(smoke)
  budget = int(table.nbytes / factor)
  if make is None:
    tried = 1  # and nothing is random
    fitted = [embedcomp.compress(table, counts, budget=budget, progress=False)]
  else:
    schemes = list(make(counts, Shape(*table.shape), budget))
    if not schemes:
      return [{'size': f'{factor}x', 'method': name, 'note': 'nothing fits'}]
    tried = len(schemes)
    found = [_fit_and_measure(smoke, scheme, 0) for scheme in schemes]
    best = min(found, key=lambda one: one[2])
    seeds = 1 if name in _DETERMINISTIC else seeds
    fitted = [best[:2]]
    fitted += [
      _fit_and_measure(smoke, best[0], seed)[:2] for seed in range(1, seeds)
    ]
  return [
    {
      'size': f'{factor}x',
      'method': name,
      'seed': seed,
      'weighted_error': embedcomp.relative_error(table, *one, counts),
      'plain_error': embedcomp.relative_error(table, *one),
      'bytes': one[0].num_bytes,
      'groups': len(one[0].groups),
      'tried': tried,
      'scheme': ' | '.join(f'{g.size} {g.method}' for g in one[0].groups),
    }
    for seed, one in enumerate(fitted)
  ]


def _fit_and_measure(smoke, scheme, seed):
  """A scheme, its fitted params and their weighted error."""
  table, counts = _data(smoke)
  params = embedcomp.fit(table, scheme, counts, seed=seed, progress=False)
  error = embedcomp.relative_error(table, scheme, params, counts)
  return scheme, params, error


def _uniform(
  name: str, counts: np.ndarray, shape: Shape, budget: int
) -> Iterator[Scheme]:
  """All configs of one method that fill a budget, as schemes of one group."""
  del counts
  for method in _UNIFORM[name](shape, budget):
    yield Scheme(shape.features, (Group(shape.num_words, method),))


def _largest(make, shape: Shape, budget: int, limit: int) -> Iterator[Method]:
  """The config of the largest size in [1, limit] that is within a budget."""
  low, high = 0, limit
  while low < high:
    middle = (low + high + 1) // 2
    fits = make(middle).num_bytes(shape) <= budget
    low, high = (middle, high) if fits else (low, middle - 1)
  if low:
    yield make(low)


def _low_rank(shape: Shape, budget: int) -> Iterator[Method]:
  for stored in storage.STORAGES:
    yield from _largest(
      lambda rank, stored=stored: methods.LowRank(rank, stored, stored),
      shape,
      budget,
      min(shape),
    )


def _codebooks(
  make, shape: Shape, budget: int, books, code_bits=_CODE_BITS
) -> Iterator[Method]:
  """For each number of books and code width, all codewords that fit.

  Codebooks are in int8, of which a budget holds four times as many as of
  float32. Configs that leave more than a tenth of the budget are left out.
  """
  for count in books:
    for bits in code_bits:
      found = _largest(
        lambda k, m=count: make(m, k, 'int8'),
        shape,
        budget,
        min(2**bits, shape.num_words),
      )
      yield from (
        method
        for method in found
        # Fewer codewords are what fewer bits are for.
        if method.codewords > 2 ** (bits - 1)
        and method.num_bytes(shape) >= 0.9 * budget
      )


def _vq(shape: Shape, budget: int) -> Iterator[Method]:
  return _largest(
    lambda k: methods.VectorQuantization(k, 'int8'),
    shape,
    budget,
    # More take hours, and are no better a deal than a dense head.
    min(shape.num_words, 2048),
  )


def _pq(shape: Shape, budget: int, rotation: bool = False) -> Iterator[Method]:
  def make(books, codewords, stored):
    return methods.ProductQuantization(books, codewords, stored, rotation)

  books = [m for m in range(1, shape.features) if shape.features % m == 0]
  return _codebooks(make, shape, budget, books)


def _rvq(shape: Shape, budget: int) -> Iterator[Method]:
  # A book of whole vectors takes as long as all books of a product code; the
  # larger ones here have up to 128 codewords.
  books = (2, 4, 8, 16, 32, 64, 96)
  return _codebooks(
    methods.ResidualQuantization, shape, budget, books, range(4, 8)
  )


def _tensor_train(shape: Shape, budget: int) -> Iterator[Method]:
  for stored in ('float32', 'int8'):
    yield from _largest(
      lambda rank, stored=stored: methods.TensorTrain(rank, stored),
      shape,
      budget,
      shape.features,
    )


def _hashed(shape: Shape, budget: int) -> Iterator[Method]:
  for stored in ('float32', 'int8'):
    yield from _largest(
      lambda buckets, stored=stored: methods.Hashed(buckets, stored),
      shape,
      budget,
      shape.num_words,
    )


_UNIFORM = {
  'low_rank': _low_rank,
  'vq': _vq,
  'pq': _pq,
  'pq, rotated': functools.partial(_pq, rotation=True),
  'rvq': _rvq,
  'tensor_train': _tensor_train,
  'hashed': _hashed,
}


def _group_reduce(
  counts: np.ndarray, shape: Shape, budget: int, stored: str = 'float32'
) -> Iterator[Scheme]:
  try:
    yield heuristic_schemes.group_reduce(counts, shape, budget, stored)
  except ValueError:  # nothing that small
    return


def _pruned(counts: np.ndarray, shape: Shape, budget: int) -> Iterator[Scheme]:
  """As many of the most frequent words as fit, the others dropped."""
  del counts
  for stored in ('float32', 'int8', 'int4'):

    def scheme(kept, stored=stored):
      head = Group(kept, methods.Dense(stored))
      tail = Group(shape.num_words - kept, methods.Drop('int8'))
      return Scheme(shape.features, (head, tail), order='stored')

    low, high = 1, shape.num_words - 1
    while low < high:
      middle = (low + high + 1) // 2
      fits = scheme(middle).num_bytes <= budget
      low, high = (middle, high) if fits else (low, middle - 1)
    yield scheme(low)


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a contestant, its weighted error at each size (mean, deviation)."""
  sizes = list(dict.fromkeys(row['size'] for row in rows))
  names = list(dict.fromkeys(row['method'] for row in rows))
  return [
    {'method': name, **{size: _cell(rows, name, size) for size in sizes}}
    for name in names
  ] + [_margin(rows, sizes)]


def _errors(rows: Sequence[Row], name: str, size: str) -> list[float]:
  return [
    row['weighted_error']
    for row in rows
    if (row['method'], row['size']) == (name, size) and 'seed' in row
  ]


def _cell(rows: Sequence[Row], name: str, size: str) -> str:
  errors = _errors(rows, name, size)
  return mean_and_deviation(errors, 4) if errors else 'nothing fits'


def _margin(rows: Sequence[Row], sizes: Sequence[str]) -> Row:
  """The error of `compress` over that of the best single-group method."""
  margins: Row = {'method': 'compress / best uniform'}
  for size in sizes:
    found = [_errors(rows, name, size) for name in _UNIFORM]
    best = min(np.mean(errors) for errors in found if errors)
    ours = _errors(rows, 'compress', size)
    margins[size] = f'{np.mean(ours) / best:.2f}' if ours else ''
  return margins


def plot(rows: Sequence[Row]):
  """Size-error curves of all contestants; returns the Axes."""
  from embedcomp import plots

  curves = {}
  for name in dict.fromkeys(row['method'] for row in rows):
    found: dict[int, list[float]] = {}
    for row in rows:
      if row['method'] == name and 'seed' in row:
        found.setdefault(row['bytes'], []).append(row['weighted_error'])
    if found:
      sizes = sorted(found)
      curves[name] = (sizes, [np.mean(found[size]) for size in sizes])
  axes = plots.plot_rate_distortion(
    curves, ylabel='relative error, weighted by frequency'
  )
  axes.legend(loc='center left', bbox_to_anchor=(1.02, 0.5), handlelength=3)
  return axes
