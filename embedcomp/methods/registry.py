"""Registry of methods by name."""

import dataclasses
import re
from typing import Any, TypeVar

from embedcomp.methods import base

_METHODS: dict[str, type[base.Method]] = {}
# A scheme's JSON puts these beside the fields of a group's method.
_RESERVED_FIELDS = {'method', 'size'}
_MethodType = TypeVar('_MethodType', bound=type[base.Method])


def register(cls: _MethodType) -> _MethodType:
  """Makes a method known by its `name`; a decorator of frozen dataclasses.

  Args:
    cls: the config class.

  Returns:
    The same class.

  Raises:
    ValueError: if the name is taken, or a field has a name that files need.
  """
  if cls.name in _METHODS:
    raise ValueError(f'a method called {cls.name!r} is registered already.')
  fields = {field.name for field in dataclasses.fields(cls)}
  if reserved := sorted(fields & _RESERVED_FIELDS):
    raise ValueError(
      f'{cls.name} must not have fields called {reserved}, which the JSON of '
      'a scheme uses itself; rename them.'
    )
  _METHODS[cls.name] = cls
  return cls


def get(name: str) -> type[base.Method]:
  """The config class of a method.

  Raises:
    ValueError: if no method has this name.
  """
  if not isinstance(name, str) or name not in _METHODS:
    raise ValueError(f'method must be one of {names()}, got {name!r}.')
  return _METHODS[name]


def names() -> tuple[str, ...]:
  """Names of all registered methods, sorted."""
  return tuple(sorted(_METHODS))


def describe(method: base.Method) -> str:
  """A short text for tables: the name and whatever is not left at its default.

  Example:
    >>> from embedcomp import methods
    >>> describe(methods.ProductQuantization(books=48, codewords=256))
    'pq(books=48, codewords=256)'
  """
  fields = [
    f'{field.name}={value}'
    for field in dataclasses.fields(method)
    if (value := getattr(method, field.name)) != field.default
  ]
  return f'{method.name}({", ".join(fields)})' if fields else method.name


def parse(text: str) -> base.Method:
  """Reads what `describe` writes.

  Raises:
    ValueError: if it is not of the form `name` or `name(field=value, ...)`, or
      for an unknown method or field or a value of the wrong type.

  Example:
    >>> from embedcomp import methods
    >>> parse('low_rank(rank=16, storage=int4)').rank
    16
  """
  found = re.fullmatch(r'(\w+)(?:\((.*)\))?', text.strip())
  if found is None:
    raise ValueError(
      f"a method is written as 'low_rank(rank=16)', got {text!r}."
    )
  name, inside = found.groups()
  fields: dict[str, Any] = {'method': name}
  for item in filter(None, (inside or '').replace(' ', '').split(',')):
    field, _, value = item.partition('=')
    if value in ('True', 'False'):
      fields[field] = value == 'True'
    else:
      fields[field] = int(value) if value.isdecimal() else value
  return from_dict(fields)


def to_dict(method: base.Method) -> dict[str, Any]:
  """A JSON-ready description of a method."""
  return {'method': method.name, **dataclasses.asdict(method)}


def from_dict(description: dict[str, Any]) -> base.Method:
  """Reverses `to_dict`.

  Raises:
    ValueError: for an unknown method or field or a value of the wrong type.
  """
  fields = dict(description)
  cls = get(fields.pop('method', None))
  types: dict[str, Any] = {
    field.name: field.type for field in dataclasses.fields(cls)
  }
  unknown = sorted(set(fields) - set(types))
  if unknown:
    raise ValueError(f'{cls.name} has no field {unknown}, only {list(types)}.')
  for name, value in fields.items():
    if type(value) is not types[name]:
      raise ValueError(
        f'{cls.name}.{name} must be {types[name].__name__}, got {value!r}.'
      )
  try:
    return cls(**fields)
  except TypeError as error:
    raise ValueError(f'{cls.name} is incomplete: {error}.') from error
