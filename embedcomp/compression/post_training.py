"""Post-training compression: the best scheme for a table and a byte budget.

Words are sorted by importance and cut into bins. For every run of bins that
could be a group, every option of every method is fitted to a sample of its
words and its weighted error is measured. Dynamic programming
(`dynamic_program`) then picks the splits, methods and sizes of least total
error within the budget, left-over bytes move words to the better of two
neighbouring groups, and the chosen methods are fitted to all their words.
"""

from collections.abc import Sequence

from embedcomp import methods as methods_lib
from embedcomp.compression import fitting, frequency
from embedcomp.compression.rate_distortion import RateDistortionCurve
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params, Shape

DEFAULT_METHODS = ('dense', 'low_rank', 'pq', 'vq')
# For tables of models like BERT: few of their features carry most of the words.
CONTEXTUAL_METHODS = (*DEFAULT_METHODS, 'projected_pq')
# Words of the smallest bin: fewer are not worth a group.
_SMALLEST_BIN = 64


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
    The scheme and its params in stored form.

  Raises:
    ValueError: naming the value and the rule that it breaks; a budget below
      the smallest scheme names that one's size.

  Example:
    >>> import numpy as np
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
  curve = rate_distortion_curve(
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


def rate_distortion_curve(
  table: Array,
  counts: Array | None = None,
  *,
  importance: Array | None = None,
  methods: Sequence[str | methods_lib.Method] = DEFAULT_METHODS,
  num_bins: int = 10,
  max_groups: int = 6,
  seed: int = 0,
  progress: bool = True,
) -> RateDistortionCurve:
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
  words = WeightedTable.prepare(table, counts, importance)
  options = _options(methods, Shape(*words.table.shape))
  by_rank = words.weights[words.ids]
  smallest_bin = min(_SMALLEST_BIN, len(by_rank))
  bins = frequency.log_bins(by_rank, num_bins, min_size=smallest_bin)
  space = SearchSpace(
    words.table.shape[1], bins, options, max_groups, words.order, words.dtype
  )
  return RateDistortionCurve.measured(words, space, seed, progress=progress)


def fit(
  table: Array,
  scheme: Scheme,
  counts: Array | None = None,
  *,
  importance: Array | None = None,
  seed: int = 0,
  progress: bool = True,
) -> Params:
  """Fits a scheme of your own making to a table.

  Args:
    table: [V, D] float, a row a word.
    scheme: of the same size. With `order='stored'` its groups take the words
      by falling importance, else by id.
    counts: as for `compress`.
    importance: as for `compress`.
    seed: of whatever is random; equal seeds give equal results.
    progress: whether to show a progress bar (needs tqdm).

  Returns:
    Frozen params.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> import numpy as np
    >>> from embedcomp import Group, Scheme, methods
    >>> head, tail = Group(10, methods.Dense('int8')), Group(90, methods.Drop())
    >>> params = fit(np.ones((100, 4)), Scheme(4, (head, tail)), progress=False)
  """
  words = WeightedTable.prepare(table, counts, importance)
  return fitting.fit(words, scheme, seed=seed, progress=progress)


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
