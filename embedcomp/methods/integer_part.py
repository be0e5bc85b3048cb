"""What integers have in common, however a file holds them."""

import abc
import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from embedcomp.methods.forms import Stored, check_array, spec
from embedcomp.methods.rounding import array_namespace
from embedcomp.types import Array


class IntegerPart(abc.ABC):
  """An array of integers, which are a group's own and which nothing trains.

  Attributes:
    name: key in the method's params and in the file.
    shape: of the values.
    num_bytes: on disk.
    role: heading under which the bytes are reported.
  """

  name: str
  shape: tuple[int, ...]
  num_bytes: int
  role: str
  shared: ClassVar[bool] = False
  accepted: ClassVar[Any] = jnp.integer  # of dtypes in memory

  @property
  @abc.abstractmethod
  def dtype(self) -> np.dtype:
    """The unpacked dtype."""

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  def bytes_by_role(self) -> dict[str, int]:
    """Bytes on disk under each heading."""
    return {self.role: self.num_bytes}

  def file_tensors(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor that the file holds."""
    return {self.name: (np.dtype(np.uint8), (self.num_bytes,))}

  def coded_shapes(self) -> dict[str, tuple[int, int]]:
    """[W, A] of the integers of every tensor that is entropy-coded."""
    return {}

  def trainable(self, values: Array) -> Stored:
    """Given integers, which are stored in both forms."""
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
      raise ValueError(f'{self.name} must be Stored codes, got {spec(leaf)}.')
    check_array(self.name, leaf.values, self.shape, self.accepted)
