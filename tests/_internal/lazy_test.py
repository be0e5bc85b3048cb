"""Names of a package that are loaded when they are first asked for."""

import sys
import types

import pytest

from embedcomp._internal import lazy


@pytest.fixture
def package(monkeypatch):
  """A package with a name, a submodule, and a name that its module lacks."""
  package = types.ModuleType('lazy_package')
  monkeypatch.setitem(sys.modules, 'lazy_package', package)
  names = {'gcd': 'math', 'misspelt': 'math'}
  package.__getattr__, package.__dir__ = lazy.attach(
    'lazy_package', names, ('inner',)
  )
  inner = types.ModuleType('lazy_package.inner')
  monkeypatch.setitem(sys.modules, 'lazy_package.inner', inner)
  return package


def test_names_are_found_and_kept(package):
  assert 'gcd' not in vars(package)
  assert package.gcd(4, 6) == 2
  assert 'gcd' in vars(package)
  assert package.inner is sys.modules['lazy_package.inner']


def test_dir_lists_what_is_not_yet_loaded(package):
  assert {'gcd', 'inner'} <= set(dir(package))


@pytest.mark.parametrize('name', ['other', 'misspelt'])
def test_unknown_names_are_attribute_errors(package, name):
  with pytest.raises(AttributeError, match=name):
    getattr(package, name)
