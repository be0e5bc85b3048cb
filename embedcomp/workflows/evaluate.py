"""Measuring a model of the BERT family on labelled texts."""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.data.batches.labelled import TokenBatches
from embedcomp.data.datasets.load import load
from embedcomp.data.documents import Documents, TextDataset
from embedcomp.data.fields import Fields
from embedcomp.data.subword_tokenizer import SubwordTokenizer
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.embedding import to_variables
from embedcomp.training import tasks
from embedcomp.training.evaluator import make_evaluator
from embedcomp.types import Params
from embedcomp.workflows.read_model import padded_by, read_model

# By task: the head that is measured.
HEADS = {
  tasks.CLASSIFICATION: 'classification',
  tasks.REGRESSION: 'classification',
  tasks.SIMILARITY: 'sentence',
}
_BATCH_SIZE = 64
_BUCKETS = (16, 32, 64)  # lengths to pad to, besides the largest


@dataclasses.dataclass(frozen=True)
class LabelledTexts:
  """Labelled texts of a file, a folder or a data set.

  Attributes:
    source: a file (.csv, .tsv, .jsonl), a folder with train and test, or a
      name of TensorFlow Datasets.
    split: 'test' if not given; of a single file all there is.
    text_field: name of the texts, or number of a column from 0 on.
    pair_field: likewise of second texts, where there are any.
    label_field: likewise of the labels.
    label_scale: number that labels were divided by in training.

  Raises:
    ValueError: for a scale that is not positive and finite.
  """

  source: str | os.PathLike[str]
  split: str | None = None
  text_field: str | None = None
  pair_field: str | None = None
  label_field: str | None = None
  label_scale: float = 1.0

  def __post_init__(self) -> None:
    if not 0 < self.label_scale < math.inf:
      raise ValueError(
        f'label_scale must be positive and finite, got {self.label_scale}.'
      )


def evaluate_model(
  model_dir: str | os.PathLike[str],
  data: LabelledTexts,
  task: str,
  *,
  max_length: int = 128,
  progress: bool = True,
) -> dict[str, float]:
  """Measures the model of a directory on labelled texts.

  Args:
    model_dir: a directory that `from_pretrained` reads.
    data: the texts.
    task: 'classification', 'regression' or 'similarity'.
    max_length: tokens that longer texts are cut to.
    progress: whether to show progress.

  Returns:
    See `evaluate`.

  Raises:
    FileNotFoundError: if a file is missing.
    ImportError: for data that need packages which are not installed.
    OSError: if data cannot be fetched.
    ValueError: if an argument is not valid, a file is damaged, or model and
      texts do not suit the task.
  """
  if task not in HEADS:
    raise ValueError(f'task must be one of {sorted(HEADS)}, got {task!r}.')
  model, params, labels = read_model(model_dir, HEADS[task])
  documents = _read_documents(data, task, labels)
  tokenizer = SubwordTokenizer.load(model_dir)
  return evaluate(
    task,
    model,
    params,
    tokenizer,
    documents,
    max_length=max_length,
    progress=progress,
  )


def evaluate(
  kind: str,
  model: nn.Module,
  params: Params,
  tokenizer: SubwordTokenizer,
  documents: Documents,
  *,
  max_length: int = 128,
  progress: bool = True,
) -> dict[str, float]:
  """Measures the loss and the metric of a model.

  Args:
    kind: 'classification', 'regression' or 'similarity'; see `training.tasks`.
    model: with the head that the kind needs, as `from_pretrained` reads it.
    params: of the model, trainable and stored ones together.
    tokenizer: of the model.
    documents: with labels, and with pairs for a similarity.
    max_length: tokens that longer texts are cut to.
    progress: whether to show progress.

  Returns:
    See `Task.summarise`.

  Raises:
    ValueError: if model, tokenizer and documents do not fit.
  """
  model = padded_by(model, tokenizer)
  is_apart = kind == tasks.SIMILARITY
  batches = _batches(model.config, tokenizer, documents, max_length, is_apart)
  each = track(
    batches.for_evaluation(),
    'measuring',
    enabled=progress,
    total=batches.num_batches,
  )
  return make_evaluator(tasks.Task(kind, model))(to_variables(params), each)


def joined(parts: Sequence[Documents]) -> Documents:
  """Joins the documents of parts that all have labels or all have none.

  Args:
    parts: of one data set.

  Returns:
    The documents in the order of the parts.
  """
  texts = tuple(text for part in parts for text in part.texts)
  labels = pairs = None
  if parts[0].labels is not None:
    labels = np.concatenate([part.labels for part in parts])
  if parts[0].pairs is not None:
    pairs = tuple(pair for part in parts for pair in part.pairs or ())
  return Documents(texts, labels, pairs)


def renumbered(
  labels: np.ndarray, names: Sequence[str], own: Sequence[str]
) -> np.ndarray:
  """Renumbers labels of data as a model numbers their names.

  Args:
    labels: [N] int32 positions in `names`, negative where a label is unseen.
    names: of the data's labels, in upper or lower case.
    own: names of the model's; LABEL_0, LABEL_1, ... stand for any.

  Returns:
    [N] int32 positions in `own`.

  Raises:
    ValueError: for a label that the model does not have.

  Example:
    >>> renumbered(np.array([0, 1, -1]), ['bad', 'good'], ['GOOD', 'BAD'])
    array([ 1,  0, -1], dtype=int32)
  """
  numbers = {name.casefold(): number for number, name in enumerate(own)}
  if all(name.casefold() in numbers for name in names):
    new = np.array([numbers[name.casefold()] for name in names], np.int32)
    return np.where(labels < 0, np.int32(-1), new[labels])
  has_names = list(own) != [f'LABEL_{number}' for number in range(len(own))]
  if has_names or len(names) > len(own):
    raise ValueError(
      f'labels must be among those of the model, {", ".join(own)}, '
      f'got {", ".join(names)}.'
    )
  return labels


def _read_documents(
  data: LabelledTexts, task: str, labels: Sequence[str] | None
) -> Documents:
  """Texts to measure on, their labels as the model has them."""
  is_class = task == tasks.CLASSIFICATION
  dataset = load(
    data.source,
    Fields(
      text_field=data.text_field,
      pair_field=data.pair_field,
      label_field=data.label_field,
      real_labels=not is_class,
    ),
  )
  documents = _find_split(data, dataset)
  if task == tasks.SIMILARITY and documents.pairs is None:
    raise ValueError('a similarity needs second texts: set pair_field.')
  found = documents.labels
  if found is None:
    raise ValueError(f'{data.source} has no labels: set label_field.')
  if is_class:
    found = renumbered(found, dataset.label_names or (), labels or ())
  else:
    found = found / data.label_scale
  return dataclasses.replace(documents, labels=found)


def _find_split(data: LabelledTexts, dataset: TextDataset) -> Documents:
  splits, split = dataset.splits, data.split
  if split is None and Path(data.source).expanduser().is_file():
    return joined([splits['train'], splits['test']])
  split = split or 'test'
  if split not in splits:
    raise ValueError(
      f'{data.source} has no split {split!r}, only {sorted(splits)}.'
    )
  return splits[split]


def _batches(
  config: BertConfig,
  tokenizer: SubwordTokenizer,
  documents: Documents,
  max_length: int,
  is_apart: bool,
) -> TokenBatches:
  labels, pairs = documents.labels, documents.pairs
  if labels is None:
    raise ValueError('documents must have labels to measure with, got none.')
  length = min(max_length, config.longest_input)
  together, apart = pairs, None
  if is_apart:
    if pairs is None:
      raise ValueError('a similarity needs second texts: set pair_field.')
    together, apart = None, tokenizer.encode(pairs, max_length=length)
  num_devices = jax.device_count()
  return TokenBatches(
    tokenizer.encode(documents.texts, together, max_length=length),
    labels,
    max(_BATCH_SIZE // num_devices, 1) * num_devices,
    pairs=apart,
    padding=tokenizer.pad_id,
    buckets=[size for size in _BUCKETS if size < length] + [length],
  )
