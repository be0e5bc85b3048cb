"""One step of a search: weights on training data, logits on held-out data.

Both learn in the same step through one optimizer, `optax.multi_transform` over
the labels of `make_optimizer`. The noise of a step is the same on every
replica, so that all of them train the same sizes.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax

from embedcomp.search import controller as controller_lib
from embedcomp.search.controller import Controller, Schedule
from embedcomp.training.state import TrainState
from embedcomp.training.steps import Batch, Metrics, mean_gradient
from embedcomp.types import Params, PRNGKey

# (weights, buffers, mixture, batch, dropout_key) -> sums, as a
# `training.steps.LossFn` gives them; the mixture as `Supernet.lookup` takes it.
MixtureLossFn = Callable[
  [chex.ArrayTree, chex.ArrayTree, jax.Array, Batch, PRNGKey | None],
  tuple[jax.Array, jax.Array, Metrics],
]
WEIGHTS, ARCHITECTURE = 'weights', 'architecture'


def make_optimizer(
  weights: optax.GradientTransformation,
  architecture: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Makes one optimizer of params `{'weights': ..., 'architecture': ...}`.

  Args:
    weights: optimizer of the weights.
    architecture: optimizer of the logits of splits and options. It sleeps
      in steps without a gradient for them: its moments, its schedule and its
      decay count the others alone. Adam wants a large `eps`: with the usual
      one, gradients that are all but gone still move logits by whole steps,
      to where nothing brings them back.

  Returns:
    The optimizer; its `update` wants `is_due`, [] bool, by keyword.
  """
  architecture = optax.conditionally_mask(
    architecture, lambda step, *, is_due, **_: is_due, forward_extra_args=True
  )
  return optax.multi_transform(
    {WEIGHTS: weights, ARCHITECTURE: architecture},
    {WEIGHTS: WEIGHTS, ARCHITECTURE: ARCHITECTURE},
  )


def init_search_state(budget: int) -> Params:
  """Returns a search's `state.extra` before the first step.

  Args:
    budget: bytes; here, so that one compiled step serves any.
  """
  return {
    'budget': jnp.float32(budget),
    'multiplier': jnp.float32(0),
    'held_out_loss': jnp.float32(0),
  }


def make_search_step(
  loss_fn: MixtureLossFn,
  optimizer: optax.GradientTransformationExtraArgs,
  controller: Controller,
  schedule: Schedule,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes the step of a search.

  `state.params` is as `make_optimizer` wants it, `state.extra` as
  `init_search_state` makes it; what else that holds stays.

  Args:
    loss_fn: see `MixtureLossFn`.
    optimizer: of `make_optimizer`.
    controller: of splits and options.
    schedule: of the search.

  Returns:
    A pure `step(state, batch, held_out_batch, axis_name=None)`, for `jit_step`
    or `pmap_step`.
  """

  def held_out_gradient(state, batch, keys, axis_name):
    """Returns the gradient of the objective by the logits, and the loss."""
    weights, logits = state.params[WEIGHTS], state.params[ARCHITECTURE]
    temperature = schedule.temperature_at(state.step)

    def relaxed_loss(logits, buffers, batch, _):
      sample = controller.sample(logits, keys['architecture'], temperature)
      mixture = controller.mixture(sample)
      return loss_fn(weights, buffers, mixture, batch, None)  # no dropout

    key = keys['architecture']
    grads, metrics = mean_gradient(
      relaxed_loss, logits, state.buffers, batch, key, axis_name
    )
    priced = jax.grad(controller_lib.objective, argnums=2)(
      controller,
      schedule,
      logits,
      state.extra['multiplier'],
      state.extra['budget'],
      state.step,
    )
    return jax.tree.map(jnp.add, grads, priced), metrics['loss']

  def step(state, batch, held_out_batch, axis_name=None):
    names = ('weights', 'architecture', 'drawn', 'sizes')
    keys = dict(zip(names, jax.random.split(state.step_key(), len(names))))
    logits = state.params[ARCHITECTURE]
    is_warm = state.step >= schedule.warmup_steps
    is_due = is_warm & (state.step % schedule.every == 0)
    # A discrete choice, so that weights never learn to rely on blends.
    choice = jnp.where(
      is_warm,
      controller.drawn_choice(logits, keys['drawn']),
      controller.random_choice(keys['sizes'], state.step, schedule),
    )
    grads, metrics = mean_gradient(
      lambda weights, buffers, *rest: loss_fn(weights, buffers, choice, *rest),
      state.params[WEIGHTS],
      state.buffers,
      batch,
      keys['weights'],
      axis_name,
    )
    none = jax.tree.map(jnp.zeros_like, logits), state.extra['held_out_loss']
    logits_grads, held_out_loss = jax.lax.cond(
      is_due,
      lambda: held_out_gradient(state, held_out_batch, keys, axis_name),
      lambda: none,
    )
    grads = {WEIGHTS: grads, ARCHITECTURE: logits_grads}
    updates, opt_state = optimizer.update(
      grads, state.opt_state, state.params, is_due=is_due
    )
    budget = state.extra['budget']
    excess = controller.excess(logits, budget)
    multiplier = controller_lib.update_multiplier(
      state.extra['multiplier'], excess, schedule
    )
    multiplier = jnp.where(is_warm, multiplier, state.extra['multiplier'])
    metrics |= {
      'held_out_loss': held_out_loss,
      'expected_bytes': jnp.exp(excess) * budget,
      'temperature': schedule.temperature_at(state.step),
      'entropy': controller.entropy(logits),
      'multiplier': multiplier,
    }
    learned = {'multiplier': multiplier, 'held_out_loss': held_out_loss}
    state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      extra={**state.extra, **learned},
    )
    return state, metrics

  return step
