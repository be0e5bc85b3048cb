"""Checkpoints that are whole or not there (orbax, `embedcomp[launch]`).

Orbax writes a checkpoint beside the others and renames it when it is complete,
so that a process killed at any moment leaves the one before. What it lacks is
added here: a lock on the folder, a checksum that notices what a disk or a crash
of the machine does to a file, and the way back to the checkpoint before.
"""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

try:
  import fcntl
except ImportError:
  raise ImportError(
    'checkpoints lock their folder by fcntl, which this system has not: run '
    'on Linux or macOS; on Windows, use WSL.'
  ) from None

_LOGGER = logging.getLogger(__name__)
# Names, shapes and whatever else a checkpoint holds beside its numbers.
_SLACK_BYTES = 2**20


class Restored(NamedTuple):
  """Content of a checkpoint.

  Attributes:
    step: its number.
    state: pytree of NumPy arrays and typed keys, with the structure, shapes and
      dtypes of the one that was saved.
    metadata: what JSON holds, as it was saved beside the state.
  """

  step: int
  state: chex.ArrayTree
  metadata: dict[str, Any]


class Checkpoints:
  """Folder with the last few checkpoints of a run."""

  def __init__(self, folder: str | os.PathLike, keep: int = 2):
    """Opens a folder; the first `save` removes what was left unfinished.

    Only one process may have it open, for it would remove what another is
    writing.

    Args:
      folder: made if it is not there.
      keep: how many checkpoints; with 2, one more than is needed if nothing
        ever breaks.

    Raises:
      ValueError: if fewer than one should be kept.
      OSError: if it cannot be used, or is in use.
    """
    if keep < 1:
      raise ValueError(f'at least one checkpoint must be kept, got {keep}.')
    self.folder = Path(folder).absolute()
    self.folder.mkdir(parents=True, exist_ok=True)
    self._lock = _lock(self.folder) if jax.process_index() == 0 else None
    self._manager = ocp.CheckpointManager(
      self.folder,
      options=ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
        preservation_policy=ocp.checkpoint_managers.LatestN(keep),
      ),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    """Closes the folder and gives up its lock."""
    self._manager.close()
    if self._lock is not None:
      os.close(self._lock)
      self._lock = None

  def latest_step(self) -> int | None:
    """Returns the number of the newest checkpoint; None if there is none."""
    return self._manager.latest_step()

  def save(
    self,
    step: int,
    state: chex.ArrayTree,
    metadata: dict[str, Any] | None = None,
  ) -> None:
    """Writes a checkpoint, then removes those that are too many.

    Args:
      step: its number; there must not be one yet.
      state: pytree of arrays, of any shapes and dtypes, and typed keys.
      metadata: goes into JSON.

    Raises:
      OSError: if it cannot be written, as on a full disk; says why. The
        checkpoints before it are untouched.
      TypeError: if the metadata do not go into JSON.
      ValueError: if there is a checkpoint of this step.
    """
    arrays = _to_arrays(state)
    metadata = {'checksum': _checksum(arrays), 'metadata': metadata or {}}
    # Orbax would notice while its threads write the arrays, and what they still
    # write after the error is in the way of the next checkpoint of this step.
    json.dumps(metadata)
    try:
      self._check_space(arrays)
      with _errors_not_logged():
        self._manager.save(
          step,
          args=ocp.args.Composite(
            state=ocp.args.StandardSave(_without_empty(arrays)),
            metadata=ocp.args.JsonSave(metadata),
          ),
          force=True,
        )
    except Exception as error:
      reason = _system_reason(error)
      if reason is None:
        raise
      is_full = reason.startswith(os.strerror(errno.ENOSPC))
      raise OSError(
        f'cannot write the checkpoint of step {step} to {self.folder}: '
        f'{reason}. {"Free some space" if is_full else "Mend that"} and run '
        'the same command again: it goes on from '
        f'{_in_words(self.latest_step())}.'
      ) from error

  def _check_space(self, arrays: chex.ArrayTree) -> None:
    """Raises OSError if the disk is too full, before anything is written."""
    num_bytes = sum(array.nbytes for array in jax.tree.leaves(arrays))
    needed = num_bytes + _SLACK_BYTES
    free = shutil.disk_usage(self.folder).free
    if free < needed:
      reason = os.strerror(errno.ENOSPC)
      raise OSError(
        errno.ENOSPC, f'{reason}: {free:,} bytes free, {needed:,} needed'
      )

  def restore(self, template: chex.ArrayTree) -> Restored | None:
    """Reads the newest checkpoint that can be read.

    One that is broken is removed as soon as an older one has been read, and
    the log says so.

    Args:
      template: pytree with the structure, shapes and dtypes of what was saved.

    Returns:
      The checkpoint; None if there is none at all.

    Raises:
      ValueError: if there are checkpoints, and none of them can be read.
    """
    failures = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        with _errors_not_logged():
          restored = self._restore(step, template)
      except Exception as error:
        failures[step] = _reason(error)
        continue
      for broken, reason in failures.items():
        _LOGGER.warning(
          'checkpoint %d in %s is broken (%s): going on from checkpoint %d.',
          *(broken, self.folder, reason, step),
        )
        self._manager.delete(broken)
      return restored
    if failures:
      reasons = '; '.join(f'{s}: {reason}' for s, reason in failures.items())
      raise ValueError(
        f'no checkpoint in {self.folder} can be read ({reasons}). If the '
        'program has changed since, use its former version; else remove the '
        'folder to start anew.'
      )
    return None

  def _restore(self, step: int, template: chex.ArrayTree) -> Restored:
    """Reads one checkpoint, or raises whatever is wrong with it."""
    template_arrays = _to_arrays(template)
    found = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(_without_empty(template_arrays)),
        metadata=ocp.args.JsonRestore(),
      ),
    )
    arrays = jax.tree.map(
      lambda own, array: array if own.size else own,
      template_arrays,
      found.state,
    )
    chex.assert_trees_all_equal_shapes(arrays, template_arrays)
    # Of dtypes as well, for orbax casts to those of the template.
    if _checksum(arrays) != found.metadata['checksum']:
      raise ValueError('its checksum is wrong')
    state = jax.tree.map(_like, template, arrays)
    return Restored(step, state, found.metadata['metadata'])


def _lock(folder: Path) -> int:
  """Takes a folder for this process; its death, too, gives it back."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(descriptor)
    raise BlockingIOError(
      error.errno,
      'another process is running in this workdir: wait for it, stop it, or '
      'choose another --workdir',
      str(folder),
    ) from error
  except OSError:
    _LOGGER.info('%s is on a file system without locks.', folder)
  return descriptor


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def _to_arrays(state: chex.ArrayTree) -> chex.ArrayTree:
  """Turns a pytree into NumPy arrays, and keys into their data."""
  data = jax.tree.map(
    lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state
  )
  return jax.tree.map(np.asarray, jax.device_get(data))


def _without_empty(arrays: chex.ArrayTree) -> chex.ArrayTree:
  """Puts a zero in place of each array of size 0, which orbax refuses."""
  return jax.tree.map(
    lambda array: array if array.size else np.zeros(1, array.dtype), arrays
  )


def _like(template: Any, array: np.ndarray) -> Any:
  """Makes a key of an array if it stands for one."""
  if not _is_key(template):
    return array
  impl = jax.random.key_impl(template)
  return jax.random.wrap_key_data(jnp.asarray(array), impl=impl)


def _checksum(arrays: chex.ArrayTree) -> int:
  """CRC-32 of all arrays, one after the other, with their dtypes and shapes."""
  checksum = 0
  for array in jax.tree.leaves(arrays):
    checksum = zlib.crc32(f'{array.dtype}{array.shape}'.encode(), checksum)
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    checksum = zlib.crc32(data.data, checksum)
  return checksum


@contextlib.contextmanager
def _errors_not_logged() -> Iterator[None]:
  """Silences orbax, which logs pages about what it also raises."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


def _system_reason(error: Exception) -> str | None:
  """The system's words for an error; None for one that is not the system's."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  # Tensorstore writes them into errors of other types.
  found = re.search(r'([^:]+) \[[^\]]*os_error_code', str(error))
  return found[1].strip() if found else None


def _reason(error: Exception) -> str:
  """The system's words for an error, or else its first line."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  reason = _system_reason(error) or lines[0]
  return reason.strip()[:160].rstrip('.')


def _in_words(step: int | None) -> str:
  return 'its start' if step is None else f'the checkpoint of step {step}'
