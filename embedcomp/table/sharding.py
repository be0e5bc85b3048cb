"""Reading on meshes whose axes are explicit."""

from collections.abc import Callable

import jax

from embedcomp.types import Array


def with_explicit_axes(
  read: Callable[..., jax.Array], inputs: Array, lead: int
) -> Callable[..., jax.Array]:
  """Lets XLA shard a reader where the axes of a mesh are explicit.

  Gathers and loops over blocks of words have no one sharding by their type.
  What is read is sharded like the tokens, vectors whole.

  Args:
    read: takes params and `inputs` to [..., F].
    inputs: ids or hidden vectors.
    lead: how many of their axes are those of tokens.

  Returns:
    The reader itself where no axis is explicit.
  """
  sharding = jax.typeof(inputs).sharding
  mesh = sharding.mesh
  if mesh.empty:
    mesh = jax.sharding.get_abstract_mesh()
  if jax.sharding.AxisType.Explicit not in mesh.axis_types:
    return read
  spec = (*sharding.spec, *[None] * lead)[:lead]
  out = jax.sharding.NamedSharding(mesh, jax.P(*spec, None))
  return jax.sharding.auto_axes(read, out_sharding=out)
