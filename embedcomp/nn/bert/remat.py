"""Rematerialisation: gradients that compute the activations of layers again.

Reference: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from embedcomp.types import Array


def recomputed(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Rematerialises a function: `jax.checkpoint`, but in the order of layers.

  XLA drops the barriers of `jax.checkpoint` on CPUs and then computes all
  layers again at once, which keeps as much as no checkpoint at all. Here the
  second computation needs the gradient from the layer above.

  Args:
    fn: pure `fn(variables, hidden, others) -> (hidden, ...)`, both `hidden` of
      one shape. The gradient by `others` is not computed.

  Returns:
    The same function; it has no forward derivative.
  """

  @jax.custom_vjp
  def call(variables, hidden, others):
    return fn(variables, hidden, others)

  def forward(*inputs):
    return fn(*inputs), inputs

  def backward(inputs, gradient):
    variables, hidden, others = inputs
    # XLA drops no product with zero, as the gradient might be infinite.
    hidden = hidden + 0 * gradient[0]
    _, derive = jax.vjp(lambda *args: fn(*args, others), variables, hidden)
    return *derive(gradient), None

  call.defvjp(forward, backward)
  return call


def recomputed_layer(layer: nn.Module) -> Callable[..., Any]:
  """Rematerialises a bound layer.

  Args:
    layer: `layer(hidden, mask, **kwargs) -> (hidden, ...)`, inside of a compact
      method, its variables there already.

  Returns:
    The same function, with other dropout. None of its intermediates can be
    captured or sown.
  """
  unbound = layer.clone(parent=None, name=None)

  def call(hidden: Array, mask: Array | None, **kwargs):
    def fn(variables, hidden, others):
      mask, rngs = others
      return unbound.apply(variables, hidden, mask, rngs=rngs, **kwargs)

    has_dropout = layer.has_rng('dropout')
    rngs = {'dropout': layer.make_rng('dropout')} if has_dropout else {}
    return recomputed(fn)(layer.variables, hidden, (mask, rngs))

  return call
