"""Scalar codes for a run of words at the price of a byte."""

import numpy as np

from embedcomp.compression.rate_allocation import Choice, Run
from embedcomp.methods import coded_sizes
from embedcomp.methods.scalar import ScalarCodes
from embedcomp.methods.scalar_rates import best_rates

_STORAGE = 'int8'
_CHEAPEST = np.finfo(np.float64).tiny
# Of an axis beside its integers: its step, and its spread in the stream.
_AXIS_BYTES = 1 + coded_sizes.AXIS_BYTES


def choose(run: Run, rank: int, price: float) -> Choice:
  """The codes of least expected loss plus price.

  Args:
    run: statistics, of at least one word.
    rank: R, axes that are stored.
    price: loss that a byte has to save.
  """
  variances = run.variances(rank)
  importance = run.weight * run.size
  axes = code_bytes = 0
  errors = variances if rank else run.energies  # no mean without stored axes
  loss = float(errors.sum())
  if importance > 0 and price < np.inf:
    rates = best_rates(variances, max(price / (8 * run.weight), _CHEAPEST))
    own_bytes = run.size * rates.bits / 8 + _AXIS_BYTES
    saved = importance * (variances - rates.errors) - price * own_bytes
    axes = int(np.argmax(np.cumsum([0.0, *saved])))
  if axes:
    loss = float(rates.errors[:axes].sum() + variances[axes:].sum())
    code_bytes = coded_sizes.size_for(run.size, rates.bits[:axes])
  method = ScalarCodes(rank, axes, code_bytes, _STORAGE, _STORAGE)
  num_bytes = code_bytes + (axes + 2 if axes else 0) + (rank + 2 if rank else 0)
  return Choice(method, num_bytes, loss * importance)
