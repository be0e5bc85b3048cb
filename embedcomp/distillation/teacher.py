"""What a teacher says of batches, worked out as they come or kept on a disk.

The teacher stands outside of the training step: it gets no gradient, its params
are in no checkpoint, and no more than one batch of what it says is in memory.
"""

import dataclasses
import functools
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal import optional
from embedcomp._internal.progress import track
from embedcomp.data.batches.interface import Batch, WrappedBatches
from embedcomp.distillation.objective import Objective
from embedcomp.nn.bert.outputs import COLLECTION, ModelOutputs

_MEASURED_BATCHES = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
  """A model as it is, which students copy.

  Attributes:
    model: of the BERT family, with a head; its ids are those of the batches.
    variables: of it, all collections.
    objective: what is to be copied.
  """

  model: nn.Module
  variables: Any
  objective: Objective

  def __call__(self, batch: Batch) -> ModelOutputs:
    """What it says, as far as the objective needs it.

    Args:
      batch: `ids` [B, T], and `token_types` if it has any.
    """
    inputs = {}
    if 'token_types' in batch:
      inputs['token_type_ids'] = jnp.asarray(batch['token_types'])
    return self._say(self.variables, jnp.asarray(batch['ids']), inputs)

  @functools.cached_property
  def _say(self):
    @jax.jit
    def say(variables, ids, inputs):
      output, sown = self.model.apply(
        variables, ids, **inputs, mutable=[COLLECTION]
      )
      return self.objective.needed(ModelOutputs.of(output, sown))

    return say

  def measured(self, batches: Iterable[Batch]) -> 'Teacher':
    """The same, knowing how much its states vary.

    Args:
      batches: as of `for_evaluation`; a few of them, spread over all, are read.

    Raises:
      ValueError: if there are no batches.
    """
    batches = list(batches)
    if not batches:
      raise ValueError('a teacher needs batches to be measured on, got none.')
    rows = np.linspace(0, len(batches) - 1, _MEASURED_BATCHES).round()
    padding = self.model.config.pad_token_id
    found = []
    for row in np.unique(rows.astype(int)):
      ids = batches[row]['ids']
      said = self(batches[row])
      found.append(self.objective.measured(said, ids != padding).variances)
    variances = tuple(np.mean(found, axis=0).tolist())
    objective = dataclasses.replace(self.objective, variances=variances)
    return dataclasses.replace(self, objective=objective)


@dataclasses.dataclass(frozen=True, eq=False)
class TaughtBatches(WrappedBatches):
  """Batches with what a teacher says of each under 'teacher'.

  With a cache, the teacher reads the batches of one epoch once, before the
  first is asked for; further epochs are the same batches in another order.
  Numbers are kept in float16.

  Attributes:
    batches: of texts, such as `TokenBatches`.
    teacher: see `Teacher`.
    cache: a file for what it says, which is made if it is not there; None asks
      the teacher each time.
    progress: whether to show a progress bar while that is made.

  Raises:
    ImportError: if there is a cache and array_record is not installed.
    ValueError: if the cache is of other batches or of another teacher.
  """

  teacher: Teacher
  cache: Path | None = None
  progress: bool = True

  def at(self, step: int) -> Batch:
    """The batch of a step."""
    if self.cache is None:
      return self._taught(self.batches.at(step))
    epoch, place = divmod(step, self.num_batches)
    number = np.random.default_rng(epoch).permutation(self.num_batches)[place]
    said = _unpacked(self._reader.read([int(number) + 1])[0])
    return {**self.batches.at(int(number)), 'teacher': said}

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once."""
    return map(self._taught, self.batches.for_evaluation())

  def _taught(self, batch: Batch) -> Batch:
    return {**batch, 'teacher': self.teacher(batch)}

  @functools.cached_property
  def _reader(self):
    """What reads records: a label of the whole, then one for each batch."""
    record = _import_array_record()
    label = json.dumps(self._label(), sort_keys=True).encode()
    if not self.cache.exists():
      self._write(record, label)
    reader = record.ArrayRecordReader(str(self.cache))
    found = max(reader.num_records() - 1, 0)  # a damaged file has no records
    if found != self.num_batches:
      raise ValueError(
        f'{self.cache} must hold {self.num_batches} batches, got {found}: '
        'delete it to have it made anew.'
      )
    if reader.read([0])[0] != label:
      raise ValueError(
        f'{self.cache} is of other batches or of another teacher: delete it to '
        'have it made anew.'
      )
    return reader

  def _write(self, record, label: bytes) -> None:
    self.cache.parent.mkdir(parents=True, exist_ok=True)
    part = self.cache.with_name(f'{self.cache.name}.{os.getpid()}.part')
    try:
      writer = record.ArrayRecordWriter(str(part), 'group_size:1')
      writer.write(label)
      for number in track(
        range(self.num_batches),
        'asking the teacher',
        enabled=self.progress,
        unit='batch',
      ):
        writer.write(_packed(self.teacher(self.batches.at(number))))
      writer.close()
      part.replace(self.cache)
    finally:
      part.unlink(missing_ok=True)

  def _label(self) -> dict[str, Any]:
    """What a cache is of."""
    ids = (self.batches.at(n)['ids'] for n in range(self.num_batches))
    return {
      'batches': [_checksum(array) for array in ids],
      'teacher': [
        _checksum(a) for a in jax.tree.leaves(self.teacher.variables)
      ],
      'objective': repr(self.teacher.objective),
    }


def _checksum(array: Any) -> int:
  return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _packed(said: ModelOutputs) -> bytes:
  arrays = {'output': said.output}
  arrays |= {f'state_{i}': state for i, state in enumerate(said.states)}
  if said.relations is not None:
    arrays['relations'] = said.relations
  buffer = io.BytesIO()
  np.savez(buffer, **{k: np.asarray(a, np.float16) for k, a in arrays.items()})
  return buffer.getvalue()


def _unpacked(packed: bytes) -> ModelOutputs:
  with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
    found = {name: arrays[name].astype(np.float32) for name in arrays.files}
  states = tuple(
    found[f'state_{i}'] for i in range(len(found)) if f'state_{i}' in found
  )
  return ModelOutputs(found['output'], states, found.get('relations'))


def _import_array_record():
  name = 'array_record.python.array_record_module'
  return optional.require(name, extra='data')
