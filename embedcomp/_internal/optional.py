"""Packages that only an extra installs."""

import importlib
from types import ModuleType


def require(name: str, *, extra: str) -> ModuleType:
  """Imports a package that is not among the base dependencies.

  Args:
    name: of the module.
    extra: the extra of embedcomp that installs it.

  Returns:
    The module.

  Raises:
    ImportError: if it cannot be imported; it says what to install.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      f'{name} cannot be imported ({error}): pip install "embedcomp[{extra}]".'
    ) from error
