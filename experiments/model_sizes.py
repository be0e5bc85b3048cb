"""Bytes of each part of a model, before and after compression."""

from collections.abc import Mapping
from typing import Any

import jax


def size_table(
  params: Mapping[str, Any], dense_bytes: int, num_bytes: int
) -> list[dict[str, Any]]:
  """Bytes by part, what is not the table in float32.

  Args:
    params: of the model.
    dense_bytes: of the dense table.
    num_bytes: of the compressed one.

  Returns:
    Rows of 'part', 'before' and 'after', the table first and the sum last.

  Example:
    >>> params = {'embedder': {}, 'head': {'bias': jax.numpy.zeros(3)}}
    >>> size_table(params, 100, 10)[1:]
    [{'part': 'head', 'before': 12, 'after': 12}, \
{'part': 'whole model', 'before': 112, 'after': 22}]
  """
  sizes = {'word embeddings': (dense_bytes, num_bytes)}
  for name, part in _parts(params):
    size = sum(4 * leaf.size for leaf in jax.tree.leaves(part))
    before, after = sizes.get(name, (0, 0))
    sizes[name] = before + size, after + size
  sizes['whole model'] = tuple(map(sum, zip(*sizes.values())))
  return [
    {'part': name, 'before': before, 'after': after}
    for name, (before, after) in sizes.items()
  ]


def _parts(params: Mapping[str, Any]):
  """Names and params of all parts but the table; layers are one part."""
  for name, part in params.items():
    if name == 'bert':
      yield from _parts(part)
    elif name.startswith('layer_'):
      yield 'layers', part
    elif name == 'embeddings':
      yield 'other embeddings', part
    elif name != 'embedder':
      yield name, part
