"""MiniLM-L6 with compressed word embeddings: how close to what it was.

Nothing is trained. Fidelity (`embedcomp.fidelity`) is measured on held-out
sentences of six sources, two of which the compressor has seen (`held_out`), and
beside it STS-B's validation split. See `bert_table` for where STS-B is.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

import embedcomp
from embedcomp import data as data_lib
from embedcomp.compression import frequency
from embedcomp.compression.post_training import (
  CONTEXTUAL_METHODS,
  OPTION_METHODS,
)
from embedcomp.compression.rate_allocation import word_costs
from embedcomp.distillation import Fidelity, fidelity_by_class
from embedcomp.distillation.sentence_fidelity import VectorFn, reading_once
from embedcomp.types import Array
from embedcomp.workflows.sentence_metric import sentence_metric
from embedcomp.workflows.sentence_model import SentenceModel
from experiments.benchmarks import held_out, minilm, sts
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import tiny_bert
from experiments.results import groups_in_words

SEEDS = 1
_FACTORS = (40, 64, 100, 200)
# Ways to compress by the name of their rows: menus of options, or graded codes.
_MENUS: Mapping[str, Sequence[str]] = {
  'menus': OPTION_METHODS,
  'menus, projected_pq too': CONTEXTUAL_METHODS,
}
# Scalar codes, and whether they are told the metric; words are
# renumbered by what they cost.
_SCALAR: Mapping[str, bool] = {'scalar': False, 'scalar, metric': True}
_NUM_SENTENCES = 100  # of each source
# Words of the head and of the head and the middle, by their counts.
_SPLITS = (200, 3000)
_CLASSES = ('head', 'middle', 'tail')
# Lengths to pad to: many tables share what is compiled.
_BUCKETS = (12, 16, 20, 24, 32, 40, 48, 64)
_MAX_LENGTH = 96


@dataclasses.dataclass(frozen=True)
class Damage:
  """What a table costs the model.

  Attributes:
    fidelity: on held-out sentences of all sources.
    translated: on held-out sentences of other languages; None without any.
    spearman: of STS-B's validation split, x 100.
  """

  fidelity: Fidelity
  translated: Fidelity | None
  spearman: float

  def row(self) -> Row:
    """Figures by name; `seen` and `unseen` are means over their sources."""
    by_source = {
      name: found.damage for name, found in self.fidelity.by_source.items()
    }
    groups = {'seen': held_out.SEEN, 'unseen': held_out.UNSEEN}
    means = {
      group: float(
        np.mean([by_source[name] for name in by_source.keys() & own])
      )
      for group, own in groups.items()
    }
    translated = self.translated and self.translated.damage
    return {
      'damage': self.fidelity.damage,
      'similarity_rms': self.fidelity.similarity_rms,
      **means,
      **by_source,
      'translated': translated,
      'stsb_dev': self.spearman,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Yardstick:
  """A dense model and the texts that others are compared with it on.

  Attributes:
    model: of sentence vectors.
    counts: [V] of its words in the texts that a compressor has seen.
    seen: such texts.
    texts: held-out sentences by source.
    translated: held-out sentences by language, if there are any.
    pairs: first and second sentences of STS-B's validation split.
    scores: how alike they are.
    dense: gives the vectors of the dense model, each once.
  """

  model: SentenceModel
  counts: np.ndarray
  seen: Sequence[str]
  texts: Mapping[str, list[str]]
  translated: Mapping[str, list[str]]
  pairs: tuple[Sequence[str], Sequence[str]]
  scores: np.ndarray
  dense: VectorFn

  @property
  def table(self) -> np.ndarray:
    """[V, D] float32 word embeddings."""
    return np.asarray(self.model.params['embedder']['embedding'])

  @functools.cached_property
  def importance(self) -> np.ndarray:
    """[V] weights of words."""
    expected = frequency.expected_counts(
      self.counts, tokens=self.model.tokenizer.tokens
    )
    return frequency.contextual_importance(expected)

  def metric(self, seed: int) -> np.ndarray:
    """[D, D] of the model's word vectors."""
    return sentence_metric(self.model, self.counts, seed=seed, progress=False)

  def measure(self, table: Array) -> Damage:
    """Measures a [V, D] table in the place of the dense one."""
    model = self.model.with_table(table)
    translated = None
    if self.translated:
      translated = embedcomp.fidelity(self.dense, model, self.translated)
    first, second = self.pairs
    vectors = model([*first, *second])
    cosines = (vectors[: len(first)] * vectors[len(first) :]).sum(axis=1)
    return Damage(
      embedcomp.fidelity(self.dense, model, self.texts),
      translated,
      100 * float(scipy.stats.spearmanr(cosines, self.scores).statistic),
    )

  def by_class(self, table: Array) -> dict[str, float]:
    """Damage of a [V, D] table if words of one class alone are taken from it.

    The most frequent 200 words, those up to 3,000, and the others.
    """
    head, middle = _SPLITS
    num_words = len(self.table)  # tiny models have fewer
    found = fidelity_by_class(
      self.model.with_table,
      (self.table, table),
      self.counts,
      self.texts,
      (min(head, num_words - 2), min(middle, num_words - 1)),
    )
    return {name: one.damage for name, one in zip(_CLASSES, found)}


@functools.cache
def yardstick(*, smoke: bool = False, seed: int = 0) -> Yardstick:
  """Makes the yardstick of MiniLM-L6.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up sentences.
    seed: of the sentences that are drawn.
  """
  dataset = sts.made_up() if smoke else sts.benchmark()
  train = dataset.splits['train']
  counted = list(dict.fromkeys([*train.texts, *train.pairs]))
  path = tiny_bert.folder(counted) if smoke else data_lib.minilm_l6()
  model = dataclasses.replace(
    SentenceModel.load(path, max_length=_MAX_LENGTH), buckets=_BUCKETS
  )
  counts = model.tokenizer.count(counted, special=True).astype(np.float64)
  seen = counted
  if not smoke:
    counts += minilm.NEWSGROUPS_SHARE * minilm.newsgroups_counts()
    documents = data_lib.topic_documents('newsgroups', 'train')
    seen = [*counted, *(text for _, text in documents)]
  pairs = dataset.splits.get('validation', dataset.splits['test'])
  return Yardstick(
    model,
    counts,
    seen,
    held_out.sentences(_NUM_SENTENCES, seed=seed, smoke=smoke),
    {} if smoke else held_out.translated(_NUM_SENTENCES, seed=seed),
    (pairs.texts, pairs.pairs),
    np.asarray(pairs.labels),
    reading_once(model),
  )


def damage_of(table: Array) -> Damage:
  """Measures what a table costs MiniLM-L6, in some 20 CPU seconds.

  Args:
    table: [30522, 384] float, in the order of the model's own tokens.

  Returns:
    Fidelity on six held-out sources, and Spearman's correlation on STS-B.
  """
  return yardstick().measure(table)


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each way to compress, size and seed, the dense table first.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up sentences.
    seeds: how often to fit what is random.
  """
  made = [Job('dense', functools.partial(_dense, smoke))]
  for seed in range(seeds):
    for label in (*_MENUS, *_SCALAR):
      for factor in (4, 6) if smoke else _FACTORS:
        run = functools.partial(_compressed, smoke, label, factor, seed)
        made.append(Job(f'{label} {factor}x {seed}', run))
  return made


def _dense(smoke: bool) -> list[Row]:
  one = yardstick(smoke=smoke)
  names = {'method': 'dense', 'size': '', 'seed': 0, 'bytes': one.table.nbytes}
  return [{**names, **one.measure(one.table).row()}]


@functools.cache
def _curve(smoke: bool, label: str, seed: int):
  """The curve of menus of options."""
  one = yardstick(smoke=smoke)
  return embedcomp.rate_distortion_curve(
    one.table,
    importance=one.importance,
    num_bins=3 if smoke else 10,
    seed=seed,
    progress=False,
    methods=_MENUS[label],
  )


def _compressed(smoke: bool, label: str, factor: int, seed: int) -> list[Row]:
  one = yardstick(smoke=smoke)
  metric = one.metric(seed) if _SCALAR.get(label) else None
  start = time.process_time()
  if label in _MENUS:
    found = _curve(smoke, label, seed).compress(f'{factor}x', progress=False)
    scheme, table = found[0], np.asarray(embedcomp.reconstruct(*found))
  else:
    scheme, table = compress_renumbered(
      one.table, one.importance, f'{factor}x', metric
    )
  seconds = time.process_time() - start
  return [
    {
      'method': label,
      'size': f'{factor}x',
      'seed': seed,
      'bytes': scheme.num_bytes,
      **one.measure(table).row(),
      **one.by_class(table),
      'cpu_seconds': seconds,
      'scheme': groups_in_words(scheme),
    }
  ]


def compress_renumbered(
  table: np.ndarray,
  importance: np.ndarray,
  budget: str,
  metric: np.ndarray | None = None,
) -> tuple[embedcomp.Scheme, np.ndarray]:
  """Compresses to scalar codes once words are in the order of their costs.

  Args:
    table: [V, D] float32.
    importance: [V] of its words.
    budget: as for `embedcomp.compress`.
    metric: [D, D], None for the identity.

  Returns:
    The scheme, which stores no order, and the [V, D] table that it gives, words
    as in `table`.
  """
  order = np.argsort(-word_costs(importance, table), kind='stable')
  scheme, params = embedcomp.compress(
    table[order],
    importance=importance[order],
    metric=metric,
    budget=budget,
    methods='scalar',
    progress=False,
  )
  found = np.empty_like(table)
  found[order] = np.asarray(embedcomp.reconstruct(scheme, params))
  return scheme, found


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a table: mean and deviation over seeds."""
  found: dict[tuple[str, str], list[Row]] = {}
  for row in rows:
    found.setdefault((row['method'], row['size']), []).append(row)
  digits = {'damage': 4, 'seen': 4, 'unseen': 4, 'similarity_rms': 4}
  digits['stsb_dev'] = 2
  return [
    {
      'method': method,
      'size': size,
      'bytes': round(np.mean([row['bytes'] for row in own])),
      **{
        name: mean_and_deviation([row[name] for row in own], places)
        for name, places in digits.items()
      },
    }
    for (method, size), own in found.items()
  ]
