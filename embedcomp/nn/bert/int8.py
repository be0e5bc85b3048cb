"""The encoder's own weights as int8: kernels, and tables of few rows.

  W[i, o] ~ values[i, o] scale[o],  scale[o] = max_i |W[i, o]| / 127

Kernels have a scale for each output, the tables of positions and of token types
one for each row. Biases, norms and what scores labels stay float32. The word
embeddings have schemes of their own.

An array takes one of two forms (see `methods.forms`), each read as it comes:

  trainable  the float32 array of a model that knows nothing of this. It is
             rounded as it is read, its scales following from what it holds;
             the gradient is that of what was read.
  stored     `Stored` int8 values and bfloat16 scales, which have no gradient,
             in the collection 'stored' or among the params.

To go from stored to trainable and back changes no bit.
"""

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from embedcomp.methods import rounding, storage
from embedcomp.methods.forms import Stored
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
    params: of the model, trainable and stored ones together; those that are
      stored already stay as they are.

  Returns:
    The model with `weights='int8'`, and params whose int8 arrays are stored.

  Raises:
    ValueError: for weights that are not finite floats.

  Example:
    >>> import embedcomp
    >>> bert = embedcomp.Bert(embedcomp.BertConfig(9, 8, 1, 2, 16))
    >>> params = bert.init(jax.random.key(0), jnp.array([[2, 5]]))['params']
    >>> small, stored = quantize_encoder(bert, params)
    >>> print(small.weights, stored['pooler']['kernel'].values.dtype)
    int8 int8
  """
  flat = traverse_util.flatten_dict(dict(params))
  for path, leaf in flat.items():
    if isinstance(leaf, Stored):
      continue
    axes = scale_axes(path, np.ndim(leaf))
    if axes is not None:
      flat[path] = quantize(leaf, axes, '/'.join(path))
  return _with_weights(model, 'int8'), traverse_util.unflatten_dict(flat)


def dequantize_encoder(
  model: nn.Module, params: Params
) -> tuple[nn.Module, Params]:
  """The same model with float32 weights; reverses `quantize_encoder`.

  Args:
    model: `Bert` or one with a head.
    params: of the model, trainable and stored ones together. Those of an int8
      model may be trainable, and are rounded as it reads them.

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
  flat = traverse_util.flatten_dict(dict(params))
  for path, leaf in flat.items():
    # Words are stored by a scheme of their own, and stay as they are.
    if isinstance(leaf, Stored) and scale_axes(path, np.ndim(leaf.values)):
      flat[path] = dequantize(leaf)
  return _with_weights(model, 'float32'), traverse_util.unflatten_dict(flat)


def scale_axes(path: tuple[str, ...], ndim: int) -> tuple[int, ...] | None:
  """Axes of an array of params that have scales of their own.

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


def quantize(values: Array, axes: tuple[int, ...], name: str) -> Stored:
  """Rounds an array to its stored form.

  Args:
    values: [...] float.
    axes: those that have scales of their own.
    name: for the error.

  Returns:
    int8 values and bfloat16 scales.

  Raises:
    ValueError: unless all are finite floats.

  Example:
    >>> print(quantize(jnp.array([[254.0, -3.0]]), (0,), 'x').values)
    [[127  -2]]
  """
  values = np.asarray(values)
  is_float = jnp.issubdtype(values.dtype, jnp.floating)
  if not is_float or not np.isfinite(values.astype(np.float32)).all():
    raise ValueError(f'{name} must be finite floats, got {values.dtype}.')
  values = values.astype(np.float32)
  factor = storage.Factor(name, values.shape, 'int8', axes)
  scale = rounding.absmax_scale(values, _others(axes, values.ndim), 8)
  return factor.quantize({'values': values, 'scale': jnp.asarray(scale)})


def dequantize(leaf: Any) -> Any:
  """The float32 array of a stored form; anything else stays as it is."""
  return storage.read(leaf, 'int8') if isinstance(leaf, Stored) else leaf


def round_as_stored(values: Array, axes: tuple[int, ...]) -> jax.Array:
  """Rounds an array as `quantize` does, gradients passed straight through.

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


if TYPE_CHECKING:
  _Mixin = nn.Module  # of which it overrides a method
else:
  _Mixin = object


class _Int8Param(_Mixin):
  """A module that reads the one param of it that is not a bias as int8."""

  def param(self, name, init_fn, *args, **kwargs):
    """The param as floats, whichever form it has."""
    if name == 'bias':
      return super().param(name, init_fn, *args, **kwargs)
    shape = args[0]
    axes = self._scale_axes(len(shape))
    leaf = to_params(self.variables).get(name)
    path = '/'.join((*self.path, name))
    if isinstance(leaf, Stored):
      storage.Factor(path, tuple(shape), 'int8', axes).check(leaf, True)
      return storage.read(leaf, 'int8')
    if leaf is None and not self.is_mutable_collection('params'):
      raise ValueError(
        f"{path} is missing; pass both collections, 'params' and 'stored'."
      )
    values = super().param(name, init_fn, *args, **kwargs)
    return round_as_stored(values, axes)

  def _scale_axes(self, ndim: int) -> tuple[int, ...]:
    """Axes along which scales differ: the rows of a table."""
    del ndim
    return (0,)


class Int8Dense(_Int8Param, nn.DenseGeneral):
  """A linear layer whose kernel is stored as int8, a scale for each output."""

  def _scale_axes(self, ndim: int) -> tuple[int, ...]:
    outputs = self.features
    num_outputs = 1 if isinstance(outputs, int) else len(outputs)
    return tuple(range(ndim - num_outputs, ndim))


class Int8Embed(_Int8Param, nn.Embed):
  """A table that is stored as int8, a scale for each row."""


def _others(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
  return tuple(axis for axis in range(ndim) if axis not in axes)


def _with_weights(model: nn.Module, weights: str) -> nn.Module:
  return model.clone(weights=weights, parent=None)
