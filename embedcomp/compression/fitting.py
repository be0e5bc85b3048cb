"""Fitting of schemes to tables, and the error that this leaves."""

import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.compression import frequency
from embedcomp.compression.shared_axes import Axes, StoredAxes
from embedcomp.compression.weighted_table import WeightedTable, check_table
from embedcomp.methods import Method, storage
from embedcomp.methods.axes_method import AxesMethod
from embedcomp.methods.forms import Stored
from embedcomp.table import read
from embedcomp.table.group_params import gather_groups
from embedcomp.table.order import order_from_groups
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params, Shape

_ERROR_BLOCK = 1 << 12


def relative_error(
  table: Array,
  scheme: Scheme,
  params: Params,
  importance: Array | None = None,
) -> float:
  """Measures the weighted relative error of a compressed table.

  sqrt(sum_i w_i |e_i - e'_i|^2 / sum_i w_i |e_i|^2), the relative error in
  the (weighted) Frobenius norm; 0 for a table of zeros kept exactly.

  Args:
    table: [V, D] float, the original.
    scheme: of the compressed table.
    params: of the compressed table.
    importance: [V] weights w of the words, 1 if not given.

  Returns:
    The error; 1 is as bad as no vectors at all.

  Raises:
    TypeError: for another order of the arguments.
    ValueError: naming the value and the rule that it breaks.
  """
  check_scheme(scheme, 'relative_error(table, scheme, params, importance)')
  table = check_table(table)
  _check_same_size(table, scheme)
  weights = np.ones(len(table))
  if importance is not None:
    weights = frequency.check_counts(importance, len(table), 'importance')
    weights = frequency.with_room_for_sums(weights)
  lost = total = 0.0
  for ids, words in _read_by_block(scheme, params):
    rows = table[ids].astype(np.float64)
    lost += weights[ids] @ np.square(rows - words).sum(axis=1)
    total += weights[ids] @ np.square(rows).sum(axis=1)
  return float(np.sqrt(lost / total)) if total else float(lost > 0)


def weighted_loss(
  table: WeightedTable,
  scheme: Scheme,
  params: Params,
  metric: np.ndarray | None = None,
) -> float:
  """Weighted squared error of a compressed table, over `table.scale` squared.

  Args:
    table: the original, with importance.
    scheme: of the compressed table.
    params: of the compressed table.
    metric: [D, D] of the errors; None for the identity.
  """
  lost = 0.0
  for ids, words in _read_by_block(scheme, params):
    errors = table.vectors(ids) - words * np.float32(1 / table.scale)
    costs = errors if metric is None else errors @ metric
    lost += table.importance[ids] @ (costs * errors).sum(axis=1)
  return float(lost)


def _read_by_block(
  scheme: Scheme, params: Params
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """All ids in order and their vectors, some thousand words at a time."""
  num_words = scheme.vocab_size
  block = min(_ERROR_BLOCK, num_words)
  for start in range(0, num_words, block):
    # The last block starts early: one shape, one compilation.
    ids = np.arange(start, start + block) - max(start + block - num_words, 0)
    words = np.asarray(read.lookup(scheme, params, ids))
    keep = ids >= start
    yield ids[keep], words[keep]


def check_scheme(scheme: Scheme, usage: str) -> None:
  """Raises TypeError unless this is a scheme."""
  if not isinstance(scheme, Scheme):
    raise TypeError(
      f'scheme must be a Scheme, got {type(scheme).__name__}: call {usage}.'
    )


def fit_groups(
  table: WeightedTable,
  scheme: Scheme,
  *,
  axes: StoredAxes | None = None,
  seed: int = 0,
  progress: bool = True,
) -> Params:
  """Fits a scheme's methods to the words of their groups.

  Args:
    table: with importance.
    scheme: of the same size. With a stored order its groups take the words by
      falling importance, else by id.
    axes: of codes on shared axes; principal axes of the table if not given.
    seed: of whatever is random.
    progress: whether to show a progress bar.

  Returns:
    Params in stored form.

  Raises:
    ValueError: if the scheme is not of the table's size.
  """
  _check_same_size(table.values, scheme)
  stored = scheme.order == 'stored'
  ids_by_rank = table.ids if stored else np.arange(scheme.vocab_size)
  group_of_id = np.empty(scheme.vocab_size, np.int32)
  by_group = []
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
    importance = table.importance[ids]
    # Words of no importance cost nothing, but a fit needs some.
    if not importance.any():
      importance = np.ones_like(importance)
    method, vectors = group.method, table.vectors(ids)
    if isinstance(method, AxesMethod):
      if axes is None or len(axes.axes) != method.rank:
        axes = Axes.of(table, None).stored(method)
      fitted = axes.fit(method, vectors, importance, seed)
    else:
      fitted = method.fit(vectors, importance, seed)
    fitted = method.quantize(fitted, shape)
    by_group.append(_multiplied(method, fitted, table.scale, shape))
  params = gather_groups(scheme, by_group)
  if stored:
    order = order_from_groups(group_of_id)
    params['order'] = Stored(jnp.asarray(order))
  return params


def _multiplied(
  method: Method, params: Params, factor: float, shape: Shape
) -> Params:
  """Returns stored params whose words are a power of two times as large."""
  own = [
    part
    for part in method.parts(shape)
    if isinstance(part, storage.Factor) and not part.shared
  ]
  # Words are linear in each factor, so that any one of them does; but codes
  # on axes are added to a mean, and of the axes some are not stored.
  scaled = dict(params)
  for part in own if isinstance(method, AxesMethod) else own[:1]:
    scaled[part.name] = _scaled(method, part, params[part.name], factor)
  return scaled


def _scaled(
  method: Method, part: storage.Factor, leaf: Stored, factor: float
) -> Stored:
  """Returns a stored factor times a power of two."""
  values = np.asarray(leaf.scale if part.is_integer else leaf.values)
  # In NumPy, for XLA's products flush the smallest floats to zero.
  with np.errstate(over='ignore', under='ignore'):
    scaled = (values.astype(np.float32) * np.float32(factor)).astype(
      values.dtype
    )
  if not np.isfinite(scaled).all() or (values.any() and not scaled.any()):
    raise ValueError(
      f'a group of {method} has a {part.name} whose numbers do not fit into '
      f"'{part.storage}': store it as bfloat16 or int8."
    )
  changed = 'scale' if part.is_integer else 'values'
  return dataclasses.replace(leaf, **{changed: jnp.asarray(scaled)})


def _check_same_size(table: np.ndarray, scheme: Scheme) -> None:
  expected = (scheme.vocab_size, scheme.features)
  if table.shape != expected:
    raise ValueError(
      f'the scheme is for a table of {expected}, got {table.shape}.'
    )
