"""The int8 weights of a BERT in its files (see `nn.bert.int8`).

`config.json` says so under a key of our own:

  "embedcomp_weights": "int8"

A tensor `X.weight` that is stored as int8 is three: `X.weight.values`, I8 in
its shape; `X.weight.scale`, BF16, one for each row; and `X.weight` itself, F32
and empty, so that a reader that does not know the key finds a wrong shape.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from embedcomp.io.bert.safetensors_files import Tensor
from embedcomp.io.bert.tensor_names import Leaf
from embedcomp.methods.forms import Stored
from embedcomp.methods.storage import Factor
from embedcomp.nn.bert import int8

KEY = 'embedcomp_weights'
_DTYPES = {'values': 'I8', 'scale': 'BF16'}


def from_fields(fields: Mapping[str, Any]) -> str:
  """Reads how the weights of a model are stored.

  Args:
    fields: of a `config.json`.

  Returns:
    One of `nn.bert.int8.WEIGHTS`; 'float32' if the fields do not say.

  Raises:
    ValueError: for anything else.
  """
  weights = fields.get(KEY, 'float32')
  if not isinstance(weights, str) or weights not in int8.WEIGHTS:
    raise ValueError(f'{KEY} must be one of {int8.WEIGHTS}, got {weights!r}.')
  return weights


def to_fields(weights: str) -> dict[str, Any]:
  """The fields that `from_fields` reads; none for float32."""
  return {} if weights == 'float32' else {KEY: weights}


def is_int8(leaf: Leaf) -> bool:
  """True if an int8 model stores this array as int8."""
  return _axes(leaf) is not None


def tensor_names(leaf: Leaf) -> list[str]:
  """Names of all tensors that an array is read from."""
  return [
    name
    for whole in leaf.names
    for name in (whole, *_factor(whole, leaf).file_tensors())
  ]


def check(leaf: Leaf, tensors: Mapping[str, Tensor]) -> None:
  """Raises ValueError for tensors of a wrong shape or dtype.

  Args:
    leaf: an array that is stored as int8.
    tensors: of the checkpoint, by canonical name; none of its own is missing.
  """
  for name in leaf.names:
    whole = tensors[name]
    if 0 not in whole.shape:
      raise ValueError(
        f'{whole.name} must be empty where weights are int8, got '
        f'{whole.dtype}{list(whole.shape)}; the directory is half-written: '
        'save it again.'
      )
    found = _factor(name, leaf).file_tensors()
    for (part, (_, shape)), dtype in zip(found.items(), _DTYPES.values()):
      tensors[part].check(shape, (dtype,))


def read(leaf: Leaf, tensors: Mapping[str, Tensor]) -> Stored:
  """Reads a stored array from tensors that have been checked.

  Args:
    leaf: an array that is stored as int8.
    tensors: of the checkpoint, by canonical name.

  Returns:
    int8 values and bfloat16 scales, NumPy's.

  Raises:
    ValueError: for scales that are not positive and finite, or values out of
      range.
  """
  parts = []
  for name in leaf.names:
    factor = _factor(name, leaf)
    stored = {part: tensors[part].stored() for part in factor.file_tensors()}
    parts.append(factor.unpack(stored))
  values = leaf.from_tensors([np.asarray(part.values) for part in parts])
  scales = np.concatenate([np.asarray(part.scale) for part in parts])
  return Stored(values, scales.reshape(_whole(leaf).scale_shape))


def write(leaf: Leaf, value: Any) -> dict[str, np.ndarray]:
  """The tensors that `read` reads an array from, by canonical name.

  Args:
    leaf: an array that is stored as int8.
    value: its stored form.

  Returns:
    The tensors.

  Raises:
    ValueError: for what cannot be read again.
  """
  whole = _whole(leaf)
  whole.check(value, is_stored=True)
  whole.unpack(whole.pack(value))
  values = leaf.to_tensors(np.asarray(value.values))
  scales = np.asarray(value.scale).reshape(len(leaf.names), -1, 1)
  tensors = {}
  for name, *parts in zip(leaf.names, values, scales):
    tensors[name] = np.empty((0, leaf.tensor_shape[1]), np.float32)
    packed = _factor(name, leaf).pack(Stored(*parts))
    tensors |= {key: np.ascontiguousarray(part) for key, part in packed.items()}
  return tensors


def _axes(leaf: Leaf) -> tuple[int, ...] | None:
  return int8.scale_axes(leaf.path, len(leaf.shape))


def _whole(leaf: Leaf) -> Factor:
  """The array in params, for its shapes and checks."""
  axes = _axes(leaf)
  assert axes is not None  # all leaves here are such as `is_int8` says
  return Factor('/'.join(leaf.path), leaf.shape, 'int8', axes)


def _factor(name: str, leaf: Leaf) -> Factor:
  """One tensor of the array."""
  return Factor(name, leaf.tensor_shape, 'int8')
