"""Small signed integers that a file holds entropy-coded."""

import dataclasses
import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from embedcomp.methods.forms import Stored, spec
from embedcomp.methods.rounding import array_namespace
from embedcomp.types import Array


@dataclasses.dataclass(frozen=True)
class CodedIntegers:
  """A matrix of integers within [-127, 127], int8 in memory.

  It is decoded once, when a file is read. How many bytes it takes depends on
  its values; a method that has it knows their number.

  Attributes:
    name: key in the method's params and in the file.
    shape: (W, A).
    num_bytes: of the stream; one that would be shorter is filled up.
    role: heading under which the bytes are reported.
  """

  name: str
  shape: tuple[int, int]
  num_bytes: int
  role: str = 'codes'
  shared: ClassVar[bool] = False

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  @property
  def dtype(self) -> np.dtype:
    """The unpacked dtype."""
    return np.dtype(np.int8)

  def bytes_by_role(self) -> dict[str, int]:
    """Bytes on disk under each heading."""
    return {self.role: self.num_bytes}

  def file_tensors(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor that `pack` writes."""
    return {self.name: (np.dtype(np.uint8), (self.num_bytes,))}

  def trainable(self, values: Array) -> Stored:
    """Given integers, which are stored in both forms: nothing trains them."""
    values = array_namespace(values).asarray(values, self.dtype)
    return Stored(jnp.asarray(values.reshape(self.shape)))

  def quantize(self, leaf: Stored) -> Stored:
    """The integers in their own dtype."""
    return self.trainable(leaf.values)

  dequantize = quantize

  def check(self, leaf: Any, is_stored: bool) -> None:
    """Raises ValueError unless integers have their shape.

    Args:
      leaf: the integers.
      is_stored: of the other arrays of the group; integers are so in any case.
    """
    del is_stored
    if not isinstance(leaf, Stored):
      raise ValueError(f'{self.name} must be Stored, got {spec(leaf)}.')
    found = leaf.values
    if tuple(found.shape) != self.shape:
      raise ValueError(
        f'{self.name} must be {list(self.shape)}, got {list(found.shape)}.'
      )
    if found.dtype != self.dtype:
      raise ValueError(f'{self.name} must be int8, got {spec(found)}.')

  def coded_shapes(self) -> dict[str, tuple[int, int]]:
    """[W, A] of the integers of every tensor that is entropy-coded."""
    return {self.name: self.shape}

  def pack(self, leaf: Stored) -> dict[str, np.ndarray]:
    """The tensors written to disk, before they are coded."""
    return {self.name: np.asarray(leaf.values)}

  def unpack(self, tensors: dict[str, np.ndarray]) -> Stored:
    """The integers, from decoded tensors."""
    return self.trainable(tensors[self.name])
