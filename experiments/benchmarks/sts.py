"""Pairs of sentences with scores of how alike they are."""

import os
from pathlib import Path

import numpy as np

from embedcomp import data as data_lib


def benchmark() -> data_lib.TextDataset:
  """STS-B; see `bert_table` for where it is."""
  folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
  if folder:
    return data_lib.load(
      Path(folder, 'stsb'),
      data_lib.Fields(
        text_field='0', pair_field='1', label_field='2', real_labels=True
      ),
    )
  return data_lib.load(
    'glue/stsb',
    data_lib.Fields(
      text_field='sentence1',
      pair_field='sentence2',
      label_field='label',
      real_labels=True,
    ),
  )


def made_up() -> data_lib.TextDataset:
  """Sentences that are the more alike the higher their score."""
  rng = np.random.default_rng(0)
  words = [f'{a}{b}{c}' for a in 'bdgklm' for b in 'aeiou' for c in 'nrst']
  splits = {}
  for split in ('train', 'validation', 'test'):
    shared = rng.integers(0, 7, 32)
    texts, pairs = [], []
    for number in shared:
      first, second = rng.choice(words, (2, 6))
      texts.append(' '.join(first))
      pairs.append(' '.join([*first[:number], *second[number:]]))
    splits[split] = data_lib.Documents(texts, shared.astype(float), pairs)
  return data_lib.TextDataset('made up', (), splits)
