"""Models by the names that Hugging Face's hub has for them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from embedcomp._internal import optional

_HUB_NAME = re.compile(r'[\w.-]+(/[\w.-]+)?')


def find_folder(path: str | os.PathLike[str], patterns: Sequence[str]) -> Path:
  """Finds the directory of a model, fetching it if it is a name on the hub.

  Args:
    path: a directory, or a name.
    patterns: of the files that are fetched.

  Returns:
    The directory.

  Raises:
    FileNotFoundError: if there is none.
    OSError: if it cannot be fetched.
    ValueError: for a file.
  """
  folder = Path(path)
  if folder.is_dir():
    return folder
  name = os.fspath(path)
  if folder.exists() or not isinstance(name, str):
    raise ValueError(f'{path} must be a directory.')
  if not _HUB_NAME.fullmatch(name) or name.startswith('.'):
    raise FileNotFoundError(f'there is no directory {path}.')
  try:
    huggingface_hub = optional.require('huggingface_hub', extra='hub')
  except ImportError as error:
    raise FileNotFoundError(
      f'there is no directory {name}, and none can be fetched: {error}'
    ) from None
  try:
    found = huggingface_hub.snapshot_download(
      name, allow_patterns=list(patterns)
    )
  except Exception as error:  # of many kinds, from many libraries
    raise OSError(
      f'there is no directory {name}, and it could not be fetched from the '
      f'Hugging Face hub ({error}). Check the name and the network, or copy '
      'the directory from a machine that has it.'
    ) from error
  return Path(found)
