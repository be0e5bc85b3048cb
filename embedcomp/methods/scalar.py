"""Scalar codes: entropy-coded integers on axes that groups share.

Every coefficient is a small integer times a step of its axis. Where an axis is
worth more, its step is smaller in comparison and its integers take more bits:
`scalar_rates` deals them out, `entropy_coding` writes them. That is reverse
water-filling (Cover and Thomas, "Elements of Information Theory", section
10.3.3) without codebooks, at any number of bytes.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import coded_sizes, gather, registry, storage
from embedcomp.methods.axes_method import AxesMethod, Coder, group_of_token
from embedcomp.methods.coded_integers import CodedIntegers
from embedcomp.methods.rounded_normals import LARGEST
from embedcomp.methods.scalar_rates import best_rates, spread_within
from embedcomp.methods.storage import Factor, Part
from embedcomp.types import Params, PRNGKey, Shape

_BLOCK = 1 << 12
# Sizes that a fit tries, and how near it comes to the one wanted.
_TRIALS = 8
_CLOSE = 0.998
_TOWARDS = 0.9995


@registry.register
@dataclasses.dataclass(frozen=True)
class ScalarCodes(AxesMethod):
  """An integer for each word and axis, int8 in memory; A steps.

  Attributes:
    rank: R, see `AxesMethod` for this and for how axes are stored.
    axes: A, the axes that are coded, 0 to D; 0 for the mean alone.
    code_bytes: of all integers of the group on disk; 0 if none are coded.
    storage: of steps and mean; integers keep one scale for each of the two.
  """

  name: ClassVar[str] = 'scalar'
  rank: int
  axes: int
  code_bytes: int
  storage: str = 'float32'
  axes_storage: str = 'float32'
  axes_bytes: int = 0

  @property
  def num_axes(self) -> int:
    return self.axes

  def validate(self, shape: Shape) -> None:
    self._check_axes(shape)
    least = smallest_code_bytes(self.axes)
    if self.code_bytes < least or (not self.axes and self.code_bytes):
      raise ValueError(
        f'code_bytes must be {least} {"or more" * bool(self.axes)} for '
        f'{shape.num_words} words and {self.axes} axes, got {self.code_bytes}.'
      )

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    size = (shape.num_words, self.axes)
    codes = (
      CodedIntegers('codes', size, self.code_bytes),
      Factor('steps', (self.axes,), self.storage, (), 'steps'),
    )
    return (*(codes if self.axes else ()), *self._axes_parts(shape))

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    codes_key, axes_key = jax.random.split(key)
    axes = self._init_axes(axes_key, shape)
    if not self.axes:
      return self._params(axes, shape)
    spread = spread_within(self.code_bytes, shape.num_words, self.axes)
    size = (shape.num_words, self.axes)
    numbers = jax.random.normal(codes_key, size) * spread
    codes = jnp.clip(jnp.round(numbers), -LARGEST, LARGEST).astype(jnp.int8)
    step = 1 / (max(spread, 0.3) * math.sqrt(self.axes))
    steps = jnp.full((self.axes,), step, jnp.float32)
    return self._params([codes, steps, *axes], shape)

  def fit_on_axes(
    self,
    axes: np.ndarray,
    coefficients: np.ndarray,
    weights: np.ndarray,
    seed: int,
    costs: np.ndarray | None = None,
  ) -> Params:
    del seed  # nothing is random
    shape = Shape(len(coefficients), axes.shape[1])
    mean = self._fit_mean(coefficients, weights)
    if not self.axes:
      return self._params([mean, axes], shape)
    rest = self._without_mean(coefficients, mean, costs)
    codes = _codes_within(rest, weights, self.code_bytes)
    steps = _nearest_steps(rest, codes, weights) / self._units(costs)
    return self._params([codes, steps, mean, axes], shape)

  @classmethod
  def coded(cls, coders: Sequence[Coder]) -> jax.Array:
    num_axes = max(coder.method.axes for coder in coders)
    num_tokens = coders[0].rows.shape[0]
    codes = jnp.zeros((num_tokens, num_axes), jnp.int8)
    steps = [jnp.zeros(num_axes, jnp.float32)] * (len(coders) + 1)
    for index, (method, params, inside, rows) in enumerate(coders):
      if not method.axes:
        continue
      wider = num_axes - method.axes
      found = gather.take(params['codes'].values, rows)
      found = jnp.pad(found, ((0, 0), (0, wider)))
      codes = jnp.where(inside[:, None], found, codes)
      own = storage.read(params['steps'], method.storage)
      steps[index] = jnp.pad(own, (0, wider))
    of_token = gather.take(jnp.stack(steps), group_of_token(coders))
    return codes.astype(jnp.float32) * of_token


def smallest_code_bytes(num_axes: int) -> int:
  """Bytes of integers of which all are zero, 0 if there are none."""
  return coded_sizes.SMALLEST if num_axes else 0


def _codes_within(
  values: np.ndarray, weights: np.ndarray, num_bytes: int
) -> np.ndarray:
  """[W, A] int8 of least weighted squared error that fit into some bytes."""
  variances = _weighted_sum(np.square, weights / weights.sum(), values)
  codes, goal = np.zeros(values.shape, np.int8), float(num_bytes)
  for _ in range(_TRIALS):
    found = _rounded(values, _steps_within(variances, len(values), goal))
    size = coded_sizes.largest_size(found)
    if size <= num_bytes:
      codes = found
      if size >= _CLOSE * num_bytes:
        break
    goal *= _TOWARDS * num_bytes / size
  return codes


def _steps_within(
  variances: np.ndarray, num_words: int, num_bytes: float
) -> np.ndarray:
  """[A] steps of least error that are expected to take so many bytes, 0 for
  axes that are not worth a bit.
  """
  free = num_bytes - coded_sizes.overhead(num_words, len(variances))
  wanted = 8 * free / num_words  # bits of a word
  largest = float(variances.max())
  if largest <= 0:
    return np.zeros(len(variances), np.float32)
  low, high = 1e-6, 2.0
  while high > low * 1.0005:
    price = math.sqrt(low * high)
    if best_rates(variances, price * largest).bits.sum() > wanted:
      low = price
    else:
      high = price
  spreads = best_rates(variances, high * largest).spreads
  steps = np.sqrt(variances) / np.maximum(spreads, 1e-30)
  return np.where(spreads > 0, steps, 0).astype(np.float32)


def _rounded(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
  """[W, A] int8 multiples of steps."""
  ratios = np.divide(1, steps, out=np.zeros_like(steps), where=steps > 0)
  codes = np.empty(values.shape, np.int8)
  for rows in _blocks(len(values)):
    rounded = np.rint(values[rows] * ratios)
    codes[rows] = np.clip(rounded, -LARGEST, LARGEST)
  return codes


def _nearest_steps(
  values: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """[A] steps of least weighted squared error for given integers."""
  own = _weighted_sum(np.multiply, weights, values, codes)
  squares = _weighted_sum(np.multiply, weights, codes, codes)
  steps = np.divide(own, squares, out=np.zeros_like(own), where=squares > 0)
  return steps.astype(np.float32)


def _blocks(num_words: int) -> list[slice]:
  """Words that are looked at together, so that no second table is made."""
  starts = range(0, num_words, _BLOCK)
  return [slice(start, start + _BLOCK) for start in starts]


def _weighted_sum(
  function: Callable[..., np.ndarray], weights: np.ndarray, *rows: np.ndarray
) -> np.ndarray:
  """[A] float64 weighted sum over words of a function of their rows."""
  weights = weights.astype(np.float32)
  total = np.zeros(rows[0].shape[1])
  for block in _blocks(len(weights)):
    own = function(*(array[block].astype(np.float32) for array in rows))
    total += weights[block] @ own
  return total
