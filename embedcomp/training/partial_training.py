"""Training of some params; the others cost no gradients."""

from collections.abc import Callable

import jax
import optax

from embedcomp.training.steps import LossFn
from embedcomp.types import Params

# Tells of the keys of an array whether it stays.
IsFrozen = Callable[[tuple[str, ...]], bool]


def freeze(
  loss_fn: LossFn, optimizer: optax.GradientTransformation, is_frozen: IsFrozen
) -> tuple[LossFn, optax.GradientTransformation]:
  """Keeps some params as they are.

  Args:
    loss_fn: of the params.
    optimizer: of the params.
    is_frozen: takes the keys that lead to an array.

  Returns:
    The same loss, whose gradient by these is zero and ends where nothing below
    is trained, and an optimizer that has no state for them.
  """

  def partial_loss(params, *args):
    stopped = jax.tree.map(
      lambda leaf, frozen: jax.lax.stop_gradient(leaf) if frozen else leaf,
      params,
      _mask(params, is_frozen),
    )
    return loss_fn(stopped, *args)

  def labels(params):
    return jax.tree.map(
      lambda frozen: 'frozen' if frozen else 'trained',
      _mask(params, is_frozen),
    )

  parts = {'trained': optimizer, 'frozen': optax.set_to_zero()}
  return partial_loss, optax.partition(parts, labels)


def _mask(params: Params, is_frozen: IsFrozen) -> Params:
  return jax.tree_util.tree_map_with_path(
    lambda path, _: is_frozen(tuple(str(part.key) for part in path)), params
  )
