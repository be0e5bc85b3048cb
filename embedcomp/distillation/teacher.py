"""Outputs of a teacher for batches, computed as they come or kept on a disk.

The teacher stands outside of the training step: it gets no gradient, its params
are in no checkpoint, and its outputs for one batch at most are in memory.
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
from embedcomp.nn.bert.outputs import OUTPUTS_COLLECTION, ModelOutputs

_MEASURED_BATCHES = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
  """Model that students copy; it does not change.

  Attributes:
    model: of the BERT family, with a head; its ids are those of the batches.
    variables: of the model, all collections.
    objective: determines the outputs that are compared.
  """

  model: nn.Module
  variables: Any
  objective: Objective

  def __call__(self, batch: Batch) -> ModelOutputs:
    """Computes the outputs that the objective needs.

    Args:
      batch: `ids` [B, T], and `token_types` if it has any.

    Returns:
      The outputs; None or empty are those that it does not need.
    """
    inputs = {}
    if 'token_types' in batch:
      inputs['token_type_ids'] = jnp.asarray(batch['token_types'])
    return self._apply(self.variables, jnp.asarray(batch['ids']), inputs)

  @functools.cached_property
  def _apply(self):
    @jax.jit
    def apply(variables, ids, inputs):
      output, sown = self.model.apply(
        variables, ids, **inputs, mutable=[OUTPUTS_COLLECTION]
      )
      outputs = ModelOutputs.from_variables(output, sown)
      return self.objective.needed(outputs)

    return apply

  def measured(self, batches: Iterable[Batch]) -> 'Teacher':
    """Returns the teacher with the variances of its hidden states.

    Args:
      batches: as of `for_evaluation`; a few of them, spread over all, are read.

    Returns:
      The same teacher, whose objective has `variances`.

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
      is_token = batches[row]['ids'] != padding
      objective = self.objective.measured(self(batches[row]), is_token)
      found.append(objective.variances)
    variances = tuple(np.mean(found, axis=0).tolist())
    objective = dataclasses.replace(self.objective, variances=variances)
    return dataclasses.replace(self, objective=objective)


@dataclasses.dataclass(frozen=True, eq=False)
class TaughtBatches(WrappedBatches):
  """Batches with the outputs of a teacher for each under 'teacher'.

  With a cache, the teacher reads the batches of one epoch once, before the
  first is asked for; further epochs are the same batches in another order.
  Numbers are kept in float16.

  Attributes:
    batches: of texts, such as `TokenBatches`.
    teacher: see `Teacher`.
    cache: a file for the outputs, which is written if it is not there; None
      computes them each time.
    progress: True shows a progress bar while it is written.

  Raises:
    ImportError: if there is a cache and array_record is not installed.
    ValueError: if the cache is of other batches or of another teacher.
  """

  teacher: Teacher
  cache: Path | None = None
  progress: bool = True

  def at(self, step: int) -> Batch:
    """Returns the batch of a step."""
    if self.cache is None:
      return self._taught(self.batches.at(step))
    epoch, turn = divmod(step, self.num_batches)
    order = np.random.default_rng(epoch).permutation(self.num_batches)
    number = int(order[turn])
    outputs = _unpacked(self._reader.read([number + 1])[0])
    return {**self.batches.at(number), 'teacher': outputs}

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once."""
    return map(self._taught, self.batches.for_evaluation())

  def _taught(self, batch: Batch) -> dict[str, Any]:
    return {**batch, 'teacher': self.teacher(batch)}

  @functools.cached_property
  def _reader(self):
    """Reader of the records: a label of the whole, then one for each batch."""
    record = _import_array_record()
    label = json.dumps(self._label(), sort_keys=True).encode()
    assert self.cache is not None  # without one nothing is read
    if not self.cache.exists():
      self._write(self.cache, record, label)
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

  def _write(self, cache: Path, record, label: bytes) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_name(f'{cache.name}.{os.getpid()}.part')
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
      part.replace(cache)
    finally:
      part.unlink(missing_ok=True)

  def _label(self) -> dict[str, Any]:
    """Returns checksums of what the outputs depend on."""
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


def _packed(outputs: ModelOutputs) -> bytes:
  arrays = {'output': outputs.output}
  arrays |= {f'state_{i}': s for i, s in enumerate(outputs.hidden_states)}
  if outputs.query_key_value is not None:
    arrays['query_key_value'] = outputs.query_key_value
  halves: dict[str, Any] = {
    name: np.asarray(array, np.float16) for name, array in arrays.items()
  }
  buffer = io.BytesIO()
  np.savez(buffer, **halves)
  return buffer.getvalue()


def _unpacked(packed: bytes) -> ModelOutputs:
  with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
    found = {name: arrays[name].astype(np.float32) for name in arrays.files}
  states = tuple(
    found[f'state_{i}'] for i in range(len(found)) if f'state_{i}' in found
  )
  return ModelOutputs(found['output'], states, found.get('query_key_value'))


def _import_array_record():
  name = 'array_record.python.array_record_module'
  return optional.require(name, extra='data')
