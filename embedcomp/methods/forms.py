"""The two forms of params, told apart by type.

  trainable  float32 arrays, or dicts of them, that an optimizer moves. What
             nothing trains (codes, the order of ids) is `Stored` already.
  stored     the numbers that are written to disk; every array is `Stored`.

Nothing else says which form an array has: neither its dtype nor its keys.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from embedcomp.types import Array, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Stored:
  """An array as it is written to disk, which no gradient reaches.

  A pytree: transformations, devices, checkpoints and Flax's collections take
  it like a dict of its arrays. It belongs into the collection 'stored', where
  no optimizer sees it; `split_params` sets it apart.

  Example:
    >>> import numpy as np
    >>> Stored(np.zeros((61, 3), np.uint8))
    Stored(uint8[61, 3], not trainable: see embedcomp.split_params)
  """

  # [...] int8 multiples of a scale; bfloat16, float16 or float32 numbers; or
  # unsigned integers: codes, each below the number of its codewords, or ranks.
  values: Array
  # Positive bfloat16 that broadcasts to int8 `values`; None for all others.
  scale: Array | None = None

  def __repr__(self) -> str:
    scale = '' if self.scale is None else f', scale {spec(self.scale)}'
    hint = 'not trainable: see embedcomp.split_params'
    return f'Stored({spec(self.values)}{scale}, {hint})'


def spec(array: Any) -> str:
  """Dtype and shape of an array, in a few letters; else the name of a type."""
  if hasattr(array, 'dtype') and hasattr(array, 'shape'):
    return f'{array.dtype}{list(array.shape)}'
  return type(array).__name__


def check_array(
  name: str, array: Any, shape: tuple[int, ...], kind: Any
) -> None:
  """Raises ValueError unless shape and dtype are right; reads no number."""
  if not hasattr(array, 'shape') or not hasattr(array, 'dtype'):
    raise ValueError(f'{name} must be an array, got {spec(array)}.')
  if tuple(array.shape) != shape:
    raise ValueError(f'{name} must be {list(shape)}, got {list(array.shape)}.')
  if not jnp.issubdtype(array.dtype, kind):
    wanted = getattr(kind, '__name__', kind)
    raise ValueError(f'{name} must be {wanted}, got {array.dtype}.')


def is_stored(params: Params) -> bool:
  """True if every array of params, a method's or a scheme's, is `Stored`."""
  leaves = jax.tree.leaves(params, is_leaf=_is_stored_array)
  return all(map(_is_stored_array, leaves))


def _is_stored_array(leaf: Any) -> bool:
  return isinstance(leaf, Stored)


def split_params(params: Mapping[str, Any]) -> tuple[Params, Params]:
  """Sets what gradients are taken of apart from what is stored.

  Args:
    params: nested dict of arrays, such as a scheme's or a whole model's.

  Returns:
    Two nested dicts, trainable and stored; `merge_params` puts them together.

  Example:
    >>> import numpy as np
    >>> codes = Stored(np.arange(2, dtype=np.uint8))
    >>> trainable, stored = split_params({'a': np.ones(2), 'b': {'c': codes}})
    >>> list(trainable), list(stored)
    (['a'], ['b'])
  """
  trainable: Params = {}
  stored: Params = {}
  for key, value in params.items():
    if isinstance(value, Mapping):
      inner_trainable, inner_stored = split_params(value)
      if inner_trainable:
        trainable[key] = inner_trainable
      if inner_stored:
        stored[key] = inner_stored
    else:
      (stored if isinstance(value, Stored) else trainable)[key] = value
  return trainable, stored


def merge_params(
  trainable: Mapping[str, Any], stored: Mapping[str, Any]
) -> Params:
  """Reverses `split_params`.

  Args:
    trainable: nested dict of arrays.
    stored: another one.

  Returns:
    The nested dict of all arrays.

  Raises:
    ValueError: if both have an array of the same name.
  """
  merged = dict(trainable)
  for key, value in stored.items():
    held = merged.get(key)
    if isinstance(held, Mapping) and isinstance(value, Mapping):
      merged[key] = merge_params(held, value)
    elif key in merged:
      raise ValueError(
        f'{key} is among the trainable params and among the stored ones; pass '
        'it in one form.'
      )
    else:
      merged[key] = value
  return merged


def check_trainable(params: chex.ArrayTree) -> None:
  """Raises TypeError if an optimizer would meet stored arrays.

  Args:
    params: any pytree.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_stored_array)
  paths = [path for path, leaf in leaves if isinstance(leaf, Stored)]
  if paths:
    raise TypeError(
      f'params must be trainable, got {len(paths)} stored arrays, the first '
      f'one at {jax.tree_util.keystr(paths[0])}: call trainable, stored = '
      'embedcomp.split_params(params) and train the former; '
      'embedcomp.dequantize_params and embedcomp.dequantize_encoder make '
      'stored tables and kernels trainable.'
    )
