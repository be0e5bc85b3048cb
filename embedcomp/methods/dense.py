"""Dense storage: every word keeps all its features, at a chosen precision."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import base, registry, storage
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape


@registry.register
@dataclasses.dataclass(frozen=True)
class Dense(base.SubvectorMethod):
  """The table itself, D values a word; with integers, one scale a word.

  Attributes:
    storage: one of `methods.STORAGES`.
  """

  name: ClassVar[str] = 'dense'
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    return (storage.Factor('table', tuple(shape), self.storage, (0,)),)

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    table = jax.random.normal(key, shape) / np.sqrt(shape.features)
    return self._params(table, shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    del weights, seed  # every row is rounded by itself
    return self._params(table, Shape(*table.shape))

  def _params(self, table: Array, shape: Shape) -> Params:
    return {part.name: part.trainable(table) for part in self.parts(shape)}

  def num_subvectors(self, shape: Shape) -> tuple[int, int]:
    return shape.num_words, 1

  def subvectors(self, params: Params, shape: Shape) -> jax.Array:
    return storage.read(params['table'], self.storage)

  def subvector_rows(
    self, params: Params, rows: Array, shape: Shape
  ) -> jax.Array:
    return jnp.asarray(rows)[..., None]

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    return storage.read(params['table'], self.storage, rows)

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    if self.storage == 'float32':
      table = storage.read(params['table'], 'float32')
      return jnp.matmul(hidden, table.T, precision='highest')
    return super().logits(params, hidden, shape)

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    stored = ('float32', 'bfloat16', 'float16', 'int8', 'int4')
    return tuple(cls(storage=s) for s in stored)

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    (parts,) = zip(*(o.parts(Shape(*table.shape)) for o in options))
    return np.stack(
      [np.square(table - part.round_trip(table)).sum(axis=1) for part in parts]
    )
