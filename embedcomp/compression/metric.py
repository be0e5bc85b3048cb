r"""Metrics of word vectors: which errors of a vector a model notices.

An error e of a word's vector counts as e' H e, with H a [D, D] symmetric matrix
that has no negative eigenvalue. H = I counts all features alike: the squared
error. `embedcomp.measure_metric` finds what a model makes of them, which may be
nothing for some (whatever is added to all features alike is lost in a layer
normalisation), and is known from few texts. `ridge_metric` mixes both.
"""

import numpy as np

from embedcomp._internal.checks import check_numbers, check_share
from embedcomp.types import Array

# Of the largest number of a metric: what rounding may leave.
_ROUNDING = 1e-6


def check_metric(
  metric: Array, features: int, *, definite: bool = False
) -> np.ndarray:
  """Checks a metric of word vectors.

  Args:
    metric: [D, D] numbers, symmetric, without negative eigenvalues, not all
      zero.
    features: D.
    definite: whether every eigenvalue must be positive, so that there is an
      inverse.

  Returns:
    [D, D] float64, exactly symmetric.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> check_metric([[2, 1], [1, 2]], features=2)
    array([[2., 1.],
           [1., 2.]])
  """
  values = check_numbers('metric', '[D, D]', metric)
  if values.shape != (features, features):
    raise ValueError(
      f'metric must be [D, D] with D = {features} features of the table, '
      f'got shape {values.shape}.'
    )
  if not np.isfinite(values).all():
    row, column = np.argwhere(~np.isfinite(values))[0]
    raise ValueError(
      f'metric must be finite, got {values[row, column]} in row {row}, '
      f'column {column}.'
    )
  largest = np.abs(values).max()
  if not largest:
    raise ValueError('metric must not be all zero: no error would count.')
  difference = np.abs(values - values.T).max()
  if difference > _ROUNDING * largest:
    raise ValueError(
      'metric must be symmetric, got entries that differ by '
      f'{difference:.3g} from those across the diagonal.'
    )
  values = (values + values.T) / 2
  _check_eigenvalues(np.linalg.eigvalsh(values / largest), largest, definite)
  return values


def _check_eigenvalues(
  eigenvalues: np.ndarray, scale: float, definite: bool
) -> None:
  smallest, largest = eigenvalues[0], eigenvalues[-1]
  if smallest < -_ROUNDING * largest:
    raise ValueError(
      'metric must have no negative eigenvalue, got '
      f'{smallest * scale:.3g}: errors would make up for others.'
    )
  if definite and smallest < np.finfo(float).eps * len(eigenvalues) * largest:
    raise ValueError(
      'metric must have positive eigenvalues alone, got one of '
      f'{smallest * scale:.3g} beside {largest * scale:.3g}: mix it with the '
      'identity (ridge_metric).'
    )


def ridge_metric(metric: Array, mix: float) -> np.ndarray:
  """Mixes a metric with the identity: (1 - m) I + m H.

  What was measured on few texts knows little of directions that hardly matter
  there, and other texts may need them. The metric is scaled to trace D first,
  so that both parts are as large.

  Args:
    metric: [D, D] numbers, as `check_metric` allows them; of any scale.
    mix: m in [0, 1], the share of the metric. Below 1 the result has an
      inverse.

  Returns:
    [D, D] float64 of trace D.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> ridge_metric([[3, 0], [0, 1]], mix=0.5)
    array([[1.25, 0.  ],
           [0.  , 0.75]])
  """
  values = check_numbers('metric', '[D, D]', metric)
  if values.ndim != 2 or not values.size:
    raise ValueError(f'metric must be [D, D], got shape {values.shape}.')
  values = check_metric(values, len(values))
  mix = check_share('mix', mix)
  values *= len(values) / np.trace(values)
  return (1 - mix) * np.eye(len(values)) + mix * values
