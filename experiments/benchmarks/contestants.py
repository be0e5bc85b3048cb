"""Contestants of a comparison, with their fields of the config."""

import dataclasses
from typing import Any

# Uniform low rank, trained as any model is, and started from a dense one.
LOW_RANK = ('low_rank', 'low rank, from dense')


@dataclasses.dataclass(frozen=True)
class Contestant:
  """One line of the comparison.

  Attributes:
    label: unique.
    fields: of the config that differ.
    is_main: measured with all seeds; others with two.
    sizes: shares of the dense table; those of the comparison if not given.
    trains_longer: whether its final training also gets the epochs in which the
      search learns logits, if it does.
  """

  label: str
  fields: dict[str, Any]
  is_main: bool = False
  sizes: tuple[float, ...] | None = None
  trains_longer: bool = False


def _method(name: str, option: str = '', storage: str = '') -> dict[str, Any]:
  fields = {'method.name': name}
  if option:
    fields['method.option'] = option
  if storage:
    fields['method.storage'] = storage
  return fields


def _from_dense(label: str, fields: dict[str, Any], **kwargs) -> Contestant:
  """One that starts from a dense model, and has as many steps as the search."""
  fields = {**fields, 'method.start': 'dense'}
  return Contestant(label, fields, trains_longer=True, **kwargs)


def contestants(thesis_sizes, few_sizes) -> list[Contestant]:
  """All of them, those of the headline first.

  Args:
    thesis_sizes: of those in float32, as shares of the dense table.
    few_sizes: of those that take long.
  """
  ranks_only = {'search.options': 'low_rank'}
  # As published: bins by frequency, nothing known but what is learned.
  published = {'search.order': 'frequency', 'search.score': 'learned'}
  by_frequency = {'search.order': 'frequency'}
  return [
    Contestant('dense', _method('dense'), True),
    Contestant(LOW_RANK[0], _method('uniform', 'low_rank'), True),
    _from_dense(LOW_RANK[1], _method('uniform', 'low_rank'), is_main=True),
    Contestant('search', _method('search'), True),
    Contestant('compress', _method('compress'), True, None, True),
    _from_dense('hand-split, int8', _method('hand_split', storage='int8')),
    Contestant(
      'random search', {**_method('random'), **by_frequency}, sizes=few_sizes
    ),
    _from_dense(
      'hand-split, float32 (GroupReduce)',
      _method('hand_split'),
      sizes=thesis_sizes,
    ),
    Contestant(
      'search, ranks only, float32',
      {**_method('search'), **ranks_only},
      sizes=thesis_sizes,
    ),
    Contestant('TPE', {**_method('tpe'), **by_frequency}, sizes=few_sizes),
    Contestant(
      'random search, words by need', _method('random'), sizes=few_sizes
    ),
    Contestant(
      'bins only, ranks (NIS)',
      {**_method('bins'), **published, **ranks_only},
      sizes=thesis_sizes,
    ),
    Contestant(
      'bins only, precision (MPE)',
      {**_method('bins'), **published, 'search.options': 'precision'},
      sizes=few_sizes,
    ),
    _from_dense('pq', _method('uniform', 'pq', 'int8'), sizes=few_sizes),
    _from_dense('DPQ', _method('uniform', 'dpq_vq', 'int8'), sizes=few_sizes),
    _from_dense('MGQE', _method('mgqe'), sizes=few_sizes),
    Contestant(
      'tensor train', _method('uniform', 'tensor_train'), sizes=few_sizes
    ),
    Contestant('hashed', _method('uniform', 'hashed'), sizes=few_sizes),
    *(
      _from_dense(
        f'dense, {storage}',
        _method('uniform', 'dense', storage),
        sizes=(0.3,),
      )
      for storage in ('int8', 'int4')
    ),
  ]


# What the search would be without one of its parts.
_ABLATIONS = {
  'prior alone': {'search.score': 'prior', 'search.carry': 'dense'},
  'odds alone': {'search.score': 'learned'},
  'odds alone, argmax': {
    'search.score': 'learned',
    'search.discretize': 'argmax',
  },
  'words by frequency': {'search.order': 'frequency'},
  'no held-out data': {'search.held_out': False},
  'warm-up of random options': {'search.warmup': 0.5},
  'weights of the dense model': {'search.carry': 'dense'},
  'weights from noise': {'search.carry': 'noise'},
  'no dense model': {
    'search.start': 'noise',
    'search.order': 'frequency',
    'search.score': 'learned',
    'search.carry': 'supernet',
    'search.warmup': 0.5,
    'search.epochs': 10.0,
    'search.weights_learning_rate': 0.04,
  },
  'learned codes': {'search.options': 'learned_codes'},
}


def ablations(sizes: tuple[float, ...]) -> list[Contestant]:
  """The search without one of its parts, at some shares of the dense table."""
  return [
    Contestant(f'search, {name}', {**_method('search'), **fields}, sizes=sizes)
    for name, fields in _ABLATIONS.items()
  ]
