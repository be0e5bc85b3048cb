"""Vector quantization: a word is one code into a codebook of whole vectors."""

import dataclasses
from typing import ClassVar, Self

from embedcomp.methods import registry
from embedcomp.methods.product_quantization import BookMethod
from embedcomp.types import Shape


@registry.register
@dataclasses.dataclass(frozen=True)
class VectorQuantization(BookMethod):
  """One code a word: product quantization with a single book.

  Attributes:
    codewords: K, at most W.
    storage: of the codebook; integers keep one scale a feature.
  """

  name: ClassVar[str] = 'vq'
  # Fixed here, they are fields of product quantization.
  books: ClassVar[int] = 1  # type: ignore[misc]  # a field of others
  rotation: ClassVar[bool] = False  # type: ignore[misc]  # likewise
  codewords: int
  storage: str = 'float32'

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    return tuple(cls(k, 'int8') for k in (16, 64, 256) if k <= shape.num_words)
