"""Documents that are longer than a model reads, as a config says."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from embedcomp import data as data_lib
from embedcomp.data.batches import long_documents
from embedcomp.training import tasks

_READINGS = ('first', 'sentences', 'fixed_sentences', 'windows', 'apart')


def check(config: ConfigDict) -> None:
  """Raises ValueError unless texts can be read as the config wants it."""
  data = config.data
  if data.reading not in _READINGS:
    raise ValueError(
      f'data.reading must be one of {_READINGS}, got {data.reading!r}.'
    )
  if data.reading == 'first':
    return
  if data.reading == 'apart':
    if config.task != tasks.DISTILLATION:
      raise ValueError(
        f"data.reading='apart' is for distillation, not for {config.task}: its "
        'labels are those of whole texts.'
      )
    return
  is_alone = config.task in (tasks.CLASSIFICATION, tasks.REGRESSION)
  if not is_alone or data.pair_field is not None:
    raise ValueError(
      f"data.reading must be 'first' but for texts that are labelled one by "
      f'one, got {data.reading!r} for {config.task}, pair_field '
      f'{data.pair_field!r}.'
    )
  window = data.window
  odd = [size for size in data.buckets if size > window and size % window]
  if data.reading == 'windows' and odd:
    raise ValueError(
      f'data.buckets must be multiples of data.window {window}, or smaller, '
      f'got {odd}.'
    )


def unlabelled(
  config: ConfigDict, dataset: data_lib.TextDataset
) -> data_lib.TextDataset:
  """The texts of a data set, or their sentences, without labels."""

  def without(documents: data_lib.Documents) -> data_lib.Documents:
    texts = [*documents.texts, *(documents.pairs or ())]
    if config.data.reading == 'apart':
      texts = [one for text in texts for one in long_documents.sentences(text)]
    return data_lib.Documents(tuple(texts))

  splits = {
    name: without(documents) for name, documents in dataset.splits.items()
  }
  return dataclasses.replace(dataset, splits=splits, label_names=())


def long_enough(
  config: ConfigDict,
  dataset: data_lib.TextDataset,
  tokenizer: data_lib.SubwordTokenizer,
) -> data_lib.TextDataset:
  """The data set without documents of fewer pieces than are wanted."""
  least = config.data.min_pieces
  if not least:
    return dataset
  splits = {
    name: long_documents.of_length(documents, tokenizer, least)
    for name, documents in dataset.splits.items()
  }
  return dataclasses.replace(dataset, splits=splits)


def batches(
  config: ConfigDict,
  tokenizer: data_lib.SubwordTokenizer,
  texts: Sequence[str],
  pairs: Sequence[str] | None,
  make_batches: Callable[[list[data_lib.Encoded]], Any],
) -> Any:
  """Batches of what is read of some texts.

  Args:
    config: see `configs/common.py`.
    tokenizer: of the model.
    texts: N of them.
    pairs: N second texts, each to follow its first one; None without.
    make_batches: takes N encoded texts to batches.
  """
  data, most = config.data, config.data.buckets[-1]
  if data.reading in ('first', 'apart'):
    return make_batches(tokenizer.encode(texts, pairs, max_length=most))
  if data.reading == 'windows':
    return make_batches(
      long_documents.encode_windows(tokenizer, texts, most, data.window)
    )
  draw = long_documents.encode_sentences(tokenizer, texts, most, config.seed)
  if data.reading == 'fixed_sentences':
    return make_batches(draw(0))
  return long_documents.RedrawnBatches(lambda epoch: make_batches(draw(epoch)))
