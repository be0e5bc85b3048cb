"""Post-training compression: the best scheme for a table and a byte budget.

Codes on shared axes are planned as one (`water_filling`). For other methods,
words are sorted by importance and cut into bins. For every run of bins that
could be a group, every option of every method is fitted to a sample of its
words and its weighted error is measured. Dynamic programming
(`dynamic_program`) then picks the splits, methods and sizes of least total
error within the budget, left-over bytes move words to the better of two
neighbouring groups, and the chosen methods are fitted to all their words. Where
either may turn out better, both are fitted, and what has lost less is taken.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from embedcomp import methods as methods_lib
from embedcomp._internal.checks import check_int
from embedcomp.compression import dynamic_program, fitting, frequency
from embedcomp.compression.budget import check_tolerance, parse_budget
from embedcomp.compression.distortion import measure_segments
from embedcomp.compression.fitting import weighted_loss
from embedcomp.compression.metric import check_metric, ridge_metric
from embedcomp.compression.rate_distortion import RateDistortionCurve
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.water_filling import PLANNED, WaterFilling
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params, Shape

DEFAULT_METHODS = ('dense', 'scalar')
# Those of which a menu of sizes is measured on every run of words.
OPTION_METHODS = ('dense', 'low_rank', 'pq', 'vq')
# For tables of models like BERT: few of their features carry most of the words.
CONTEXTUAL_METHODS = (*OPTION_METHODS, 'projected_pq')
# Of the metric, beside the identity: models read more than they were shown.
METRIC_SHARE = 0.6
# Words of the smallest bin: fewer are not worth a group.
SMALLEST_BIN = 64
# Of what codes on axes are expected to lose, the least that few words lose.
_LEAST_SHARE = 0.4


def compress(
  table: Array,
  counts: Array | None = None,
  *,
  budget: float | int | str | None = None,
  tolerance: float | None = None,
  importance: Array | None = None,
  metric: Array | None = None,
  methods: Sequence[str | methods_lib.Method] = DEFAULT_METHODS,
  num_bins: int = 10,
  max_groups: int = 6,
  seed: int = 0,
  progress: bool = True,
) -> tuple[Scheme, Params]:
  """Compresses an embedding table to a byte budget or to an error.

  The weighted squared error sum_i w_i |e_i - e'_i|^2 is minimised, where w is
  `importance` if given, else counts + 1 (so that words which do not occur in
  the counted text still matter a little), else 1 for every word. That suits
  words that are read one by one, in text like what was counted. For other text
  give `frequency.expected_counts` as importance, and for a model that reads
  words in context `frequency.contextual_importance` of them.

  Args:
    table: [V, D] float, a row a word.
    counts: [V] how often each word occurs.
    budget: largest size: a share of the dense table (float in (0, 1)), a
      number of bytes (int), or a factor (`'40x'`). Never exceeded.
    tolerance: instead of a budget, the largest relative error (as
      `relative_error` measures it) of the smallest scheme sought.
    importance: [V] weights of the words' errors instead of counts, e.g. TF-IDF
      or Fisher weights.
    metric: [D, D] symmetric and positive semidefinite, what errors cost in
      each direction (see `measure_metric`), instead of the same in all. Scalar
      and graded codes alone look at it.
    methods: names of registered methods, whose own options are tried, or
      configs to try as they are.
    num_bins: candidate positions for splits, plus one; menus alone have any.
    max_groups: most groups; of menus alone.
    seed: of whatever is random; equal seeds give equal results.
    progress: whether to show a progress bar.

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
  if tolerance is not None:
    check_tolerance(tolerance)
    if metric is not None:
      raise ValueError(
        'tolerance is an error that knows no metric: give a budget instead.'
      )
  methods = _method_list(methods)
  planned = [name for name in PLANNED if name in methods]
  if metric is not None and not planned:
    raise ValueError(
      f'a metric is looked at by {" and ".join(PLANNED)} codes alone, which '
      f'are not in the methods {methods}: add one, or leave the metric out.'
    )
  weighted = WeightedTable.create(table, counts, importance)
  seed = check_int('seed', seed, 0)
  others = [method for method in methods if method not in planned]
  metric = _ridged(metric, weighted)
  filling, space = None, None
  if planned:
    filling = WaterFilling(weighted, metric, planned)
  if others:
    space = _search_space(weighted, others, num_bins, max_groups)
  if tolerance is not None:
    curve = None
    if space is not None:
      curve = _measured(weighted, space, seed, progress)
    return _compress_within(tolerance, filling, curve, seed, progress)
  assert budget is not None  # one of both is given
  size = parse_budget(budget, weighted.dense_bytes)
  smallest = min(s.smallest_bytes for s in (filling, space) if s is not None)
  dynamic_program.check_fits(size, smallest)
  candidates: list[tuple[float, Callable[[], tuple[Scheme, Params]]]] = []
  if filling is not None and filling.smallest_bytes <= size:
    plan = filling.plan(size)
    fit_plan = functools.partial(
      filling.fit, plan, seed=seed, progress=progress
    )
    candidates.append((plan.loss, fit_plan))
  if space is not None and space.smallest_bytes <= size:
    curve = _measured(weighted, space, seed, progress)
    fit_curve = functools.partial(curve.compress, size, progress=progress)
    candidates.append((curve.loss(size), fit_curve))
  return _best_fit(candidates, weighted, metric)


def _best_fit(
  candidates: Sequence[tuple[float, Callable[[], tuple[Scheme, Params]]]],
  table: WeightedTable,
  metric: np.ndarray | None,
) -> tuple[Scheme, Params]:
  """Fits candidates, by rising expected loss, as long as one may lose less."""
  (_, fit_first), *others = sorted(candidates, key=lambda pair: pair[0])
  best = fit_first()
  if not others:
    return best
  least = weighted_loss(table, *best, metric)
  for expected, fit_other in others:
    if _LEAST_SHARE * expected >= least:
      break
    found = fit_other()
    lost = weighted_loss(table, *found, metric)
    if lost < least:
      best, least = found, lost
  return best


def _compress_within(
  tolerance: float,
  filling: WaterFilling | None,
  curve: RateDistortionCurve | None,
  seed: int,
  progress: bool,
) -> tuple[Scheme, Params]:
  """The smaller of two schemes of at most a relative error."""
  found = None
  if filling is not None:
    found = filling.fit_within(tolerance, seed=seed, progress=progress)
  if curve is None:
    if found is None:
      raise ValueError(
        f'no codes have a relative error of {tolerance} or less: allow more '
        "error or other methods, such as 'dense'."
      )
    return found
  if found is None:
    return curve.compress_within(tolerance, progress=progress)
  size = found[0].num_bytes
  if size < curve.smallest_bytes or curve.error(size) > tolerance:
    return found
  other, _ = curve.fit_within(tolerance, progress=progress)
  return other if other and other[0].num_bytes < size else found


def _ridged(metric: Array | None, table: WeightedTable) -> np.ndarray | None:
  """A metric that every direction counts in; None for the identity."""
  if metric is None:
    return None
  check_metric(metric, table.values.shape[1])
  return ridge_metric(metric, METRIC_SHARE)


def rate_distortion_curve(
  table: Array,
  counts: Array | None = None,
  *,
  importance: Array | None = None,
  methods: Sequence[str | methods_lib.Method] = OPTION_METHODS,
  num_bins: int = 10,
  max_groups: int = 6,
  seed: int = 0,
  progress: bool = True,
) -> RateDistortionCurve:
  """Measures all options once, for schemes of any size.

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
    The curve of sizes and errors, from which schemes can be taken.

  Raises:
    ValueError: naming the value and the rule that it breaks.
  """
  weighted = WeightedTable.create(table, counts, importance)
  space = _search_space(weighted, methods, num_bins, max_groups)
  return _measured(weighted, space, seed, progress)


def _search_space(
  table: WeightedTable,
  methods: Sequence[str | methods_lib.Method],
  num_bins: int,
  max_groups: int,
) -> SearchSpace:
  """Bins by importance and the options that suit the table."""
  vocab_size, features = table.values.shape
  smallest_bin = min(SMALLEST_BIN, vocab_size)
  return SearchSpace(
    features,
    frequency.log_bins(table.ranked_importance, num_bins, smallest_bin),
    _options(methods, table),
    check_int('max_groups', max_groups, 1),
    table.order,
    table.dtype,
  )


def _measured(
  table: WeightedTable, space: SearchSpace, seed: int, progress: bool
) -> RateDistortionCurve:
  seed = check_int('seed', seed, 0)
  segments = measure_segments(table, space, seed=seed, progress=progress)
  return RateDistortionCurve(table, space, segments, seed)


def fit(
  table: Array,
  scheme: Scheme,
  counts: Array | None = None,
  *,
  importance: Array | None = None,
  seed: int = 0,
  progress: bool = True,
) -> Params:
  """Fits a scheme made by hand to a table.

  Args:
    table: [V, D] float, a row a word.
    scheme: of the same size. With `order='stored'` its groups take the words
      by falling importance, else by id.
    counts: as for `compress`.
    importance: as for `compress`.
    seed: of whatever is random; equal seeds give equal results.
    progress: whether to show a progress bar.

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
  fitting.check_scheme(scheme, 'fit(table, scheme, counts)')
  weighted = WeightedTable.create(table, counts, importance)
  seed = check_int('seed', seed, 0)
  return fitting.fit_groups(weighted, scheme, seed=seed, progress=progress)


def _method_list(
  methods: Sequence[str | methods_lib.Method],
) -> list[str | methods_lib.Method]:
  """Names and configs, whose names are known."""
  if isinstance(methods, (str, methods_lib.Method)):
    return [methods]
  if not isinstance(methods, Iterable):
    raise ValueError(f'methods must be names or configs, got {methods!r}.')
  found = list(methods)
  if not found:
    raise ValueError('methods must name at least one method, got none.')
  for method in found:
    if not isinstance(method, methods_lib.Method):
      methods_lib.get(method)
  return found


def _options(
  methods: Sequence[str | methods_lib.Method], table: WeightedTable
) -> tuple[methods_lib.Method, ...]:
  """The configs to try: those given and those of the methods named."""
  shape = Shape(*table.values.shape)
  options: list[methods_lib.Method] = []
  for method in _method_list(methods):
    if isinstance(method, methods_lib.Method):
      method.validate(shape)
      options.append(method)
    else:
      found = methods_lib.get(method).options(shape)
      options += [option for option in found if _holds(option, table)]
  if not options:
    raise ValueError(
      f'no option of {methods} suits a table of {shape}; scalar and graded '
      'codes have no options to measure, they are planned by compress.'
    )
  return tuple(dict.fromkeys(options))


def _holds(option: methods_lib.Method, table: WeightedTable) -> bool:
  """Whether an option's floats are of the range of a table's."""
  if option != methods_lib.Dense('float16') or table.dtype == 'float16':
    return True
  return table.scale == 1 and table.largest <= float(np.finfo(np.float16).max)
