"""Opening and writing files so that neither surprises."""

import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO


def check_regular(path: Path) -> None:
  """Raises ValueError if `path` is a folder, a pipe or a device.

  Raises:
    FileNotFoundError: if there is nothing.
  """
  if not stat.S_ISREG(path.stat().st_mode):
    raise ValueError(f'{path} must be a file.')


def open_regular(path: str | os.PathLike) -> BinaryIO:
  """Opens a file for reading; a pipe or device, which may block, is refused.

  Args:
    path: of the file.

  Returns:
    The open file.

  Raises:
    FileNotFoundError: if there is nothing.
    ValueError: if it is not a file.
  """
  path = Path(path)
  check_regular(path)
  return path.open('rb')


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
  """Writes a whole file or, on any failure, leaves everything as it was.

  Args:
    path: of the file; an existing one is replaced, a link is followed.
    data: its content.

  Raises:
    FileNotFoundError: if the folder does not exist.
    ValueError: if something other than a file is there.
    OSError: whatever writing raises, such as a full disk.

  Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), 'file')
    >>> write_atomically(path, b'data')
    >>> path.read_bytes()
    b'data'
  """
  path = Path(path).resolve()
  if path.exists():
    check_regular(path)
  elif not path.parent.exists():
    raise FileNotFoundError(f'make the folder first: no {path.parent}.')
  # Opened by name and not by `tempfile`, for the permissions of the umask.
  temporary = path.with_name(f'.{secrets.token_hex(8)}.tmp')
  file = temporary.open('xb')
  try:
    with file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
