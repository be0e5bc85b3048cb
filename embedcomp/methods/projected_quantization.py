"""Projected product quantization: low rank whose coefficients are codes.

A word is R coefficients times a basis, as in `low_rank`, and the coefficients
are product codes, as in `pq`. Both save where the other wastes: a product
code alone pays as much for the features that hardly vary as for all others,
and coefficients of their own cost whole numbers where a few bits would do. The
basis is the price, R x D values a group.

The axes are dealt out to the blocks as in OPQ (Ge et al., CVPR 2013), so that
all blocks have as much to express.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import base, product_quantization, registry, storage
from embedcomp.methods.low_rank import weighted_basis
from embedcomp.methods.product_quantization import ProductQuantization
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape

# The rank as a share of the features, and the axes in a block.
_SIZES = (
  (1 / 8, 8),
  (1 / 6, 8),
  (1 / 4, 8),
  (1 / 3, 8),
  (1 / 2, 8),
  (1 / 2, 6),
  (1 / 2, 4),
  (1 / 2, 3),
)


@registry.register
@dataclasses.dataclass(frozen=True)
class ProjectedQuantization(base.BasisMethod):
  """M codes a word of log2 K bits each; K x R values in the codebooks.

  Attributes:
    rank: R, at most D.
    books: M, a divisor of R.
    codewords: K, at most W.
    storage: of codebooks and basis; integers keep one scale a coefficient and
      one a row of the basis.
  """

  name: ClassVar[str] = 'projected_pq'
  rank: int
  books: int
  codewords: int
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  @property
  def _product(self) -> ProductQuantization:
    """The codes of the coefficients."""
    return ProductQuantization(self.books, self.codewords, self.storage)

  def _inner(self, shape: Shape) -> Shape:
    return Shape(shape.num_words, self.rank)

  def validate(self, shape: Shape) -> None:
    if not 1 <= self.rank <= shape.features:
      raise ValueError(
        f'rank must be 1 to the {shape.features} features, got {self.rank}.'
      )
    product_quantization.check_codewords(self.codewords, shape)
    if not 1 <= self.books <= self.rank or self.rank % self.books:
      raise ValueError(
        f'books must divide the rank {self.rank}, got {self.books}.'
      )

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    square = (self.rank, shape.features)
    basis = storage.Factor('basis', square, self.storage, (0,))
    return (*self._product.parts(self._inner(shape)), basis)

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    codes_key, basis_key = jax.random.split(key)
    params = self._product.init(codes_key, self._inner(shape))
    basis = jax.random.normal(basis_key, (self.rank, shape.features))
    return self._with_basis(params, basis / np.sqrt(shape.features), shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    table = np.asarray(table, np.float32)
    basis = weighted_basis(table, weights, self.rank)
    basis = self._dealt_out(table @ basis.T, weights) @ basis
    params = self._product.fit(table @ basis.T, weights, seed)
    return self._with_basis(params, basis, Shape(*table.shape))

  def _dealt_out(self, coefficients, weights) -> np.ndarray:
    """[R, R] rotation after which all blocks have as much to express."""
    return product_quantization.allocate_rotation(
      coefficients, weights, self.books
    )

  def _with_basis(self, params: Params, basis: Array, shape: Shape) -> Params:
    *_, part = self.parts(shape)
    return dict(params, basis=part.trainable(basis))

  def basis(self, params: Params) -> jax.Array:
    return storage.read(params['basis'], self.storage)

  def coefficients(self, params: Params, rows: Array | None) -> jax.Array:
    num_words = params['codes'].values.shape[0]
    if rows is None:
      rows = np.arange(num_words)
    return self._product.lookup(params, rows, Shape(num_words, self.rank))

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    projected = jnp.matmul(hidden, self.basis(params).T, precision='highest')
    return self._product.logits(params, projected, self._inner(shape))

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    sizes = []
    for share, width in _SIZES:
      books = max(1, round(share * shape.features / width))
      sizes.append((books, min(width, shape.features // books)))
    return tuple(
      cls(books * width, books, k, 'int8')
      for books, width in dict.fromkeys(sizes)
      for k in (16, 64, 256)
      if k <= shape.num_words and k <= 2 ** (3 * width)
    )

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    # One decomposition serves every rank: the leading columns of the largest.
    basis = weighted_basis(table, weights, max(o.rank for o in options))
    coefficients = table @ basis.T
    total = np.square(table).sum(axis=1)
    errors = []
    for option in options:
      leading = coefficients[:, : option.rank]
      beyond = total - np.square(leading).sum(axis=1)
      dealt_out = option._dealt_out(leading, weights)
      rows = dealt_out @ basis[: option.rank]
      leading = leading @ dealt_out.T
      *_, part = option.parts(Shape(*table.shape))
      assert isinstance(part, storage.Factor)  # the basis comes last
      rounding = np.square(leading @ (rows - part.round_trip(rows)))
      coding = product_quantization.quick_distortion(
        option._product, leading, weights, seed
      )
      errors.append(np.maximum(beyond, 0) + rounding.sum(axis=1) + coding)
    return np.stack(errors)
