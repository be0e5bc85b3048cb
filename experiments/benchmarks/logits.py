"""Tied logits of a large vocabulary: schemes of 20x and int8, and peers."""

from collections.abc import Sequence

import numpy as np

import embedcomp
from embedcomp import Group, Scheme, methods
from experiments.benchmarks import peers, race, synthetic
from experiments.benchmarks.record import Job, Row

SEEDS = 2
_ROUNDS = 15


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One race; every seed draws other hidden vectors.

  Args:
    smoke: whether to use a small table.
    seeds: draws of hidden vectors.
  """
  num_words, features, positions = (
    (800, 64, 16) if smoke else (100_000, 256, 1024)
  )

  def run() -> list[Row]:
    table = np.empty((num_words, features), np.float32)
    synthetic.fill_table(table)
    counts = synthetic.zipf_counts(num_words)
    entered = [race.dense_logits(table)]
    for name, scheme in _schemes(num_words, features).items():
      entered.append(
        race.ours_fitted(name, scheme, table, counts, embedcomp.logits)
      )
    others, absent = race.enter_peers(_peers(table))
    inputs = [
      np.random.default_rng(seed).standard_normal(
        (positions, features), np.float32
      )
      for seed in range(seeds)
    ]
    rounds = 2 if smoke else _ROUNDS
    return race.race([*entered, *others], inputs, rounds) + absent

  return [Job('race', run)]


def _schemes(num_words: int, features: int) -> dict[str, Scheme]:
  """Schemes of 20x (but for int8), words in the order of their ids."""

  def grouped(*shares_methods):
    sizes = [int(num_words * share) for share, _ in shares_methods[:-1]]
    sizes.append(num_words - sum(sizes))
    groups = tuple(Group(n, m) for n, (_, m) in zip(sizes, shares_methods))
    return Scheme(features, groups)

  low_rank, pq = methods.LowRank, methods.ProductQuantization
  return {
    'low rank': grouped((1, low_rank(features // 21))),
    'low rank, int8': grouped((1, low_rank(features // 6, 'int8', 'int8'))),
    'grouped low rank': grouped(
      (0.02, low_rank(features // 4)),
      (0.18, low_rank(features // 10)),
      (0.8, low_rank(features // 40)),
    ),
    'pq': grouped((1, pq(features // 4, 64, 'int8'))),
    'int8': grouped((1, methods.Dense('int8'))),
  }


def _peers(table) -> list[race.Entry]:
  return [
    (name, lambda enter=enter, name=name, mode=mode: enter(name, table, mode))
    for library, enter in (
      ('keras ReversibleEmbedding', peers.keras_logits),
      ('qwix nn.Embed.attend', peers.qwix_attend),
      ('qwix nn.Dense', peers.qwix_dense),
    )
    for mode in ('int8', 'int4')
    for name in [f'{library}, {mode}']
  ]
