"""Schemes made by rules of thumb fill a budget."""

import numpy as np
import pytest

from embedcomp import methods
from embedcomp.types import Shape
from experiments import heuristic_schemes

SHAPE = Shape(4_000, 16)
COUNTS = 100_000 // np.arange(1, 4_001)


@pytest.mark.parametrize('option', ['low_rank', 'pq', 'dpq_vq', 'vq', 'rvq'])
def test_the_largest_size_within_budget_is_taken(option):
  scheme = heuristic_schemes.uniform(option, SHAPE, 30_000, 'int8')
  assert 15_000 < scheme.num_bytes <= 30_000
  assert scheme.groups[0].method.name == option


def test_one_config_is_taken_as_it_is():
  scheme = heuristic_schemes.uniform('low_rank(rank=3)', SHAPE, 60_000)
  assert scheme.groups[0].method == methods.LowRank(3)


@pytest.mark.parametrize(
  ('option', 'reason'),
  [('magic', 'must be one of'), ('low_rank(rank=16)', 'fits into 100 bytes')],
)
def test_what_cannot_be_is_refused(option, reason):
  with pytest.raises(ValueError, match=reason):
    heuristic_schemes.uniform(option, SHAPE, 100)


def test_ranks_follow_the_mean_counts_of_groups():
  scheme = heuristic_schemes.group_reduce(
    COUNTS, SHAPE, 20_000, order='identity'
  )
  ranks = [group.method.rank for group in scheme.groups]
  assert ranks == sorted(ranks, reverse=True)
  assert scheme.splits[1:4] == (62, 250, 1000)
  assert scheme.num_bytes <= 20_000


def test_rarer_words_have_fewer_codewords():
  scheme = heuristic_schemes.mgqe(SHAPE, 12_000)
  codewords = [group.method.codewords for group in scheme.groups]
  assert codewords == sorted(codewords, reverse=True)
  assert scheme.num_bytes <= 12_000
