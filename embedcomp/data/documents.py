"""Texts with labels, and their division into parts."""

import dataclasses
from collections.abc import Sequence

import numpy as np

UNSEEN = -1  # the label of a document whose label is not among the names


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
  """Texts of one split, or pairs of texts, in a fixed order.

  Attributes:
    texts: N texts; some of them may be empty.
    labels: [N] int32 positions in a data set's label names, `UNSEEN` for a
      label that the training split does not have; or [N] float32 real numbers;
      None for unlabelled text.
    pairs: N second texts; None where texts stand alone.

  Raises:
    ValueError: if there is no text, or if texts, pairs and labels do not fit.

  Example:
    >>> Documents(('good', 'bad'), [1, 0]).labels
    array([1, 0], dtype=int32)
  """

  texts: tuple[str, ...]
  labels: np.ndarray | None = None
  pairs: tuple[str, ...] | None = None

  def __post_init__(self) -> None:
    texts = _check_texts('texts', self.texts)
    if not texts:
      raise ValueError('documents must be at least one, got none.')
    object.__setattr__(self, 'texts', texts)
    if self.labels is not None:
      object.__setattr__(self, 'labels', _check_labels(self.labels, len(texts)))
    if self.pairs is not None:
      pairs = _check_texts('pairs', self.pairs)
      if len(pairs) != len(texts):
        raise ValueError(
          f'pairs must be {len(texts)} texts, one for each text, '
          f'got {len(pairs)}.'
        )
      object.__setattr__(self, 'pairs', pairs)

  def __len__(self) -> int:
    return len(self.texts)

  @property
  def has_real_labels(self) -> bool:
    """True if labels are real numbers."""
    return self.labels is not None and self.labels.dtype == np.float32

  def take(self, indices: Sequence[int] | np.ndarray) -> 'Documents':
    """Selects documents.

    Args:
      indices: [M] positions of documents.

    Returns:
      M documents in the order of `indices`.
    """
    texts = tuple(self.texts[index] for index in indices)
    labels = None if self.labels is None else self.labels[indices]
    pairs = self.pairs and tuple(self.pairs[index] for index in indices)
    return Documents(texts, labels, pairs)


def _check_texts(name: str, texts: Sequence[str]) -> tuple[str, ...]:
  """Returns texts as a tuple, or raises ValueError."""
  wrong = [text for text in texts if not isinstance(text, str)]
  if wrong or isinstance(texts, str):
    raise ValueError(
      f'{name} must be a sequence of str, got {(wrong or texts)[0]!r}.'
    )
  return tuple(texts)


def _check_labels(labels, num_texts: int) -> np.ndarray:
  """Returns labels as a read-only [N] int32 or float32 array."""
  array = np.asarray(labels)
  is_real = np.issubdtype(array.dtype, np.floating)
  is_number = is_real or np.issubdtype(array.dtype, np.integer)
  if array.shape != (num_texts,) or not is_number:
    raise ValueError(
      f'labels must be {num_texts} integers or real numbers, one for each '
      f'text, got {array.dtype}{list(array.shape)}.'
    )
  if is_real:
    with np.errstate(over='ignore'):  # found out just below
      array = array.astype(np.float32)
    if not np.isfinite(array).all():
      raise ValueError(
        f'labels must be finite, number {np.isfinite(array).argmin()} is not.'
      )
  elif array.min() < UNSEEN or array.max() > np.iinfo(np.int32).max:
    raise ValueError(
      f'labels must be {UNSEEN} or positions of label names, '
      f'got {array.min()} to {array.max()}.'
    )
  array = array.astype(np.float32 if is_real else np.int32)
  array.flags.writeable = False
  return array


@dataclasses.dataclass(frozen=True, eq=False)
class TextDataset:
  """Documents for training and testing.

  Attributes:
    name: of the data set.
    label_names: of the labels 0, 1, ...; () for unlabelled text and for real
      numbers.
    splits: 'train', 'test' and sometimes 'validation'.

  Raises:
    ValueError: if a split is missing or has no words, if some splits are of
      pairs and others are not, if labels are not those of `label_names`, or if
      the training split has a single label.
  """

  name: str
  label_names: tuple[str, ...]
  splits: dict[str, Documents]

  def __post_init__(self) -> None:
    object.__setattr__(self, 'label_names', tuple(self.label_names))
    missing = {'train', 'test'} - set(self.splits)
    if missing:
      raise ValueError(
        f'{self.name} must have the splits train and test, '
        f'got {sorted(self.splits)}.'
      )
    if len(set(self.label_names)) < len(self.label_names):
      raise ValueError(
        f'label names of {self.name} must differ, got {self.label_names}.'
      )
    for split, documents in self.splits.items():
      if not any(text.strip() for text in documents.texts):
        raise ValueError(f'{self.name}: all texts of {split} are empty.')
      if (documents.pairs is None) != (self.splits['train'].pairs is None):
        raise ValueError(
          f'{self.name}: all splits must be of pairs, or none, but train and '
          f'{split} differ.'
        )
      self._check_split(split, documents.labels)

  @property
  def has_real_labels(self) -> bool:
    """True if labels are real numbers."""
    return self.splits['train'].has_real_labels

  def _check_split(self, split: str, labels: np.ndarray | None) -> None:
    """Raises ValueError unless labels and label names fit."""
    is_real = self.splits[split].has_real_labels
    if is_real != self.has_real_labels:
      raise ValueError(
        f'{self.name}: labels of all splits must be real numbers, or of none, '
        f'but those of train and {split} differ.'
      )
    if is_real and self.label_names:
      raise ValueError(
        f'{self.name}: real numbers have no names, but the label names are '
        f'{self.label_names}.'
      )
    if not is_real and (labels is None) != (not self.label_names):
      raise ValueError(
        f'{self.name}: {split} {"lacks" if labels is None else "has"} labels, '
        f'but the label names are {self.label_names}.'
      )
    if labels is None:
      return
    if not is_real and labels.max() >= len(self.label_names):
      raise ValueError(
        f'{self.name}: labels of {split} must be below '
        f'{len(self.label_names)}, got {labels.max()}.'
      )
    if split != 'train':
      return
    if not is_real and labels.min() < 0:
      raise ValueError(
        f'{self.name}: every training document needs a label, document '
        f'{labels.argmin()} has none.'
      )
    if (labels == labels[0]).all():
      only = labels[0] if is_real else repr(self.label_names[labels[0]])
      raise ValueError(
        f'{self.name}: the training split must have two or more labels, all '
        f'documents have {only}.'
      )


def split_off(
  documents: Documents, share: float, seed: int
) -> tuple[Documents, Documents]:
  """Divides documents at random, label by label.

  Each label gives the part its share, rounded so that the sizes sum up, but
  never its last document; real numbers count as one label. The order of
  documents stays.

  Args:
    documents: N of them.
    share: of the documents that go into the part, in (0, 1).
    seed: the same seed divides the same documents alike.

  Returns:
    The rest, and the part of round(share * N) documents (fewer where too many
    labels have only one).

  Raises:
    ValueError: if share is not in (0, 1) or leaves either side empty.

  Example:
    >>> documents = Documents(('a', 'b', 'c', 'd'), [0, 0, 1, 1])
    >>> rest, part = split_off(documents, 0.5, seed=0)
    >>> rest.labels.tolist(), part.labels.tolist()
    ([0, 1], [0, 1])
  """
  if not 0 < share < 1:
    raise ValueError(f'share must be in (0, 1), got {share}.')
  size = len(documents)
  labels = documents.labels
  if labels is None or documents.has_real_labels:
    labels = np.zeros(size, np.int32)
  _, classes, counts = np.unique(
    labels, return_inverse=True, return_counts=True
  )
  shuffled = np.random.default_rng(seed).permutation(size)
  by_class = shuffled[np.argsort(classes[shuffled], kind='stable')]
  starts = np.cumsum(counts) - counts
  chosen = np.zeros(size, bool)
  for start, taken in zip(starts, _shares(counts, share)):
    chosen[by_class[start : start + taken]] = True
  if not 0 < chosen.sum() < size:
    raise ValueError(
      f'a share of {share} of {size} documents ({len(counts)} labels) leaves '
      'one side empty; take another share or more documents.'
    )
  return (
    documents.take(np.flatnonzero(~chosen)),
    documents.take(np.flatnonzero(chosen)),
  )


def _shares(counts: np.ndarray, share: float) -> np.ndarray:
  """Shares out the part by largest remainders; never all of one class."""
  exact = counts * share
  taken = np.minimum(np.floor(exact).astype(int), counts - 1)
  open_seats = round(float(counts.sum() * share)) - taken.sum()
  by_remainder = np.argsort(taken - exact, kind='stable')
  free = by_remainder[taken[by_remainder] < counts[by_remainder] - 1]
  taken[free[: max(open_seats, 0)]] += 1
  return taken
