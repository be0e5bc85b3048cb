"""Lookup of Zipf-distributed ids: schemes of 25x, int8 and int4, and peers."""

from collections.abc import Sequence

import numpy as np

import embedcomp
from embedcomp import Group, Scheme, methods
from experiments.benchmarks import minilm, peers, race, synthetic
from experiments.benchmarks.record import Job, Row

SEEDS = 5
_FACTOR = 25
_ROUNDS = 40


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """A race on a synthetic table and one on a real one; seeds draw ids.

  Args:
    smoke: whether to use a small table.
    seeds: draws of ids.
  """
  num_words, features, num_ids = (600, 96, 64) if smoke else (30522, 768, 4096)

  def run() -> list[Row]:
    table = np.empty((num_words, features), np.float32)
    synthetic.fill_table(table)
    # Ids are not in the order of frequency, as in a real vocabulary.
    by_rank = np.random.default_rng(1).permutation(num_words)
    by_id = np.argsort(by_rank)
    table, counts = table[by_id], synthetic.zipf_counts(num_words)[by_id]
    entered = _entered(table, counts, num_bins=2 if smoke else 10)
    others, absent = race.enter_peers(_peers(table))
    inputs = [
      synthetic.zipf_ids(by_rank, num_ids, seed) for seed in range(seeds)
    ]
    rounds = 2 if smoke else _ROUNDS
    rows = race.race([*entered, *others], inputs, rounds)
    return _of('synthetic', rows + absent)

  def run_real() -> list[Row]:
    table, counts = minilm.load_minilm_table(), minilm.newsgroups_counts()
    by_rank = np.argsort(-counts, kind='stable')
    inputs = [
      synthetic.zipf_ids(by_rank, num_ids, seed) for seed in range(seeds)
    ]
    entered = [race.dense_lookup(table), _compressed(table, counts, 10)]
    return _of('minilm', race.race(entered, inputs, _ROUNDS))

  made = [Job('synthetic', run)]
  return made if smoke else [*made, Job('minilm', run_real)]


def _of(table: str, rows: list[Row]) -> list[Row]:
  return [{'table': table, **row} for row in rows]


def _compressed(table, counts, num_bins) -> race.Contestant:
  """Compresses a table."""
  return race.ours(
    f"compress('{_FACTOR}x')",
    *embedcomp.compress(table, counts, budget=f'{_FACTOR}x', num_bins=num_bins),
    embedcomp.lookup,
  )


def _entered(table, counts, num_bins) -> list[race.Contestant]:
  """The plain table, and this library's schemes."""
  schemes = _schemes(*table.shape)
  return [
    race.dense_lookup(table),
    *(
      race.ours_fitted(name, scheme, table, counts, embedcomp.lookup)
      for name, scheme in schemes.items()
    ),
    _compressed(table, counts, num_bins),
  ]


def _schemes(num_words: int, features: int) -> dict[str, Scheme]:
  """Uniform and hand-grouped schemes, the largest ones within the factor."""

  def uniform(method):
    return Scheme(features, (Group(num_words, method),))

  def grouped(*shares_methods):
    sizes = [int(num_words * share) for share, _ in shares_methods[:-1]]
    sizes.append(num_words - sum(sizes))
    groups = tuple(Group(n, m) for n, (_, m) in zip(sizes, shares_methods))
    return Scheme(features, groups, 'stored')

  codewords = min(256, num_words // 12)
  pq = methods.ProductQuantization
  dense_bytes = 4 * num_words * features
  rank = {
    storage: int(dense_bytes / _FACTOR / (num_words + features) / size)
    for storage, size in (('float32', 4), ('int8', 1.02))
  }
  return {
    'int8': uniform(methods.Dense('int8')),
    'int4': uniform(methods.Dense('int4')),
    'pq': uniform(pq(features // 8, codewords, 'int8')),
    'int8 head, pq body, vq tail': grouped(
      (0.02, methods.Dense('int8')),
      (0.78, pq(features // 8, codewords, 'int8')),
      (0.2, methods.VectorQuantization(codewords, 'int8')),
    ),
    'pq head, body and tail': grouped(
      (0.1, pq(features // 4, codewords, 'int8')),
      (0.4, pq(features // 8, codewords, 'int8')),
      (0.5, pq(features // 16, codewords, 'int8')),
    ),
    'low rank': uniform(methods.LowRank(rank['float32'])),
    'low rank, int8': uniform(methods.LowRank(rank['int8'], 'int8', 'int8')),
  }


def _peers(table) -> list[race.Entry]:
  return [
    (name, lambda enter=enter, name=name, mode=mode: enter(name, table, mode))
    for library, enter in (
      ('keras Embedding', peers.keras_lookup),
      ('qwix nn.Embed', peers.qwix_lookup),
    )
    for mode in ('int8', 'int4')
    for name in [f'{library}, {mode}']
  ]
