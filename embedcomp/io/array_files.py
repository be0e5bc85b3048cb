"""Tables in array files of NumPy and safetensors, read a block at a time."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from embedcomp.table.scheme import MAX_FEATURES

_BLOCK_VALUES = 2**20


@contextlib.contextmanager
def uncompressed(path: Path, blocks: Iterator[bytes] | None) -> Iterator[Path]:
  """Yields the path of a file that can be mapped into memory.

  Args:
    path: of a file.
    blocks: its content, if the file itself is compressed; it is written to a
      temporary file.
  """
  if blocks is None:
    yield path
    return
  with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder, 'uncompressed')
    with copy.open('wb') as file:
      file.writelines(blocks)
    yield copy


def read_npy(path: Path, max_words: int | None) -> np.ndarray:
  """Reads the table of a .npy file.

  Args:
    path: of the file.
    max_words: how many rows to read at most.

  Returns:
    [V, D] float32.

  Raises:
    ValueError: if it is not one whole table of finite floats.
  """
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # about headers of Python 2
      array = np.lib.format.open_memmap(path, mode='r')
  except Exception as error:  # NumPy lets errors of Python's parser through
    raise ValueError(f'the .npy file is damaged or cut off: {error}.') from None
  found = f'{array.dtype}{list(array.shape)}'
  _check_table(array.shape, array.dtype.kind == 'f', found)
  size = array.offset + array.nbytes
  if path.stat().st_size != size:
    raise ValueError(f'{found} ends after {size} bytes, but the file has more.')
  return _finite_rows(array, array.shape, max_words, 'the array')


def read_safetensors(
  path: Path, key: str | None, max_words: int | None
) -> np.ndarray:
  """Reads the table in one tensor of a safetensors file.

  Args:
    path: of the file.
    key: name of the tensor; not needed if only one has two axes.
    max_words: how many rows to read at most.

  Returns:
    [V, D] float32.

  Raises:
    ValueError: if it is not one table of finite floats.
  """
  try:
    with safetensors.safe_open(path, 'numpy') as tensors:
      return _read_tensor(tensors, key, max_words)
  except safetensors.SafetensorError as error:
    raise ValueError(str(error)) from None


def _read_tensor(
  tensors: Any, key: str | None, max_words: int | None
) -> np.ndarray:
  """Reads one tensor of an open file."""
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
  return _finite_rows(slices[key], shape, max_words, key)


def _check_table(shape: Sequence[int], is_float: bool, found: str) -> None:
  """Raises ValueError unless an array is a table of floats."""
  if len(shape) != 2 or not is_float or min(shape) < 1:
    raise ValueError(f'a table must be [V, D] floats, got {found}.')
  if shape[1] > MAX_FEATURES:
    raise ValueError(f'features must be at most {MAX_FEATURES}, got {found}.')


def _finite_rows(
  source: Any, shape: Sequence[int], max_words: int | None, name: str
) -> np.ndarray:
  """Reads the first rows of what can be sliced, as float32; all are finite."""
  num_words = min(shape[0], max_words or shape[0])
  table = np.empty((num_words, shape[1]), np.float32)
  rows = max(1, _BLOCK_VALUES // shape[1])
  for start in range(0, num_words, rows):
    stop = min(start + rows, num_words)
    with np.errstate(over='ignore'):  # shows as infinity
      table[start:stop] = source[start:stop]
    finite = np.isfinite(table[start:stop]).all(axis=1)
    if not finite.all():
      row = start + int(finite.argmin())
      raise ValueError(f'row {row} of {name} must be finite in float32.')
  return table
