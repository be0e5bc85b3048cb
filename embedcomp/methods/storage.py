"""Storage of the arrays of a compression method, to the bit.

A method describes what it writes to disk as a tuple of parts. A `Factor` holds
real numbers in one of the `STORAGES`; `Codes` holds integers, each in the
fewest bits that its range needs, `CodedIntegers` such that are coded by how
often they occur. Bytes, quantization, packing and checking depend on the part
alone, once, for every method; `part_tensors` packs many parts.

The arrays of a part take one of two forms (see `forms`):

  trainable  float32 masters. An integer storage is a dict of `values` and
             `scale`; reading rounds to the stored grid and passes gradients
             straight through, so that training sees what will be written.
             Gradients of `scale` follow LSQ (Esser et al., ICLR 2020).
  stored     `Stored`: int8 or int4 values beside bfloat16 scales, bfloat16,
             float16, float32, or the smallest unsigned integer for codes,
             which are so in both forms. Reading passes no gradient.

`quantize(dequantize(x))` gives `x` back exactly.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from embedcomp.methods.bit_packing import code_bits, pack_bits, unpack_bits
from embedcomp.methods.coded_integers import CodedIntegers
from embedcomp.methods.forms import Stored, check_array, spec
from embedcomp.methods.gather import take
from embedcomp.methods.integer_part import IntegerPart
from embedcomp.methods.rounding import (
  SCALE_DTYPE,
  array_namespace,
  cast,
  grid_points,
  mse_scale,
  quantize,
  round_to,
)
from embedcomp.types import Array

INTEGER_BITS = {'int8': 8, 'int4': 4}
FLOAT_DTYPES = {
  'float32': np.dtype(np.float32),
  'bfloat16': np.dtype(ml_dtypes.bfloat16),
  'float16': np.dtype(np.float16),
}
STORAGES = (*FLOAT_DTYPES, *INTEGER_BITS)


def check_storage(storage: str) -> None:
  """Raises ValueError unless `storage` is one of `STORAGES`."""
  if storage not in STORAGES:
    raise ValueError(f'storage must be one of {STORAGES}, got {storage!r}.')


def read(leaf: Any, storage: str, rows: Array | None = None) -> jax.Array:
  """Reads a factor, in either form, as float32.

  Args:
    leaf: the factor's arrays (see the module's text).
    storage: one of `STORAGES`.
    rows: [...] positions along the first axis; None reads the whole factor.

  Returns:
    The factor, or its rows, in float32.
  """
  if isinstance(leaf, Stored):
    leaf = jax.lax.stop_gradient(leaf)
    values = leaf.values if rows is None else take(leaf.values, rows)
    values = values.astype(jnp.float32)
    if leaf.scale is None:
      return values
    return values * _rows_of_scale(leaf.scale, rows).astype(jnp.float32)
  if storage not in INTEGER_BITS:
    values = leaf if rows is None else take(leaf, rows)
    return round_to(values, FLOAT_DTYPES[storage])
  values = leaf['values'] if rows is None else take(leaf['values'], rows)
  scale = round_to(_rows_of_scale(leaf['scale'], rows), SCALE_DTYPE)
  return quantize(values, scale, INTEGER_BITS[storage]) * scale


def _rows_of_scale(scale: Array, rows: Array | None) -> jax.Array:
  """The scales of rows, ready to be multiplied by their values."""
  if rows is None:
    return jnp.asarray(scale)
  if scale.shape[0] > 1:
    return take(scale, rows)
  return jnp.asarray(scale).reshape((1,) * np.ndim(rows) + scale.shape[1:])


@dataclasses.dataclass(frozen=True)
class Factor:
  """A real array of fixed shape.

  Attributes:
    name: key in the method's params and in the file.
    shape: shape of the values.
    storage: one of `STORAGES`.
    scale_axes: the axes along which an integer storage keeps separate scales;
      the others share one.
    role: heading under which the bytes are reported.
    shared: whether groups of a scheme that have an equal part have it in
      common, so that it is stored once.
  """

  name: str
  shape: tuple[int, ...]
  storage: str = 'float32'
  scale_axes: tuple[int, ...] = (0,)
  role: str = 'factors'
  shared: bool = False

  def __post_init__(self) -> None:
    check_storage(self.storage)

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  @property
  def is_integer(self) -> bool:
    return self.storage in INTEGER_BITS

  @property
  def scale_shape(self) -> tuple[int, ...]:
    return tuple(
      n if axis in self.scale_axes else 1 for axis, n in enumerate(self.shape)
    )

  def bytes_by_role(self) -> dict[str, int]:
    """Bytes on disk under each heading."""
    if not self.is_integer:
      itemsize = FLOAT_DTYPES[self.storage].itemsize
      return {self.role: self.size * itemsize}
    return {
      self.role: -(-self.size * INTEGER_BITS[self.storage] // 8),
      'scales': math.prod(self.scale_shape) * SCALE_DTYPE.itemsize,
    }

  def file_tensors(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor that `pack` writes."""
    if not self.is_integer:
      return {self.name: (FLOAT_DTYPES[self.storage], self.shape)}
    num_bytes = -(-self.size * INTEGER_BITS[self.storage] // 8)
    values: tuple[np.dtype, tuple[int, ...]]
    values = (np.dtype(np.uint8), (num_bytes,))
    if self.storage == 'int8':
      values = (np.dtype(np.int8), self.shape)
    return {
      f'{self.name}.values': values,
      f'{self.name}.scale': (SCALE_DTYPE, self.scale_shape),
    }

  def trainable(self, values: Array) -> Any:
    """The trainable form of given float values, with scales that fit them."""
    values = (
      array_namespace(values).asarray(values, np.float32).reshape(self.shape)
    )
    if not self.is_integer:
      return jnp.asarray(values)
    axes = tuple(a for a in range(values.ndim) if a not in self.scale_axes)
    scale = mse_scale(values, axes, INTEGER_BITS[self.storage])
    return {'values': jnp.asarray(values), 'scale': jnp.asarray(scale)}

  def round_trip(self, values: np.ndarray) -> np.ndarray:
    """Returns float values as they are read once stored, on the host."""
    if not self.is_integer:
      return values.astype(FLOAT_DTYPES[self.storage]).astype(np.float32)
    bits = INTEGER_BITS[self.storage]
    axes = tuple(a for a in range(values.ndim) if a not in self.scale_axes)
    scale = mse_scale(values, axes, bits)
    limit = 2 ** (bits - 1) - 1
    return np.clip(np.round(values / scale), -limit, limit) * scale

  def quantize(self, leaf: Any) -> Stored:
    """Rounds the trainable form to the stored one; stored stays as it is."""
    if isinstance(leaf, Stored):
      return leaf
    if not self.is_integer:
      return Stored(cast(leaf, FLOAT_DTYPES[self.storage]))
    # Training may turn the sign of a scale, which changes nothing that is
    # read: values are rounded to the same multiples of it.
    scale = abs(cast(leaf['scale'], SCALE_DTYPE))
    bits = INTEGER_BITS[self.storage]
    return Stored(grid_points(leaf['values'], scale, bits), scale)

  def dequantize(self, leaf: Any) -> Any:
    """Turns the stored form into float32 masters; those stay as they are."""
    if not isinstance(leaf, Stored):
      return leaf
    numpy = array_namespace(leaf.values)
    values = numpy.asarray(leaf.values).astype(np.float32)
    if leaf.scale is None:
      return jnp.asarray(values)
    scale = numpy.asarray(leaf.scale).astype(np.float32)
    with np.errstate(over='ignore'):
      values = values * scale
    return {'values': jnp.asarray(values), 'scale': jnp.asarray(scale)}

  def check(self, leaf: Any, is_stored: bool) -> None:
    """Raises ValueError unless a leaf has the shapes and dtypes of a form.

    Args:
      leaf: the factor's arrays.
      is_stored: whether the other arrays of the group are stored.
    """
    name, shape = self.name, self.shape
    if isinstance(leaf, Stored) != is_stored:
      raise ValueError(
        f'{name} is {spec(leaf)} where other arrays of the group are '
        f'{"stored" if is_stored else "trainable"}; convert them together by '
        'quantize_params or dequantize_params.'
      )
    if not self.is_integer:
      kind = FLOAT_DTYPES[self.storage] if is_stored else jnp.floating
      check_array(name, leaf.values if is_stored else leaf, shape, kind)
      if is_stored and leaf.scale is not None:
        raise ValueError(f'{name} must have no scale, got {spec(leaf.scale)}.')
      return
    if is_stored:
      leaf = {'values': leaf.values, 'scale': leaf.scale}
    elif not isinstance(leaf, Mapping) or set(leaf) != {'values', 'scale'}:
      raise ValueError(
        f'{name} must be a dict of values and scale, got {spec(leaf)}.'
      )
    kinds = (np.int8, SCALE_DTYPE) if is_stored else (jnp.floating,) * 2
    check_array(f'{name}.values', leaf['values'], shape, kinds[0])
    check_array(f'{name}.scale', leaf['scale'], self.scale_shape, kinds[1])

  def coded_shapes(self) -> dict[str, tuple[int, int]]:
    """[W, A] of the integers of every tensor that is entropy-coded."""
    return {}

  def pack(self, leaf: Stored) -> dict[str, np.ndarray]:
    """The tensors written to disk."""
    values = np.asarray(leaf.values)
    if not self.is_integer:
      return {self.name: values}
    if self.storage == 'int4':
      values = pack_bits(values.astype(np.int32) & 15, 4)
    return {
      f'{self.name}.values': values,
      f'{self.name}.scale': np.asarray(leaf.scale),
    }

  def unpack(self, tensors: dict[str, np.ndarray]) -> Stored:
    """The stored form, from tensors whose dtype and shape are checked."""
    if not self.is_integer:
      values = tensors[self.name]
      if not np.isfinite(values.astype(np.float32)).all():
        raise ValueError(f'{self.name} must be finite.')
      return Stored(jnp.asarray(values))
    values = tensors[f'{self.name}.values']
    scale = tensors[f'{self.name}.scale']
    positive = scale.astype(np.float32) > 0
    if not (np.isfinite(scale.astype(np.float32)) & positive).all():
      raise ValueError(f'{self.name}.scale must be positive and finite.')
    if self.storage == 'int4':
      values = unpack_bits(values, 4, self.size).astype(np.int32)
      values = ((values ^ 8) - 8).astype(np.int8).reshape(self.shape)
    limit = 2 ** (INTEGER_BITS[self.storage] - 1) - 1
    if (values < -limit).any():
      raise ValueError(f'{self.name}.values must be at least {-limit}.')
    return Stored(jnp.asarray(values), jnp.asarray(scale))


@dataclasses.dataclass(frozen=True)
class Codes(IntegerPart):
  """An integer array with values in [0, num_values), packed bit by bit."""

  name: str
  shape: tuple[int, ...]
  num_values: int
  role: str = 'codes'

  @property
  def num_bytes(self) -> int:  # type: ignore[override]  # a field of others
    return -(-self.size * code_bits(self.num_values) // 8)

  @property
  def dtype(self) -> np.dtype:
    """The unpacked dtype: the smallest unsigned integer that holds a code."""
    return np.min_scalar_type(max(self.num_values - 1, 0))

  def pack(self, leaf: Stored) -> dict[str, np.ndarray]:
    """The tensors written to disk."""
    codes = np.asarray(leaf.values)
    return {self.name: pack_bits(codes, code_bits(self.num_values))}

  def unpack(self, tensors: dict[str, np.ndarray]) -> Stored:
    """The codes, from tensors whose dtype and shape are checked."""
    bits = code_bits(self.num_values)
    values = unpack_bits(tensors[self.name], bits, self.size)
    if values.size and values.max() >= max(self.num_values, 1):
      raise ValueError(
        f'{self.name} must be below {self.num_values}, got {values.max()}.'
      )
    return self.trainable(values)


Part = Factor | Codes | CodedIntegers
