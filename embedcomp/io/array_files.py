"""Tables in the array files of other tools, read a block at a time."""

import io
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors

from embedcomp.table.scheme import MAX_FEATURES

_BLOCK_VALUES = 2**20


class GrowingTable:
  """Float32 numbers that come in blocks, in one array that grows in place."""

  def __init__(self):
    self._values = np.empty(0, np.float32)
    self.size = 0

  def add(self, block: np.ndarray) -> None:
    """Appends numbers of any float type."""
    size = self.size + block.size
    if size > self._values.size:
      # `realloc` moves pages, not bytes; nobody else holds the array.
      self._values.resize(size + self.size // 4, refcheck=False)
    with np.errstate(over='ignore'):  # shows as infinity, which is checked
      self._values[self.size : size] = block
    self.size = size

  def first_nonfinite(self, start: int) -> int | None:
    """The position of the first NaN or infinity from `start` on."""
    bad = ~np.isfinite(self._values[start : self.size])
    return start + int(bad.argmax()) if bad.any() else None

  def finish(self, features: int) -> np.ndarray:
    """The [V, D] table; ends the growing."""
    self._values.resize(self.size, refcheck=False)
    return self._values.reshape(-1, features)


def read_npy(blocks: Iterator[bytes], max_words: int | None) -> np.ndarray:
  """Reads the table of a .npy file.

  Args:
    blocks: the content; the first block holds the whole header.
    max_words: how many rows to return at most.

  Returns:
    [V, D] float32.

  Raises:
    ValueError: if it is not one whole table of finite floats.
  """
  head = io.BytesIO(next(blocks))
  version = np.lib.format.read_magic(head)
  readers = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  if version not in readers:
    raise ValueError(f'.npy version must be 1.0 or 2.0, got {version}.')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # about headers of Python 2
      shape, is_fortran, dtype = readers[version](head)
  except Exception as error:  # NumPy lets errors of Python's parser through
    raise ValueError(f'the .npy header is damaged: {error}.') from None
  _check_table(shape, dtype.kind == 'f', f'{dtype}{list(shape)}')
  num_words, features = shape
  wanted = num_words * features
  if max_words is not None and not is_fortran:
    wanted = min(wanted, max_words * features)
  table, rest = GrowingTable(), b''
  for block in itertools.chain([head.read()], blocks):
    rest += block
    whole = min(len(rest) // dtype.itemsize, wanted - table.size)
    table.add(np.frombuffer(rest, dtype, whole))
    rest = rest[whole * dtype.itemsize :]
    if table.size == wanted and rest:
      break
  is_all = wanted == num_words * features
  if table.size < wanted or (rest and is_all):
    raise ValueError(
      f'{list(shape)} {dtype} take {wanted * dtype.itemsize} bytes, but the '
      f'file has {"more" if rest and table.size == wanted else "fewer"}.'
    )
  bad = table.first_nonfinite(0)
  if bad is not None:
    row = bad % num_words if is_fortran else bad // features
    raise ValueError(f'row {row} must be finite in float32.')
  if is_fortran:
    return np.ascontiguousarray(table.finish(num_words).T[:max_words])
  return table.finish(features)


def _check_table(shape, is_float: bool, found: str) -> None:
  if len(shape) != 2 or not is_float or min(shape) < 1:
    raise ValueError(f'a table must be [V, D] floats, got {found}.')
  if shape[1] > MAX_FEATURES:
    raise ValueError(f'features must be at most {MAX_FEATURES}, got {found}.')


def read_safetensors(
  path: Path,
  blocks: Iterator[bytes] | None,
  key: str | None,
  max_words: int | None,
) -> np.ndarray:
  """Reads the table in one tensor of a safetensors file.

  Args:
    path: of the file.
    blocks: its content, if the file itself is compressed.
    key: name of the tensor; not needed if only one has two axes.
    max_words: how many rows to read at most.

  Returns:
    [V, D] float32.

  Raises:
    ValueError: if it is not one table of finite floats.
  """
  with tempfile.TemporaryDirectory() as folder:
    if blocks is not None:
      path = Path(folder, 'decompressed')
      with path.open('wb') as file:
        file.writelines(blocks)
    try:
      with safetensors.safe_open(path, 'numpy') as tensors:
        return _read_tensor(tensors, key, max_words)
    except safetensors.SafetensorError as error:
      raise ValueError(str(error)) from None


def _read_tensor(tensors, key: str | None, max_words) -> np.ndarray:
  slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
  shapes = {name: tensor.get_shape() for name, tensor in slices.items()}
  if key is None:
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    if len(matrices) != 1:
      raise ValueError(f'key must be one of {sorted(matrices)}, got none.')
    key = matrices[0]
  if key not in slices:
    raise ValueError(f'key must be one of {sorted(slices)}, got {key!r}.')
  dtype, shape = slices[key].get_dtype(), shapes[key]
  is_float = dtype in ('F16', 'BF16', 'F32', 'F64')
  _check_table(shape, is_float, f'{key} {dtype}{shape}')
  num_words = min(shape[0], max_words or shape[0])
  table = np.empty((num_words, shape[1]), np.float32)
  rows = max(1, _BLOCK_VALUES // shape[1])
  for start in range(0, num_words, rows):
    stop = min(start + rows, num_words)
    with np.errstate(over='ignore'):  # shows as infinity
      table[start:stop] = slices[key][start:stop]
    finite = np.isfinite(table[start:stop]).all(axis=1)
    if not finite.all():
      row = start + int(finite.argmin())
      raise ValueError(f'row {row} of {key} must be finite in float32.')
  return table
