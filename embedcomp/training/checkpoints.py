"""Checkpoints that are whole or not there (orbax, `embedcomp[launch]`).

A checkpoint is written beside the others and renamed when it is complete, so
that a process killed at any moment leaves the one before. What a disk or a
crash of the machine does to it afterwards is noticed by a checksum.
"""

import contextlib
import errno
import fcntl
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

_LOGGER = logging.getLogger(__name__)
# Names, shapes and whatever else a checkpoint holds beside its numbers.
_SLACK_BYTES = 2**20


class Restored(NamedTuple):
  """What a checkpoint held.

  Attributes:
    step: its number.
    state: pytree as that saved, of NumPy arrays and keys.
    metadata: what was saved beside it.
  """

  step: int
  state: chex.ArrayTree
  metadata: dict[str, Any]


class Checkpoints:
  """The last few checkpoints of a run, in a folder of their own."""

  def __init__(self, folder: str | os.PathLike, keep: int = 2):
    """Opens a folder and clears away what a killed process left unfinished.

    Only one process may have it open, for it would clear away what another is
    writing.

    Args:
      folder: made if it is not there.
      keep: how many checkpoints; with 2, one more than is needed if nothing
        ever breaks.

    Raises:
      ValueError: if fewer than one should be kept.
      OSError: if it cannot be used, or is in use.
    """
    import orbax.checkpoint as ocp

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
      item_handlers={
        'state': ocp.StandardCheckpointHandler(),
        'metadata': ocp.JsonCheckpointHandler(),
      },
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    """Lets go of the folder."""
    self._manager.close()
    if self._lock is not None:
      os.close(self._lock)
      self._lock = None

  def latest_step(self) -> int | None:
    """The number of the newest checkpoint; None if there is none."""
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
      state: pytree of arrays and typed keys.
      metadata: goes into JSON.

    Raises:
      OSError: if it cannot be written, as on a full disk; the checkpoints
        before it are untouched.
    """
    import orbax.checkpoint as ocp

    arrays = _to_arrays(state)
    metadata = {'checksum': _checksum(arrays), 'metadata': metadata or {}}
    try:
      self._check_space(arrays)
      with _errors_not_logged():
        self._manager.save(
          step,
          args=ocp.args.Composite(
            state=ocp.args.StandardSave(arrays),
            metadata=ocp.args.JsonSave(metadata),
          ),
          force=True,
        )
    except Exception as error:
      kept = self._after_failure()
      raise OSError(
        f'cannot write the checkpoint of step {step} to {self.folder}: '
        f'{_reason(error)}. Mend that (free some space, check permissions) and '
        f'run the same command again: it goes on from {_in_words(kept)}.'
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

  def _after_failure(self) -> int | None:
    """Removes what a failed save left; returns the newest whole checkpoint."""
    import orbax.checkpoint as ocp

    for path in self.folder.glob(f'*{ocp.utils.TMP_DIR_SUFFIX}*'):
      shutil.rmtree(path, ignore_errors=True)
    self._manager.reload()
    return self.latest_step()

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
    import orbax.checkpoint as ocp

    arrays = _to_arrays(template)
    found = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(arrays),
        metadata=ocp.args.JsonRestore(),
      ),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(found.state, arrays)
    if _checksum(found.state) != found.metadata['checksum']:
      raise ValueError('its checksum is wrong')
    state = jax.tree.map(_like, template, found.state)
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
  """The same pytree as NumPy arrays, keys as their data."""
  data = jax.tree.map(
    lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state
  )
  return jax.tree.map(np.asarray, jax.device_get(data))


def _like(template: Any, array: np.ndarray) -> Any:
  """Makes a key of an array if it stands for one."""
  if not _is_key(template):
    return array
  impl = jax.random.key_impl(template)
  return jax.random.wrap_key_data(array, impl=impl)


def _checksum(arrays: chex.ArrayTree) -> int:
  """CRC-32 of all arrays, one after the other."""
  checksum = 0
  for array in jax.tree.leaves(arrays):
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    checksum = zlib.crc32(data, checksum)
  return checksum


@contextlib.contextmanager
def _errors_not_logged() -> Iterator[None]:
  """Orbax logs pages about what it also raises."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


def _reason(error: Exception) -> str:
  """The system's words for an error if they are in it, else its first line."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  found = re.search(r'([^:]+) \[[^\]]*os_error_code', str(error))
  lines = [found[1]] if found else str(error).strip().splitlines()
  return (lines or [type(error).__name__])[0].strip()[:160].rstrip('.')


def _in_words(step: int | None) -> str:
  return 'its start' if step is None else f'the checkpoint of step {step}'
