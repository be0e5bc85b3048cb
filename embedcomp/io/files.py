"""Files that are opened safely and written whole."""

import contextlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path


def check_regular(path: Path) -> None:
  """Refuses a folder, a pipe and a device.

  Args:
    path: of a file.

  Raises:
    FileNotFoundError: if there is nothing.
    ValueError: if there is something other than a file.
  """
  if not stat.S_ISREG(path.stat().st_mode):
    raise ValueError(f'{path} must be a file.')


def check_new_folder(path: str | os.PathLike[str], name: str) -> None:
  """Refuses a folder in which something would be overwritten.

  Args:
    path: of the folder, which need not exist, nor the folders above it.
    name: of the argument, for the message.

  Raises:
    ValueError: unless it is an empty folder or can become one.
  """
  folder = Path(path)
  if folder.exists():
    if not folder.is_dir() or any(folder.iterdir()):
      raise ValueError(
        f'{name} must be a new or an empty directory, got {folder}: nothing '
        'is overwritten.'
      )
    return
  parent = next(parent for parent in folder.parents if parent.exists())
  if not parent.is_dir() or not os.access(parent, os.W_OK):
    raise ValueError(
      f'{name} must be in a directory that can be written to, got {folder}: '
      f'{parent} is none.'
    )


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
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


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
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


@contextlib.contextmanager
def write_together(folder: str | os.PathLike[str], last: str) -> Iterator[Path]:
  """Yields a new folder, whose files replace those of `folder` at the end.

  A failure before the end leaves everything as it was; then each file is
  replaced at once.

  Args:
    folder: where the files go; made if there is none.
    last: name of the file that goes last, and says what the others are.

  Yields:
    The new folder, inside of the other.

  Raises:
    ValueError: if something other than a folder is there.
    OSError: whatever writing raises, such as a full disk.

  Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with write_together(folder, 'b') as new:
    ...   paths = [new / 'a', new / 'b']
    ...   sizes = [path.write_bytes(b'data') for path in paths]
    >>> sorted(path.name for path in folder.iterdir())
    ['a', 'b']
  """
  folder = Path(folder).resolve()
  if folder.exists() and not folder.is_dir():
    raise ValueError(f'{folder} must be a folder.')
  folder.mkdir(parents=True, exist_ok=True)
  new = folder / f'.{secrets.token_hex(8)}.tmp'
  new.mkdir()
  try:
    yield new
    paths = sorted(new.iterdir(), key=lambda path: (path.name == last, path))
    for path in paths:
      if (folder / path.name).exists():
        check_regular(folder / path.name)
      with path.open('rb') as file:
        os.fsync(file.fileno())
    for path in paths:
      os.replace(path, (folder / path.name).resolve())
  finally:
    shutil.rmtree(new)
