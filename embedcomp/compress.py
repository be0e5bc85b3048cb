"""Post-training compression: the best scheme for a table and a byte budget.

Words are sorted by importance and cut into bins. For every run of bins that
could be a group, every option of every method is fitted to a sample of its
words and its weighted error is measured. Dynamic programming
(`search.discretise`) then picks the splits, methods and sizes of least total
error within the budget, left-over bytes move words to the better of two
neighbouring groups, and the chosen methods are fitted to all their words.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from embedcomp import frequency, grouped
from embedcomp import methods as methods_lib
from embedcomp.methods import storage
from embedcomp.progress import track
from embedcomp.scheme import Group, Scheme
from embedcomp.search import discretise, measure
from embedcomp.types import Array, Params, Shape

DEFAULT_METHODS = ('dense', 'low_rank', 'pq', 'vq')
# Words of the smallest bin: fewer are not worth a group.
_SMALLEST_BIN = 64
# Sizes that a curve reports.
_CURVE_POINTS = 200
# Words that are looked at together where the whole table has to be.
_BLOCK = 1 << 16


def parse_budget(budget: float | int | str, dense_bytes: int) -> int:
  """The bytes that a budget allows.

  Args:
    budget: a share of the dense table (float in (0, 1)), a number of bytes
      (int), or a factor (`'40x'`).
    dense_bytes: bytes of the dense table.

  Returns:
    Bytes.

  Raises:
    ValueError: for anything else.

  Example:
    >>> parse_budget(0.25, 1000), parse_budget(250, 1000)
    (250, 250)
    >>> parse_budget('4x', 1000)
    250
  """
  rule = (
    "budget must be a share in (0, 1), a number of bytes, or a factor as '40x'"
  )
  if isinstance(budget, str):
    try:
      factor = float(budget.removesuffix('x'))
    except ValueError:
      factor = 0.0
    if not budget.endswith('x') or not 0 < factor < float('inf'):
      raise ValueError(f'{rule}, got {budget!r}.')
    return int(dense_bytes / factor)
  if isinstance(budget, (bool, np.bool_)):
    raise ValueError(f'{rule}, got {budget!r}.')
  if isinstance(budget, (int, np.integer)) and budget > 0:
    return int(budget)
  if isinstance(budget, (float, np.floating)) and 0 < budget < 1:
    return int(dense_bytes * budget)
  raise ValueError(f'{rule}, got {budget!r}.')


def compress(
  table: Array,
  counts: Array | None = None,
  *,
  budget: float | int | str | None = None,
  tolerance: float | None = None,
  importance: Array | None = None,
  methods: Sequence[str | methods_lib.Method] = DEFAULT_METHODS,
  num_bins: int = 10,
  max_groups: int = 6,
  seed: int = 0,
  progress: bool = True,
) -> tuple[Scheme, Params]:
  """Compresses an embedding table to a byte budget or to an error.

  The weighted squared error sum_i w_i |e_i - e'_i|^2 is minimised, where w is
  `importance` if given, else counts + 1 (so that words which do not occur in
  the counted text still matter a little), else 1 for every word.

  Args:
    table: [V, D] float, a row a word.
    counts: [V] how often each word occurs.
    budget: largest size: a share of the dense table (float in (0, 1)), a
      number of bytes (int), or a factor (`'40x'`). Never exceeded.
    tolerance: instead of a budget, the largest relative error (as
      `relative_error` measures it) of the smallest scheme sought.
    importance: [V] weights of the words' errors, e.g. TF-IDF or Fisher weights.
    methods: names of registered methods, whose own options are tried, or
      configs to try as they are.
    num_bins: candidate positions for splits, plus one.
    max_groups: most groups.
    seed: of whatever is random; equal seeds give equal results.
    progress: whether to show a progress bar (needs tqdm).

  Returns:
    The scheme and its frozen params.

  Raises:
    ValueError: naming the value and the rule that it breaks; a budget below
      the smallest scheme names that one's size.

  Example:
    >>> table = np.random.default_rng(0).normal(size=(1000, 16))
    >>> counts = 1000 // np.arange(1, 1001)
    >>> scheme, params = compress(table, counts, budget='10x', progress=False)
    >>> 6336 <= scheme.num_bytes <= 6400
    True
  """
  if (budget is None) == (tolerance is None):
    raise ValueError(
      f'give either a budget or a tolerance, got {budget=} and {tolerance=}.'
    )
  curve = frontier(
    table,
    counts,
    importance=importance,
    methods=methods,
    num_bins=num_bins,
    max_groups=max_groups,
    seed=seed,
    progress=progress,
  )
  if tolerance is not None:
    return curve.compress_within(tolerance, progress=progress)
  return curve.compress(budget, progress=progress)


def frontier(
  table: Array,
  counts: Array | None = None,
  *,
  importance: Array | None = None,
  methods: Sequence[str | methods_lib.Method] = DEFAULT_METHODS,
  num_bins: int = 10,
  max_groups: int = 6,
  seed: int = 0,
  progress: bool = True,
) -> 'SizeErrorCurve':
  """Measures all options once and returns the whole size-error curve.

  Args:
    table: as for `compress`, and all that follows.
    counts: as for `compress`.
    importance: as for `compress`.
    methods: as for `compress`.
    num_bins: as for `compress`.
    max_groups: as for `compress`.
    seed: as for `compress`.
    progress: as for `compress`.

  Returns:
    The curve, from which schemes of any size can be taken.
  """
  for name, value in (('num_bins', num_bins), ('max_groups', max_groups)):
    if type(value) is not int or value < 1:
      raise ValueError(f'{name} must be an int of at least 1, got {value!r}.')
  words = _Words.prepare(table, counts, importance)
  options = _options(methods, Shape(*words.table.shape))
  by_rank = words.weights[words.ids]
  smallest_bin = min(_SMALLEST_BIN, len(by_rank))
  bins = frequency.log_bins(by_rank, num_bins, min_size=smallest_bin)
  segments = measure.measure(
    words.rows, by_rank, options, bins, seed=seed, progress=progress
  )
  return SizeErrorCurve(words, options, bins, segments, max_groups, seed)


@dataclasses.dataclass(frozen=True, eq=False)
class SizeErrorCurve:
  """What every size of a table costs, from one pass over the options.

  Made by `frontier`. Errors are those measured on samples; fitting a scheme
  usually leaves a little less.

  Example:
    >>> table = np.random.default_rng(0).normal(size=(500, 8))
    >>> curve = frontier(table, 500 // np.arange(1, 501), progress=False)
    >>> scheme, params = curve.compress('8x', progress=False)
    >>> curve.error('8x') > curve.error('4x')
    True
  """

  _words: '_Words'
  _options: tuple[methods_lib.Method, ...]
  _bins: tuple[int, ...]
  _segments: list[discretise.Segment]
  _max_groups: int
  _seed: int

  @property
  def dense_bytes(self) -> int:
    """Bytes of the uncompressed table in its own dtype."""
    table = self._words.table
    return table.size * table.dtype.itemsize

  @functools.cached_property
  def smallest_bytes(self) -> int:
    """Bytes of the smallest scheme."""
    return discretise.smallest_bytes(
      self._segments, len(self._bins) - 1, self._max_groups, self._order_bytes
    )

  @functools.cached_property
  def num_bytes(self) -> np.ndarray:
    """[S] int64 sizes, evenly spaced in log, from smallest to dense."""
    largest = max(self.dense_bytes, self.smallest_bytes)
    sizes = np.geomspace(self.smallest_bytes, largest, _CURVE_POINTS)
    return np.unique(np.ceil(sizes).astype(np.int64))

  @functools.cached_property
  def errors(self) -> np.ndarray:
    """[S] relative errors, as `relative_error`, at `num_bytes`."""
    return np.array([self.error(int(size)) for size in self.num_bytes])

  def error(self, budget: float | int | str) -> float:
    """The expected relative error within a budget."""
    size = parse_budget(budget, self.dense_bytes)
    table = self._solve(size)
    losses = table.losses[min(size // table.unit, len(table.losses) - 1)]
    return float(np.sqrt(losses / max(self._energy[-1], 1e-300)))

  def scheme(self, budget: float | int | str) -> Scheme:
    """The best scheme within a budget.

    Raises:
      ValueError: if the budget is malformed or too small for any scheme.
    """
    size = parse_budget(budget, self.dense_bytes)
    choices = self._solve(size).best(size)
    return self._spend_slack(choices, size)

  def compress(
    self, budget: float | int | str, *, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """The best scheme within a budget, fitted; see `compress`."""
    scheme = self.scheme(budget)
    return scheme, self.fit(scheme, progress=progress)

  def compress_within(
    self, tolerance: float, *, progress: bool = True
  ) -> tuple[Scheme, Params]:
    """The smallest scheme of at most this relative error, fitted.

    Sizes are searched by bisection, each step fits a scheme and measures it.

    Raises:
      ValueError: if the tolerance is malformed or no size is good enough.
    """
    if not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
      raise ValueError(f'tolerance must be in (0, 1), got {tolerance!r}.')
    sizes = self.num_bytes
    low, high, found = 0, len(sizes), None
    while low < high:
      middle = (low + high) // 2
      scheme, params = self.compress(int(sizes[middle]), progress=progress)
      error = relative_error(
        self._words.table, scheme, params, self._words.weights
      )
      if error <= tolerance:
        high, found = middle, (scheme, params)
      else:
        low = middle + 1
    if found is None:
      raise ValueError(
        f'no scheme of these methods has a relative error of {tolerance} or '
        f'less: the largest leaves {error:.3g}. Allow more error or methods.'
      )
    return found

  def fit(self, scheme: Scheme, *, progress: bool = True) -> Params:
    """Fits a scheme's methods to the words of their groups.

    Args:
      scheme: for this table, groups by falling importance.
      progress: whether to show a progress bar.

    Returns:
      Frozen params.
    """
    ids_by_rank = self._words.ids
    group_of_id = np.empty(len(ids_by_rank), np.int32)
    params: Params = {}
    groups = track(
      enumerate(zip(scheme.groups, scheme.shapes)),
      'fitting groups',
      enabled=progress,
      total=len(scheme.groups),
      unit='group',
    )
    for index, (group, shape) in groups:
      ids = ids_by_rank[scheme.splits[index] : scheme.splits[index + 1]]
      ids = np.sort(ids)
      group_of_id[ids] = index
      weights = self._words.weights[ids]
      if not weights.any():
        weights = np.ones_like(weights)
      fitted = group.method.fit(self._words.vectors(ids), weights, self._seed)
      name = grouped.group_name(index)
      params[name] = group.method.freeze(fitted, shape)
    if scheme.order == 'stored':
      order = grouped.order_from_groups(group_of_id, len(scheme.groups))
      params['order'] = jnp.asarray(order)
    return params

  def _order_bytes(self, num_groups: int) -> int:
    """Bytes of the order map of a scheme of so many groups."""
    if self._words.order == 'identity':
      return 0
    return storage.Codes('order', (len(self._words.ids),), num_groups).num_bytes

  def _solve(self, max_bytes: int) -> discretise.Frontier:
    return discretise.solve(
      self._segments,
      len(self._bins) - 1,
      max_bytes,
      max_groups=min(self._max_groups, len(self._bins) - 1),
      fixed_bytes=self._order_bytes,
    )

  @functools.cached_property
  def _energy(self) -> np.ndarray:
    """[V + 1] weighted squared norms of the words before each rank."""
    energy = np.zeros(len(self._words.ids) + 1)
    for start in range(0, len(self._words.ids), _BLOCK):
      ids = self._words.ids[start : start + _BLOCK]
      norms = np.square(self._words.vectors(ids)).sum(axis=1)
      energy[start + 1 : start + 1 + len(ids)] = (
        norms * self._words.weights[ids]
      )
    return np.cumsum(energy)

  def _spend_slack(self, choices, budget: int) -> Scheme:
    """Moves splits so that words join the dearer group while bytes last."""
    splits = [self._bins[choice.start] for choice in choices]
    splits.append(self._bins[-1])
    methods = [self._options[choice.option] for choice in choices]
    rates = [self._loss_rate(choice) for choice in choices]
    gains = np.abs(np.diff(rates))
    for boundary in np.argsort(-gains, kind='stable') + 1:
      before, after = methods[boundary - 1 : boundary + 1]
      dearer = self._bytes_per_word(before) > self._bytes_per_word(after)
      splits[boundary] = self._move_split(
        splits, methods, boundary, 1 if dearer else -1, budget
      )
    return self._scheme(splits, methods)

  def _bytes_per_word(self, method: methods_lib.Method) -> float:
    shape = Shape(*self._words.table.shape)
    twice = Shape(2 * shape.num_words, shape.features)
    return method.num_bytes(twice) - method.num_bytes(shape)

  def _loss_rate(self, choice: discretise.Choice) -> float:
    """The share of its words' energy that a group is expected to lose."""
    start, stop = self._bins[choice.start], self._bins[choice.stop]
    energy = self._energy[stop] - self._energy[start]
    for segment in self._segments:
      if (segment.start, segment.stop) == (choice.start, choice.stop):
        return segment.losses[choice.option] / max(energy, 1e-300)
    raise AssertionError('every choice is of a segment.')

  def _move_split(self, splits, methods, boundary, direction, budget) -> int:
    """The furthest place of one split, in one direction, within budget."""

    def fits(distance):
      moved = list(splits)
      moved[boundary] += direction * distance
      try:
        return self._scheme(moved, methods).num_bytes <= budget
      except ValueError:  # too few words left for the shrinking group
        return False

    neighbour = splits[boundary + direction]
    low, high = 0, abs(neighbour - splits[boundary])
    while high - low > 1:
      middle = (low + high) // 2
      low, high = (middle, high) if fits(middle) else (low, middle)
    return splits[boundary] + direction * low

  def _scheme(self, splits, methods) -> Scheme:
    sizes = np.diff(splits).tolist()
    groups = tuple(Group(n, method) for n, method in zip(sizes, methods))
    order = self._words.order if len(groups) > 1 else 'identity'
    features = self._words.table.shape[1]
    return Scheme(features, groups, order, self._words.dtype)


def relative_error(
  table: Array,
  scheme: Scheme,
  params: Params,
  importance: Array | None = None,
) -> float:
  """The weighted relative error of a compressed table.

  sqrt(sum_i w_i |e_i - e'_i|^2 / sum_i w_i |e_i|^2), the relative error in
  the (weighted) Frobenius norm; 0 for a table of zeros kept exactly.

  Args:
    table: [V, D] float, the original.
    scheme: of the compressed table.
    params: of the compressed table.
    importance: [V] weights w of the words, 1 if not given.

  Returns:
    The error; 1 is as bad as no vectors at all.
  """
  table = np.asarray(table)
  weights = np.ones(len(table)) if importance is None else importance
  weights = frequency.check_counts(weights, len(table))
  lost = total = 0.0
  block = min(4096, len(table))
  for start in range(0, len(table), block):
    # The last block starts early: one shape, one compilation.
    ids = np.arange(start, start + block) - max(start + block - len(table), 0)
    words = np.asarray(grouped.lookup(scheme, params, ids))
    keep = ids >= start
    rows = table[ids[keep]].astype(np.float64)
    mass = weights[ids[keep]]
    lost += mass @ np.square(rows - words[keep]).sum(axis=1)
    total += mass @ np.square(rows).sum(axis=1)
  return float(np.sqrt(lost / total)) if total else float(lost > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class _Words:
  """A checked table with the order and the weights of its words.

  Attributes:
    table: [V, D] float, as given.
    weights: [V] float64, mean 1.
    ids: [V] the id at each rank.
    dtype: name of the table's dtype.
    order: 'identity' if ids are ranks, else 'stored'.
  """

  table: np.ndarray
  weights: np.ndarray
  ids: np.ndarray
  dtype: str
  order: str

  @classmethod
  def prepare(cls, table, counts, importance) -> '_Words':
    table = np.asarray(table)
    if table.ndim != 2 or not table.size:
      raise ValueError(
        'the table must be [V, D] with at least one word and one feature, '
        f'got shape {table.shape}.'
      )
    if table.dtype == np.float64:
      table = table.astype(np.float32)
    if table.dtype not in storage.FLOAT_DTYPES.values():
      raise ValueError(f'the table must be of floats, got {table.dtype}.')
    for start in range(0, len(table), _BLOCK):
      rows = table[start : start + _BLOCK].astype(np.float32)
      wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
      if len(wrong):
        raise ValueError(
          'the table must be finite, got NaN or infinity in row '
          f'{start + wrong[0]}; clean it or drop such words first.'
        )
    weights = np.ones(len(table))
    if importance is not None:
      if counts is not None:
        frequency.check_counts(counts, len(table))
      weights = frequency.check_counts(importance, len(table))
    elif counts is not None:
      weights = frequency.check_counts(counts, len(table)) + 1
    ids = np.argsort(-weights, kind='stable')
    sorted_already = bool((np.diff(weights) <= 0).all())
    return cls(
      table=table,
      weights=weights / weights.mean(),
      ids=ids,
      dtype=str(table.dtype),
      order='identity' if sorted_already else 'stored',
    )

  def vectors(self, ids: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors of some ids."""
    return self.table[ids].astype(np.float32, copy=False)

  def rows(self, ranks: np.ndarray) -> np.ndarray:
    """[W, D] float32 vectors at some ranks."""
    return self.vectors(self.ids[ranks])


def _options(methods, shape: Shape) -> tuple[methods_lib.Method, ...]:
  """The configs to try: those given and those of the methods named."""
  options: list[methods_lib.Method] = []
  if isinstance(methods, (str, methods_lib.Method)):
    methods = (methods,)
  for method in methods:
    if isinstance(method, methods_lib.Method):
      method.validate(shape)
      options.append(method)
    else:
      options += methods_lib.get(method).options(shape)
  if not options:
    raise ValueError(f'no option of {methods} suits a table of {shape}.')
  return tuple(dict.fromkeys(options))
