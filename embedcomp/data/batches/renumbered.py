"""Batches in which words have other ids, such as their ranks."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from embedcomp.data.batches.interface import Batch, WrappedBatches


@dataclasses.dataclass(frozen=True, eq=False)
class RenumberedBatches(WrappedBatches):
  """Batches in which words have other ids.

  Attributes:
    batches: as they were, such as `ClassificationBatches`.
    new_ids: [V] integers, the new id of each old one.
    fields: of a batch that hold words; `batches.word_fields` if not given.
  """

  new_ids: np.ndarray
  fields: tuple[str, ...] | None = None

  @property
  def word_fields(self) -> tuple[str, ...]:
    """Fields of a batch that hold words."""
    return self.batches.word_fields if self.fields is None else self.fields

  def at(self, step: int) -> Batch:
    """Returns the batch of a step."""
    return self._renumbered(self.batches.at(step))

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once."""
    return map(self._renumbered, self.batches.for_evaluation())

  def _renumbered(self, batch: Batch) -> Batch:
    words = {
      field: self.new_ids[batch[field]].astype(np.int32)
      for field in self.word_fields
    }
    return {**batch, **words}
