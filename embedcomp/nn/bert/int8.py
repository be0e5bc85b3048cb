"""The encoder's own weights as int8: kernels, and tables of few rows.

  W[i, o] ~ values[i, o] scale[o],  scale[o] = max_i |W[i, o]| / 127

Kernels have a scale for each output, the tables of positions and of token types
one for each row. Biases, norms and what scores labels stay float32. The word
embeddings have schemes of their own.

An array takes one of two forms, each read as it comes:

  trainable  the float32 array of a model that knows nothing of this. It is
             rounded as it is read, its scales following from what it holds;
             the gradient is that of what was read.
  frozen     {'values': int8, 'scale': bfloat16}, which have no gradient. As in
             `GroupedEmbed`, integers may be in 'params' or in 'buffers'.

To go from frozen to trainable and back changes no bit.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from embedcomp.methods import rounding, storage
from embedcomp.nn.embedding import to_params
from embedcomp.types import Array, Params

WEIGHTS = ('float32', 'int8')
# By module: the axes of its kernel that inputs are summed over.
_INPUT_AXES = {
  'query_key_value': 1,
  'attention_out': 2,
  'mlp_in': 1,
  'mlp_out': 1,
  'pooler': 1,
  'transform': 1,
}
_TABLES = ('position', 'token_type')


def check_weights(weights: str) -> None:
  """Raises ValueError unless `weights` is one of `WEIGHTS`."""
  if weights not in WEIGHTS:
    raise ValueError(f'weights must be one of {WEIGHTS}, got {weights!r}.')


def quantize_encoder(
  model: nn.Module, params: Params
) -> tuple[nn.Module, Params]:
  """A model of the BERT family whose weights are stored as int8.

  The model also takes the params that were given: then it rounds them as it
  reads them, so that training sees what will be stored.

  Args:
    model: `Bert` or one with a head.
    params: of the model, together with their integers; arrays that are int8
      already stay as they are.

  Returns:
    The model with `weights='int8'`, and params in frozen form.

  Raises:
    ValueError: for weights that are not finite floats.

  Example:
    >>> import embedcomp
    >>> bert = embedcomp.Bert(embedcomp.BertConfig(9, 8, 1, 2, 16))
    >>> params = bert.init(jax.random.key(0), jnp.array([[2, 5]]))['params']
    >>> small, stored = quantize_encoder(bert, params)
    >>> print(small.weights, stored['pooler']['kernel']['values'].dtype)
    int8 int8
  """
  flat = _flatten(params)
  for path, leaf in flat.items():
    axes = scale_axes(path, np.ndim(leaf))
    if axes is not None and not is_frozen(leaf):
      flat[path] = freeze(leaf, axes, '/'.join(path))
  return _with_weights(model, 'int8'), traverse_util.unflatten_dict(flat)


def dequantize_encoder(
  model: nn.Module, params: Params
) -> tuple[nn.Module, Params]:
  """The same model with float32 weights; reverses `quantize_encoder`.

  Args:
    model: `Bert` or one with a head.
    params: of the model, together with their integers. If it is an int8 model
      they may be trainable, and are rounded as it reads them.

  Returns:
    The model with `weights='float32'`, and float32 params of the same outputs.
    An int8 model takes them, too, to be trained.

  Raises:
    ValueError: for weights that are not finite floats.

  Example:
    >>> import embedcomp
    >>> bert = embedcomp.Bert(embedcomp.BertConfig(9, 8, 1, 2, 16))
    >>> params = bert.init(jax.random.key(0), jnp.array([[2, 5]]))['params']
    >>> dense, rounded = dequantize_encoder(*quantize_encoder(bert, params))
    >>> step = abs(params['pooler']['kernel']).max() / 127
    >>> error = abs(params['pooler']['kernel'] - rounded['pooler']['kernel'])
    >>> bool(dense == bert and error.max() <= step / 2)
    True
  """
  if model.weights == 'int8':
    params = quantize_encoder(model, params)[1]
  flat = _flatten(params)
  for path, leaf in flat.items():
    # Words have frozen forms of their own, which stay as they are.
    if is_frozen(leaf) and scale_axes(path, leaf['values'].ndim) is not None:
      flat[path] = thaw(leaf)
  return _with_weights(model, 'float32'), traverse_util.unflatten_dict(flat)


def scale_axes(path: tuple[str, ...], ndim: int) -> tuple[int, ...] | None:
  """Which axes of an array of params have scales of their own.

  Args:
    path: keys that lead to it.
    ndim: number of its axes.

  Returns:
    The axes; None for an array that is not stored as int8.

  Example:
    >>> scale_axes(('bert', 'layer_0', 'attention_out', 'kernel'), 3)
    (2,)
  """
  module, name = path[-2:] if len(path) > 1 else ('', *path)
  if name == 'kernel' and module in _INPUT_AXES:
    return tuple(range(_INPUT_AXES[module], ndim))
  is_table = name == 'embedding' and module in _TABLES
  return (0,) if is_table else None


def is_frozen(leaf: Any) -> bool:
  """Whether an array of params is in its frozen form."""
  return isinstance(leaf, Mapping) and set(leaf) == {'values', 'scale'}


def freeze(values: Array, axes: tuple[int, ...], name: str) -> Params:
  """The frozen form of an array.

  Args:
    values: [...] float.
    axes: those that have scales of their own.
    name: for the error.

  Returns:
    `{'values': int8, 'scale': bfloat16}`.

  Raises:
    ValueError: unless all are finite floats.

  Example:
    >>> print(freeze(jnp.array([[254.0, -3.0]]), (0,), 'x')['values'])
    [[127  -2]]
  """
  values = np.asarray(values)
  is_float = jnp.issubdtype(values.dtype, jnp.floating)
  if not is_float or not np.isfinite(values.astype(np.float32)).all():
    raise ValueError(f'{name} must be finite floats, got {values.dtype}.')
  values = values.astype(np.float32)
  factor = storage.Factor(name, values.shape, 'int8', axes)
  scale = rounding.absmax_scale(values, _others(axes, values.ndim), 8)
  return factor.freeze({'values': values, 'scale': jnp.asarray(scale)})


def thaw(leaf: Any) -> Any:
  """The float32 array of a frozen form; anything else stays as it is."""
  return storage.read(leaf, 'int8') if is_frozen(leaf) else leaf


def round_as_stored(values: Array, axes: tuple[int, ...]) -> jax.Array:
  """What is left of an array once it is stored, gradients straight through.

  Args:
    values: [...] float.
    axes: those that have scales of their own.

  Returns:
    [...] float32.
  """
  still = jax.lax.stop_gradient(values).astype(jnp.float32)
  scale = rounding.absmax_scale(still, _others(axes, values.ndim), 8)
  rounded = storage.read({'values': still, 'scale': scale}, 'int8')
  return rounding.straight_through(rounded, values)


class _Int8Param:
  """A module that reads the one param of it that is not a bias as int8."""

  def param(self, name, init_fn, shape, *args, **kwargs):
    """The param as floats, whichever form it has."""
    if name == 'bias':
      return super().param(name, init_fn, shape, *args, **kwargs)
    axes = self._scale_axes(len(shape))
    leaf = to_params(self.variables).get(name)
    if not isinstance(leaf, Mapping):
      values = super().param(name, init_fn, shape, *args, **kwargs)
      return round_as_stored(values, axes)
    self._check('/'.join((*self.path, name)), leaf, shape, axes)
    return jax.lax.stop_gradient(storage.read(leaf, 'int8'))

  def _check(self, name, leaf, shape, axes) -> None:
    if not is_frozen(leaf):
      raise ValueError(
        f"{name} must have 'values' and 'scale', got {sorted(leaf)}; pass both "
        "collections, 'params' and 'buffers'."
      )
    factor = storage.Factor(name, tuple(shape), 'int8', axes)
    found = leaf['values'].shape, leaf['scale'].shape
    if found != (factor.shape, factor.scale_shape):
      raise ValueError(
        f'{name} must have values {list(factor.shape)} and scales '
        f'{list(factor.scale_shape)}, got {list(map(list, found))}.'
      )


class Int8Dense(_Int8Param, nn.DenseGeneral):
  """A linear layer whose kernel is stored as int8, a scale for each output."""

  def _scale_axes(self, ndim):
    outputs = self.features
    num_outputs = 1 if isinstance(outputs, int) else len(outputs)
    return tuple(range(ndim - num_outputs, ndim))


class Int8Embed(_Int8Param, nn.Embed):
  """A table that is stored as int8, a scale for each row."""

  def _scale_axes(self, ndim):
    del ndim
    return (0,)


def _others(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
  return tuple(axis for axis in range(ndim) if axis not in axes)


def _flatten(params: Params) -> dict[tuple[str, ...], Any]:
  return traverse_util.flatten_dict(
    dict(params), is_leaf=lambda _, leaf: is_frozen(leaf)
  )


def _with_weights(model: nn.Module, weights: str) -> nn.Module:
  return model.clone(weights=weights, parent=None)
