"""Drop: all words of the group share one vector (vocabulary pruning)."""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import base, registry, storage
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape


@registry.register
@dataclasses.dataclass(frozen=True)
class Drop(base.SubvectorMethod):
  """One vector for every word of the group: their weighted mean.

  Attributes:
    storage: of the vector; integers keep a single scale.
  """

  name: ClassVar[str] = 'drop'
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    return (storage.Factor('vector', (1, shape.features), self.storage, (0,)),)

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    vector = jax.random.normal(key, (1, shape.features))
    return self._params(vector / np.sqrt(shape.features), shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    del seed  # a mean has one answer
    return self._params(
      np.average(table, axis=0, weights=weights), Shape(*table.shape)
    )

  def _params(self, vector: Array, shape: Shape) -> Params:
    return {part.name: part.trainable(vector) for part in self.parts(shape)}

  def num_subvectors(self, shape: Shape) -> tuple[int, int]:
    return 1, 1

  def subvectors(self, params: Params, shape: Shape) -> jax.Array:
    return storage.read(params['vector'], self.storage)

  def subvector_rows(
    self, params: Params, rows: Array, shape: Shape
  ) -> jax.Array:
    return jnp.zeros((*rows.shape, 1), jnp.int32)

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    vector = self.subvectors(params, shape)
    score = jnp.matmul(hidden, vector.T, precision='highest')  # [..., 1]
    return jnp.broadcast_to(score, (*hidden.shape[:-1], shape.num_words))

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    return (cls('int8'),)
