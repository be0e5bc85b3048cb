"""Imports only go down, and `import embedcomp` stays light."""

import ast
import collections
import configparser
import graphlib
import inspect
import json
import pathlib
import subprocess
import sys

import pytest

import embedcomp

ROOT = pathlib.Path(embedcomp.__file__).parent
# The folders of the package from the ground up: files import from their own
# folder and from those before it.
ROOMS = (
  *('types', '_internal', 'attention', 'methods', 'table', 'compression'),
  *('nn', 'nn.bert', 'io', 'data', 'data.batches', 'data.datasets', 'io.bert'),
  *('distillation', 'training', 'search', 'plots', 'workflows', 'cli'),
  '__main__',
)
# What only an extra installs.
EXTRAS = {
  *('array_record', 'faiss', 'huggingface_hub', 'keras', 'matplotlib'),
  *('ml_collections', 'optuna', 'orbax', 'sklearn', 'tensorboardX'),
  *('tensorflow', 'tensorflow_datasets', 'torch', 'transformers'),
}


def module_of(path: pathlib.Path) -> str:
  """The dotted name of a file, its package's for an `__init__`."""
  parts = path.relative_to(ROOT.parent).with_suffix('').parts
  return '.'.join(parts).removesuffix('.__init__')


FILES = {module_of(path): path for path in sorted(ROOT.rglob('*.py'))}
EXPERIMENTS = {
  module_of(path): path
  for path in sorted((ROOT.parent / 'experiments').rglob('*.py'))
}
INNER = [name for name, path in FILES.items() if path.stem != '__init__']


def imports_of(path: pathlib.Path) -> list[str]:
  """Modules that a file imports from anywhere, also inside of functions."""
  modules = []
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      modules += [name.name for name in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: imports must be absolute.'
      for name in node.names:
        inner = f'{node.module}.{name.name}'
        is_module = inner in FILES or inner in EXPERIMENTS
        modules.append(inner if is_module else node.module)
  return modules


def room_of(module: str) -> str:
  """The folder of a file of the package, or the folder itself."""
  inside = FILES[module].relative_to(ROOT).with_suffix('')
  if inside.parent == pathlib.Path('.'):
    return inside.name
  return '.'.join(inside.parent.parts)


def test_every_room_has_a_floor():
  rooms = {room_of(module) for module in FILES} - {'__init__'}
  assert rooms == set(ROOMS), 'name each folder in ROOMS, and no other.'


@pytest.mark.parametrize('module', INNER)
def test_imports_only_go_down(module):
  own = ROOMS.index(room_of(module))
  for imported in imports_of(FILES[module]):
    if imported.partition('.')[0] != 'embedcomp':
      continue
    assert imported != 'embedcomp', f'{module} imports the whole package.'
    assert ROOMS.index(room_of(imported)) <= own, f'{module} -> {imported}'
    own_face = module.startswith(f'{imported}.')
    assert not own_face, f'{module} imports what its own folder exports.'


def test_no_files_import_each_other_in_a_circle():
  files = {name: FILES[name] for name in INNER} | EXPERIMENTS
  graph = {
    name: [module for module in imports_of(path) if module in files]
    for name, path in files.items()
  }
  graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_names_of_files_are_used_once():
  names = collections.Counter(FILES[module].stem for module in INNER)
  assert not [name for name, count in names.items() if count > 1]


def test_nothing_in_the_package_imports_the_experiments():
  for path in FILES.values():
    for node in ast.walk(ast.parse(path.read_text())):
      names = [getattr(node, 'module', None) or '']
      if isinstance(node, ast.Import):
        names = [name.name for name in node.names]
      for name in names:
        assert name.split('.')[0] not in ('experiments', 'configs', 'tests')


def loaded_packages(statement: str) -> set[str]:
  """The packages that a fresh interpreter has loaded after a statement."""
  code = f'{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))'
  run = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  modules = json.loads(run.stdout.splitlines()[-1])
  return {module.split('.')[0] for module in modules}


def test_importing_the_package_loads_nothing_else():
  statement = 'import embedcomp, embedcomp.cli.main, embedcomp.compression'
  new = loaded_packages(statement) - loaded_packages('import typing')
  assert not new & (EXTRAS | {'jax', 'flax', 'numpy', 'scipy', 'tqdm'})


def test_nothing_that_an_extra_installs_is_loaded_before_it_is_asked_for():
  """And submodules need no import of their own."""
  names = (
    *('data', 'frequency', 'io', 'methods', 'nn', 'plots', 'search'),
    'training',
  )
  asked = (
    'embedcomp.__main__',
    'embedcomp.data.datasets.builders',
    'embedcomp.data.datasets.tfds',
    'embedcomp.training.checkpoints',
  )
  lines = [
    'import embedcomp',
    *(f'embedcomp.{name}.__name__' for name in names),
    *(f'import {module}' for module in FILES if module not in asked),
  ]
  assert not loaded_packages('; '.join(lines)) & EXTRAS


@pytest.mark.parametrize('name', embedcomp.__all__)
def test_public_names_are_documented(name):
  assert (getattr(embedcomp, name).__doc__ or '').strip()


def test_public_names_are_listed_once_and_found():
  assert len(set(embedcomp.__all__)) == len(embedcomp.__all__)
  assert set(embedcomp.__all__) <= set(dir(embedcomp))


def test_names_for_type_checkers_are_those_that_are_loaded():
  tree = ast.parse(FILES['embedcomp'].read_text())
  typed = next(node for node in tree.body if isinstance(node, ast.If))
  assert ast.unparse(typed.test) == 'TYPE_CHECKING'
  names = {
    name.asname or name.name for line in typed.body for name in line.names
  }
  assert names == {*embedcomp._MODULES, *embedcomp._SUBMODULES}
  assert all(hasattr(embedcomp, name) for name in names)


def test_no_public_function_has_the_name_of_a_module():
  for name in embedcomp.__all__:
    is_module = inspect.ismodule(getattr(embedcomp, name))
    assert is_module or f'embedcomp.{name}' not in FILES


def test_the_version_is_that_of_setup_cfg():
  config = configparser.ConfigParser()
  config.read(ROOT.parent / 'setup.cfg')
  assert embedcomp.__version__ == config['metadata']['version']
