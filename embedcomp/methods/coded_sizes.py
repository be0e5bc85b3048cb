"""How many bytes entropy-coded integers take, before they are coded.

Sizes are those of streams of `entropy_coding`: code lengths of values by the
spread that suits their axis best, and what a stream takes beside them.
"""

import math

import numpy as np

from embedcomp.methods.entropy_coding import CHUNK, HEADER_SIZE
from embedcomp.methods.rounded_normals import COST_UNIT, costs_of_axes

SMALLEST = HEADER_SIZE + 7  # bytes of a stream of zeros
AXIS_BYTES = 0.75  # of an axis's spread index, on average
# A stream takes less than so much more than is expected of it.
_MARGIN, _SPARE_BYTES = 1.0005, 12


def overhead(num_words: int, num_axes: int) -> float:
  """Bytes of a stream beside its values' code lengths, on average."""
  return SMALLEST + AXIS_BYTES * num_axes + 4 * -(-num_words // CHUNK)


def expected_size(values: np.ndarray) -> float:
  """Bytes of a stream without coding it, within a percent or so.

  Args:
    values: [W, A] integers within [-127, 127].
  """
  costs, is_zero = costs_of_axes(values)
  if is_zero.all():
    return SMALLEST
  bits = costs.min(axis=1, initial=np.iinfo(np.int64).max)[~is_zero].sum()
  return float(bits) / (8 * COST_UNIT) + overhead(*values.shape)


def largest_size(values: np.ndarray) -> float:
  """Bytes that a stream is not expected to exceed; see `expected_size`."""
  return _MARGIN * expected_size(values) + _SPARE_BYTES


def size_for(num_words: int, bits: np.ndarray) -> int:
  """Bytes that are enough for integers of which bits are expected.

  Args:
    num_words: W.
    bits: [A] of a value of each axis.
  """
  expected = num_words * float(bits.sum()) / 8 + overhead(num_words, len(bits))
  return math.ceil(_MARGIN * expected + _SPARE_BYTES)
