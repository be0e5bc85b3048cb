"""Log of a run: one JSON object a line, and TensorBoard on request."""

from __future__ import annotations

import errno
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import jax

from embedcomp._internal import optional
from embedcomp.io.files import write_atomically

FILE_NAME = 'metrics.jsonl'


def read_metrics(
  workdir: str | os.PathLike, phase: str | None = None
) -> list[dict[str, Any]]:
  """Reads the log of a run.

  Args:
    workdir: of the run.
    phase: only lines of this one, if given.

  Returns:
    Its lines in order: 'stage' (the phase), 'step' and metrics, None for those
    that were not finite. A last line that is only half there is left out.

  Raises:
    ValueError: naming a line that is damaged otherwise.
  """
  records = [record for record, _ in _parse(Path(workdir) / FILE_NAME)]
  return [r for r in records if phase is None or r['stage'] == phase]


def _parse(path: Path) -> list[tuple[dict[str, Any], bytes]]:
  """Parses a log into records, each with its line."""
  if not path.exists():
    return []
  lines = path.read_bytes().split(b'\n')
  parsed = []
  # What follows the last newline is nothing, or half a line.
  for number, line in enumerate(lines[:-1], start=1):
    try:
      record = json.loads(line)
      parsed.append(({**record, 'step': int(record['step'])}, line + b'\n'))
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f'{path}, line {number}: must be a JSON object with a step, got '
        f'{line[:80]!r}: mend or remove that line.'
      ) from error
  return parsed


class MetricsLog:
  """Log of the metrics of a workdir; only the first host writes."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    phase: str = 'train',
    *,
    tensorboard: bool = False,
  ):
    """Prepares the log of a phase; nothing is written yet.

    Args:
      workdir: has to be there.
      phase: a run may have several, one after the other (a search, then
        fine-tuning), each with its own steps.
      tensorboard: whether to write event files too, to `tensorboard/`.
    """
    self._path = Path(workdir) / FILE_NAME
    self._phase = phase
    self._tensorboard = tensorboard
    self._writer: Any = None
    self._file: io.FileIO | None = None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    """Closes all files."""
    if self._file is not None:
      self._file.close()
      self._file = None
    if self._writer is not None:
      self._writer.close()
      self._writer = None

  def resume(self, step: int) -> None:
    """Opens the log and cuts off what this phase wrote after a step.

    Args:
      step: of the state that the run goes on from.

    Raises:
      ValueError: if the log is damaged other than in its last line.
      OSError: if it cannot be written.
    """
    self.close()
    if jax.process_index() != 0:
      return
    kept = []
    for record, line in _parse(self._path):
      if record.get('stage') == self._phase and record['step'] > step:
        break
      kept.append(line)
    if self._path.exists():
      write_atomically(self._path, b''.join(kept))
    self._file = self._path.open('ab', buffering=0)
    if self._tensorboard:
      self._writer = _event_writer(self._path.parent, self._phase, step)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Appends a line.

    Args:
      step: number of steps taken.
      metrics: by name; what is not finite becomes null.

    Raises:
      OSError: if the line cannot be written, as on a full disk.
    """
    if jax.process_index() != 0:
      return
    if self._file is None:
      self.resume(step)
    assert self._file is not None  # but in other processes
    finite = {
      name: float(value) if math.isfinite(value) else None
      for name, value in metrics.items()
    }
    record = {'stage': self._phase, 'step': step, **finite}
    line = f'{json.dumps(record, allow_nan=False)}\n'.encode()
    try:
      while line:
        line = line[self._file.write(line) :]
    except OSError as error:
      is_full = error.errno == errno.ENOSPC
      raise OSError(
        error.errno,
        f'cannot write the metrics of step {step} ({error.strerror}): '
        f'{"free some space" if is_full else "mend that"}, then run the same '
        'command again to go on',
        str(self._path),
      ) from error
    if self._writer is not None:
      for name, value in metrics.items():
        self._writer.add_scalar(f'{self._phase}/{name}', value, step)


def _event_writer(workdir: Path, phase: str, step: int) -> Any:
  """Opens event files of TensorBoard that replace what came after a step."""
  tensorboardX = optional.require('tensorboardX', extra='launch')
  return tensorboardX.SummaryWriter(
    str(workdir / 'tensorboard' / phase),
    purge_step=step + 1,
    # Names hold the second, and a run may be restarted within one.
    filename_suffix=f'.after-{step}',
  )
