"""Rows of a benchmark, kept so that it can be continued and trusted.

A benchmark is a list of jobs; a job gives rows, flat dicts of measurements.
Rows of finished jobs wait in a `.jsonl` beside the result, so that an
interrupted run continues; the result itself, one JSON file, appears once all
are there.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from embedcomp._internal.progress import track
from embedcomp.io.files import write_atomically

Row = dict[str, Any]

_PACKAGES = (
  'jax',
  'jaxlib',
  'flax',
  'numpy',
  'scipy',
  'faiss-cpu',
  'keras',
  'qwix',
  'tokenizers',
  'torch',
  'transformers',
)


@dataclasses.dataclass(frozen=True)
class Job:
  """A part of a benchmark that is run whole or not at all.

  Attributes:
    name: unique in its benchmark; also names what it depends on (its seed).
    run: measures, and returns rows.
  """

  name: str
  run: Callable[[], Sequence[Row]]


class Benchmark(Protocol):
  """Interface of a module in `experiments.benchmarks`.

  It may also have `summary(rows) -> rows`, the table of the README, and
  `plot(rows) -> Axes`, a picture beside the result.

  Attributes:
    SEEDS: how many seeds are used if the command does not say.
  """

  SEEDS: int

  def jobs(self, *, smoke: bool, seeds: int) -> Sequence[Job]:
    """The jobs in order.

    Args:
      smoke: whether only to show, in seconds, that everything runs.
      seeds: how many seeds (tables, draws or repeats) to measure.
    """


def run_jobs(
  jobs: Sequence[Job], output: Path, setting: Row, *, progress: bool = True
) -> tuple[list[Row], str]:
  """Runs the jobs that have no rows yet, and keeps the rows of each.

  Args:
    jobs: of the benchmark.
    output: path of the result; the rows wait beside it.
    setting: what rows must agree in to be of the same run.
    progress: whether to show a progress bar.

  Returns:
    The rows of all jobs, in order, and the commits that measured them.

  Raises:
    ValueError: if two jobs share a name.
  """
  names = [job.name for job in jobs]
  if len(set(names)) != len(names):
    raise ValueError(f'jobs must have names of their own, got {names}.')
  waiting = rows_path(output)
  done = _read_waiting(waiting, setting)
  this_commit = commit()
  for job in track(jobs, output.stem, enabled=progress, unit='job'):
    if job.name not in done:
      done[job.name] = {
        'job': job.name,
        'setting': setting,
        'commit': this_commit,
        'rows': [plain(row) for row in job.run()],
      }
      with waiting.open('a') as file:
        file.write(json.dumps(done[job.name]) + '\n')
  commits = dict.fromkeys(done[name]['commit'] for name in names)
  rows = [row for name in names for row in done[name]['rows']]
  return rows, ', '.join(commits)


def rows_path(output: Path) -> Path:
  """Path where rows wait until the result is whole."""
  return output.with_suffix('.jsonl')


def _read_waiting(path: Path, setting: Row) -> dict[str, Row]:
  """Reads rows of an interrupted run of a setting, by job.

  What other settings have measured waits on; a line that was being written is
  removed.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  records = _records(path)
  _write_records(path, records)
  return {r['job']: r for r in records if r['setting'] == setting}


def _records(path: Path) -> list[Row]:
  records = []
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      records.append(json.loads(line))
    except ValueError:
      continue
  return records


def _write_records(path: Path, records: Sequence[Row]) -> None:
  if not records:
    path.unlink(missing_ok=True)
    return
  lines = [json.dumps(record) + '\n' for record in records]
  write_atomically(path, ''.join(lines).encode())


def plain(row: Row) -> Row:
  """A row of Python's own numbers, as JSON needs them."""
  return {k: v.item() if hasattr(v, 'item') else v for k, v in row.items()}


def write_result(output: Path, result: Row, setting: Row) -> None:
  """Writes a whole result and lets go of the rows that waited for it.

  Args:
    output: path of the result.
    result: all of it.
    setting: that its rows agree in; others wait on.
  """
  text = json.dumps(result, indent=2) + '\n'
  write_atomically(output, text.encode())
  waiting = rows_path(output)
  others = [r for r in _records(waiting) if r['setting'] != setting]
  _write_records(waiting, others)


def read_result(path: Path) -> Row:
  """Reads a result.

  Raises:
    ValueError: if there is none, or the file is not one.
  """
  try:
    result = json.loads(path.read_text())
    result['rows']
  except FileNotFoundError:
    raise ValueError(f'{path} does not exist: run the benchmark.') from None
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f'{path} is not a result: {error!r}.') from None
  return result


def commit() -> str:
  """The commit of the code, marked if files differ from it."""

  def git(*arguments):
    command = ['git', '-C', str(Path(__file__).parent), *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() if not result.returncode else None

  try:
    head = git('rev-parse', 'HEAD')
    # Results are files too, and do not change what is measured.
    changed = git('status', '--porcelain', '--', ':/', ':(top,exclude)results')
  except FileNotFoundError:
    return 'unknown'
  if head is None:
    return 'unknown'
  return f'{head}+dirty' if changed else head


def num_cores() -> int:
  """Cores that this process may use, where the system says so."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def provenance() -> Row:
  """When, on what and with which versions."""
  now = datetime.datetime.now(datetime.UTC)
  versions = {'python': platform.python_version()}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = None
  return {
    'date': now.isoformat(timespec='seconds'),
    'hardware': {
      'cpu': _cpu_model(),
      'cores': num_cores(),
      'memory_bytes': os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'),
    },
    'versions': versions,
  }


def _cpu_model() -> str:
  try:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.split(':', 1)[1].strip()
  except OSError:
    pass
  return platform.processor() or platform.machine()
