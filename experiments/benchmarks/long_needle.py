"""A needle in haystacks of up to 8,192 tokens, for a model of short texts.

MiniLM-L6 learns what a needle is from texts of up to 56 words
(`configs/long_documents:needle_short`), once for each seed. Then, without any
more training, it reads texts of up to 8,192 tokens: the first 512 of them, or
all with each attention. Positions are tiled. Texts are the same for all ways.
Core seconds are those of reading a text.
"""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

import embedcomp
from configs import common
from embedcomp import data as data_lib
from experiments.benchmarks import short_texts
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import attentions

SEEDS = 3
_COSTLY = ('all', 'dense', 8192)  # to read: an hour of a core for each seed
_COSTLY_SEEDS = 2
# What is read, and with which attention.
_WAYS = (
  ('first tokens', 'dense'),
  ('all', 'local'),
  ('all', 'sliding_window'),
  ('all', 'recursive'),
  ('all', 'dense'),
)
_SEED = 1000  # of long texts; short ones have small seeds
_WORDS = 15 / 16  # for each token; a few words are two


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each seed, way to read and length.

  Args:
    smoke: whether to use a tiny BERT of random weights and short texts.
    seeds: of the training and of the long texts.
  """
  lengths = (64,) if smoke else (1024, 2048, 4096, 8192)
  return [
    Job(
      ' '.join(map(str, (*way, length, seed))),
      functools.partial(_run, smoke, *way, length, seed),
    )
    for seed, way, length in itertools.product(range(seeds), _WAYS, lengths)
    if seed < _COSTLY_SEEDS or (*way, length) != _COSTLY
  ]


def _run(
  smoke: bool, read: str, attention: str, length: int, seed: int
) -> list[Row]:
  """Reads texts of almost `length` tokens."""
  texts = data_lib.needle_documents(
    20 if smoke else 50,
    (int(length * _WORDS) - 2,) * 2,
    seed=(_SEED, seed, length),
  )
  window = 16 if smoke else 512
  most = length if read == 'all' else window
  path = short_texts.trained('needle', smoke=smoke, seed=seed)
  find = make_reader(path, attention, most)
  find(texts.texts[0])  # compiles, which is not counted
  start = time.process_time()
  found = [find(text) for text in texts.texts]
  seconds = time.process_time() - start
  return [
    {
      'read': read,
      'attention': attention,
      'length': length,
      'seed': seed,
      'texts': len(texts),
      'accuracy': 100 * float(np.mean(found == texts.labels)),
      'core_seconds_per_text': seconds / len(texts),
    }
  ]


def make_reader(
  path: Path, attention: str, length: int
) -> Callable[[str], int]:
  """Makes a function that finds the label of a text.

  Args:
    path: a directory of a classifier.
    attention: as in `configs/common.py`, with the sizes that stand there.
    length: tokens that are read.
  """
  tokenizer = data_lib.SubwordTokenizer.load(path)
  config = common.get_config('classification').bert
  config.attention = attention
  model, params = embedcomp.from_pretrained(
    path,
    head='classification',
    attention_fn=attentions.from_config(config),
    max_length=length,
    positions='tiled',
  )
  params = jax.device_put(params)

  @jax.jit
  def label_of(params, ids):
    logits = model.apply({'params': params}, ids, ids != tokenizer.pad_id)
    return logits.argmax()

  def find(text):
    (encoded,) = tokenizer.encode([text], max_length=length)
    padding = (0, length - len(encoded.ids))
    ids = np.pad(encoded.ids, padding, constant_values=tokenizer.pad_id)
    return int(label_of(params, ids[None]))

  return find


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a way: accuracies per cent by length, seconds for the longest."""
  ways: dict[tuple, list[Row]] = {}
  for row in rows:
    ways.setdefault((row['read'], row['attention']), []).append(row)
  return [_summary_row(*way, same) for way, same in ways.items()]


def _summary_row(read: str, attention: str, rows: Sequence[Row]) -> Row:
  by_length: dict[int, list[Row]] = {}
  for row in rows:
    by_length.setdefault(row['length'], []).append(row)
  longest = by_length[max(by_length)]
  seconds = [row['core_seconds_per_text'] for row in longest]
  return {
    'read': read,
    'attention': attention,
    **{
      f'{length:,}': mean_and_deviation([row['accuracy'] for row in same], 1)
      for length, same in by_length.items()
    },
    'core seconds': f'{np.mean(seconds):.1f}',
  }
