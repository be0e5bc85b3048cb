"""Params of a scheme, group by group: made, converted, checked.

`params` is a nested dict: `group_0`, `group_1`, ... hold each method's arrays,
`shared` those that several groups have in common, and `order` the rank of each
id, [V] int32, where the scheme stores one.
`methods.forms` says what the trainable and the stored form are; groups may
have different ones.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import registry
from embedcomp.methods.forms import Stored, spec
from embedcomp.table.order import check_order
from embedcomp.table.scheme import Scheme
from embedcomp.types import Params, PRNGKey

SHARED = 'shared'


def group_name(index: int) -> str:
  """The key of a group in `params`."""
  return f'group_{index}'


def method_params(scheme: Scheme, params: Params, index: int) -> Params:
  """All params that the method of a group takes: its own and shared ones.

  Args:
    scheme: the scheme.
    params: of the scheme, either form.
    index: of the group.
  """
  own = params[group_name(index)]
  if not scheme.shared_parts or not isinstance(own, Mapping):
    return own
  taken = scheme.groups[index].method.parts(scheme.shapes[index])
  shared = params[SHARED]
  return {**own, **{p.name: shared[p.name] for p in taken if p.shared}}


def gather_groups(scheme: Scheme, by_group: Sequence[Params]) -> Params:
  """Params of a scheme, but for its order, from those of each method.

  Args:
    scheme: the scheme.
    by_group: [G] as from `method_params`; what is shared is taken from the
      first group that has it.
  """
  shared = {part.name for part in scheme.shared_parts}
  params: Params = {}
  for index, found in enumerate(by_group):
    params[group_name(index)] = {
      name: leaf for name, leaf in found.items() if name not in shared
    }
  if shared:
    params[SHARED] = {
      name: next(found[name] for found in by_group if name in found)
      for name in shared
    }
  return params


def init(
  key: PRNGKey, scheme: Scheme, order: np.ndarray | None = None
) -> Params:
  """Makes trainable params from noise.

  Args:
    key: random key.
    scheme: the scheme.
    order: [V] rank of each id, for schemes that store one; ids as they come
      if not given.

  Returns:
    params in trainable form.

  Raises:
    TypeError: for arguments in another order.
    ValueError: for an order that the scheme cannot have.
  """
  _check_scheme(scheme, 'key, scheme, order')
  keys = jax.random.split(key, len(scheme.groups))
  params = gather_groups(
    scheme,
    [
      group.method.init(keys[index], shape)
      for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes))
    ],
  )
  if scheme.order == 'stored':
    if order is None:
      order = np.arange(scheme.vocab_size)
    params['order'] = Stored(jnp.asarray(check_order(scheme, order)))
  elif order is not None:
    raise ValueError("an order needs a scheme with order='stored'.")
  return params


def quantize_params(scheme: Scheme, params: Params) -> Params:
  """Rounds params to the numbers that are written to disk.

  Args:
    scheme: the scheme.
    params: of the scheme; groups that are stored already stay as they are.

  Returns:
    params in stored form, without arrays that only training needs.

  Raises:
    TypeError: for arguments in another order.
    ValueError: for params that are not the scheme's.
  """
  return _convert(scheme, params, 'quantize')


def dequantize_params(scheme: Scheme, params: Params) -> Params:
  """Makes float32 masters of stored numbers; `quantize_params` reverses it.

  Args:
    scheme: the scheme.
    params: of the scheme; groups that are trainable already stay as they are.

  Returns:
    params in trainable form, which read as those that were given.

  Raises:
    TypeError: for arguments in another order.
    ValueError: for params that are not the scheme's.
  """
  return _convert(scheme, params, 'dequantize')


def _convert(scheme: Scheme, params: Params, method_name: str) -> Params:
  check_params(scheme, params)
  converted = gather_groups(
    scheme,
    [
      getattr(group.method, method_name)(
        method_params(scheme, params, index), shape
      )
      for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes))
    ],
  )
  if scheme.order == 'stored':
    converted['order'] = params['order']
  return converted


def check_params(
  scheme: Scheme, params: Params, arguments: str = 'scheme, params'
) -> None:
  """Checks that params are those of a scheme, by types and shapes alone.

  No array is read: params may be traced, and what has been checked once costs
  microseconds.

  Args:
    scheme: the scheme.
    params: either form.
    arguments: of the function that was called, for the error.

  Raises:
    TypeError: if one of the two is something else.
    ValueError: naming group and array, what was found and what is expected.
  """
  _check_scheme(scheme, arguments)
  if not isinstance(params, Mapping):
    raise TypeError(
      f'params must be a dict, got {spec(params)}; the arguments are '
      f'({arguments}).'
    )
  leaves, structure = jax.tree.flatten(params)
  try:
    specs = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
  except AttributeError:  # not arrays, which the error names
    _check_groups(scheme, params)
    return
  _check_specs(scheme, structure, specs)


@functools.lru_cache
def _check_specs(scheme: Scheme, structure: Any, specs: tuple) -> None:
  """Checks params by what there is to know of them; `specs` is hashable."""
  leaves = [jax.ShapeDtypeStruct(*each) for each in specs]
  _check_groups(scheme, jax.tree.unflatten(structure, leaves))


def _check_groups(scheme: Scheme, params: Params) -> None:
  names = [group_name(index) for index in range(len(scheme.groups))]
  names += [SHARED] * bool(scheme.shared_parts)
  names += ['order'] * (scheme.order == 'stored')
  if set(params) != set(names):
    raise ValueError(
      f'params must have {names}, got {sorted(params)}; pass both collections, '
      "'params' and 'stored', of init, from_params or to_variables."
    )
  _check_shared(scheme, params)
  for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes)):
    name = group_name(index)
    try:
      group.method.check(method_params(scheme, params, index), shape)
    except ValueError as error:
      method = registry.describe(group.method)
      raise ValueError(f'{name}, {method}: {error}') from None
  if scheme.order == 'stored':
    # The part is what the file holds: the group of each id instead of ranks.
    scheme.order_part.check(params['order'], is_stored=True)


def _check_shared(scheme: Scheme, params: Params) -> None:
  """Raises ValueError unless what groups share is there, and nothing else."""
  names = sorted(part.name for part in scheme.shared_parts)
  if not names:
    return
  shared = params[SHARED]
  found = sorted(shared) if isinstance(shared, Mapping) else spec(shared)
  if found != names:
    raise ValueError(f'{SHARED} must have {names}, got {found}.')


def _check_scheme(scheme: Any, arguments: str) -> None:
  if not isinstance(scheme, Scheme):
    raise TypeError(
      f'scheme must be a Scheme, got {spec(scheme)}; the arguments are '
      f'({arguments}).'
    )
