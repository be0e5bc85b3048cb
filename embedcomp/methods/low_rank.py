"""Low rank: a few coefficients a word times a basis shared by the group."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import numpy as np

from embedcomp.methods import base, registry, storage
from embedcomp.methods.storage import Factor
from embedcomp.types import Array, Params, PRNGKey, Shape


@registry.register
@dataclasses.dataclass(frozen=True)
class LowRank(base.BasisMethod):
  """E = U P with U [W, R] and P [R, D].

  Fitting takes the leading right singular vectors of sqrt(weights) E, which
  minimises the weighted squared error (GroupReduce, Chen et al., NeurIPS
  2018). Columns are sorted by how much they explain, so that a smaller rank
  is the leading columns of a larger one.

  Attributes:
    rank: R, at most min(W, D).
    storage: of the coefficients; integers keep one scale a column.
    basis_storage: of the basis; integers keep one scale a row.
  """

  name: ClassVar[str] = 'low_rank'
  rank: int
  storage: str = 'float32'
  basis_storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)
    storage.check_storage(self.basis_storage)

  def validate(self, shape: Shape) -> None:
    if not 1 <= self.rank <= min(shape):
      raise ValueError(
        f'rank must be 1 to min(words, features) = {min(shape)}, '
        f'got {self.rank}.'
      )

  def parts(self, shape: Shape) -> tuple[Factor, ...]:
    return (
      Factor('coefficients', (shape.num_words, self.rank), self.storage, (1,)),
      Factor('basis', (self.rank, shape.features), self.basis_storage, (0,)),
    )

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    coefficients_key, basis_key = jax.random.split(key)
    coefficients = jax.random.normal(
      coefficients_key, (shape.num_words, self.rank)
    ) / np.sqrt(self.rank)
    basis = jax.random.normal(basis_key, (self.rank, shape.features))
    return self._params(coefficients, basis / np.sqrt(shape.features), shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    del seed  # an eigenvalue problem has one answer
    table = np.asarray(table, np.float32)
    basis = weighted_basis(table, weights, self.rank)
    return self._params(table @ basis.T, basis, Shape(*table.shape))

  def _params(self, coefficients: Array, basis: Array, shape: Shape) -> Params:
    coefficients_part, basis_part = self.parts(shape)
    return {
      'coefficients': coefficients_part.trainable(coefficients),
      'basis': basis_part.trainable(basis),
    }

  def basis(self, params: Params) -> jax.Array:
    return storage.read(params['basis'], self.basis_storage)

  def coefficients(self, params: Params, rows: Array | None) -> jax.Array:
    return storage.read(params['coefficients'], self.storage, rows)

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    ranks = [
      max(1, round(shape.features * share))
      for share in (1 / 48, 1 / 24, 1 / 12, 1 / 6, 1 / 3, 1 / 2)
    ]
    return tuple(
      cls(rank, stored, 'int8')
      for rank in sorted(set(ranks))
      for stored in ('int8', 'int4')
      if rank <= min(shape)
    )

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    # One decomposition serves every rank: the leading columns of the largest,
    # which are rounded by themselves.
    rank = max(option.rank for option in options)
    basis = weighted_basis(table, weights, rank)
    factors = table @ basis.T, basis
    rounded: dict[Self, list[np.ndarray]] = {}
    errors = []
    for option in options:
      largest = dataclasses.replace(option, rank=rank)
      if largest not in rounded:
        parts = largest.parts(Shape(*table.shape))
        rounded[largest] = [p.round_trip(x) for p, x in zip(parts, factors)]
      left, right = rounded[largest]
      words = left[:, : option.rank] @ right[: option.rank]
      errors.append(np.square(table - words).sum(axis=1))
    return np.stack(errors)


def weighted_basis(
  table: np.ndarray, weights: np.ndarray, rank: int
) -> np.ndarray:
  """Leading right singular vectors of sqrt(weights) times the table.

  Args:
    table: [W, D] float32.
    weights: [W] float.
    rank: R, at most D.

  Returns:
    [R, D] float32, orthonormal rows.
  """
  gram = table.T @ (table * np.asarray(weights, np.float32)[:, None])
  _, vectors = np.linalg.eigh(gram.astype(np.float64))
  return vectors[:, ::-1][:, :rank].T.astype(np.float32)
