"""Everything that users call says what it takes and what it returns."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import embedcomp

PUBLIC = (
  *('table', 'methods', 'compression', 'attention', 'search', 'nn', 'io'),
  *('workflows', 'cli'),
)


def modules_of(package):
  """A package and all modules in it."""
  found = importlib.import_module(f'embedcomp.{package}')
  inside = pkgutil.walk_packages(found.__path__, f'{found.__name__}.')
  return [found, *(importlib.import_module(info.name) for info in inside)]


def own(module):
  """Public functions and classes that a module defines."""
  for name, value in vars(module).items():
    is_own = getattr(value, '__module__', None) == module.__name__
    if is_own and not name.startswith('_') and callable(value):
      yield f'{module.__name__}.{name}', value


def functions_of(name: str, value) -> Iterator[tuple[str, object]]:
  """A function itself; of a class what is called of it."""
  if not inspect.isclass(value):
    yield name, value
    return
  for key, member in vars(value).items():
    if key.startswith('_') and key not in ('__init__', '__call__'):
      continue
    # Of class methods, properties and cached ones.
    for inner in ('__func__', 'fget', 'func'):
      member = getattr(member, inner, member)
    if inspect.isfunction(member) and member.__module__ == value.__module__:
      yield f'{name}.{key}', member


def lacking(name: str, function) -> Iterator[str]:
  """What has no type of a function's arguments and result."""
  signature = inspect.signature(function)
  for argument, parameter in signature.parameters.items():
    if argument in ('self', 'cls'):
      continue
    if parameter.annotation is inspect.Parameter.empty:
      yield f'{name}({argument})'
  is_init = name.endswith('.__init__')
  if not is_init and signature.return_annotation is inspect.Signature.empty:
    yield f'{name} -> ?'


@pytest.mark.parametrize('package', PUBLIC)
def test_public_functions_are_annotated(package):
  found = [
    each
    for module in modules_of(package)
    for name, value in own(module)
    for each in functions_of(name, value)
  ]
  assert len(found) > 2
  assert [text for each in found for text in lacking(*each)] == []


def test_exported_functions_are_annotated():
  exported = {name: getattr(embedcomp, name) for name in embedcomp.__all__}
  found = [
    each
    for name, value in exported.items()
    if callable(value)
    for each in functions_of(name, value)
  ]
  assert len(found) > 30
  assert [text for each in found for text in lacking(*each)] == []


def test_a_missing_type_is_found():
  class Example:
    def method(self, given: int, bare) -> None: ...

    @property
    def size(self): ...

  each = dict(functions_of('Example', Example))
  assert [text for item in each.items() for text in lacking(*item)] == [
    'Example.method(bare)',
    'Example.size -> ?',
  ]
