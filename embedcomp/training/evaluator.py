"""Evaluation of a model on the data of its task, compiled once."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import optax

from embedcomp.methods.forms import merge_params, split_params
from embedcomp.training import steps
from embedcomp.training.data_parallel import DataParallel, jit_step
from embedcomp.training.state import TrainState
from embedcomp.training.tasks import Task


def make_evaluator(
  task: Task, wrap: Callable[..., DataParallel] = jit_step
) -> Callable[[dict[str, Any], Iterable[steps.Batch]], dict[str, float]]:
  """Makes a function that evaluates variables of the model of a task.

  Args:
    task: gives the loss, the metric and the model.
    wrap: `jit_step`, `pmap_step` or what calls one of them.

  Returns:
    A `measure(variables, batches)`: from the model's variables, all
    collections, and batches that are not yet on the devices, to what
    `Task.summarise` makes of all of them together. It has no dropout, leaves
    the variables usable, and compiles once for each shape of a batch. It raises
    a ValueError if nothing has any weight.

  Example:
    >>> import flax.linen as nn
    >>> import numpy as np
    >>> from embedcomp.nn import PooledClassifier
    >>> model = PooledClassifier(nn.Embed(9, 2), num_classes=1)
    >>> task, ids = Task('classification', model), np.ones((4, 3), np.int32)
    >>> batch = {'ids': ids, 'labels': ids[:, 0] - 1, 'weights': ids[:, 0]}
    >>> variables = task.init(jax.random.key(0), batch)
    >>> make_evaluator(task)(variables, [batch])
    {'loss': 0.0, 'accuracy': 1.0}
  """
  step = wrap(steps.make_eval_step(task.loss_fn), donate=False)

  def measure(variables, batches):
    buffers = dict(variables)
    params, stored = split_params(buffers.pop('params'))
    if stored:
      buffers['stored'] = merge_params(buffers.get('stored', {}), stored)
    state = TrainState.create(
      params, optax.identity(), jax.random.key(0), buffers=buffers
    )
    means = steps.evaluate(step, step.place(state), batches)
    return task.summarise({**means, 'weight': 1.0})

  return measure
