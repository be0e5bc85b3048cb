"""Other libraries' quantized embeddings, on JAX, as a user would build them."""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.race import Contestant, array_bytes


def _keras():
  os.environ.setdefault('KERAS_BACKEND', 'jax')
  import keras

  if keras.backend.backend() != 'jax':
    raise RuntimeError(
      f'KERAS_BACKEND must be jax, got {keras.backend.backend()!r}.'
    )
  return keras


def _keras_contestant(name, layer, table, mode, **call) -> Contestant:
  layer.build()
  layer.set_weights([table])
  layer.quantize(mode)

  def fn(arrays, x):
    return layer.stateless_call(*arrays, x, **call)[0]

  arrays = (
    [variable.value for variable in layer.trainable_variables],
    [variable.value for variable in layer.non_trainable_variables],
  )
  return Contestant(name, fn, arrays, array_bytes(arrays))


def keras_lookup(name: str, table: np.ndarray, mode: str) -> Contestant:
  """`keras.layers.Embedding`, quantized."""
  layer = _keras().layers.Embedding(*table.shape)
  return _keras_contestant(name, layer, table, mode)


def keras_logits(name: str, table: np.ndarray, mode: str) -> Contestant:
  """`keras.layers.ReversibleEmbedding`, quantized, called in reverse."""
  layer = _keras().layers.ReversibleEmbedding(*table.shape)
  return _keras_contestant(name, layer, table, mode, reverse=True)


def _qwix_contestant(
  name, module, params, mode, x, note: Callable[[int], str | None]
) -> Contestant:
  import qwix

  rule = qwix.QuantizationRule(
    module_path='.*', weight_qtype=mode, act_qtype=None
  )
  quantized = qwix.quantize_model(module, qwix.PtqProvider([rule]))
  target = jax.eval_shape(quantized.init, jax.random.key(0), x)['params']
  arrays = {'params': qwix.quantize_params(params, target)}
  jax.eval_shape(quantized.apply, arrays, x)  # does it run at all?
  num_bytes = array_bytes(arrays)
  return Contestant(name, quantized.apply, arrays, num_bytes, note(num_bytes))


def qwix_lookup(name: str, table: np.ndarray, mode: str) -> Contestant:
  """`flax.linen.Embed` after qwix's post-training quantization."""
  import flax.linen as nn

  def note(num_bytes):
    return 'leaves the table float32' if num_bytes == table.nbytes else None

  params = {'embedding': jnp.asarray(table)}
  x = jax.ShapeDtypeStruct((1,), np.int32)
  return _qwix_contestant(name, nn.Embed(*table.shape), params, mode, x, note)


def qwix_attend(name: str, table: np.ndarray, mode: str) -> Contestant:
  """`flax.linen.Embed.attend` after qwix's post-training quantization."""
  import flax.linen as nn

  class Tied(nn.Module):
    @nn.compact
    def __call__(self, hidden):
      return nn.Embed(*table.shape, name='embed').attend(hidden)

  params = {'embed': {'embedding': jnp.asarray(table)}}
  x = jax.ShapeDtypeStruct((1, table.shape[1]), np.float32)
  return _qwix_contestant(name, Tied(), params, mode, x, lambda _: None)


def qwix_dense(name: str, table: np.ndarray, mode: str) -> Contestant:
  """The same logits from a layer of their own, which qwix does quantize."""
  import flax.linen as nn

  params = {'kernel': jnp.asarray(table.T)}
  x = jax.ShapeDtypeStruct((1, table.shape[1]), np.float32)
  module = nn.Dense(len(table), use_bias=False)
  return _qwix_contestant(
    name, module, params, mode, x, lambda _: 'untied, weights only'
  )
