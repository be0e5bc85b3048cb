"""Faces of packages that load a name when it is first asked for (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any


def attach(
  package: str,
  modules: Mapping[str, str],
  submodules: Collection[str] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
  """Makes `__getattr__` and `__dir__` for the `__init__` of a package.

  Args:
    package: the package's `__name__`.
    modules: for each public name, the module that defines it.
    submodules: modules of the package that are loaded likewise.

  Returns:
    `__getattr__` and `__dir__`. What `__getattr__` finds becomes an attribute
    of the package, so that it is asked once for each name.

  Example:
    >>> get, _ = attach('embedcomp._internal', {'gcd': 'math'})
    >>> get('gcd')(4, 6)
    2
  """

  def get(name: str) -> Any:
    if name in modules:
      value = getattr(importlib.import_module(modules[name]), name)
    elif name in submodules:
      value = importlib.import_module(f'{package}.{name}')
    else:
      raise AttributeError(f'module {package!r} has no attribute {name!r}')
    setattr(sys.modules[package], name, value)
    return value

  def names() -> list[str]:
    return sorted({*vars(sys.modules[package]), *modules, *submodules})

  return get, names
