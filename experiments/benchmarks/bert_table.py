"""MiniLM-L6 on STS-B with compressed word embeddings, not fine-tuned.

The texts are those of `stsb/{train,dev,test}.csv` (two sentences and a score,
no header) in the folder EMBEDCOMP_BENCHMARK_DATA. Without it they are
`glue/stsb` of TensorFlow Datasets, whose test labels are hidden: its validation
split is then the test split, and there is no other to validate on.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp import Group, Scheme, methods
from embedcomp import data as data_lib
from embedcomp.compression import frequency
from embedcomp.methods.base import Method
from embedcomp.training import make_evaluator, tasks
from embedcomp.types import Shape
from embedcomp.workflows.sentence_metric import sentence_metric
from embedcomp.workflows.sentence_model import SentenceModel
from experiments.benchmarks import minilm, sts
from experiments.benchmarks.bert_fidelity import compress_renumbered
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import tiny_bert
from experiments.results import groups_in_words

SEEDS = 3
_SPLITS = ('validation', 'test')
_FACTORS = (20, 40, 64, 100, 200)
_RANKS = (192, 128, 64)
_BOOKS = (96, 48, 32, 24, 16, 8)
_HEAD_WORDS = 6000
# Whether `compress` is told the metric, by the name of the row.
_CHOICES = {'compress': False, 'compress, metric': True}
_BATCH_SIZE = 64
_BUCKETS = (12, 16, 20, 24, 32, 48, 128)

_Make = Callable[[Shape], Scheme]


@dataclasses.dataclass(frozen=True)
class _Contestant:
  """A scheme made by hand.

  Attributes:
    label: of its curve.
    detail: which point of the curve it is.
    make: gives the scheme of a table of some shape.
    is_seeded: whether to fit it with every seed. Low rank needs none, and
      codebooks in float32 are what those in int8 are rounded from.
    is_weighted: whether it is fitted to important words above all.
  """

  label: str
  detail: str
  make: _Make
  is_seeded: bool
  is_weighted: bool = False


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each contestant, size and seed; what is chosen comes first.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up sentences.
    seeds: how often to fit what is random.
  """
  made = []
  for seed in range(seeds):
    for label in _CHOICES:
      for factor in (4, 6) if smoke else _FACTORS:
        run = functools.partial(_chosen, smoke, label, factor, seed)
        if _CHOICES[label] or not seed:  # nothing else is random
          made.append(Job(f'{label} {factor}x {seed}', run))
    for one in _by_hand(smoke):
      if one.is_seeded or not seed:
        run = functools.partial(_fitted, smoke, one, seed)
        made.append(Job(f'{one.label} {one.detail} {seed}', run))
  return made


def _by_hand(smoke: bool) -> list[_Contestant]:
  """Schemes that nobody searches for."""
  ranks, books = ((8, 4), (8, 4)) if smoke else (_RANKS, _BOOKS)
  bits = 4 if smoke else 8
  found = [_Contestant('dense', '', _uniform(methods.Dense()), False)]
  found += [
    _Contestant('SVD', f'rank {r}', _uniform(methods.LowRank(r)), False)
    for r in ranks
  ]
  for stored in ('float32', 'int8'):
    found += [
      _Contestant(
        f'pq, {stored}',
        f'{m} x {bits} bits',
        _uniform(methods.ProductQuantization(m, 2**bits, stored)),
        is_seeded=stored == 'int8',
      )
      for m in books
    ]
  for stored in ('float32', 'int8'):
    head, tail = (
      methods.ProductQuantization(m, 16 if smoke else 64, stored)
      for m in ((8, 4) if smoke else (64, 8))
    )
    num_words = 40 if smoke else _HEAD_WORDS
    found.append(
      _Contestant(
        f'hand-split, {stored}',
        f'{num_words} words {head.books} books, others {tail.books}',
        _split(num_words, head, tail),
        is_seeded=stored == 'int8',
        is_weighted=True,
      )
    )
  return found


def _uniform(method: Method) -> _Make:
  return lambda shape: Scheme(shape.features, (Group(shape.num_words, method),))


def _split(num_words: int, head: Method, tail: Method) -> _Make:
  def make(shape: Shape) -> Scheme:
    others = Group(shape.num_words - num_words, tail)
    groups = (Group(num_words, head), others)
    return Scheme(shape.features, groups, order='stored')

  return make


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
  """A sentence encoder, and what its words are compared by.

  Attributes:
    table: [V, D] float32 word embeddings.
    counts: [V] of the words.
    importance: [V] of the words.
    score: from a table to Spearman's correlation x 100 by split.
    model: that the table is of.
  """

  table: np.ndarray
  counts: np.ndarray
  importance: np.ndarray
  score: Callable[[np.ndarray], dict[str, float]]
  model: SentenceModel

  def error(self, table: np.ndarray) -> float:
    """Weighted squared error of a [V, D] table, relative to zero vectors."""
    squares = np.square(self.table - table).sum(axis=1)
    energies = np.square(self.table).sum(axis=1)
    return float(self.importance @ squares / (self.importance @ energies))


@functools.cache
def _problem(smoke: bool) -> _Problem:
  dataset = sts.made_up() if smoke else sts.benchmark()
  train = dataset.splits['train']
  sentences = list(dict.fromkeys([*train.texts, *train.pairs]))
  path = tiny_bert.folder(sentences) if smoke else data_lib.minilm_l6()
  model = SentenceModel.load(path)
  tokenizer = model.tokenizer
  counts = tokenizer.count(sentences, special=True).astype(np.float64)
  if not smoke:
    counts += minilm.NEWSGROUPS_SHARE * minilm.newsgroups_counts()
  expected = frequency.expected_counts(counts, tokens=tokenizer.tokens)
  return _Problem(
    np.asarray(model.params['embedder']['embedding']),
    counts,
    frequency.contextual_importance(expected),
    _make_score(model, dataset, _buckets(smoke)),
    model,
  )


def _buckets(smoke: bool) -> tuple[int, ...]:
  return _BUCKETS[-2:-1] if smoke else _BUCKETS


def _make_score(sentences: SentenceModel, dataset, buckets):
  """Makes a function that measures tables, compiled once for all."""
  tokenizer, params = sentences.tokenizer, sentences.params
  task = tasks.Task(tasks.SIMILARITY, sentences.model)
  measure = make_evaluator(task)

  def encode(texts):
    return tokenizer.encode(texts, max_length=buckets[-1])

  splits = {
    name: data_lib.TokenBatches(
      encode(documents.texts),
      documents.labels,
      _BATCH_SIZE,
      pairs=encode(documents.pairs),
      padding=tokenizer.pad_id,
      buckets=buckets,
    )
    for name, documents in dataset.splits.items()
    if name in _SPLITS
  }

  def score(table: np.ndarray) -> dict[str, float]:
    words = {'embedding': jnp.asarray(table)}
    variables = {'params': {**params, 'embedder': words}}
    return {
      name: 100 * measure(variables, batches.for_evaluation())[task.metric]
      for name, batches in splits.items()
    }

  return score


@functools.cache
def _metric(smoke: bool, seed: int) -> np.ndarray:
  """[D, D] of the model's word vectors."""
  problem = _problem(smoke)
  return sentence_metric(
    problem.model, problem.counts, seed=seed, progress=False
  )


def _chosen(smoke: bool, label: str, factor: int, seed: int) -> list[Row]:
  """A scheme of `compress`."""
  problem = _problem(smoke)
  metric = _metric(smoke, seed) if _CHOICES[label] else None
  start = time.perf_counter()
  scheme, table = compress_renumbered(
    problem.table, problem.importance, f'{factor}x', metric
  )
  seconds = time.perf_counter() - start
  return [_row(smoke, label, f'{factor}x', seed, scheme, table, seconds)]


def _fitted(smoke: bool, one: _Contestant, seed: int) -> list[Row]:
  """A scheme made by hand."""
  problem = _problem(smoke)
  scheme = one.make(Shape(*problem.table.shape))
  start = time.perf_counter()
  params = embedcomp.fit(
    problem.table,
    scheme,
    importance=problem.importance if one.is_weighted else None,
    seed=seed,
    progress=False,
  )
  seconds = time.perf_counter() - start
  table = np.asarray(embedcomp.reconstruct(scheme, params))
  return [_row(smoke, one.label, one.detail, seed, scheme, table, seconds)]


def _row(smoke, label, detail, seed, scheme, table, seconds) -> Row:
  problem = _problem(smoke)
  return {
    'method': label,
    'size': detail,
    'seed': seed,
    'bytes': scheme.num_bytes,
    'times_smaller': problem.table.nbytes / scheme.num_bytes,
    **problem.score(table),
    'weighted_error': problem.error(table),
    'seconds': seconds,
    'scheme': groups_in_words(scheme),
  }


def _points(rows: Sequence[Row]) -> list[list[Row]]:
  """Rows that differ in their seed only, by method and falling bytes.

  The dense table comes first, and then methods in the order of the rows.
  """
  found: dict[tuple[str, str], list[Row]] = {}
  for row in rows:
    found.setdefault((row['method'], row['size']), []).append(row)
  names = ['dense', *(row['method'] for row in rows)]
  return sorted(
    found.values(),
    key=lambda seeds: (names.index(seeds[0]['method']), -seeds[0]['bytes']),
  )


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a table, Spearman's correlation x 100 (mean, deviation)."""
  return [
    {
      'method': point[0]['method'],
      'size': point[0]['size'],
      'bytes': round(np.mean([row['bytes'] for row in point])),
      'times_smaller': f'{np.mean([r["times_smaller"] for r in point]):.1f}',
      **{
        split: mean_and_deviation([row[split] for row in point], 2)
        for split in _SPLITS
        if split in point[0]
      },
    }
    for point in _points(rows)
  ]


def plot(rows: Sequence[Row]):
  """The correlation on the test split against size; returns the Axes."""
  from embedcomp import plots

  curves: dict[str, list] = {}
  for point in reversed(_points(rows)):
    tests = [row['test'] for row in point]
    deviation = np.std(tests) if len(tests) > 1 else np.nan
    size = np.mean([1 / row['times_smaller'] for row in point])
    name = point[0]['method']
    curves.setdefault(name, []).append((size, np.mean(tests), deviation))
  dense = curves.pop('dense')[0][1]
  order = list(dict.fromkeys(row['method'] for row in rows))
  return plots.plot_size_metric(
    {n: tuple(np.array(curves[n]).T) for n in order if n in curves},
    (dense, np.nan),
    ylabel="STS-B test, Spearman's correlation x 100",
    highlight=list(_CHOICES)[-1],
  )
