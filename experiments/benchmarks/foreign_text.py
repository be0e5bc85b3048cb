"""Bits a token of one text under what another says of words.

Texts are the training texts of 20 Newsgroups and Reuters R52, which come
without marks and digits, and of STS-B and SST-2, as pieces of MiniLM-L6. Each
in turn is counted, and each read: a cross-entropy, less of which is better. No
model is run. STS-B and SST-2 are `stsb/` and `sst2/` in the folder
EMBEDCOMP_BENCHMARK_DATA (see `bert_table`), or of TensorFlow Datasets.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from embedcomp import data as data_lib
from embedcomp.compression.frequency import expected_counts
from experiments.benchmarks import sts
from experiments.benchmarks.record import Job, Row
from experiments.problems import tiny_bert

SEEDS = 1  # nothing is random

_Counts = dict[str, np.ndarray]
_NO_TEXT = 'no text'


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for all.

  Args:
    smoke: whether to read made-up sentences.
    seeds: of no concern.
  """
  del seeds

  def run() -> list[Row]:
    tokenizer, texts = _made_up() if smoke else _real()
    counts = {
      name: tokenizer.count(text, special=True) for name, text in texts.items()
    }
    return [
      {'words by': label, 'counted': base, 'read': name, 'bits': bits}
      for label, expect in _ways(tokenizer.tokens).items()
      for base in counts
      for name, bits in _bits(expect, counts, base).items()
    ]

  return [Job('all texts', run)]


def _real() -> tuple[data_lib.SubwordTokenizer, dict[str, Iterable[str]]]:
  folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
  path = Path(folder, 'sst2') if folder else 'glue/sst2'
  columns = ('0', '1') if folder else ('sentence', 'label')
  fields = data_lib.Fields(text_field=columns[0], label_field=columns[1])
  pairs = sts.benchmark().splits['train']
  texts = {
    '20 Newsgroups': data_lib.load('newsgroups').splits['train'].texts,
    'R52': data_lib.load('r52').splits['train'].texts,
    'STS-B': [*pairs.texts, *pairs.pairs],
    'SST-2': data_lib.load(path, fields).splits['train'].texts,
  }
  return data_lib.SubwordTokenizer.load(data_lib.minilm_l6()), texts


def _made_up() -> tuple[data_lib.SubwordTokenizer, dict[str, Iterable[str]]]:
  splits = sts.made_up().splits.items()
  texts = {name: documents.texts for name, documents in splits}
  folder = tiny_bert.folder([*texts['train'], *texts['test']])
  return data_lib.SubwordTokenizer.load(folder), texts


def _ways(tokens: Sequence[str]) -> dict[str, Callable[..., np.ndarray]]:
  """From counts and those of wide text to what they say of words."""
  return {
    'counts + 0.05': lambda counts, wide: counts + 0.05,
    'counts + 1': lambda counts, wide: counts + 1,
    'expected, ids told not to fall': lambda counts, wide: expected_counts(
      counts, falling_ids=False
    ),
    'expected, counts alone': lambda counts, wide: expected_counts(counts),
    'expected, tokens known': lambda counts, wide: expected_counts(
      counts, tokens=tokens
    ),
    'expected, and wide text': lambda counts, wide: expected_counts(
      counts, wide_counts=wide, tokens=tokens
    ),
    _NO_TEXT: lambda counts, wide: expected_counts(tokens=tokens),
  }


def _bits(expect, counts: _Counts, base: str) -> dict[str, float]:
  """Bits a token of each text; wide text is neither of both."""
  found = {}
  for name, read in counts.items():
    others = [counts[other] for other in counts if other not in (base, name)]
    wide = np.sum([other / other.sum() for other in others], axis=0)
    shares = expect(counts[base], wide)
    shares = shares / shares.sum()
    found[name] = float(-(read @ np.log2(shares)) / read.sum())
  return found


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a way: bits of the counted text itself, and of others by it."""
  found = []
  for label in dict.fromkeys(row['words by'] for row in rows):
    own = [row for row in rows if row['words by'] == label]
    same = [row for row in own if row['read'] == row['counted']]
    foreign = [row for row in own if row['read'] != row['counted']]
    by_text = {
      f'others by {base}': _mean([r for r in foreign if r['counted'] == base])
      for base in dict.fromkeys(row['counted'] for row in own)
    }
    mean = {'the text itself': _mean(same), 'others': _mean(foreign)}
    found.append({'words by': label, **mean, **by_text})
  return found


def _mean(rows: Sequence[Row]) -> str:
  return f'{np.mean([row["bits"] for row in rows]):.2f}'
