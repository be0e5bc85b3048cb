"""Teachers of a BERT, by a config."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from embedcomp import data as data_lib
from embedcomp.distillation import (
  LAYER_MAPS,
  PROJECTION,
  Objective,
  TaughtBatches,
  Teacher,
  init_projection,
)
from embedcomp.nn.bert.heads import BertModel
from embedcomp.training import tasks

ITSELF = 'itself'


def objective(config: ConfigDict) -> Objective | None:
  """Objective of copying a teacher; None without one.

  Raises:
    ValueError: for losses that cannot be, or without a teacher that is needed.
  """
  distil = config.distil
  if distil.teacher is None:
    if config.task == tasks.DISTILLATION:
      raise ValueError(
        f'distillation needs a teacher: set distil.teacher to {ITSELF!r} or to '
        'a directory.'
      )
    return None
  if config.task not in tasks.TAUGHT:
    raise ValueError(
      f'distil.teacher must be None for {config.task}: only {tasks.TAUGHT} '
      'have teachers.'
    )
  if config.task == tasks.DISTILLATION and distil.logits:
    raise ValueError('distil.logits must be 0 for distillation: it has none.')
  of_sentences = distil.sentence or distil.similarities
  if config.task != tasks.DISTILLATION and of_sentences:
    raise ValueError(
      f'distil.sentence and distil.similarities must be 0 for {config.task}: '
      'it has no sentence vectors.'
    )
  if not 0 <= distil.replaced < 1:
    raise ValueError(
      f'distil.replaced must be in [0, 1), got {distil.replaced}.'
    )
  names = {field.name for field in dataclasses.fields(Objective)}
  return Objective(**{k: v for k, v in distil.items() if k in names})


def with_teacher(
  config: ConfigDict,
  batches: dict[str, Any],
  teacher: Teacher,
  tokenizer: data_lib.SubwordTokenizer,
) -> tuple[dict[str, Any], Objective]:
  """Batches of a problem, with what a teacher says of them.

  Args:
    config: see `configs/common.py`.
    batches: attributes of a `Problem`.
    teacher: of the ids of these batches.
    tokenizer: of these ids.

  Returns:
    The batches, and what is to be copied in units of how much it varies.
  """
  teacher = teacher.measured(batches['splits']['held_out'].for_evaluation())
  if config.distil.replaced:
    share, words = config.distil.replaced, tokenizer.word_ids
    batches = batches | {
      name: data_lib.ReplacedBatches(batches[name], share, words, config.seed)
      for name in ('train', 'weights')
    }
  cache = config.distil.cache and Path(config.distil.cache)
  found = {
    name: TaughtBatches(
      batches[name], teacher, cache and cache / f'{name}.array_record'
    )
    for name in ('train', 'weights', 'held_out')
  }
  if config.task == tasks.DISTILLATION:  # others are evaluated by their labels
    found['splits'] = {
      name: TaughtBatches(split, teacher)
      for name, split in batches['splits'].items()
    }
  return batches | found, teacher.objective


def make_teacher(
  config: ConfigDict,
  path: Path,
  read_model: Any,
  tokenizer: data_lib.SubwordTokenizer,
  wanted: Objective,
) -> Teacher:
  """The teacher of a config, whose ids are those of a tokenizer.

  Args:
    config: see `configs/common.py`.
    path: of the student's directory.
    read_model: takes a directory and the section `bert` of a config to a
      model with the head of the task and its params.
    tokenizer: of the student.
    wanted: what is to be copied.

  Raises:
    ValueError: if there is no such directory, or if its pieces are not those of
      the student.
  """
  own = config.distil.teacher == ITSELF
  path = path if own else Path(config.distil.teacher)
  if not path.is_dir():
    raise ValueError(
      f'distil.teacher must be {ITSELF!r} or a directory with config.json, got '
      f'{config.distil.teacher!r}.'
    )
  bert = config.bert.copy_and_resolve_references()
  bert.attention = config.distil.attention
  bert.remat = False  # there are no gradients
  for name in ('chunk_size', 'positions'):
    if config.distil[name] is not None:
      bert[name] = config.distil[name]
  model, params = read_model(path, bert)
  if not own:
    theirs = data_lib.SubwordTokenizer.load(path)
    model, params = _in_ids_of(tokenizer, theirs, model, params)
  return Teacher(model, {'params': params}, wanted)


def _in_ids_of(tokenizer, theirs, model: BertModel, params):
  """A teacher whose dense table has the ids of the student."""
  ids = tokenizer.ids_in(theirs)
  words = {'params': params['embedder']}
  embed = jax.jit(functools.partial(model.embedder.apply, words))
  table = np.asarray(embed(jnp.asarray(ids)[None])[0])
  config = dataclasses.replace(model.config, vocab_size=len(table))
  model = model.clone(
    config=config, embedder=nn.Embed(*table.shape, parent=None), parent=None
  )
  return model, {**params, 'embedder': {'embedding': table}}


def shallower(model: BertModel, params, config: ConfigDict):
  """A student of fewer layers, which start from those that teach them.

  Layers that no pair names, as the last one of PKD, start from the teacher's
  last ones.
  """
  wanted, own = config.distil.layers, model.config.num_hidden_layers
  if wanted is None or wanted == own:
    return model, params
  pairs = dict(LAYER_MAPS[config.distil.layer_map](wanted, own))
  bert = {k: v for k, v in params['bert'].items() if 'layer_' not in k}
  for number in range(1, wanted + 1):
    source = pairs.get(number, own - (wanted - number))
    bert[f'layer_{number - 1}'] = params['bert'][f'layer_{source - 1}']
  config = dataclasses.replace(model.config, num_hidden_layers=wanted)
  return model.clone(config=config, parent=None), {**params, 'bert': bert}


def with_projection(params, model: BertModel, teacher: Teacher, seed: int):
  """A student's params, and what takes its features to its teacher's width.

  The latter is learned beside them and written nowhere. Where widths agree
  there is none.
  """
  own, theirs = (m.config.hidden_size for m in (model, teacher.model))
  if own == theirs:
    return params
  return {
    **params,
    PROJECTION: init_projection(jax.random.key(seed), own, theirs),
  }
