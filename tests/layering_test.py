"""Tests that imports only go down and that `import embedcomp` stays light."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

import embedcomp

ROOT = pathlib.Path(embedcomp.__file__).parent
# Each file or folder of the package and the floor it is on.
LAYERS = {
  0: (
    'attention block_tables blocks distillation frequency grouped kmeans'
    ' methods parallel progress recursive relaxation scheme trees types'
  ),
  1: 'nn',
  2: 'compress embed search',
  3: 'data io plots training',
  4: 'command_line command_parser evaluation',
}
FLOORS = {room: n for n, rooms in LAYERS.items() for room in rooms.split()}
HEAVY = {
  'absl',
  'array_record',
  'faiss',
  'keras',
  'matplotlib',
  'ml_collections',
  'optuna',
  'orbax',
  'safetensors',
  'sklearn',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
  'tokenizers',
  'tqdm',
  'transformers',
}
BELOW = 'import jax, flax, optax, chex, numpy, scipy.optimize, scipy.sparse'


def package_files() -> list[pathlib.Path]:
  files = sorted(ROOT.rglob('*.py'))
  return [path for path in files if path != ROOT / '__init__.py']


def room_of(module: str) -> str | None:
  """The file or folder of a module of the package, else None."""
  package, _, rest = module.partition('.')
  return rest.split('.')[0] if package == 'embedcomp' and rest else None


def imported_rooms(path: pathlib.Path) -> set[str]:
  """Rooms that a file imports from anywhere, also inside of functions."""
  rooms = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      modules = [name.name for name in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: imports must be absolute.'
      modules = [f'{node.module}.{name.name}' for name in node.names]
      if node.module != 'embedcomp':
        modules = [node.module]
    else:
      continue
    rooms |= {room for m in modules if (room := room_of(m)) is not None}
  return rooms


def test_every_room_has_a_floor():
  rooms = {path.relative_to(ROOT).parts[0] for path in package_files()}
  homeless = {room.removesuffix('.py') for room in rooms} - set(FLOORS)
  assert not homeless, f'put {homeless} on a floor in LAYERS.'


@pytest.mark.parametrize(
  'path', package_files(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_only_go_down(path):
  own = path.relative_to(ROOT).parts[0].removesuffix('.py')
  for room in imported_rooms(path):
    assert room in FLOORS, f'{path} imports {room} from the whole package.'
    assert FLOORS[room] <= FLOORS[own], f'{own} must not import {room}.'


def test_nothing_in_the_package_imports_the_experiments():
  for path in package_files():
    for node in ast.walk(ast.parse(path.read_text())):
      names = [getattr(node, 'module', None) or '']
      if isinstance(node, ast.Import):
        names = [name.name for name in node.names]
      for name in names:
        assert name.split('.')[0] not in ('experiments', 'configs', 'tests')


def heavy_modules(statement: str) -> set[str]:
  """Which of the heavy packages a fresh interpreter loads."""
  code = f'{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))'
  run = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  modules = json.loads(run.stdout.splitlines()[-1])
  return {module.split('.')[0] for module in modules} & HEAVY


def test_importing_the_package_loads_nothing_heavy():
  assert heavy_modules('import embedcomp') <= heavy_modules(BELOW)


@pytest.mark.parametrize('name', embedcomp.__all__)
def test_public_names_are_documented(name):
  assert (getattr(embedcomp, name).__doc__ or '').strip()


def test_public_names_are_sorted_and_exist():
  names = [name for name in dir(embedcomp) if name in embedcomp.__all__]
  assert sorted(names) == sorted(embedcomp.__all__)
  assert len(set(embedcomp.__all__)) == len(embedcomp.__all__)
