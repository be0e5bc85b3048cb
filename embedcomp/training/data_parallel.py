"""Steps on one device or many: `jit` over a mesh, or `pmap`.

Both wrappers take any pure `step(state, *batches, axis_name=None)`. The state
stands whole on every device; batches are divided along their first axis. What
they return looks the same from outside, so that a loop cannot tell them apart.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = 'data'


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Makes a mesh of one axis, 'data'.

  Args:
    devices: all of all hosts if not given.

  Returns:
    The mesh.
  """
  devices = jax.devices() if devices is None else list(devices)
  return jax.make_mesh(
    (len(devices),),
    (DATA_AXIS,),
    axis_types=(AxisType.Auto,),
    devices=devices,
  )


class CompiledStep(Protocol):
  """Step that also brings its arguments to the devices."""

  def place(self, state: chex.ArrayTree) -> chex.ArrayTree:
    """Copies a state to all devices; the original stays usable."""

  def shard(self, batch: chex.ArrayTree) -> chex.ArrayTree:
    """Brings a batch to the devices."""

  def __call__(self, state: chex.ArrayTree, *batches: chex.ArrayTree) -> Any:
    """Returns the new state and metrics."""


class DataParallel:
  """Compiled step that also brings its arguments to the devices.

  Calling it takes a state from `place`, whose memory it reuses, and batches
  from `shard`; it returns the new state, which needs no placing, and metrics
  that are equal on all devices.
  """

  def __init__(
    self,
    compiled: Callable[..., Any],
    mesh: Mesh,
    divide: Callable[[chex.ArrayTree], chex.ArrayTree],
  ):
    self._compiled = compiled
    self._replicated = NamedSharding(mesh, PartitionSpec())
    self._divide = divide
    self._num_shards = mesh.local_mesh.size

  def __call__(self, state: chex.ArrayTree, *batches: chex.ArrayTree) -> Any:
    return self._compiled(state, *batches)

  def place(self, state: chex.ArrayTree) -> chex.ArrayTree:
    """Copies a state to all devices; the original stays usable.

    Args:
      state: pytree of arrays, equal on all hosts.

    Returns:
      The same pytree on the devices of the mesh.
    """
    state = jax.tree.map(_with_firm_dtype, state)
    # `may_alias=False` still shares the memory of the device it is on.
    return jax.device_put(jax.tree.map(jnp.copy, state), self._replicated)

  def shard(self, batch: chex.ArrayTree) -> chex.ArrayTree:
    """Divides a batch among the devices.

    Args:
      batch: pytree of [B, ...] arrays, the part of this host.

    Returns:
      The same pytree on the devices of the mesh.

    Raises:
      ValueError: if B is not a multiple of the number of this host's devices.
    """
    for leaf in jax.tree.leaves(batch):
      if np.ndim(leaf) == 0 or len(leaf) % self._num_shards:
        raise ValueError(
          'the batch size must be a multiple of the number of devices '
          f'({self._num_shards}), got an array of shape {np.shape(leaf)}: '
          'choose another batch size or fewer devices.'
        )
    return self._divide(batch)


def _with_firm_dtype(leaf: Any) -> Any:
  """Makes weak types firm, as they would be after a step."""
  dtype = jnp.result_type(leaf)
  is_key = jnp.issubdtype(dtype, jax.dtypes.prng_key)
  return leaf if is_key else jnp.asarray(leaf, dtype)


def jit_step(
  step: Callable[..., Any], mesh: Mesh | None = None, *, donate: bool = True
) -> DataParallel:
  """Compiles a step for a mesh; XLA divides the work.

  Args:
    step: pure `step(state, *batches, axis_name=None)`.
    mesh: `data_mesh()` if not given.
    donate: whether the memory of the state may be reused, as for a step that
      returns the next state; False for evaluation.

  Returns:
    The compiled step; randomness does not depend on the number of devices.
  """
  mesh = data_mesh() if mesh is None else mesh
  compiled = jax.jit(
    step,
    donate_argnums=(0,) if donate else (),
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )
  sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))

  def divide(batch):
    if jax.process_count() == 1:
      return jax.device_put(batch, sharding)
    return jax.make_array_from_process_local_data(sharding, batch)

  return DataParallel(compiled, mesh, divide)


def pmap_step(
  step: Callable[..., Any], mesh: Mesh | None = None, *, donate: bool = True
) -> DataParallel:
  """Compiles a step for every device of one host; the step sums by itself.

  Args:
    step: pure `step(state, *batches, axis_name=None)`, which gets the name.
    mesh: its devices are used; `data_mesh()` if not given.
    donate: see `jit_step`.

  Returns:
    The compiled step. Dropout differs from that under `jit_step`, for it is
    drawn by replica; all other noise is the same.
  """
  mesh = data_mesh() if mesh is None else mesh
  compiled = _pmap(step, mesh, donate)
  sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))

  def fold(array):
    return np.reshape(array, (mesh.size, -1, *np.shape(array)[1:]))

  def divide(batch):
    return jax.device_put(jax.tree.map(fold, batch), sharding)

  return DataParallel(compiled, mesh, divide)


def _pmap(step: Callable[..., Any], mesh: Mesh, donate: bool) -> Callable:
  """Makes a `jax.pmap` of a step with any number of batches."""

  @functools.cache
  def compiled(num_batches):
    return jax.pmap(
      functools.partial(step, axis_name=DATA_AXIS),
      axis_name=DATA_AXIS,
      in_axes=(None,) + (0,) * num_batches,
      out_axes=None,
      devices=list(mesh.devices.flat),
      donate_argnums=(0,) if donate else (),
    )

  return lambda state, *batches: compiled(len(batches))(state, *batches)
