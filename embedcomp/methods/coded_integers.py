"""Small signed integers that a file holds entropy-coded."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from embedcomp.methods.forms import Stored
from embedcomp.methods.integer_part import IntegerPart


@dataclasses.dataclass(frozen=True)
class CodedIntegers(IntegerPart):
  """A matrix of integers within [-127, 127], int8 in memory.

  It is decoded once, when a file is read. How many bytes it takes depends on
  its values; a method that has it knows their number.

  Attributes:
    name: see `IntegerPart`.
    shape: (W, A).
    num_bytes: of the stream; one that would be shorter is filled up.
    role: see `IntegerPart`.
  """

  name: str
  shape: tuple[int, int]
  num_bytes: int
  role: str = 'codes'
  accepted: ClassVar[Any] = np.int8

  @property
  def dtype(self) -> np.dtype:
    """The unpacked dtype."""
    return np.dtype(np.int8)

  def coded_shapes(self) -> dict[str, tuple[int, int]]:
    """[W, A] of the integers of every tensor that is entropy-coded."""
    return {self.name: self.shape}

  def pack(self, leaf: Stored) -> dict[str, np.ndarray]:
    """The tensors written to disk, before they are coded."""
    return {self.name: np.asarray(leaf.values)}

  def unpack(self, tensors: dict[str, np.ndarray]) -> Stored:
    """The integers, from decoded tensors."""
    return self.trainable(tensors[self.name])
