"""Packed files: a scheme and its params, data only.

A packed file is a safetensors file. Its metadata holds the scheme as JSON
under the key 'embedcomp'; its tensors are those of the methods' parts, named
'group_0.codes', 'group_0.codebooks.values', ..., 'shared.axes.values' for what
groups have in common, and 'order', the group of each id, where the scheme
stores one. Every tensor is present, also one that
takes no bytes, and together they take `scheme.num_bytes` bytes.

The scheme alone determines the name, dtype and shape of every tensor, so a
reader knows the size of the file before it reads a tensor.
"""

import json
import math
import os
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from embedcomp._internal.strict_json import unique_fields
from embedcomp.io import files
from embedcomp.methods import part_tensors, storage
from embedcomp.methods.coded_integers import CodedIntegers
from embedcomp.methods.forms import Stored
from embedcomp.table import group_params
from embedcomp.table.order import (
  check_order,
  groups_from_order,
  order_from_groups,
)
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params

METADATA_KEY = 'embedcomp'
# The most groups that a scheme may have take less than 1 MB.
MAX_HEADER_BYTES = 2**21
# What a file may unpack to in memory. One bit a word grows to an int32, 32
# times its size; codes of one codeword take no bytes at all, and there a file
# of a few bytes must not fill the memory.
MAX_GROWTH = 64
FREE_BYTES = 2**26

_DTYPE_NAMES = {
  np.dtype(np.int8): 'I8',
  np.dtype(np.uint8): 'U8',
  storage.FLOAT_DTYPES['float16']: 'F16',
  storage.FLOAT_DTYPES['bfloat16']: 'BF16',
  storage.FLOAT_DTYPES['float32']: 'F32',
}


def save(path: str | os.PathLike, scheme: Scheme, params: Params) -> None:
  """Writes a packed file; a failure leaves an existing file as it was.

  Args:
    path: of the file, conventionally `*.safetensors`.
    scheme: the scheme.
    params: of the scheme, trainable or stored.

  Raises:
    TypeError: for arguments in another order.
    ValueError: if the params do not fit the scheme or are not finite.
    OSError: if the file cannot be written.

  Example:
    >>> import tempfile, jax
    >>> from embedcomp import Group, Scheme, init, load, methods, save
    >>> scheme = Scheme(4, (Group(3, methods.Dense(storage='int8')),))
    >>> path = f'{tempfile.mkdtemp()}/table.safetensors'
    >>> save(path, scheme, init(jax.random.key(0), scheme))
    >>> load(path)[0] == scheme
    True
  """
  _check_unpacked_bytes(scheme)
  tensors = _pack(scheme, params)
  header = {METADATA_KEY: scheme.to_json()}
  data = safetensors.numpy.save(tensors, metadata=header)
  files.write_atomically(path, data)


def load(path: str | os.PathLike) -> tuple[Scheme, Params]:
  """Reads a packed file, trusting none of it.

  Args:
    path: of the file.

  Returns:
    The scheme, and its params in stored form (`dequantize_params` makes them
    trainable).

  Raises:
    FileNotFoundError: if there is no file.
    ValueError: if the file is not exactly what `save` writes.
  """
  try:
    with files.open_regular(path) as file:
      scheme, header = _read_header(file)
      data = header + file.read()
    # The library checks the offsets: in range, no overlap, no hole.
    tensors = {
      name: tensor['data'] for name, tensor in safetensors.deserialize(data)
    }
    return scheme, _unpack(scheme, tensors)
  except (ValueError, safetensors.SafetensorError) as error:
    raise ValueError(_describe(path, error)) from None


def load_scheme(path: str | os.PathLike) -> Scheme:
  """Reads the scheme of a packed file alone, without its tensors.

  Args:
    path: of the file.

  Returns:
    The scheme; `print(load_scheme(path).summary())` tells what is inside.

  Raises:
    FileNotFoundError: if there is no file.
    ValueError: if header and size are not those of a packed file.
  """
  try:
    with files.open_regular(path) as file:
      return _read_header(file)[0]
  except ValueError as error:
    raise ValueError(_describe(path, error)) from None


def _describe(path: str | os.PathLike, error: Exception) -> str:
  """An error text that stays printable whatever the file holds."""
  text = str(error).encode(errors='backslashreplace').decode()
  if len(text) > 600:
    text = f'{text[:400]} ... {text[-150:]}'
  return f'{os.fspath(path)} is not a valid packed file: {text}'


def parts_by_owner(scheme: Scheme) -> dict[str, tuple[storage.Part, ...]]:
  """The parts of each entry of params, but for the order.

  Args:
    scheme: the scheme.

  Returns:
    Parts by the names of entries: 'group_0', ..., and 'shared', if groups have
    something in common.
  """
  names = map(group_params.group_name, range(len(scheme.groups)))
  by_owner = dict(zip(names, scheme.own_parts))
  if scheme.shared_parts:
    by_owner[group_params.SHARED] = scheme.shared_parts
  return by_owner


def _file_tensors(scheme: Scheme):
  """Name, dtype and shape of every tensor of the file."""
  tensors = part_tensors.file_tensors(parts_by_owner(scheme))
  if scheme.order == 'stored':
    tensors.update(scheme.order_part.file_tensors())
  return tensors


def _check_unpacked_bytes(scheme: Scheme) -> None:
  """Raises ValueError if codes grow out of proportion to the file."""
  unpacked = sum(
    part.size * part.dtype.itemsize
    for parts in scheme.own_parts
    for part in parts
    if not isinstance(part, storage.Factor)
  )
  if scheme.order == 'stored':
    unpacked += scheme.vocab_size * np.dtype(np.int32).itemsize
  allowed = MAX_GROWTH * scheme.num_bytes + FREE_BYTES
  if unpacked > allowed:
    raise ValueError(
      f'{scheme.num_bytes} bytes may unpack to at most {allowed} bytes of '
      f'codes and order, got {unpacked}; use fewer words of one codeword.'
    )


def _pack(scheme: Scheme, params: Params) -> dict[str, np.ndarray]:
  """The tensors of the file, after checking the params."""
  group_params.check_params(scheme, params)
  owned = parts_by_owner(scheme)
  _check_all_numbers(owned, params)
  stored = group_params.quantize_params(scheme, params)
  # Again: rounding may overflow, and a scale may vanish.
  _check_all_numbers(owned, stored)
  tensors = part_tensors.pack(owned, stored)
  if scheme.order == 'stored':
    order = check_order(scheme, params['order'].values)
    groups = groups_from_order(scheme, order)
    tensors.update(scheme.order_part.pack(Stored(groups)))
  return tensors


def _check_all_numbers(owned: part_tensors.Owned, params: Params) -> None:
  """Raises ValueError for numbers that a file cannot hold, in either form."""
  for owner, parts in owned.items():
    for part in parts:
      # A method's queries, say, are trained in place of a part.
      if part.name in params[owner]:
        _check_numbers(f'{owner}.{part.name}', part, params[owner][part.name])


def _check_numbers(name: str, part: storage.Part, leaf: Any) -> None:
  """Raises ValueError for numbers of one part; see `_check_all_numbers`."""
  is_stored = isinstance(leaf, Stored)
  if isinstance(part, CodedIntegers):
    return  # which are checked as they are coded
  if isinstance(part, storage.Codes):
    codes = np.asarray(leaf.values)
    if codes.size and not 0 <= codes.min() <= codes.max() < part.num_values:
      raise ValueError(f'{name} must be in [0, {part.num_values}).')
    return
  if not part.is_integer:
    _check_finite(name, leaf.values if is_stored else leaf)
    return
  if is_stored:
    leaf = {'values': leaf.values, 'scale': leaf.scale}
  scale = _check_finite(f'{name}.scale', leaf['scale'])
  values = _check_finite(f'{name}.values', leaf['values'])
  # Training may turn the sign of a scale; quantizing turns it back.
  wrong = scale <= 0 if is_stored else scale == 0
  if wrong.any():
    raise ValueError(f'{name}.scale must be positive, got {scale[wrong][0]}.')
  limit = 2 ** (storage.INTEGER_BITS[part.storage] - 1) - 1
  if is_stored and not (abs(values.astype(np.int16)) <= limit).all():
    raise ValueError(f'{name}.values must be in [-{limit}, {limit}].')


def _check_finite(name: str, array: Array) -> np.ndarray:
  array = np.asarray(array)
  if not np.isfinite(array).all():
    raise ValueError(f'{name} must be finite in {array.dtype}.')
  return array


def _read_header(file: BinaryIO) -> tuple[Scheme, bytes]:
  """The scheme and the checked header bytes; the file stands behind them."""
  size = os.fstat(file.fileno()).st_size
  prefix = file.read(8)
  length = int.from_bytes(prefix, 'little')
  if len(prefix) < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
    raise ValueError(
      f'a file of {size} bytes cannot have a header of {length} bytes; '
      f'at most {MAX_HEADER_BYTES} are allowed.'
    )
  text = file.read(length)
  try:
    header = json.loads(text.decode(), object_pairs_hook=unique_fields)
  except RecursionError:
    raise ValueError('the header is nested too deeply.') from None
  metadata = header.get('__metadata__') if isinstance(header, dict) else None
  if not isinstance(metadata, dict) or set(metadata) != {METADATA_KEY}:
    raise ValueError(f'metadata must be one text under {METADATA_KEY!r}.')
  scheme = Scheme.from_json(metadata[METADATA_KEY])
  _check_unpacked_bytes(scheme)
  expected = _file_tensors(scheme)
  found = {name for name in header if name != '__metadata__'}
  if found != set(expected):
    missing, unknown = set(expected) - found, found - set(expected)
    raise ValueError(
      f'tensors must be those of the scheme: missing {sorted(missing)}, '
      f'unknown {sorted(unknown)}.'
    )
  for name, (dtype, shape) in expected.items():
    _check_entry(name, header[name], dtype, shape)
  if size != 8 + length + scheme.num_bytes:
    raise ValueError(
      f'the scheme takes {scheme.num_bytes} bytes of tensors, '
      f'got {size - 8 - length}; the file is cut off or has bytes too many.'
    )
  return scheme, prefix + text


def _check_entry(name: str, entry, dtype: np.dtype, shape: tuple) -> None:
  """Raises ValueError unless a tensor's header entry is as the scheme says."""
  if not isinstance(entry, dict) or set(entry) != {
    'dtype',
    'shape',
    'data_offsets',
  }:
    raise ValueError(f'{name} must have dtype, shape and data_offsets.')
  wanted = {'dtype': _DTYPE_NAMES[dtype], 'shape': list(shape)}
  if any(entry[key] != wanted[key] for key in wanted):
    raise ValueError(
      f'{name} must be {wanted}, got {entry["dtype"]!r}, {entry["shape"]!r}.'
    )


def _unpack(scheme: Scheme, tensors: dict[str, bytes]) -> Params:
  """Stored params from the bytes of tensors."""
  arrays = {
    name: np.frombuffer(tensors[name], dtype, math.prod(shape)).reshape(shape)
    for name, (dtype, shape) in _file_tensors(scheme).items()
  }
  params: Params = {**part_tensors.unpack(parts_by_owner(scheme), arrays)}
  if scheme.order == 'stored':
    groups = np.asarray(scheme.order_part.unpack(arrays).values)
    sizes = [group.size for group in scheme.groups]
    counts = np.bincount(groups, minlength=len(sizes)).tolist()
    if counts != sizes:
      raise ValueError(
        f'order must give the groups {sizes} words, it gives {counts}.'
      )
    params['order'] = Stored(jnp.asarray(order_from_groups(groups)))
  return params
