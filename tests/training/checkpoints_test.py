"""Tests that checkpoints are whole or not there."""

import resource
import shutil
import subprocess
import sys
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import training

# Reads and writes of orbax that fail leave callbacks to closed event loops.
pytestmark = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)


def state_of(step):
  rng = np.random.default_rng(step)
  return {
    'params': {'a': rng.random(300, np.float32), 'none': None, 'empty': {}},
    'codes': (jnp.arange(3, dtype=jnp.uint8), jnp.array([True, False])),
    'no_bins': (jnp.zeros((0, 7)), np.zeros((3, 0), np.int8)),
    'half': jnp.full((2, 3), step, jnp.bfloat16),
    'step': jnp.int32(step),
    'key': jax.random.key(step),
    'other_key': jax.random.key(step, impl='rbg'),
  }


def assert_restored(restored, step):
  expected = state_of(step)
  assert restored.step == step
  assert restored.metadata == {'seconds': step / 3}
  assert jax.tree.structure(restored.state) == jax.tree.structure(expected)
  for name in ('key', 'other_key'):
    keys = restored.state.pop(name), expected.pop(name)
    assert keys[0].dtype == keys[1].dtype
    np.testing.assert_array_equal(*map(jax.random.key_data, keys))
  for found, leaf in zip(
    jax.tree.leaves(restored.state), jax.tree.leaves(expected)
  ):
    assert found.dtype == leaf.dtype
    np.testing.assert_array_equal(found, leaf)


def save(checkpoints, step):
  checkpoints.save(step, state_of(step), {'seconds': step / 3})


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A folder that three checkpoints have been saved to."""
  folder = tmp_path_factory.mktemp('saved')
  with training.Checkpoints(folder) as checkpoints:
    assert checkpoints.latest_step() is None
    assert checkpoints.restore(state_of(0)) is None
    for step in (5, 10, 15):
      save(checkpoints, step)
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'checkpoints')


def names_in(folder):
  return sorted(path.name for path in folder.iterdir())


def test_two_processes_cannot_share_a_folder(folder):
  with training.Checkpoints(folder) as checkpoints:
    with pytest.raises(OSError, match='another process is running'):
      training.Checkpoints(folder)
    save(checkpoints, 20)
  with training.Checkpoints(folder) as checkpoints:
    assert checkpoints.latest_step() == 20


def test_something_must_be_kept(tmp_path):
  with pytest.raises(ValueError, match=r'at least one .* got 0'):
    training.Checkpoints(tmp_path, keep=0)


def test_the_last_two_are_kept_and_the_newest_is_restored(folder):
  assert names_in(folder) == ['10', '15']
  with training.Checkpoints(folder) as checkpoints:
    assert checkpoints.latest_step() == 15
    assert_restored(checkpoints.restore(state_of(0)), 15)


def truncated(data):
  return data[: len(data) // 2]


def flipped(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 17]) + data[middle + 1 :]


@pytest.mark.parametrize('damage', [truncated, flipped, None])
def test_whatever_breaks_the_one_before_is_restored(folder, damage, caplog):
  """No file of the newest checkpoint, damaged, gives wrong numbers."""
  fallbacks = 0
  whole = folder / '15'
  kept = shutil.copytree(whole, folder.parent / 'kept')
  for path in [path for path in kept.rglob('*') if path.is_file()]:
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(kept, whole)
    victim = whole / path.relative_to(kept)
    victim.write_bytes(damage(path.read_bytes())) if damage else victim.unlink()
    caplog.clear()
    with training.Checkpoints(folder) as checkpoints:
      restored = checkpoints.restore(state_of(0))
      assert_restored(restored, restored.step)
      if restored.step == 10:
        fallbacks += 1
        assert 'checkpoint 15 in' in caplog.text
        assert 'going on from checkpoint 10' in caplog.text
        assert names_in(folder) == ['10']
  assert fallbacks >= 2


def test_a_broken_one_is_replaced(folder):
  shutil.rmtree(folder / '15' / 'metadata')
  with training.Checkpoints(folder) as checkpoints:
    assert_restored(checkpoints.restore(state_of(0)), 10)
    save(checkpoints, 15)
    assert_restored(checkpoints.restore(state_of(0)), 15)


def test_a_half_written_one_is_not_there(folder):
  shutil.copytree(folder / '15', folder / '20.orbax-checkpoint-tmp')
  with training.Checkpoints(folder) as checkpoints:
    assert_restored(checkpoints.restore(state_of(0)), 15)
    save(checkpoints, 20)
  assert names_in(folder) == ['15', '20']


@pytest.mark.parametrize(
  'change',
  [
    lambda state: {**state, 'half': jnp.ones((2, 3))},
    lambda state: {**state, 'step': jnp.zeros(2, jnp.int32)},
    lambda state: {**state, 'no_bins': (jnp.zeros((0, 7)), np.zeros((0,)))},
    lambda state: {**state, 'no_bins': (jnp.zeros(1), state['no_bins'][1])},
    lambda state: {**state, 'more': jnp.ones(2)},
    lambda state: {k: v for k, v in state.items() if k != 'step'},
  ],
  ids=['dtype', 'shape', 'empty', 'no longer empty', 'more', 'less'],
)
def test_a_state_of_another_program_is_refused_and_kept(folder, change):
  with training.Checkpoints(folder) as checkpoints:
    match = r'can be read \(15: .*; 10: .*former'
    with pytest.raises(ValueError, match=match):
      checkpoints.restore(change(state_of(0)))
  assert names_in(folder) == ['10', '15']


def test_a_full_disk_is_noticed_before_writing(folder, monkeypatch):
  usage = namedtuple('usage', 'total used free')
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage(9, 9, 1234))
  message = r'step 20 .*No space left .* 1,234 bytes free.*Free .* of step 15'
  with training.Checkpoints(folder) as checkpoints:
    with pytest.raises(OSError, match=message):
      save(checkpoints, 20)
    assert names_in(folder) == ['10', '15']
    assert_restored(checkpoints.restore(state_of(0)), 15)
    monkeypatch.undo()
    save(checkpoints, 20)
    assert_restored(checkpoints.restore(state_of(0)), 20)


def test_a_disk_that_fills_while_writing_loses_nothing(tmp_path):
  """The limit on the size of files stands in for a full disk."""
  folder = tmp_path / 'checkpoints'
  large = {'a': np.random.default_rng(0).random(100_000)}
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  with training.Checkpoints(folder) as checkpoints:
    checkpoints.save(1, large)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
      with pytest.raises(OSError, match=r'step 2 .*: File too large\. Mend'):
        checkpoints.save(2, large)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.latest_step() == 1
    checkpoints.save(3, large)
  with training.Checkpoints(folder) as checkpoints:
    restored = checkpoints.restore(large)
    checkpoints.save(4, large)  # clears away what was left of step 2
  np.testing.assert_array_equal(restored.state['a'], large['a'])
  assert names_in(folder) == ['3', '4']


def test_what_is_not_the_system_is_not_said_to_be(folder):
  """Such errors say what happened; none of them speaks of free space."""
  with training.Checkpoints(folder) as checkpoints:
    with pytest.raises(ValueError, match='15'):
      save(checkpoints, 15)
    names = names_in(folder)
    with pytest.raises(TypeError):
      checkpoints.save(20, {'a': np.ones(2)}, {'odd': object()})
    assert names_in(folder) == names  # nothing had been begun
    assert_restored(checkpoints.restore(state_of(0)), 15)
    save(checkpoints, 20)


def test_a_system_without_locks_is_refused_in_words():
  code = (
    "import sys; sys.modules['fcntl'] = None; import embedcomp.training as t\n"
    'try:\n  t.Checkpoints\nexcept ImportError as error:\n  print(error)'
  )
  run = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert 'on Windows, use WSL' in run.stdout
