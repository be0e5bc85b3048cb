"""Parts of an experiment's data, and their batches."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from embedcomp import data as data_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """The parts of a data set, as documents or as tokens.

  Attributes:
    train: all training data; it consists of the next two.
    weights: what weights learn from during a search.
    held_out: what sizes learn from then.
    validation: to select by.
    test: read once.
  """

  train: Any
  weights: Any
  held_out: Any
  validation: Any
  test: Any

  def batched(
    self, config: ConfigDict, make_batches: Callable[..., Any]
  ) -> dict[str, Any]:
    """Batches of the parts, as attributes of a `Problem`.

    Args:
      config: see `configs/common.py`.
      make_batches: takes a part, the size of a batch and `one_shape` (whether
        all batches must have the longest rows) and `shard`.
    """
    size = config.optim.batch_size
    own = data_lib.Shard(jax.process_index(), jax.process_count())
    return {
      'train': make_batches(self.train, size, shard=own),
      'weights': make_batches(self.weights, size, shard=own),
      'held_out': make_batches(
        self.held_out if config.search.held_out else self.weights,
        _held_out_size(size),
        one_shape=True,
        shard=own,
      ),
      'splits': {
        'held_out': make_batches(self.held_out, size),
        'validation': make_batches(self.validation, size),
        'test': make_batches(self.test, size),
      },
    }


def limited(documents: data_lib.Documents, config: ConfigDict):
  """As many documents as the config allows, the same for all seeds."""
  most = config.data.max_documents
  if most is None or most >= len(documents):
    return documents
  order = np.random.default_rng(0).permutation(len(documents))
  return documents.take(np.sort(order[:most]))


def labelled_parts(config: ConfigDict, dataset: data_lib.TextDataset) -> Parts:
  """The documents of a data set with labels, divided alike for all seeds."""
  train = limited(dataset.splits['train'], config)
  if 'validation' in dataset.splits:
    validation = limited(dataset.splits['validation'], config)
  else:  # the same for all seeds, so that their figures can be compared
    train, validation = data_lib.split_off(train, config.data.validation, 0)
  test = limited(dataset.splits['test'], config)
  weights, held_out = data_lib.split_off(train, config.data.held_out, 0)
  return Parts(train, weights, held_out, validation, test)


def plain_documents(config: ConfigDict, dataset: data_lib.TextDataset):
  """Documents of plain text: those of training, validation and test."""
  train = limited(dataset.splits['train'], config)
  test = limited(dataset.splits['test'], config)
  if 'validation' in dataset.splits:
    return train, limited(dataset.splits['validation'], config), test
  # Every other document, so that both halves are alike.
  rows = np.arange(len(test))
  return train, test.take(rows[::2]), test.take(rows[1::2])


def some_texts(
  texts, most: int | None, count: Callable[[str], int]
) -> list[str]:
  """Texts in a random but fixed order, until they hold so many words.

  Args:
    texts: to choose from.
    most: words; None for no limit.
    count: words of a text.
  """
  chosen = []
  for row in np.random.default_rng(0).permutation(len(texts)):
    if most is not None and most <= 0:
      break
    chosen.append(texts[row])
    if most is not None:
      most -= count(texts[row])
  return chosen


def _held_out_size(batch_size: int) -> int:
  """Rows of a held-out batch: an eighth, and some for every device."""
  devices = jax.device_count()
  return max(batch_size // 8 // devices, 1) * devices
