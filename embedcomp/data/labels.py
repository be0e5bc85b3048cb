"""Names and numbers of labels, and test splits."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from embedcomp.data.documents import UNSEEN, Documents, TextDataset, split_off

_LOGGER = logging.getLogger(__name__)
TEST_SHARE = 0.1  # of training documents, if a data set has no test split


class Rows(NamedTuple):
  """Documents of a split, as they were read.

  Attributes:
    texts: N texts.
    labels: N names of classes or N real numbers; None for unlabelled text.
    pairs: N second texts; None where texts stand alone.
  """

  texts: list[str]
  labels: list[str] | list[float] | None
  pairs: list[str] | None = None


def dataset_from_rows(name: str, splits: Mapping[str, Rows]) -> TextDataset:
  """Numbers the labels of all splits, and makes a test split if there is none.

  The label names are those of the training split, in alphabetical order, or in
  numerical order if all are integers. Documents with another label get
  `UNSEEN`; how many these are is logged. Labels that are real numbers stay as
  they are and have no names. Without a test split the validation
  split is for testing, and without that a tenth of the training documents is:
  some of each label, or the last tenth of unlabelled text.

  Args:
    name: of the data set.
    splits: rows by name of split.

  Returns:
    The data set.

  Raises:
    ValueError: as `TextDataset`.
  """
  train_labels = splits['train'].labels or [] if 'train' in splits else []
  is_real = any(isinstance(label, float) for label in train_labels)
  names = () if is_real else _label_names(train_labels)
  documents = {}
  for split, (texts, labels, pairs) in splits.items():
    numbers = labels if is_real else _number(name, split, labels, names)
    documents[split] = Documents(
      tuple(texts),
      None if numbers is None else np.asarray(numbers),
      None if pairs is None else tuple(pairs),
    )
  return TextDataset(name, names, with_test_split(documents))


def with_test_split(splits: Mapping[str, Documents]) -> dict[str, Documents]:
  """Makes a test split if there is none; see `dataset_from_rows`."""
  splits = dict(splits)
  if 'test' not in splits and 'validation' in splits:
    splits['test'] = splits.pop('validation')
  if 'test' not in splits and len(splits.get('train', ())) > 1:
    train = splits['train']
    if train.labels is None:
      size = max(1, round(TEST_SHARE * len(train)))
      positions = range(len(train))
      splits['train'] = train.take(positions[:-size])
      splits['test'] = train.take(positions[-size:])
    else:
      splits['train'], splits['test'] = split_off(train, TEST_SHARE, seed=0)
  return splits


def _label_names(labels: Sequence[Any]) -> tuple[str, ...]:
  """Returns the different labels in order."""
  names = set(labels)
  try:
    return tuple(sorted(names, key=lambda name: (int(name), name)))
  except ValueError:
    return tuple(sorted(names))


def _number(
  name: str,
  split: str,
  labels: Sequence[Any] | None,
  names: Sequence[str],
) -> list[int] | None:
  """Numbers labels by their names; returns None without labels."""
  if labels is None:
    return None
  positions = {label: position for position, label in enumerate(names)}
  unseen = [label for label in labels if label not in positions]
  if unseen:
    some = ', '.join(map(repr, sorted(set(unseen))[:5]))
    _LOGGER.warning(
      '%s: %d of %d documents of %s have labels that training documents do '
      'not have (%s ...): they are not counted.',
      name,
      len(unseen),
      len(labels),
      split,
      some,
    )
  return [positions.get(label, UNSEEN) for label in labels]
