"""Matrices of real numbers that a file holds entropy-coded."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import coded_sizes
from embedcomp.methods.forms import Stored
from embedcomp.methods.rounding import SCALE_DTYPE, array_namespace
from embedcomp.methods.scalar_rates import spread_within
from embedcomp.methods.storage import Factor
from embedcomp.types import Array

# In search of the finest steps that fit, they change by these factors.
_COARSER = 1.01


@dataclasses.dataclass(frozen=True)
class CodedFactor(Factor):
  """A matrix of int8 multiples of a scale a row, the integers entropy-coded.

  In memory it is a `Factor` of the storage int8 that needs fewer of the
  integers, so that they take fewer bits: all rows are as fine, in terms of
  their own length, as the bytes allow.

  Attributes:
    num_bytes: of the integers' stream; one that would be shorter is filled up.
  """

  num_bytes: int = 0

  def bytes_by_role(self) -> dict[str, int]:
    """Bytes on disk under each heading."""
    scales = super().bytes_by_role()['scales']
    return {self.role: self.num_bytes, 'scales': scales}

  def file_tensors(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor that `pack` writes."""
    tensors = super().file_tensors()
    stream = np.dtype(np.uint8), (self.num_bytes,)
    return {**tensors, f'{self.name}.values': stream}

  def trainable(self, values: Array) -> Any:
    """The trainable form of given float values, with scales that fit them."""
    numpy = array_namespace(values)
    values = numpy.asarray(values, np.float32).reshape(self.shape)
    rows, columns = self.shape
    spread = spread_within(self.num_bytes, columns, rows)
    lengths = numpy.sqrt(numpy.square(values).mean(axis=1, keepdims=True))
    scale = lengths / max(spread, 1e-3)
    scale = numpy.where(scale > 0, scale, 1).astype(SCALE_DTYPE)
    leaf = {'values': jnp.asarray(values), 'scale': scale.astype(np.float32)}
    return self.dequantize(self.quantize(leaf)) if numpy is np else leaf

  def round_trip(self, values: np.ndarray) -> np.ndarray:
    """Returns float values as they are read once stored, on the host."""
    return np.asarray(self.trainable(values)['values'])

  def quantize(self, leaf: Any) -> Stored:
    """Rounds the trainable form to the stored one; stored stays as it is.

    Scales grow where integers would take more bytes than they may, as they can
    after training; traced ones cannot be counted and stay.
    """
    found = super().quantize(leaf)
    if isinstance(leaf, Stored) or isinstance(found.values, jax.core.Tracer):
      return found
    leaf = {key: np.asarray(value) for key, value in leaf.items()}
    while not self._fits(np.asarray(found.values)):
      leaf['scale'] = leaf['scale'] * np.float32(_COARSER)
      found = super().quantize(leaf)
    return found

  def _fits(self, values: np.ndarray) -> bool:
    expected = coded_sizes.largest_size(values.T)
    return not values.any() or expected <= self.num_bytes

  def coded_shapes(self) -> dict[str, tuple[int, int]]:
    """[W, A] of the integers of every tensor that is entropy-coded."""
    rows, columns = self.shape
    return {f'{self.name}.values': (columns, rows)}

  def pack(self, leaf: Stored) -> dict[str, np.ndarray]:
    """The tensors written to disk, before they are coded."""
    tensors = super().pack(leaf)
    name = f'{self.name}.values'
    return {**tensors, name: tensors[name].T}

  def unpack(self, tensors: dict[str, np.ndarray]) -> Stored:
    """The stored form, from decoded tensors."""
    name = f'{self.name}.values'
    values = np.ascontiguousarray(tensors[name].T)
    return super().unpack({**tensors, name: values})
