"""Codes and codewords of a supernet as they follow its coefficients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import Group, Scheme
from embedcomp.methods import kmeans
from embedcomp.search import supernet_codes
from embedcomp.search.supernet import Supernet
from embedcomp.table import read
from tests.search.plain_supernet import (
  ALL,
  BIN_OF_WORD,
  BINS,
  CODED,
  FEATURES,
  OPTIONS,
  SPACE,
  SUPERNET,
  VOCAB,
  all_bins,
  close,
  codebooks_of,
  lookup,
  nearest,
  weights,
)


@pytest.mark.parametrize('option', CODED)
def test_extracted_codes_lose_no_more_than_the_supernets(rng, option):
  """With as many coefficients as features; the fit is of more iterations."""
  table = rng.normal(size=(VOCAB, FEATURES)).astype(np.float32)
  supernet = Supernet(SPACE, FEATURES)
  params, buffers = supernet.from_table(table, np.ones(VOCAB))
  scheme = Scheme(FEATURES, (Group(VOCAB, OPTIONS[option]),))
  extracted = supernet.extract(params, scheme, np.ones(VOCAB))
  errors = [
    np.square(table - words).mean()
    for words in (
      jax.jit(supernet.lookup)(params, buffers, all_bins(option), ALL),
      read.reconstruct(scheme, extracted),
    )
  ]
  assert 0 < errors[1] < 1.1 * errors[0]


def code_error(params, buffers, option):
  own = np.asarray(params['coefficients'])
  weight = (1 / np.diff(BINS))[BIN_OF_WORD]
  coded = nearest(own, codebooks_of(buffers, option))
  return weight @ np.square(own - coded).sum(1)


def blocks_of(params, books):
  """The blocks [V, R / M] of all words, one book after another."""
  own = np.asarray(params['coefficients'])
  return map(np.ascontiguousarray, np.split(own, books, axis=1))


def test_codewords_start_by_k_means_and_go_on_by_one_step():
  params, buffers = weights()
  moved = params | {'coefficients': params['coefficients'][::-1] * 1.1}
  after = SUPERNET.refresh(moved, buffers)
  weight = (1 / np.diff(BINS))[BIN_OF_WORD]
  for option, (books, codewords) in CODED.items():
    first, second = (codebooks_of(b, option) for b in (buffers, after))
    for m, block in enumerate(blocks_of(params, books)):
      fitted, _ = kmeans.kmeans(block, weight, codewords, seed=m, iterations=6)
      close(first[m], fitted)
    for m, block in enumerate(blocks_of(moved, books)):
      codes = np.square(block[:, None] - first[m][None]).sum(-1).argmin(1)
      for k in set(codes.tolist()):
        own = codes == k
        mean = np.average(block[own], axis=0, weights=weight[own])
        close(second[m, k], mean)


def test_refresh_goes_on_until_it_stays():
  params, buffers = weights()
  params = params | {'coefficients': params['coefficients'][::-1] * 1.1}
  errors = []
  for _ in range(30):
    before, buffers = buffers, SUPERNET.refresh(params, buffers)
    errors.append([code_error(params, buffers, option) for option in CODED])
  assert (np.diff(errors, axis=0) < 1e-6).all()
  jax.tree.map(np.testing.assert_array_equal, before, buffers)
  own = np.asarray(params['coefficients'])
  close(
    buffers['spread'],
    [np.sqrt(np.square(own[a:b]).mean(0)) for a, b in itertools.pairwise(BINS)],
  )
  # The codes are those of the nearest codewords.
  words = lookup(params, buffers, all_bins(6), ALL)
  coded = nearest(own, codebooks_of(buffers, 6))
  close(words, coded @ np.asarray(params['basis']))


def test_dead_codewords_move_to_the_worst_words_by_their_weight():
  block = np.array([[0.0], [2], [9], [-10]], np.float32)
  weights = np.array([1, 3, 1, 0.1])
  book = np.array([[1e3], [1], [-1e3]], np.float32)
  # All take the second one; errors are 1, 3, 64 and 12.1.
  found = supernet_codes._lloyd(block, weights, book)
  mean = (3 * 2 + 9 - 0.1 * 10) / 5.1
  np.testing.assert_allclose(found, [[9], [mean], [-10]], rtol=1e-6)
  # Where all are taken, they are means.
  book = np.array([[8.0], [1], [-7]], np.float32)
  found = supernet_codes._lloyd(block, weights, book)
  np.testing.assert_allclose(found, [[9], [1.5], [-10]], rtol=1e-6)


def test_refresh_revives_dead_codewords():
  params, buffers = weights()
  far = buffers | {'codebooks': jnp.full_like(buffers['codebooks'], 1e3)}
  alive = SUPERNET.refresh(params, far)
  own = np.asarray(params['coefficients'])
  for option, (books, codewords) in CODED.items():
    revived = codebooks_of(alive, option)
    for m, block in enumerate(np.split(nearest(own, revived), books, 1)):
      assert len(np.unique(block, axis=0)) == codewords, (option, m)
    first = code_error(params, far, option)
    assert code_error(params, alive, option) < 1e-3 * first
