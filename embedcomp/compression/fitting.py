"""Tables made ready, schemes fitted to them, and what is lost by that."""

import jax.numpy as jnp
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.compression import frequency
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.methods.forms import Stored
from embedcomp.table import read
from embedcomp.table.group_params import group_name
from embedcomp.table.order import order_from_groups
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params

_ERROR_BLOCK = 1 << 12


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
  block = min(_ERROR_BLOCK, len(table))
  for start in range(0, len(table), block):
    # The last block starts early: one shape, one compilation.
    ids = np.arange(start, start + block) - max(start + block - len(table), 0)
    words = np.asarray(read.lookup(scheme, params, ids))
    keep = ids >= start
    rows = table[ids[keep]].astype(np.float64)
    mass = weights[ids[keep]]
    lost += mass @ np.square(rows - words[keep]).sum(axis=1)
    total += mass @ np.square(rows).sum(axis=1)
  return float(np.sqrt(lost / total)) if total else float(lost > 0)


def fit(
  words: WeightedTable, scheme: Scheme, *, seed: int = 0, progress: bool = True
) -> Params:
  """Fits a scheme's methods to the words of their groups.

  Args:
    words: the table with its weights.
    scheme: of the same size. With a stored order its groups take the words by
      falling weight, else by id.
    seed: of whatever is random.
    progress: whether to show a progress bar.

  Returns:
    Params in stored form.

  Raises:
    ValueError: if the scheme is not of the table's size.
  """
  expected = (scheme.vocab_size, scheme.features)
  if words.table.shape != expected:
    raise ValueError(
      f'the scheme is for a table of {expected}, got {words.table.shape}.'
    )
  stored = scheme.order == 'stored'
  ids_by_rank = words.ids if stored else np.arange(scheme.vocab_size)
  group_of_id = np.empty(scheme.vocab_size, np.int32)
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
    weights = words.weights[ids]
    if (
      not weights.any()
    ):  # words of no weight cost nothing, but a fit needs some
      weights = np.ones_like(weights)
    fitted = group.method.fit(words.vectors(ids), weights, seed)
    params[group_name(index)] = group.method.quantize(fitted, shape)
  if stored:
    order = order_from_groups(group_of_id)
    params['order'] = Stored(jnp.asarray(order))
  return params
