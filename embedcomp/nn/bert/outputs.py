"""Intermediate outputs of a model of the BERT family, for distillation."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax

from embedcomp.types import Array

# The collection into which models sow what students learn from.
COLLECTION = 'distillation'


@flax.struct.dataclass
class ModelOutputs:
  """What a model says of a batch.

  Attributes:
    output: [B, ...] float, of its head.
    states: L + 1 of [B, T, D], the output of the embeddings first.
    relations: [B, T, 3, N, H], queries, keys and values of the last layer.
  """

  output: jax.Array
  states: tuple[jax.Array, ...] = ()
  relations: jax.Array | None = None

  @classmethod
  def of(cls, output: Array, sown: Mapping[str, Any]) -> 'ModelOutputs':
    """Puts together what a model of the BERT family has returned and sown.

    Args:
      output: of its head.
      sown: its collections of variables, `COLLECTION` among them.
    """
    found = sown.get(COLLECTION, {})
    found = found.get('bert', found)
    states = tuple(found.get('states', ()))
    last = found.get(f'layer_{len(states) - 2}', {})
    (projected,) = last.get('projected', (None,))
    return cls(output, states, projected)
