"""Problem of an experiment: data in batches, a model around an embedder."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import flax.linen as nn
import numpy as np

from embedcomp import data as data_lib
from embedcomp.compression.post_training import OPTION_METHODS
from embedcomp.distillation import Objective
from embedcomp.search.sensitivity import Sensitivity
from embedcomp.table.scheme import Scheme
from embedcomp.training import tasks

Variables = dict[str, Any]


class Words(Protocol):
  """The words of a table, which an experiment may put in any order.

  Attributes:
    counts: [V] how often each occurs in the training data.
  """

  counts: np.ndarray

  def __len__(self) -> int:
    """V."""

  def reordered(self, order: np.ndarray) -> Self:
    """The same words, [V] `order` the old id of each new one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
  """Data and models of one experiment.

  Attributes:
    kind: of the task, see `embedcomp.training.tasks`.
    vocabulary: V words, the most frequent first but for some fixed ones.
    features: D.
    train: batches of all training data.
    weights: batches of what weights learn from during a search.
    held_out: batches of what sizes learn from then, of one shape.
    splits: batches to evaluate on: 'held_out', 'validation', 'test'.
    make_model: puts a model around an embedder.
    num_fixed: so many first words keep their ids (padding, unknown words).
    padding: id of padding.
    word_params: paths of params, but for the table, with a row for each word.
    pretrained: variables of the model around a dense table to start from; None
      starts from noise.
    sensitivity: of the task to its words, once it has been measured.
    scheme: of the table of `pretrained`; None if it is dense.
    objective: what is learned from a teacher; None without one.
    is_frozen: takes the keys of a param and says whether it is not trained;
      None trains all.
  """

  kind: str
  vocabulary: Words
  features: int
  train: Any
  weights: Any
  held_out: Any
  splits: dict[str, Any]
  make_model: Callable[[nn.Module], nn.Module]
  num_fixed: int = len(data_lib.SPECIAL_WORDS)
  padding: int = data_lib.PADDING
  word_params: tuple[tuple[str, ...], ...] = ()
  pretrained: Variables | None = None
  scheme: Scheme | None = None
  objective: Objective | None = None
  sensitivity: Sensitivity | None = None
  is_frozen: Callable[[tuple[str, ...]], bool] | None = None

  @property
  def vocab_size(self) -> int:
    """V."""
    return len(self.vocabulary)

  @property
  def counts(self) -> np.ndarray:
    """[V] how often each word occurs in the training data."""
    return self.vocabulary.counts

  @property
  def importance(self) -> np.ndarray:
    """[V] what an error of each word weighs.

    Its sensitivity if that has been measured, else what its frequency says,
    made to fall. Words are in order already, but for fixed ones, which stay
    where they are, so that no order map is needed.
    """
    if self.sensitivity is not None:
      return self.sensitivity.importance
    return np.maximum.accumulate(self.importance_by_frequency[::-1])[::-1]

  @property
  def importance_by_frequency(self) -> np.ndarray:
    """[V] what an error of each word weighs by how often it is read."""
    return self.counts + 1.0

  @property
  def methods(self) -> tuple[str, ...]:
    """Methods that a table is compressed with after training."""
    return OPTION_METHODS

  @property
  def dense_bytes(self) -> int:
    """Bytes of the table in float32."""
    return 4 * self.vocab_size * self.features

  def task(self, embedder: nn.Module) -> tasks.Task:
    """The model around an embedder, with its loss."""
    model = self.make_model(embedder)
    return tasks.Task(self.kind, model, objective=self.objective)

  def write(
    self, folder: Path, embedder: nn.Module, variables: Variables
  ) -> None:
    """Writes what readers of a compressed table need besides.

    Args:
      folder: of the run.
      embedder: of the final model.
      variables: of the final model.
    """
    del embedder, variables
    self.vocabulary.save(folder / 'vocabulary.json')

  def sorted_by(self, sensitivity: Sensitivity) -> tuple['Problem', np.ndarray]:
    """The same problem, words sorted by what the task needs of them.

    Costs no bytes, for the vocabulary is the experiment's own.

    Returns:
      The problem, and [V] the old id of each new one.
    """
    order = sensitivity.order(fixed=self.num_fixed)
    known = dataclasses.replace(self, sensitivity=sensitivity.reordered(order))
    return known.reordered(order), order

  def reordered(self, order: np.ndarray) -> 'Problem':
    """The same problem with other ids, [V] `order` the old id of each new one.

    What has been measured of words stays as it is.
    """
    new_ids = np.argsort(order)

    def renumbered(batches):
      return data_lib.RenumberedBatches(batches, new_ids)

    pretrained = self.pretrained
    if pretrained is not None:
      pretrained = self.renumbered_variables(pretrained, order)
    return dataclasses.replace(
      self,
      vocabulary=self.vocabulary.reordered(order),
      train=renumbered(self.train),
      weights=renumbered(self.weights),
      held_out=renumbered(self.held_out),
      splits={name: renumbered(b) for name, b in self.splits.items()},
      pretrained=pretrained,
    )

  def renumbered_variables(
    self, variables: Variables, order: np.ndarray
  ) -> Variables:
    """Variables of a dense model whose words take the ids of an order."""
    params = variables['params']
    for path in (('embedder', 'embedding'), *self.word_params):
      params = _with_rows(params, path, order)
    return {**variables, 'params': params}


def _with_rows(tree, path: tuple[str, ...], order: np.ndarray):
  """A nested dict in which one array has its rows in another order."""
  if not path:
    return np.asarray(tree)[order]
  return {**tree, path[0]: _with_rows(tree[path[0]], path[1:], order)}
