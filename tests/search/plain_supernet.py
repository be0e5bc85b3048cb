"""A small supernet, and each of its options alone, computed in NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp import methods
from embedcomp.compression.space import SearchSpace
from embedcomp.search.supernet import Supernet

VOCAB, FEATURES, RANK = 40, 8, 4
BINS = (0, 5, 16, 40)
BIN_OF_WORD = np.repeat(range(3), np.diff(BINS))
OPTIONS = (
  methods.Drop(),
  methods.LowRank(2),
  methods.LowRank(4, 'int8', 'int8'),
  methods.LowRank(3, 'int4'),
  methods.Dense('bfloat16'),
  methods.Dense('int4'),
  methods.ProductQuantization(2, 5),
  methods.VectorQuantization(6),
  methods.DifferentiableSoftmax(4, 3),
  methods.DifferentiableNearest(2, 4),
)
CODED = {6: (2, 5), 7: (1, 6), 8: (4, 3), 9: (2, 4)}  # books and codewords
SPACE = SearchSpace(FEATURES, BINS, OPTIONS)
SUPERNET = Supernet(SPACE, RANK)
lookup, logits = jax.jit(SUPERNET.lookup), jax.jit(SUPERNET.logits)
IDS = np.array([[0, 39, 4], [5, 15, 16]], np.int32)
ALL = np.arange(VOCAB, dtype=np.int32)


def all_bins(option):
  return np.full(len(BINS) - 1, option, np.int32)


@functools.cache
def weights():
  rng = np.random.default_rng(0)
  table = rng.normal(size=(VOCAB, FEATURES)) * 0.5 ** np.arange(FEATURES)
  params, buffers = SUPERNET.from_table(table, np.ones(VOCAB))
  dropped = rng.normal(size=RANK).astype(np.float32)
  return params | {'dropped': jnp.asarray(dropped)}, buffers


def codebooks_of(buffers, option):
  """[M, K, R / M] codewords, read out of all that there are."""
  flat = np.asarray(buffers['codebooks'])
  for coded, (books, codewords) in CODED.items():
    size = codewords * RANK
    if coded == option:
      return flat[:size].reshape(books, codewords, RANK // books)
    flat = flat[size:]


def nearest(own, codebooks):
  """Coefficients whose blocks are replaced by the nearest codewords."""
  blocks = own.reshape(len(own), len(codebooks), -1)
  result = np.empty_like(blocks)
  for m, book in enumerate(codebooks):
    squares = np.square(blocks[:, m, None] - book[None]).sum(-1)
    result[:, m] = book[squares.argmin(1)]
  return result.reshape(own.shape)


def rounded(own, bits):
  """Coefficients on a grid that suits the spread within their bin."""
  step = {8: 0.0309, 4: 0.3534}[bits]
  limit = 2 ** (bits - 1) - 1
  result = np.empty_like(own)
  for start, stop in itertools.pairwise(BINS):
    words = own[start:stop]
    steps = step * np.sqrt(np.square(words).mean(0))
    result[start:stop] = np.round(words / steps).clip(-limit, limit) * steps
  return result


def plain_coefficients(option):
  """[V, R] what an option alone makes of all words."""
  params, buffers = weights()
  own = np.asarray(params['coefficients'])
  if option == 0:
    return np.tile(params['dropped'], (VOCAB, 1))
  if option in CODED:
    return nearest(own, codebooks_of(buffers, option))
  keep = np.arange(RANK) < {1: 2, 3: 3}.get(option, RANK)
  bits = {2: 8, 3: 4, 5: 4}.get(option)
  return keep * (rounded(own, bits) if bits else own)


@functools.cache
def plain_table(option):
  return plain_coefficients(option) @ np.asarray(weights()[0]['basis'])


def close(actual, expected, **tolerances):
  np.testing.assert_allclose(
    actual, expected, **({'rtol': 1e-5, 'atol': 2e-6} | tolerances)
  )
