"""Vector quantization: a word is one code into a codebook of whole vectors."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import numpy as np

from embedcomp.methods import (
  base,
  gather,
  product_quantization,
  registry,
  storage,
)
from embedcomp.methods.product_quantization import ProductQuantization
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape


@registry.register
@dataclasses.dataclass(frozen=True)
class VectorQuantization(base.PieceMethod):
  """One code a word into a codebook of whole vectors.

  Attributes:
    codewords: K, at most W.
    storage: of the codebook; integers keep one scale a feature.
  """

  name: ClassVar[str] = 'vq'
  codewords: int
  storage: str = 'float32'

  def __post_init__(self):
    storage.check_storage(self.storage)

  @property
  def _product(self) -> ProductQuantization:
    return ProductQuantization(1, self.codewords, self.storage)

  def validate(self, shape: Shape) -> None:
    self._product.validate(shape)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    return self._product.parts(shape)

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    return self._product.init(key, shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    return self._product.fit(table, weights, seed)

  def num_pieces(self, shape: Shape) -> tuple[int, int]:
    return self._product.num_pieces(shape)

  def pieces(self, params: Params, shape: Shape) -> jax.Array:
    return self._product.pieces(params, shape)

  def piece_rows(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    return self._product.piece_rows(params, rows, shape)

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    pieces = self.pieces(params, shape)  # [K, D]
    return gather.take_scores(pieces, params['codes'][:, 0], hidden)

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    return tuple(cls(k, 'int8') for k in (16, 64, 256) if k <= shape.num_words)

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    return np.stack(
      [
        product_quantization.quick_distortion(
          table, weights, 1, option.codewords, seed
        )
        for option in options
      ]
    )
