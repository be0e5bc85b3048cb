"""Schemes: groups of words, the method of each, and its exact size."""

import dataclasses
import functools
import json
from typing import Any, Self

import numpy as np

from embedcomp._internal.checks import take_plain_ints
from embedcomp._internal.strict_json import unique_fields
from embedcomp.methods import base, registry, storage
from embedcomp.methods.axes_method import AxesMethod
from embedcomp.types import Shape

# What is written: 2 where a group has codes on shared axes, for readers of the
# first version do not know all of their fields; else 1.
SCHEMA_VERSIONS = (1, 2)
ORDERS = ('identity', 'stored')
# Far above any real table; they bound the work that a hostile file can cause.
MAX_FEATURES = 2**20
MAX_GROUPS = 1024


@dataclasses.dataclass(frozen=True)
class Group:
  """Words that share a method.

  Attributes:
    size: number of words.
    method: a config from `embedcomp.methods`.
  """

  size: int
  method: base.Method

  def __post_init__(self) -> None:
    take_plain_ints(self)
    if type(self.size) is not int or self.size < 1:
      raise ValueError(f'a group needs at least one word, got {self.size!r}.')
    if not isinstance(self.method, base.Method):
      raise ValueError(
        f'a group needs a method from embedcomp.methods, got {self.method!r}.'
      )
    take_plain_ints(self.method)


@dataclasses.dataclass(frozen=True)
class Scheme:
  """A compressed table of `vocab_size` words, group after group.

  Words are ranked group by group and, inside a group, by id. Callers never see
  ranks: every function takes and returns ids. Where the ids are already in
  this order (`order='identity'`) nothing is stored; else (`'stored'`) the file
  keeps each id's group, ceil(log2 G) bits a word, from which ranks follow.

  Attributes:
    features: D.
    groups: from the first rank to the last, usually most frequent first.
    order: 'identity' or 'stored'.
    dtype: of the dense table that ratios refer to.

  Raises:
    ValueError: naming the value and the rule that it breaks.

  Example:
    >>> from embedcomp import Group, Scheme, methods
    >>> pq = methods.ProductQuantization(books=2, codewords=16)
    >>> scheme = Scheme(8, (Group(10, methods.Dense()), Group(90, pq)))
    >>> scheme.vocab_size, scheme.num_bytes  # 10*8*4 + 90*2*4/8 + 16*8*4
    (100, 922)
  """

  features: int
  groups: tuple[Group, ...]
  order: str = 'identity'
  dtype: str = 'float32'

  def __post_init__(self) -> None:
    take_plain_ints(self)
    if type(self.features) is not int or not 1 <= self.features <= MAX_FEATURES:
      raise ValueError(
        f'features must be 1 to {MAX_FEATURES}, got {self.features!r}.'
      )
    if not isinstance(self.groups, tuple) or not self.groups:
      raise ValueError(
        f'groups must be a tuple of Groups, got {self.groups!r}.'
      )
    if not all(isinstance(group, Group) for group in self.groups):
      raise ValueError(
        f'groups must be a tuple of Groups, got {self.groups!r}.'
      )
    if len(self.groups) > MAX_GROUPS:
      raise ValueError(f'at most {MAX_GROUPS} groups, got {len(self.groups)}.')
    if self.order not in ORDERS:
      raise ValueError(f'order must be one of {ORDERS}, got {self.order!r}.')
    if self.dtype not in storage.FLOAT_DTYPES:
      allowed = tuple(storage.FLOAT_DTYPES)
      raise ValueError(f'dtype must be one of {allowed}, got {self.dtype!r}.')
    if self.vocab_size > np.iinfo(np.int32).max:
      raise ValueError(f'at most 2**31 - 1 words, got {self.vocab_size}.')
    for index, (group, shape) in enumerate(zip(self.groups, self.shapes)):
      try:
        group.method.validate(shape)
      except ValueError as error:
        raise ValueError(
          f'group {index} ({group.size} words): {error}'
        ) from None
    self._check_shared_parts()

  def _check_shared_parts(self) -> None:
    """Raises ValueError if groups disagree on what they have in common."""
    first: dict[str, storage.Part] = {}
    for index, parts in enumerate(self._parts):
      for part in parts:
        if part.shared and first.setdefault(part.name, part) != part:
          raise ValueError(
            f'group {index} must share its {part.name} with the groups before '
            f'it: {first[part.name]} is not {part}.'
          )

  @functools.cached_property
  def _parts(self) -> tuple[tuple[storage.Part, ...], ...]:
    return tuple(
      group.method.parts(shape)
      for group, shape in zip(self.groups, self.shapes)
    )

  @functools.cached_property
  def shared_parts(self) -> tuple[storage.Part, ...]:
    """What several groups have in common, stored once, under 'shared'."""
    parts = {p.name: p for parts in self._parts for p in parts if p.shared}
    return tuple(parts.values())

  @functools.cached_property
  def own_parts(self) -> tuple[tuple[storage.Part, ...], ...]:
    """What each group stores for itself."""
    return tuple(
      tuple(part for part in parts if not part.shared) for parts in self._parts
    )

  @functools.cached_property
  def vocab_size(self) -> int:
    """V, the words of all groups."""
    return sum(group.size for group in self.groups)

  @functools.cached_property
  def splits(self) -> tuple[int, ...]:
    """The G + 1 ranks at which groups start and end: 0, ..., V."""
    sizes = [group.size for group in self.groups]
    return (0, *np.cumsum(sizes).tolist())

  @functools.cached_property
  def shapes(self) -> tuple[Shape, ...]:
    """The shape of each group's part of the table."""
    return tuple(Shape(group.size, self.features) for group in self.groups)

  @property
  def order_part(self) -> storage.Codes:
    """Stored form of the group of each id; empty for one group."""
    num_values = len(self.groups) if self.order == 'stored' else 1
    return storage.Codes('order', (self.vocab_size,), num_values, 'order map')

  @functools.cached_property
  def num_params(self) -> int:
    """Stored numbers of all groups; scales and the order map not counted."""
    own = sum(part.size for parts in self.own_parts for part in parts)
    return own + sum(part.size for part in self.shared_parts)

  @functools.cached_property
  def num_bytes(self) -> int:
    """Bytes of the tensors of the packed file, exactly."""
    all_parts = (*self.own_parts, self.shared_parts, (self.order_part,))
    return sum(sum(_bytes_by_role(parts).values()) for parts in all_parts)

  @property
  def dense_bytes(self) -> int:
    """Bytes of the uncompressed table in its own dtype."""
    itemsize = storage.FLOAT_DTYPES[self.dtype].itemsize
    return self.vocab_size * self.features * itemsize

  @property
  def ratio(self) -> float:
    """Bytes over the dense table's bytes: 0.05 is a twentieth."""
    return self.num_bytes / self.dense_bytes

  @property
  def factor(self) -> float:
    """Dense bytes over bytes: 20.0 is a twentieth of the dense table."""
    return self.dense_bytes / self.num_bytes

  def size_table(self) -> list[dict[str, Any]]:
    """Bytes by group and by what they hold.

    Returns:
      One dict a group with its words, method and bytes by role, and last ones
      for what groups share and for the order map, if these are stored.
    """
    rows: list[dict[str, Any]] = []
    for start, stop, group, parts in zip(
      self.splits, self.splits[1:], self.groups, self.own_parts
    ):
      by_role = _bytes_by_role(parts)
      total = sum(by_role.values())
      rows.append(
        {
          'ranks': f'{start}-{stop - 1}',
          'method': registry.describe(group.method),
          **by_role,
          'bytes': total,
        }
      )
    for part in self.shared_parts:
      by_role = part.bytes_by_role()
      row = {'ranks': 'all', 'method': f'shared {part.name}', **by_role}
      rows.append({**row, 'bytes': sum(by_role.values())})
    if self.order == 'stored':
      num_bytes = self.order_part.num_bytes
      rows.append({'ranks': 'all', 'method': 'order map', 'bytes': num_bytes})
    return rows

  def summary(self) -> str:
    """The size table as text, with totals and the ratio."""
    rows = self.size_table()
    headings = ['ranks', 'method']
    for row in rows:
      headings += [key for key in row if key not in (*headings, 'bytes')]
    headings.append('bytes')
    lines = [headings]
    lines += [
      [f'{v:,}' if type(v := row.get(h, '')) is int else v for h in headings]
      for row in rows
    ]
    widths = [max(len(line[c]) for line in lines) for c in range(len(headings))]
    text = [
      '  '.join(
        cell.ljust(width) if c < 2 else cell.rjust(width)
        for c, (cell, width) in enumerate(zip(line, widths))
      ).rstrip()
      for line in lines
    ]
    text.append(
      f'{self.num_bytes:,} of {self.dense_bytes:,} bytes: '
      f'{self.ratio:.2%}, {self.factor:.1f}x smaller'
    )
    return '\n'.join(text)

  @property
  def _schema_version(self) -> int:
    has_axes = any(isinstance(g.method, AxesMethod) for g in self.groups)
    return 2 if has_axes else 1

  def to_json(self) -> str:
    """Returns a JSON text that `from_json` reads back to an equal scheme."""
    groups = [
      {'size': group.size, **registry.to_dict(group.method)}
      for group in self.groups
    ]
    return json.dumps(
      {
        'schema_version': self._schema_version,
        'features': self.features,
        'order': self.order,
        'dtype': self.dtype,
        'groups': groups,
      }
    )

  @classmethod
  def from_json(cls, text: str) -> Self:
    """Reads `to_json`'s text.

    Raises:
      ValueError: naming what is missing, unknown or out of range.
    """
    try:
      fields = json.loads(text, object_pairs_hook=unique_fields)
    except (TypeError, ValueError, RecursionError) as error:
      raise ValueError(f'a scheme must be JSON text: {error}.') from None
    expected = {'schema_version', 'features', 'order', 'dtype', 'groups'}
    if not isinstance(fields, dict) or set(fields) != expected:
      found = sorted(fields) if isinstance(fields, dict) else type(fields)
      raise ValueError(f'a scheme has fields {sorted(expected)}, got {found}.')
    version = fields.pop('schema_version')
    if type(version) is not int or version not in SCHEMA_VERSIONS:
      raise ValueError(
        f'this version reads schemas {SCHEMA_VERSIONS}, got {version!r}.'
      )
    groups = fields.pop('groups')
    if not isinstance(groups, list) or not all(
      isinstance(group, dict) for group in groups
    ):
      raise ValueError('groups must be a list of objects.')
    for key in ('order', 'dtype'):
      if not isinstance(fields[key], str):
        raise ValueError(f'{key} must be text, got {fields[key]!r}.')
    scheme = cls(
      groups=tuple(
        Group(group.pop('size', None), registry.from_dict(group))
        for group in groups
      ),
      **fields,
    )
    if version > scheme._schema_version:
      raise ValueError(
        f'a scheme without codes on axes is of schema 1, got {version}.'
      )
    return scheme


def _bytes_by_role(parts: tuple[storage.Part, ...]) -> dict[str, int]:
  """Bytes on disk of some parts by what they hold."""
  totals: dict[str, int] = {}
  for part in parts:
    for role, num_bytes in part.bytes_by_role().items():
      totals[role] = totals.get(role, 0) + num_bytes
  return totals
