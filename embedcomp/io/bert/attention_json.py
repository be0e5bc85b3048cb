"""Attention of a BERT in its `config.json`, under a key of our own.

One object, or a list of those that layers take in turn, each with its `type`
and the fields of its class:

  "embedcomp_attention": {"type": "recursive", "chunk_size": 256, ...}

Readers that do not know the key read the same weights with dense attention.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from embedcomp.attention.dot_product import AttentionFn, dense_attention
from embedcomp.nn.bert.encoder import AttentionFns, per_layer
from embedcomp.nn.sparse_attention import (
  LocalAttention,
  RecursiveAttention,
  SlidingWindowAttention,
)

KEY = 'embedcomp_attention'
_DENSE = 'dense'
_TYPES: dict[str, type] = {
  'recursive': RecursiveAttention,
  'sliding_window': SlidingWindowAttention,
  'local': LocalAttention,
}


def from_fields(fields: Mapping[str, Any]) -> AttentionFns:
  """Reads the attention of a model.

  Args:
    fields: of a `config.json`.

  Returns:
    As `Bert` takes it; dense if there is no such field.

  Raises:
    ValueError: for an unknown type, an unknown size or a malformed value.

  Example:
    >>> from_fields({KEY: {'type': 'local', 'chunk_size': 64}})
    LocalAttention(chunk_size=64, num_global=1, shift=0)
  """
  if KEY not in fields:
    return dense_attention
  found = fields[KEY]
  if not isinstance(found, list):
    return _from_entry(found)
  if not found:
    raise ValueError(f'{KEY} must be one or several, got [].')
  return tuple(map(_from_entry, found))


def to_fields(attention_fn: AttentionFns) -> dict[str, Any]:
  """Writes the fields that `from_fields` reads.

  Args:
    attention_fn: as `Bert` has it.

  Returns:
    Fields of a `config.json`; none for dense attention.

  Raises:
    ValueError: for a function of another kind.
  """
  if attention_fn is dense_attention:
    return {}
  entries = [_to_entry(each) for each in per_layer(attention_fn)]
  return {KEY: entries if isinstance(attention_fn, tuple) else entries[0]}


def describe(attention_fn: AttentionFns) -> str:
  """Describes an attention in one line, by its names in `config.json`.

  Args:
    attention_fn: one that `to_fields` takes.

  Returns:
    Its types and sizes.

  Example:
    >>> describe(LocalAttention(chunk_size=64))
    'local (chunk_size 64, num_global 1, shift 0)'
  """
  lines = []
  for each in per_layer(attention_fn):
    entry = _to_entry(each)
    kind = entry.pop('type')
    sizes = ', '.join(f'{k} {v}' for k, v in entry.items() if v is not None)
    lines.append(f'{kind} ({sizes})' if sizes else kind)
  return ', '.join(lines) + (' in turn' if len(lines) > 1 else '')


def _from_entry(entry: Any) -> AttentionFn:
  if not isinstance(entry, dict) or not isinstance(entry.get('type'), str):
    raise ValueError(f'{KEY} must be an object with a type, got {entry!r}.')
  sizes = {name: value for name, value in entry.items() if name != 'type'}
  name = entry['type']
  if name not in (_DENSE, *_TYPES):
    raise ValueError(
      f'type of {KEY} must be one of {[_DENSE, *_TYPES]}, got {name!r}.'
    )
  known = {}
  if name != _DENSE:
    known = {f.name: f.default for f in dataclasses.fields(_TYPES[name])}
  if unknown := sorted(set(sizes) - set(known)):
    raise ValueError(f'{KEY} of type {name!r} has no fields {unknown}.')
  for field, value in sizes.items():
    if type(known[field]) is bool and type(value) is not bool:
      raise ValueError(
        f'{field} of {KEY} must be true or false, got {value!r}.'
      )
  if name == _DENSE:
    return dense_attention
  try:
    return _TYPES[name](**sizes)
  except (TypeError, ValueError) as error:
    raise ValueError(f'{KEY} of type {name!r}: {error}') from None


def _to_entry(attention_fn: AttentionFn) -> dict[str, Any]:
  if attention_fn is dense_attention:
    return {'type': _DENSE}
  for name, kind in _TYPES.items():
    if type(attention_fn) is kind:
      attention: Any = attention_fn  # a dataclass
      return {'type': name, **dataclasses.asdict(attention)}
  kinds = [kind.__name__ for kind in _TYPES.values()]
  raise ValueError(
    f'attention_fn must be dense_attention or one of {kinds} to be written to '
    f'a config.json, got {attention_fn}.'
  )
