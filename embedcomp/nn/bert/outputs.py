"""Intermediate outputs of a model of the BERT family, for distillation."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax

# The collection of variables into which models sow these outputs.
OUTPUTS_COLLECTION = 'distillation'
_HIDDEN_STATES = 'hidden_states'
# A layer has a module `query_key_value`, whose name none of its outputs can
# have.
_QUERY_KEY_VALUE = 'projected'


@flax.struct.dataclass
class ModelOutputs:
  """Outputs of a model for a batch, those of its layers among them.

  Attributes:
    output: [B, ...] float, of its head.
    hidden_states: L + 1 of [B, T, D], the output of the embeddings first; empty
      if they were not kept.
    query_key_value: [B, T, 3, N, H], queries, keys and values of the last
      layer; None if they were not kept.
  """

  output: jax.Array
  hidden_states: tuple[jax.Array, ...] = ()
  query_key_value: jax.Array | None = None

  @classmethod
  def from_variables(
    cls, output: jax.Array, variables: Mapping[str, Any]
  ) -> 'ModelOutputs':
    """Collects what `apply(..., mutable=[OUTPUTS_COLLECTION])` has returned.

    Args:
      output: of a model of the BERT family, [B, ...].
      variables: the collections that were mutable.

    Returns:
      The outputs; without those of layers where nothing was sown.
    """
    sown = variables.get(OUTPUTS_COLLECTION, {})
    sown = sown.get('bert', sown)
    hidden_states = tuple(sown.get(_HIDDEN_STATES, ()))
    last_layer = sown.get(f'layer_{len(hidden_states) - 2}', {})
    (query_key_value,) = last_layer.get(_QUERY_KEY_VALUE, (None,))
    return cls(output, hidden_states, query_key_value)


def sow_hidden_state(module: nn.Module, hidden: jax.Array) -> None:
  """Keeps a hidden state [B, T, D] where `OUTPUTS_COLLECTION` is mutable."""
  _sow(module, _HIDDEN_STATES, hidden)


def sow_query_key_value(module: nn.Module, projected: jax.Array) -> None:
  """Keeps the [B, T, 3, N, H] of a layer where the collection is mutable."""
  _sow(module, _QUERY_KEY_VALUE, projected)


def _sow(module: nn.Module, name: str, array: jax.Array) -> None:
  if not module.is_initializing():
    module.sow(OUTPUTS_COLLECTION, name, array)
