"""Optimizer of plain training: Adam with what a BERT needs besides.

Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR
2019 (AdamW).
"""

import jax
import optax

from embedcomp._internal.checks import check_int
from embedcomp.types import Params


def warmed_up(
  learning_rate: float, num_steps: int, warmup: float
) -> optax.Schedule:
  """Makes a rate that rises from zero and falls to zero, in straight lines.

  Args:
    learning_rate: the highest.
    num_steps: of the run.
    warmup: share of them in which it rises.

  Returns:
    Takes a step to its rate.
  """
  rising = round(warmup * num_steps) + 1
  return optax.join_schedules(
    [
      optax.linear_schedule(0.0, learning_rate, rising),
      optax.linear_schedule(learning_rate, 0.0, max(num_steps - rising, 1)),
    ],
    [rising],
  )


def adam(
  learning_rate: float,
  num_steps: int,
  *,
  warmup: float = 0.0,
  clip: float = 0.0,
  weight_decay: float = 0.0,
  table_rate: float = 1.0,
  accumulate: int = 1,
) -> optax.GradientTransformation:
  """Makes Adam with a warm-up and a linear decay.

  Args:
    learning_rate: the highest.
    num_steps: of the run, in batches.
    warmup: share of them in which the rate rises.
    clip: largest norm of a gradient; 0 does not clip.
    weight_decay: of kernels, as AdamW; biases, norms and tables have none.
    table_rate: the rate of the embedder's params, times that of the others.
    accumulate: batches whose gradients are averaged before each update.

  Returns:
    The optimizer. Params of the embedder are those under the key `embedder`.

  Raises:
    ValueError: naming the value and the rule that it breaks.
  """
  accumulate = check_int('accumulate', accumulate, 1)
  for name, value in (
    ('weight_decay', weight_decay),
    ('clip', clip),
    ('table_rate', table_rate),
  ):
    if not value >= 0:
      raise ValueError(f'{name} must not be negative, got {value}.')
  rates = warmed_up(learning_rate, num_steps // accumulate, warmup)
  parts = []
  if clip:
    parts.append(optax.clip_by_global_norm(clip))
  if weight_decay:
    parts.append(optax.adamw(rates, weight_decay=weight_decay, mask=_kernels))
  else:
    parts.append(optax.adam(rates))
  if table_rate != 1:
    parts.append(optax.masked(optax.scale(table_rate), _tables))
  optimizer = optax.chain(*parts)
  if accumulate == 1:
    return optimizer
  averaged = optax.MultiSteps(optimizer, accumulate)
  return averaged.gradient_transformation()


def _kernels(params: Params) -> Params:
  """Marks matrices that inputs are multiplied by."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: getattr(path[-1], 'key', None) == 'kernel', params
  )


def _tables(params: Params) -> Params:
  """Marks all that is part of an embedder."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: any(getattr(p, 'key', None) == 'embedder' for p in path),
    params,
  )
