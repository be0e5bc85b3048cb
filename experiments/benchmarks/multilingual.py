"""multilingual-e5-small with compressed word embeddings, in eleven languages.

Nothing is trained; `embedcomp.compress_model` does all. The model is the folder
`multilingual-e5-small` in EMBEDCOMP_BENCHMARK_DATA, or of that name on the hub,
and STS-B's translations are `stsb-multi/LANGUAGE-test.csv` in the same folder;
English is `stsb/test.csv`. Without the folder there is nothing to measure.
"""

import csv
import dataclasses
import functools
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.stats

import embedcomp
from embedcomp.workflows.model_info import model_info
from embedcomp.workflows.sentence_model import SentenceModel
from experiments.benchmarks import sts
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import tiny_bert

SEEDS = 1
LANGUAGES = ('de', 'en', 'es', 'fr', 'it', 'ja', 'nl', 'pl', 'pt', 'ru', 'zh')
_MODEL = 'multilingual-e5-small'
_PREFIX = 'query: '  # that the model was trained with
_FACTORS = (40,)
# Whether words are counted in the training texts of all languages.
_COUNTED = {'no text': False, 'texts of all languages': True}
_BUCKETS = (16, 24, 32, 48, 64)


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for the dense model and one a size, text and seed.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up sentences.
    seeds: of what is random in compressing.
  """
  made = [Job('dense', functools.partial(_dense, smoke))]
  for seed in range(seeds):
    for label in _COUNTED:
      for factor in (4,) if smoke else _FACTORS:
        run = functools.partial(_compressed, smoke, label, factor, seed)
        made.append(Job(f'{label} {factor}x {seed}', run))
  return made


def _folder() -> Path:
  folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
  if not folder:
    raise ValueError(
      'EMBEDCOMP_BENCHMARK_DATA must be a folder with stsb-multi, see '
      'experiments/benchmarks/multilingual.py.'
    )
  return Path(folder)


def _model_dir(smoke: bool) -> Path:
  if smoke:
    return tiny_bert.folder(sts.made_up().splits['train'].texts)
  own = _folder() / _MODEL
  if own.exists():
    return own
  from huggingface_hub import snapshot_download

  return Path(snapshot_download(f'intfloat/{_MODEL}'))


def _pairs(smoke: bool, language: str, split: str) -> list[tuple[str, ...]]:
  """First sentences, second ones and scores of a language."""
  if smoke:
    made = sts.made_up().splits[split]
    return list(zip(made.texts, made.pairs, map(str, made.labels)))
  name = 'stsb' if language == 'en' else 'stsb-multi'
  prefix = '' if language == 'en' else f'{language}-'
  path = _folder() / name / f'{prefix}{split}.csv'
  with path.open(encoding='utf-8', newline='') as file:
    return [tuple(row[:3]) for row in csv.reader(file)]


def _languages(smoke: bool) -> Sequence[str]:
  return LANGUAGES[:2] if smoke else LANGUAGES


def _correlations(model_dir: Path, smoke: bool) -> Row:
  """Spearman's correlation x 100 by language, and their mean."""
  model = SentenceModel.load(model_dir)
  model = dataclasses.replace(model, buckets=_BUCKETS)
  found = {}
  for language in _languages(smoke):
    first, second, scores = zip(*_pairs(smoke, language, 'test'))
    vectors = model([_PREFIX + text for text in (*first, *second)])
    cosines = (vectors[: len(first)] * vectors[len(first) :]).sum(axis=1)
    correlation = scipy.stats.spearmanr(cosines, np.array(scores, float))
    found[language] = 100 * float(correlation.statistic)
  return {'mean': float(np.mean(list(found.values()))), **found}


def _dense(smoke: bool) -> list[Row]:
  path = _model_dir(smoke)
  size = model_info(path).dense_table_bytes
  names = {'method': 'dense', 'size': '', 'seed': 0, 'bytes': size}
  return [{**names, **_correlations(path, smoke)}]


def _compressed(smoke: bool, label: str, factor: int, seed: int) -> list[Row]:
  texts = None
  if _COUNTED[label]:
    texts = [
      _PREFIX + text
      for language in _languages(smoke)
      for row in _pairs(smoke, language, 'train')
      for text in row[:2]
    ]
  with tempfile.TemporaryDirectory() as folder:
    output = Path(folder, 'small')
    start = time.process_time()
    found = embedcomp.compress_model(
      _model_dir(smoke),
      output,
      budget=f'{factor}x',
      texts=texts,
      seed=seed,
      progress=False,
    )
    seconds = time.process_time() - start
    # Of the process, so far.
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    correlations = _correlations(output, smoke)
  return [
    {
      'method': label,
      'size': f'{factor}x',
      'seed': seed,
      'bytes': found.table_bytes,
      **correlations,
      'cpu_seconds': seconds,
      'peak_memory_bytes': memory,
    }
  ]


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a table: mean and deviation over seeds."""
  found: dict[tuple[str, str], list[Row]] = {}
  for row in rows:
    found.setdefault((row['method'], row['size']), []).append(row)
  languages = [name for name in ('mean', *LANGUAGES) if name in rows[0]]
  return [
    {
      'method': method,
      'size': size,
      'bytes': own[0]['bytes'],
      **{
        name: mean_and_deviation([row[name] for row in own], 2)
        for name in languages
      },
    }
    for (method, size), own in found.items()
  ]
