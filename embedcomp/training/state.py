"""State of a run: one pytree with everything that resuming needs."""

from __future__ import annotations

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from embedcomp.methods.forms import check_trainable


class Best(flax.struct.PyTreeNode):
  """State with the best metric of all evaluations so far.

  Attributes:
    value: [] float32 the metric; infinite before the first evaluation.
    step: [] int32 the step after which it was measured.
    params: as in `TrainState`, at that step.
    buffers: likewise.
    extra: likewise.
  """

  value: jax.Array | np.float32
  step: jax.Array
  params: chex.ArrayTree
  buffers: chex.ArrayTree
  extra: chex.ArrayTree


class TrainState(flax.struct.PyTreeNode):
  """State that a step reads and replaces, and a checkpoint holds.

  Attributes:
    step: [] int32 number of steps taken.
    params: nested dict of float arrays, trained by the optimizer.
    buffers: nested dict of arrays that no gradient trains (codes, tables).
    opt_state: of the optimizer of `params`.
    key: a typed key. The noise of a step comes from `step_key` alone.
    extra: whatever else a step learns: architecture logits and their
      optimizer's state, multipliers.
    best: kept by the loop if asked; steps never see it.
  """

  step: jax.Array
  params: chex.ArrayTree
  buffers: chex.ArrayTree
  opt_state: optax.OptState
  key: jax.Array
  extra: chex.ArrayTree = None
  best: Best | None = None

  @classmethod
  def create(
    cls,
    params: chex.ArrayTree,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    buffers: chex.ArrayTree = None,
    extra: chex.ArrayTree = None,
  ) -> TrainState:
    """Makes the state before the first step.

    Args:
      params: nested dict of float arrays.
      optimizer: gives `opt_state`.
      key: a typed key (`jax.random.key`).
      buffers: nested dict of arrays; an empty dict if not given.
      extra: any pytree of arrays.

    Returns:
      A state at step 0.

    Raises:
      TypeError: for params in stored form, which an optimizer would move.
      ValueError: for a key of the old kind, which checkpoints would confuse
        with plain numbers.
    """
    check_trainable(params)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
      raise ValueError(
        f'key must be typed (jax.random.key), got {key.dtype} of PRNGKey.'
      )
    return cls(
      step=jnp.int32(0),
      params=params,
      buffers={} if buffers is None else buffers,
      opt_state=optimizer.init(params),
      key=key,
      extra=extra,
    )

  def step_key(self) -> jax.Array:
    """Returns the key of all noise of a step, equal on every replica."""
    return jax.random.fold_in(self.key, self.step)


def with_best(state: TrainState, value: float) -> TrainState:
  """Remembers a state, by copies, as the best one.

  Args:
    state: to remember.
    value: of its metric.

  Returns:
    The same state with `best`.
  """
  remembered = (state.params, state.buffers, state.extra)
  params, buffers, extra = jax.tree.map(jnp.copy, remembered)
  best = Best(np.float32(value), jnp.copy(state.step), params, buffers, extra)
  return state.replace(best=best)
