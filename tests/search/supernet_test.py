"""A supernet against each of its options alone."""

import functools

import jax
import numpy as np
import pytest

from embedcomp import Group, Scheme, methods
from embedcomp.compression.space import SearchSpace
from embedcomp.search.supernet import Supernet
from embedcomp.table import read
from tests.search.plain_supernet import (
  ALL,
  BIN_OF_WORD,
  BINS,
  FEATURES,
  IDS,
  OPTIONS,
  RANK,
  SPACE,
  SUPERNET,
  VOCAB,
  all_bins,
  close,
  logits,
  lookup,
  plain_coefficients,
  plain_table,
  weights,
)
from tests.table.jaxprs import dot_precisions


@pytest.mark.parametrize('option', range(len(OPTIONS)))
def test_a_chosen_option_does_what_it_does_alone(option):
  table = plain_table(option)
  close(lookup(*weights(), all_bins(option), IDS), table[IDS])
  close(lookup(*weights(), all_bins(option), ALL), table)
  # One bin alone, among others.
  choice = np.array([1, option, 4], np.int32)
  expected = np.choose(
    choice[BIN_OF_WORD][:, None], [plain_table(o) for o in range(len(OPTIONS))]
  )
  close(lookup(*weights(), choice, ALL), expected)


def test_a_mixture_is_an_average_of_options(rng):
  mixture = rng.dirichlet(np.ones(len(OPTIONS)), 3).astype(np.float32)
  tables = np.stack([plain_table(o) for o in range(len(OPTIONS))])
  expected = np.einsum('VO,OVD->VD', mixture[BIN_OF_WORD], tables)
  close(lookup(*weights(), mixture, ALL), expected)
  close(lookup(*weights(), mixture, IDS), expected[IDS])


@pytest.mark.parametrize('choice', [(0, 3, 7), (9, 1, 5), (2, 6, 8), (4, 4, 4)])
def test_one_hot_mixtures_are_choices(choice, rng):
  choice = np.array(choice, np.int32)
  one_hot = np.eye(len(OPTIONS), dtype=np.float32)[choice]
  hidden = rng.normal(size=(2, FEATURES)).astype(np.float32)
  close(lookup(*weights(), one_hot, IDS), lookup(*weights(), choice, IDS))
  close(lookup(*weights(), one_hot, ALL), lookup(*weights(), choice, ALL))
  close(logits(*weights(), one_hot, hidden), logits(*weights(), choice, hidden))


def test_logits_are_inner_products(rng):
  hidden = rng.normal(size=(2, FEATURES)).astype(np.float32)
  mixture = rng.dirichlet(np.ones(len(OPTIONS)), 3).astype(np.float32)
  for chosen in (np.array([2, 7, 3], np.int32), mixture):
    expected = hidden @ np.asarray(lookup(*weights(), chosen, ALL)).T
    close(logits(*weights(), chosen, hidden), expected)


@pytest.mark.parametrize('num_tokens', [VOCAB - 1, VOCAB])
@pytest.mark.parametrize('is_mixed', [False, True])
def test_products_are_taken_in_float32(num_tokens, is_mixed):
  """Accelerators round factors to fewer bits unless they are asked not to."""
  chosen = np.ones((3, len(OPTIONS)), np.float32) if is_mixed else all_bins(1)
  ids = np.zeros(num_tokens, np.int32)
  hidden = np.zeros((2, FEATURES), np.float32)
  found = dot_precisions(SUPERNET.lookup, *weights(), chosen, ids)
  found |= dot_precisions(SUPERNET.logits, *weights(), chosen, hidden)
  assert found == {(jax.lax.Precision.HIGHEST,) * 2}


def test_many_tokens_cost_and_give_no_more_than_words(rng):
  """With more tokens than words each word is made once."""
  ids = rng.integers(0, VOCAB, (2, 30)).astype(np.int32)
  for chosen in (all_bins(3), np.full((3, len(OPTIONS)), 0.1, np.float32)):
    by_word = np.asarray(lookup(*weights(), chosen, ids))
    by_token = [lookup(*weights(), chosen, row[i : i + 6].reshape(2, 3))
                for row in ids for i in range(0, 30, 6)]  # fmt: skip
    close(by_word.reshape(-1, FEATURES), np.reshape(by_token, (-1, FEATURES)))


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1))
def gradients(params, mixture, buffers, ids, slopes):
  return (SUPERNET.lookup(params, buffers, mixture, ids) * slopes).sum()


@jax.jit
@jax.grad
def chosen_gradients(params, choice, buffers, ids, slopes):
  return (SUPERNET.lookup(params, buffers, choice, ids) * slopes).sum()


def clipped(option):
  """[V, R] coefficients beyond the range of an integer option."""
  bits = {2: 8, 3: 4, 5: 4}.get(option)
  own = np.asarray(weights()[0]['coefficients'])
  if bits is None:
    return np.zeros_like(own, bool)
  limit = {8: 0.0309 * 127, 4: 0.3534 * 7}[bits]
  energy = np.add.reduceat(np.square(own), BINS[:-1]) / np.diff(BINS)[:, None]
  return np.abs(own) > limit * np.sqrt(energy)[BIN_OF_WORD]


def expected_gradients(mixture, slopes):
  """By hand: what is rounded or coded passes its gradient on as it is."""
  basis = np.asarray(weights()[0]['basis'])
  inner = slopes @ basis.T  # [V, R]
  probabilities = mixture[BIN_OF_WORD]
  total = {
    'coefficients': np.zeros((VOCAB, RANK)),
    'basis': np.zeros_like(basis),
    'dropped': probabilities[:, 0] @ inner,
  }
  for option in range(1, len(OPTIONS)):
    keep = np.arange(RANK) < {1: 2, 3: 3}.get(option, RANK)
    free = keep & ~clipped(option)
    total['coefficients'] += probabilities[:, option, None] * free * inner
  for option in range(len(OPTIONS)):
    own = probabilities[:, option, None] * plain_coefficients(option)
    total['basis'] += own.T @ slopes
  return total


def test_gradients_pass_straight_through(rng):
  params, buffers = weights()
  assert clipped(3).any()
  slopes = rng.normal(size=(VOCAB, FEATURES)).astype(np.float32)
  mixture = rng.dirichlet(np.ones(len(OPTIONS)), 3).astype(np.float32)
  of_params, of_mixture = gradients(params, mixture, buffers, ALL, slopes)
  expected = expected_gradients(mixture, slopes)
  for name, gradient in of_params.items():
    close(gradient, expected[name], atol=1e-5, err_msg=name)
  # More of an option adds its own vectors.
  by_word = np.stack(
    [(plain_table(o) * slopes).sum(1) for o in range(len(OPTIONS))], 1
  )
  close(of_mixture, np.add.reduceat(by_word, BINS[:-1]), atol=1e-5)


@pytest.mark.parametrize('option', range(len(OPTIONS)))
def test_gradients_of_choices_pass_straight_through(rng, option):
  params, buffers = weights()
  slopes = rng.normal(size=(VOCAB, FEATURES)).astype(np.float32)
  found = chosen_gradients(params, all_bins(option), buffers, ALL, slopes)
  one_hot = np.eye(len(OPTIONS))[all_bins(option)]
  for name, expected in expected_gradients(one_hot, slopes).items():
    close(found[name], expected, atol=1e-5, err_msg=name)


def test_grids_suit_normal_numbers(rng):
  """No uniform quantizer of 16 levels errs by less than 0.01154 (Max, 1960)."""
  options = (methods.Dense('int8'), methods.Dense('int4'))
  supernet = Supernet(SearchSpace(5, (0, 4000), options), 5)
  params = {
    'coefficients': rng.normal(size=(4000, 5)).astype(np.float32) * 7,
    'basis': np.eye(5, dtype=np.float32),
    'dropped': np.zeros(5, np.float32),
  }
  buffers = supernet.refresh(params)
  lookup_all = jax.jit(supernet.lookup)
  for option, bound in enumerate([0.0001, 0.013]):
    choice = np.array([option], np.int32)
    words = lookup_all(params, buffers, choice, np.arange(4000))
    lost = np.square(np.asarray(words) - params['coefficients']).mean() / 49
    assert 0.7 * bound < lost < bound


def test_a_bin_of_zeros_is_finite():
  params = weights()[0]
  zeros = params | {'coefficients': params['coefficients'].at[:5].set(0.0)}
  buffers = SUPERNET.refresh(zeros)
  for option in (2, 3, 5):
    words = lookup(zeros, buffers, all_bins(option), ALL)
    assert not np.asarray(words[:5]).any()
    gradient = chosen_gradients(
      zeros, all_bins(option), buffers, ALL, np.ones((VOCAB, FEATURES))
    )
    assert all(np.isfinite(leaf).all() for leaf in gradient.values())


def extracted_table(scheme):
  params = SUPERNET.extract(weights()[0], scheme, np.ones(VOCAB))
  return np.asarray(read.reconstruct(scheme, params))


def test_extracted_floats_are_the_supernets_own_rows():
  chosen = (1, 4, 0)
  options = [OPTIONS[1], methods.Dense(), OPTIONS[0]]
  sizes = np.diff(BINS).tolist()
  scheme = Scheme(FEATURES, tuple(map(Group, sizes, options)))
  expected = lookup(*weights(), np.array(chosen, np.int32), ALL)
  close(extracted_table(scheme), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(('option', 'bits'), [(2, 8), (3, 4), (5, 4)])
def test_extracted_integers_lose_at_most_half_a_step(option, bits):
  """A grid up to the largest value does so; better ones lose less."""
  method = OPTIONS[option]
  if option == 2:
    method = methods.LowRank(4, 'int8')  # a plain basis keeps the errors
  scheme = Scheme(FEATURES, (Group(VOCAB, method),))
  params = weights()[0]
  keep = np.arange(RANK) < getattr(method, 'rank', RANK)
  own = np.asarray(params['coefficients']) * keep
  exact = own @ np.asarray(params['basis'])
  values, axis = (exact, 1) if option == 5 else (own, 0)  # scales by word
  halves = np.abs(values).max(axis) / (2 ** (bits - 1) - 1) / 2
  bound = np.square(halves).sum() * values.shape[axis]
  lost = np.square(extracted_table(scheme) - exact).sum()
  assert 0 < lost <= 1.02 * bound  # scales are bfloat16


def test_from_table_takes_the_leading_weighted_directions(rng):
  table = rng.normal(size=(VOCAB, FEATURES)).astype(np.float32)
  counts = rng.random(VOCAB) ** 4
  params, _ = SUPERNET.from_table(table, counts)
  basis = np.asarray(params['basis'])
  close(basis @ basis.T, np.eye(RANK))
  error = table - np.asarray(params['coefficients']) @ basis
  values = np.linalg.svd(np.sqrt(counts)[:, None] * table, compute_uv=False)
  lost = counts @ np.square(error).sum(1)
  close(lost, np.square(values[RANK:]).sum(), rtol=1e-4)
  energy = counts @ np.square(params['coefficients'])
  close(energy, np.square(values[:RANK]), rtol=1e-4)


def test_a_table_of_full_rank_is_kept(rng):
  table = rng.normal(size=(VOCAB, FEATURES)).astype(np.float32)
  space = SearchSpace(FEATURES, BINS, (methods.Dense(), methods.Drop()))
  supernet = Supernet(space, FEATURES)
  params, buffers = supernet.from_table(table, np.ones(VOCAB))
  assert set(buffers) == {'bin_of_word', 'spread'}
  jax.tree.map(
    np.testing.assert_array_equal, supernet.refresh(params, buffers), buffers
  )
  words = jax.jit(supernet.lookup)(params, buffers, all_bins(0), ALL)
  close(words, table)


def test_init_gives_vectors_of_unit_norm_on_average():
  params, buffers = jax.jit(SUPERNET.init)(jax.random.key(0))
  basis = np.asarray(params['basis'])
  close(basis @ basis.T, np.eye(RANK))
  norms = np.square(params['coefficients'] @ basis).sum(1)
  # The mean over 40 words of chi-squares: five standard deviations.
  np.testing.assert_allclose(norms.mean(), 1, atol=5 * np.sqrt(2 / RANK / 40))
  fresh = SUPERNET.refresh(params)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), fresh) == jax.tree.map(
    lambda x: (x.shape, x.dtype), buffers
  )
  assert not np.asarray(buffers['codebooks']).any()


@pytest.mark.parametrize('rank', [0, 9])
def test_the_rank_is_at_most_the_features(rank):
  with pytest.raises(ValueError, match=f'1 to 8 features, got {rank}'):
    Supernet(SPACE, rank)


@pytest.mark.parametrize(
  ('option', 'message'),
  [
    (methods.LowRank(5), r'LowRank\(rank=5.*exceeds the rank 4'),
    (methods.Hashed(5), 'hashed cannot be searched with a task, only'),
    (methods.ProductQuantization(8, 5), 'books must divide the rank 4'),
    (methods.ProductQuantization(3, 5), 'books must divide the 8 features'),
    (methods.VectorQuantization(41), 'codewords must be 1 to .* 40 words'),
  ],
  ids=lambda value: getattr(value, 'name', None),
)
def test_options_must_nest(option, message):
  with pytest.raises(ValueError, match=message):
    Supernet(SearchSpace(FEATURES, BINS, (option,)), RANK)
