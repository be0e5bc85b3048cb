"""The tensors that a file holds of many parts.

Every part packs its own. Integers that are entropy-coded it gives and takes as
they are: those of all parts are coded here together, which takes little longer
than the largest of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from embedcomp.methods.entropy_coding import decode_runs, encode_runs
from embedcomp.methods.forms import Stored
from embedcomp.methods.storage import Part

# Parts by the name of what has them: a tensor is 'owner.name'.
Owned = Mapping[str, Sequence[Part]]


def file_tensors(
  owned: Owned,
) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
  """Dtype and shape of every tensor."""
  return {
    f'{owner}.{name}': tensor
    for owner, part in _each(owned)
    for name, tensor in part.file_tensors().items()
  }


def pack(
  owned: Owned, params: Mapping[str, Mapping[str, Stored]]
) -> dict[str, np.ndarray]:
  """The tensors of stored arrays, as `file_tensors` says.

  Args:
    owned: parts by owner.
    params: arrays by owner and part.

  Raises:
    ValueError: if integers that are coded are out of range or take more bytes
      than they may.
  """
  tensors = {
    f'{owner}.{name}': np.ascontiguousarray(tensor)
    for owner, part in _each(owned)
    for name, tensor in part.pack(params[owner][part.name]).items()
  }
  coded, promised = _coded_shapes(owned), file_tensors(owned)
  runs = {name: tensors[name] for name in coded}
  sizes = [promised[name][1][0] for name in coded]
  return tensors | _together(encode_runs, runs, sizes)


def unpack(
  owned: Owned, tensors: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Stored]]:
  """Reverses `pack`.

  Args:
    owned: parts by owner.
    tensors: of the dtypes and shapes of `file_tensors`.

  Raises:
    ValueError: if a tensor holds what `pack` does not write.
  """
  coded = _coded_shapes(owned)
  streams = {name: tensors[name] for name in coded}
  found = {**tensors, **_together(decode_runs, streams, [*coded.values()])}
  params: dict[str, dict[str, Stored]] = {owner: {} for owner in owned}
  for owner, part in _each(owned):
    own = {name: found[f'{owner}.{name}'] for name in part.file_tensors()}
    try:
      params[owner][part.name] = part.unpack(own)
    except ValueError as error:
      raise ValueError(f'{owner}: {error}') from None
  return params


def _each(owned: Owned) -> Iterator[tuple[str, Part]]:
  return ((owner, part) for owner, parts in owned.items() for part in parts)


def _coded_shapes(owned: Owned) -> dict[str, tuple[int, int]]:
  """[W, A] of the integers of every tensor that is entropy-coded."""
  return {
    f'{owner}.{name}': shape
    for owner, part in _each(owned)
    for name, shape in part.coded_shapes().items()
  }


def _together(
  code_fn: Callable[..., list[np.ndarray]],
  arrays: dict[str, np.ndarray],
  known: list[Any],
) -> dict[str, np.ndarray]:
  """Codes all arrays, of each of which something is known.

  Raises:
    ValueError: which names the first array that cannot be coded by itself.
  """
  try:
    return dict(zip(arrays, code_fn([*arrays.values()], known)))
  except ValueError:
    for (name, array), one in zip(arrays.items(), known):
      try:
        code_fn([array], [one])
      except ValueError as error:
        raise ValueError(f'{name}: {error}') from None
    raise
