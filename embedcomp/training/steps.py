"""Steps of optimization and of evaluation, as pure functions.

A step takes the state and batches, and returns the new state and metrics. It
does not know how many devices there are, but for the name of their axis under
`pmap`. The loss is a mean over the whole batch, whatever its division:

  loss = sum of losses over all shards / sum of weights over all shards

Means of the means of shards would be something else, since shards differ in
weight (padding, rows that only fill a batch up).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from embedcomp.methods.forms import check_trainable
from embedcomp.training.data_parallel import DataParallel
from embedcomp.training.state import TrainState

Batch = Any
Metrics = dict[str, Any]
ROWS = 'rows'
# (params, buffers, batch, dropout_key) -> sum of losses, sum of weights and
# sums of whatever else is to be reported; under `ROWS` perhaps also a dict of
# [B, ...] arrays, which only evaluations keep. The weights do not depend on
# params.
LossFn = Callable[
  [chex.ArrayTree, chex.ArrayTree, Batch, jax.Array | None],
  tuple[jax.Array, jax.Array, Metrics],
]


def total(tree: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
  """Sums over replicas.

  Args:
    tree: sums over this replica's part of the batch.
    axis_name: of the replicas under `pmap`; None under `jit`, where a sum
      over the batch already is one over all devices.

  Returns:
    Sums over the whole batch.
  """
  return jax.lax.psum(tree, axis_name) if axis_name else tree


def all_rows(tree: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
  """Joins rows of replicas.

  Args:
    tree: [B, ...] arrays of this replica's part of the batch.
    axis_name: of the replicas under `pmap`; None under `jit`, where an array
      already has the rows of all devices.

  Returns:
    The same arrays of the whole batch.
  """
  if axis_name is None:
    return tree
  return jax.lax.all_gather(tree, axis_name, tiled=True)


def replica_key(key: jax.Array, axis_name: str | None) -> jax.Array:
  """Makes a key that differs by replica, for dropout; other noise must not."""
  if axis_name:
    key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
  return key


def mean_gradient(
  loss_fn: LossFn,
  params: chex.ArrayTree,
  buffers: chex.ArrayTree,
  batch: Batch,
  dropout_key: jax.Array,
  axis_name: str | None = None,
) -> tuple[chex.ArrayTree, Metrics]:
  """Computes the gradient of the mean loss over the whole batch, and metrics.

  Args:
    loss_fn: see `LossFn`.
    params: what to differentiate by.
    buffers: passed on.
    batch: pytree of [B, ...] arrays, this replica's part.
    dropout_key: equal on all replicas.
    axis_name: of the replicas under `pmap`.

  Returns:
    The gradient, and means: 'loss' and what `loss_fn` reports. All are zero
    for a batch without weight.
  """

  def sums(params):
    key = replica_key(dropout_key, axis_name)
    loss, weight, others = loss_fn(params, buffers, batch, key)
    return loss, (weight, {'loss': loss, **_without_rows(others)})

  grads, (weight, metrics) = jax.grad(sums, has_aux=True)(params)
  weight, grads, metrics = total((weight, grads, metrics), axis_name)
  weight = jnp.where(weight == 0, 1, weight)
  return jax.tree.map(lambda x: x / weight.astype(x.dtype), (grads, metrics))


def make_train_step(
  loss_fn: LossFn, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes the step of plain training.

  Args:
    loss_fn: see `LossFn`.
    optimizer: of `state.params`.

  Returns:
    A pure `step(state, batch, axis_name=None) -> (state, metrics)`, for
    `jit_step` or `pmap_step`. Metrics are means over the whole batch, and
    'gradient_norm'. It raises a TypeError for params in stored form.
  """

  def step(state, batch, axis_name=None):
    check_trainable(state.params)
    grads, metrics = mean_gradient(
      loss_fn, state.params, state.buffers, batch, state.step_key(), axis_name
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    metrics['gradient_norm'] = optax.tree.norm(grads)
    state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
    )
    return state, metrics

  return step


def make_eval_step(loss_fn: LossFn) -> Callable[..., Metrics]:
  """Makes the step that measures a batch.

  Args:
    loss_fn: see `LossFn`; it gets None for the dropout key.

  Returns:
    A pure `step(state, batch, axis_name=None) -> metrics`: 'weight', 'loss' and
    what `loss_fn` reports, as sums over the whole batch, and all its rows.
    `evaluate` divides and joins them.
  """

  def step(state, batch, axis_name=None):
    loss, weight, others = loss_fn(state.params, state.buffers, batch, None)
    sums = {'weight': weight, 'loss': loss, **_without_rows(others)}
    rows = {name: others[name] for name in (ROWS,) if name in others}
    return {**total(sums, axis_name), **all_rows(rows, axis_name)}

  return step


def _without_rows(metrics: Metrics) -> Metrics:
  return {name: value for name, value in metrics.items() if name != ROWS}


def evaluate(
  eval_step: DataParallel, state: TrainState, batches: Iterable[Batch]
) -> dict[str, Any]:
  """Evaluates all batches: means over them, and rows of all of them.

  Args:
    eval_step: a wrapped step of `make_eval_step`, with `donate=False`.
    state: to evaluate, on the devices.
    batches: as the loss function takes them, not yet on the devices.

  Returns:
    Means by name, 'loss' among them; under `ROWS`, if the loss function has
    any, [N, ...] arrays of all rows, fillers included.

  Raises:
    ValueError: if nothing has any weight.
  """
  found = [eval_step(state, eval_step.shard(batch)) for batch in batches]
  found = jax.device_get(found)
  weight = math.fsum(batch['weight'] for batch in found)
  if weight == 0:
    raise ValueError('there is nothing to evaluate: all weights are zero.')
  metrics: dict[str, Any] = {
    name: math.fsum(batch[name] for batch in found) / weight
    for name in _without_rows(found[0])
    if name != 'weight'
  }
  if ROWS in found[0]:
    rows = [batch[ROWS] for batch in found]
    metrics[ROWS] = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
  return metrics
