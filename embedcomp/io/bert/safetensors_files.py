"""Weights of a Hugging Face directory: one safetensors file, or shards.

The files are not trusted, and pickles are not read.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from embedcomp.io import files
from embedcomp.io.bert import config_json, tensor_names

WEIGHTS_FILE = 'model.safetensors'
INDEX_FILE = 'model.safetensors.index.json'
# Names of the same weights in formats that are not read.
_OTHER_FILES = (
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
  'tf_model.h5',
  'flax_model.msgpack',
)
FLOATS = ('F16', 'BF16', 'F32', 'F64')


@dataclasses.dataclass(frozen=True)
class Tensor:
  """Tensor that has not been read yet.

  Attributes:
    name: in the file.
    shape: of the tensor.
    dtype: of the tensor, as safetensors names it.
    file: as opened.
  """

  name: str
  shape: tuple[int, ...]
  dtype: str
  file: Any

  def check(
    self, shape: tuple[int, ...], dtypes: tuple[str, ...] = FLOATS
  ) -> None:
    """Raises ValueError unless it has this shape and one of these dtypes."""
    if self.shape != shape or self.dtype not in dtypes:
      wanted = 'floats ' if dtypes == FLOATS else '/'.join(dtypes)
      raise ValueError(
        f'{self.name} must be {wanted}{list(shape)} by config.json, '
        f'got {self.dtype}{list(self.shape)}.'
      )

  def stored(self) -> np.ndarray:
    """Reads the numbers in the dtype that they have in the file."""
    return self.file.get_tensor(self.name)

  def read(self) -> np.ndarray:
    """Reads the numbers as float32.

    Raises:
      ValueError: unless all are finite in it.
    """
    with np.errstate(over='ignore'):  # shows as infinity
      array = self.file.get_tensor(self.name).astype(np.float32, copy=False)
    if not np.isfinite(array).all():
      raise ValueError(f'{self.name} must be finite in float32.')
    return array


@contextlib.contextmanager
def open_tensors(folder: Path, family: str) -> Iterator[dict[str, Tensor]]:
  """Opens the weights of a directory.

  Args:
    folder: the directory.
    family: `model_type`.

  Yields:
    The tensors by canonical name (see `tensor_names`).

  Raises:
    FileNotFoundError: if there are no weights.
    ValueError: if they are damaged, or not in safetensors files.
  """
  found: dict[str, Tensor] = {}
  with contextlib.ExitStack() as stack:
    for path, names in _weight_files(folder).items():
      files.check_regular(path)
      try:
        file = stack.enter_context(safetensors.safe_open(path, 'numpy'))
        present = {
          name: file.get_slice(name)
          for name in file.keys()  # noqa: SIM118
        }
      except safetensors.SafetensorError as error:
        raise ValueError(f'{path} is damaged: {error}.') from None
      if names is not None and (absent := names - set(present)):
        raise ValueError(f'{path} lacks {sorted(absent)} of {INDEX_FILE}.')
      for name, view in present.items():
        if names is not None and name not in names:
          continue
        shape = tuple(view.get_shape())
        tensor = Tensor(name, shape, view.get_dtype(), file)
        known = found.setdefault(tensor_names.canonical(family, name), tensor)
        if known is not tensor:
          raise ValueError(
            f'{folder} has the same tensor twice: {known.name} and {name}.'
          )
    yield found


def _weight_files(folder: Path) -> Mapping[Path, set[str] | None]:
  """Finds the files that hold weights, and the names in each; None for all."""
  if (folder / WEIGHTS_FILE).exists():
    return {folder / WEIGHTS_FILE: None}
  index = folder / INDEX_FILE
  if not index.exists():
    _refuse_others(folder)
  with files.open_regular(index) as file:
    text = file.read()
  try:
    shards = config_json.parse_fields(text).get('weight_map')
    if not isinstance(shards, dict) or not shards:
      raise ValueError('weight_map must say where each tensor is.')
    by_file: dict[Path, set[str]] = {}
    for name, shard in shards.items():
      is_name = isinstance(shard, str) and shard.endswith('.safetensors')
      if not is_name or Path(shard).name != shard:
        raise ValueError(
          f'{name} must be in a file *.safetensors, got {shard!r}.'
        )
      by_file.setdefault(folder / shard, set()).add(name)
  except ValueError as error:
    raise ValueError(f'{index} is not valid: {error}') from None
  if absent := [path.name for path in by_file if not path.exists()]:
    raise FileNotFoundError(f'{folder} lacks {absent} of {INDEX_FILE}.')
  return by_file


def _refuse_others(folder: Path) -> None:
  others = [name for name in _OTHER_FILES if (folder / name).exists()]
  if not others:
    raise FileNotFoundError(f'{folder} has no {WEIGHTS_FILE}.')
  raise ValueError(
    f'{folder} has {others} but no {WEIGHTS_FILE}. A pickle may run any code '
    'when it is read, so only safetensors are. Where you trust it, convert it '
    'with transformers: read it by the class that config.json names under '
    'architectures and call save_pretrained.'
  )


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
  """Writes a file of weights that transformers reads.

  Args:
    path: of the file.
    tensors: by name.

  Raises:
    OSError: if it cannot be written.
  """
  try:
    # Transformers asks for this word.
    safetensors.numpy.save_file(tensors, path, metadata={'format': 'pt'})
  except safetensors.SafetensorError as error:
    raise OSError(f'{path} could not be written: {error}.') from None
