"""Folder of a run, bound to one config."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from embedcomp.io.files import write_atomically

FILE_NAME = 'config.json'


def bind_workdir(workdir: str | os.PathLike, config: Mapping[str, Any]) -> Path:
  """Binds a folder to a config, or checks that it is bound to it already.

  Args:
    workdir: made if it is not there.
    config: nested dict of what JSON can hold.

  Returns:
    The folder.

  Raises:
    ValueError: if it belongs to another config, naming the fields in which
      they differ, or if its `config.json` is damaged or lost.
    TypeError: if the config holds something that is not plain data.
    OSError: if the folder cannot be made or written, saying why.
  """
  workdir = Path(workdir)
  try:
    text = json.dumps(config, indent=2, sort_keys=True)
  except TypeError as error:
    raise TypeError(
      f'a config must hold plain data only, for {FILE_NAME}: {error}.'
    ) from error
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / FILE_NAME
    if path.exists():
      _check_same(path, json.loads(text))
    elif jax.process_index() == 0:
      _check_unused(workdir)
      write_atomically(path, text.encode())
  except OSError as error:
    raise type(error)(
      error.errno,
      f'the workdir cannot be used ({error.strerror}): choose another '
      '--workdir, or mend this one',
      str(workdir),
    ) from error
  return workdir


def _check_same(path: Path, config: dict[str, Any]) -> None:
  """Raises ValueError unless a file holds this config."""
  try:
    theirs = _flatten(json.loads(path.read_bytes()))
  except ValueError as error:
    raise ValueError(
      f'{path} is not JSON ({error}): this is not the workdir of a run, or it '
      'was damaged; choose another --workdir.'
    ) from error
  ours = _flatten(config)
  differing = [
    f'{name} is {_shown(theirs, name)} there and {_shown(ours, name)} now'
    for name in sorted(theirs.keys() | ours.keys())
    if _shown(theirs, name) != _shown(ours, name)
  ]
  if differing:
    raise ValueError(
      f'{path.parent} belongs to a run with another config: '
      f'{"; ".join(differing)}. Choose another --workdir, or set these fields '
      'as they are there.'
    )


def _check_unused(workdir: Path) -> None:
  """Raises ValueError for the traces of a run whose config is lost."""
  for name in ('checkpoints', 'metrics.jsonl'):
    if (workdir / name).exists():
      raise ValueError(
        f'{workdir} has {name} but no {FILE_NAME}, so that nothing tells which '
        'config it belongs to: choose another --workdir.'
      )


def _flatten(value: Any, prefix: str = '') -> dict[str, Any]:
  """Flattens nested dicts to one with dotted names."""
  if not isinstance(value, dict) or not value:
    return {prefix: value}
  flat: dict[str, Any] = {}
  for name, part in value.items():
    flat |= _flatten(part, f'{prefix}.{name}' if prefix else name)
  return flat


def _shown(flat: dict[str, Any], name: str) -> str:
  return json.dumps(flat[name]) if name in flat else 'absent'
