"""Tests of reading and converting a whole scheme."""

import functools
from unittest import mock

import chex
import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp import Group, Scheme, methods
from embedcomp.methods import forms
from embedcomp.table import group_params
from embedcomp.table import read as grouped
from embedcomp.table.order import (
  check_order,
  groups_from_order,
  order_from_groups,
)
from tests.methods.method_test import CONFIGS
from tests.methods.plain_tables import plain_table, plain_values
from tests.table.scheme_strategies import random_schemes

# One of everything that is read in its own way: joined pieces of one width and
# of half of it, a rotation, bases, hashes, and trees of scales.
MIXED = Scheme(
  12,
  (
    Group(5, methods.Dense('int8')),
    Group(7, methods.LowRank(3, 'int8', 'int4')),
    Group(30, methods.ProductQuantization(3, 8, 'int8', rotation=True)),
    Group(20, methods.ProductQuantization(6, 4, 'int4')),
    Group(15, methods.ProductQuantization(3, 8, 'float16')),
    Group(20, methods.VectorQuantization(4, 'bfloat16')),
    Group(9, methods.LowRank(2)),
    Group(11, methods.Hashed(5)),
    Group(6, methods.Drop()),
  ),
  order='stored',
)
# Gradients of scales are sums of integers up to 127 that cancel.
GRADIENTS = {'rtol': 1e-4, 'atol': 1e-3}
# Every property is compiled anew for each scheme.
FEW = hypothesis.settings(max_examples=10)


@functools.cache
def params_of(scheme: Scheme, seed: int = 0, is_stored: bool = False):
  """Params fitted to a random table, words in a random order if one is stored.

  Fitting runs in NumPy: to draw params would compile much for every scheme.
  """
  rng = np.random.default_rng(seed)
  fitted = []
  for group, shape in zip(scheme.groups, scheme.shapes):
    table = rng.normal(size=shape).astype(np.float32) / np.sqrt(scheme.features)
    fitted.append(group.method.fit(table, np.ones(shape.num_words), seed))
  params = group_params.gather_groups(scheme, fitted)
  if scheme.order == 'stored':
    sizes = [group.size for group in scheme.groups]
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    order = order_from_groups(groups)
    params['order'] = forms.Stored(jnp.asarray(check_order(scheme, order)))
  return group_params.quantize_params(scheme, params) if is_stored else params


def plain_words(scheme, stored):
  """[V, D] table of stored params in plain NumPy, in the order of ids."""
  tables = []
  for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes)):
    real = dict(stored[group_params.group_name(index)])
    if any(part.shared for part in group.method.parts(shape)):
      real |= stored['shared']
    codes = real.pop('codes', None)
    real = {name: plain_values(factor) for name, factor in real.items()}
    codes = None if codes is None else np.asarray(codes.values)
    blocks = getattr(group.method, 'blocks', '')
    tables.append(
      plain_table(group.method.name, real, codes, shape, blocks=blocks)
    )
  table = np.concatenate(tables)
  return (
    table[np.asarray(stored['order'].values)] if 'order' in stored else table
  )


def small_blocks():
  """Blocks so short that 60 tokens are several, the last one not full."""
  return mock.patch.object(grouped, 'TOKENS_BLOCK', 16)


@FEW
@hypothesis.given(random_schemes(), st.integers(0, 99), st.booleans())
def test_reading_equals_the_plain_table(scheme, seed, is_stored):
  params = params_of(scheme, seed, is_stored)
  table = plain_words(scheme, params_of(scheme, seed, is_stored=True))
  assert table.shape == (scheme.vocab_size, scheme.features)
  rng = np.random.default_rng(seed)
  with small_blocks():
    for shape in ((2, 2), (3, 20)):  # few tokens, and as many as words or more
      ids = rng.integers(scheme.vocab_size, size=shape)
      words = grouped.lookup(scheme, params, ids)
      assert words.dtype == jnp.float32
      np.testing.assert_allclose(words, table[ids], rtol=1e-5, atol=3e-6)
  hidden = rng.normal(size=(2, 3, scheme.features)).astype(np.float32)
  logits = grouped.logits(scheme, params, hidden)
  np.testing.assert_allclose(logits, hidden @ table.T, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize('is_stored', [False, True])
@pytest.mark.parametrize('num_tokens', [1, 20, 123, 124, 300])
def test_few_and_many_tokens_equal_the_plain_table(num_tokens, is_stored, rng):
  """Both sides of every way to read: joined, alone, and in blocks."""
  table = plain_words(MIXED, params_of(MIXED, is_stored=True))
  ids = rng.integers(123, size=num_tokens)
  with small_blocks():
    words = grouped.lookup(MIXED, params_of(MIXED, 0, is_stored), ids)
  np.testing.assert_allclose(words, table[ids], rtol=1e-5, atol=3e-6)


@FEW
@hypothesis.given(random_schemes(), st.integers(0, 99))
def test_quantizing_what_is_dequantized_gives_it_back(scheme, seed):
  stored = params_of(scheme, seed, is_stored=True)
  again = group_params.quantize_params(
    scheme, group_params.dequantize_params(scheme, stored)
  )
  chex.assert_trees_all_equal(again, stored)
  chex.assert_trees_all_equal_dtypes(again, stored)
  chex.assert_trees_all_equal(
    group_params.quantize_params(scheme, stored), stored
  )


@pytest.mark.parametrize('is_stored', [False, True])
def test_merging_reverses_splitting(is_stored):
  params = params_of(MIXED, 0, is_stored)
  trainable, stored = forms.split_params(params)
  assert forms.is_stored(stored)
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(trainable))
  assert is_stored == (trainable == {})
  chex.assert_trees_all_equal(forms.merge_params(trainable, stored), params)
  chex.assert_trees_all_equal(forms.merge_params(stored, trainable), params)


@pytest.mark.parametrize(
  'ids',
  [
    3,
    np.int64(122),
    [0, 122, 3],
    ((0, 1), (2, 122)),
    np.array(7, np.uint16),
    jnp.int32(122),
    np.array([], np.int32),
    np.zeros((2, 0, 3), np.int64),
    np.arange(123, dtype=np.uint8).reshape(3, 41),
    np.arange(123, dtype=np.int8),
    np.arange(123)[::-1],
    jnp.arange(12, dtype=jnp.uint32).reshape(2, 3, 2),
  ],
)
def test_ids_of_any_shape_and_integer_dtype(ids):
  params = params_of(MIXED)
  words = grouped.lookup(MIXED, params, ids)
  assert words.shape == (*np.shape(ids), 12)
  table = np.asarray(grouped.reconstruct(MIXED, params))
  np.testing.assert_allclose(words, table[np.asarray(ids)], atol=1e-6)


@pytest.mark.parametrize(
  'ids',
  [1.0, [0.5], np.zeros(2, bool), True, ['a'], None, [], 1j, jnp.zeros(2)],
)
def test_ids_that_are_not_integers_are_refused(ids):
  with pytest.raises(TypeError, match='ids must be integers, got'):
    grouped.lookup(MIXED, params_of(MIXED), ids)


@pytest.mark.parametrize(
  ('ids', 'wrong'),
  [(123, 123), ([5, -1], -1), ([[2**31]], 2**31), (np.uint8(200), 200)],
)
def test_known_ids_out_of_range_are_refused(ids, wrong):
  with pytest.raises(ValueError, match=rf'\[0, 123\), got {wrong}\.'):
    grouped.lookup(MIXED, params_of(MIXED), ids)


@pytest.mark.parametrize('num_words', [123, 5000])
@pytest.mark.parametrize('dtype', [jnp.int32, jnp.uint32, jnp.int8, jnp.uint8])
def test_traced_ids_out_of_range_give_nan(num_words, dtype):
  scheme = (
    MIXED
    if num_words == 123
    else Scheme(12, (Group(num_words, methods.LowRank(2)),))
  )
  params = params_of(scheme)
  largest = jnp.iinfo(dtype).max
  ids = np.array([0, 5, largest, -1 % (largest + 1)], dtype)
  if np.issubdtype(ids.dtype, np.signedinteger):
    ids[3] = -1
  words = jax.jit(lambda ids: grouped.lookup(scheme, params, ids))(ids)
  valid = (ids >= 0) & (ids.astype(np.int64) < num_words)
  table = np.asarray(grouped.reconstruct(scheme, params))
  np.testing.assert_allclose(words[valid], table[ids[valid]], atol=1e-6)
  assert np.isnan(words[~valid]).all()


def test_invalid_ids_have_no_gradient():
  trainable, stored = forms.split_params(params_of(MIXED))

  @jax.jit
  def gradients_of(trainable, ids):
    def loss_fn(trainable):
      params = forms.merge_params(trainable, stored)
      words = grouped.lookup(MIXED, params, ids)
      return jnp.where(jnp.isnan(words), 0, words).sum()

    return jax.grad(loss_fn)(trainable)

  gradients = gradients_of(trainable, jnp.array([-1, 123, 2**30]))
  chex.assert_trees_all_equal(
    gradients, jax.tree.map(jnp.zeros_like, trainable)
  )


def test_one_dense_group_is_flax_embed_to_the_bit():
  scheme = Scheme(8, (Group(20, methods.Dense()),))
  params = params_of(scheme)
  embed = nn.Embed(20, 8)
  ids = jnp.array([[1, 19, 1], [0, 7, 1]])
  hidden = jax.random.normal(jax.random.key(1), (4, 8))

  def ours(table):
    params = {'group_0': {'table': table}}
    words = grouped.lookup(scheme, params, ids)
    return words, grouped.logits(scheme, params, hidden)

  def theirs(table):
    variables = {'params': {'embedding': table}}
    words = embed.apply(variables, ids)
    return words, embed.apply(variables, hidden, method='attend')

  table = params['group_0']['table']
  outputs, pull_ours = jax.vjp(jax.jit(ours), table)
  expected, pull_theirs = jax.vjp(jax.jit(theirs), table)
  chex.assert_trees_all_equal(outputs, expected)
  cotangents = jax.tree.map(jnp.sin, outputs)
  np.testing.assert_allclose(
    pull_ours(cotangents)[0], pull_theirs(cotangents)[0], rtol=1e-6, atol=1e-7
  )


@pytest.mark.parametrize('num_tokens', [4, 200])
def test_gradients_equal_those_of_the_table(num_tokens):
  trainable, stored = forms.split_params(params_of(MIXED))
  ids = np.random.default_rng(0).integers(123, size=num_tokens)
  target = jax.random.normal(jax.random.key(2), (num_tokens, 12))

  def loss_fn(read, trainable):
    params = forms.merge_params(trainable, stored)
    return jnp.square(read(params) - target).sum()

  ours = functools.partial(loss_fn, lambda p: grouped.lookup(MIXED, p, ids))
  plain = functools.partial(
    loss_fn, lambda p: grouped.reconstruct(MIXED, p)[ids]
  )
  gradients, expected = jax.grad(ours)(trainable), jax.grad(plain)(trainable)
  chex.assert_trees_all_close(gradients, expected, **GRADIENTS)


def test_gradients_of_logits_equal_those_of_the_table():
  trainable, stored = forms.split_params(params_of(MIXED))
  hidden = jax.random.normal(jax.random.key(2), (5, 12))
  labels = jnp.array([0, 50, 122, 7, 99])

  def loss_fn(read, trainable, hidden):
    logits = read(forms.merge_params(trainable, stored), hidden)
    return -jax.nn.log_softmax(logits)[jnp.arange(5), labels].sum()

  ours = functools.partial(loss_fn, lambda p, h: grouped.logits(MIXED, p, h))
  plain = functools.partial(
    loss_fn, lambda p, h: h @ grouped.reconstruct(MIXED, p).T
  )
  gradients = jax.grad(ours, (0, 1))(trainable, hidden)
  expected = jax.grad(plain, (0, 1))(trainable, hidden)
  chex.assert_trees_all_close(gradients, expected, **GRADIENTS)


def test_reading_and_its_gradient_work_under_vmap():
  trainable, stored = forms.split_params(params_of(MIXED))
  ids = np.arange(120).reshape(3, 40)

  def loss_fn(trainable, ids):
    words = grouped.lookup(MIXED, forms.merge_params(trainable, stored), ids)
    return jnp.square(words).sum()

  mapped = jax.vmap(jax.value_and_grad(loss_fn), (None, 0))(trainable, ids)
  single = [jax.value_and_grad(loss_fn)(trainable, row) for row in ids]
  expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *single)
  chex.assert_trees_all_close(mapped, expected, **GRADIENTS)


def test_each_shape_of_ids_is_traced_once():
  class Counted(methods.Dense):
    """Dense rows that count how often they are traced."""

    num_traces = 0

    def lookup(self, params, rows, shape):
      Counted.num_traces += 1
      return super().lookup(params, rows, shape)

  def scheme():
    return Scheme(4, (Group(9, Counted()),))

  params = group_params.init(jax.random.key(0), scheme())
  for ids in ([1, 2], [3, 4], [[1, 2]], [8, 0], [[5, 6]]):
    grouped.lookup(scheme(), params, np.array(ids))
  assert Counted.num_traces == 2


@pytest.mark.parametrize('num_tokens', [4, 60])
def test_commitment_is_that_of_the_groups_that_have_one(num_tokens, rng):
  nearest = methods.DifferentiableNearest(3, 4)
  scheme = Scheme(6, (Group(4, methods.Dense()), Group(9, nearest)))
  params = params_of(scheme)
  own = params['group_1']
  # Queries apart from their codewords, so that there is something to pay.
  queries = own['queries'] + rng.normal(size=(9, 6)).astype(np.float32)
  params = dict(params, group_1=dict(own, queries=queries))
  ids = rng.integers(13, size=(2, num_tokens // 2))
  books = np.asarray(own['codebooks'])  # [M, K, d]
  blocks = np.asarray(queries).reshape(9, 3, 1, 2)
  lost = np.square(blocks - books).sum(-1).min(-1).sum(-1)  # [W]
  by_rank = np.concatenate([np.zeros(4), lost / (np.square(books).mean() * 6)])
  terms = grouped.commitment(scheme, params, ids)
  assert terms.any()
  np.testing.assert_allclose(terms, by_rank[ids], rtol=1e-5)

  def penalty(queries):
    group_1 = dict(own, queries=queries)
    terms = grouped.commitment(scheme, dict(params, group_1=group_1), ids)
    return terms.sum()

  counts = np.bincount(ids.ravel(), minlength=13)[4:]
  slopes = np.abs(np.asarray(jax.grad(penalty)(queries))).sum(1)
  np.testing.assert_array_equal(slopes > 0, counts > 0)
  stored = params_of(scheme, is_stored=True)
  assert grouped.commitment(scheme, stored, ids) is None
  assert grouped.commitment(MIXED, params_of(MIXED), ids) is None


EVERY = Scheme(
  12, tuple(Group(61, method) for method in CONFIGS), order='stored'
)


@pytest.mark.parametrize('is_stored', [False, True])
def test_64_bit_mode_changes_nothing(is_stored, rng):
  params = params_of(EVERY, 0, is_stored)
  table = plain_words(EVERY, params_of(EVERY, 0, is_stored=True))
  hidden = rng.normal(size=(2, 12))
  with jax.enable_x64(True):
    for num_tokens in (5, 900):  # read token by token, and in blocks
      ids = rng.integers(EVERY.vocab_size, size=num_tokens)
      words = grouped.lookup(EVERY, params, ids)
      assert words.dtype == jnp.float32
      np.testing.assert_allclose(words, table[ids], rtol=1e-5, atol=3e-6)
    logits = grouped.logits(EVERY, params, hidden)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, hidden @ table.T, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
  ('method', 'num_tokens'),
  [
    (methods.Dense(), 1),  # read alone
    (methods.VectorQuantization(2), 3),  # joined pieces
    (methods.LowRank(1), 3),  # joined bases
    (methods.GradedCodes(1, '1x2', 3), 3),  # joined on shared axes
    (methods.LowRank(1), 7),  # in blocks
  ],
)
def test_no_nan_is_made_unless_an_id_is_out_of_range(method, num_tokens):
  scheme = Scheme(2, (Group(6, method),))
  params = params_of(scheme, is_stored=True)
  ids = np.arange(num_tokens) % 6
  with jax.disable_jit(), jax.debug_nans(True):
    words = grouped.lookup(scheme, params, ids)
  np.testing.assert_allclose(words, plain_words(scheme, params)[ids], atol=1e-6)


@pytest.mark.parametrize('is_stored', [False, True])
def test_of_nothing_nothing_is_read(is_stored):
  params = params_of(EVERY, 0, is_stored)
  words = grouped.lookup(EVERY, params, np.zeros((3, 0), np.int32))
  assert words.shape == (3, 0, 12)
  assert words.dtype == jnp.float32
  terms = grouped.commitment(EVERY, params, np.zeros(0, np.int32))
  assert terms is None if is_stored else terms.shape == (0,)
  logits = grouped.logits(EVERY, params, jnp.zeros((2, 0, 12)))
  assert logits.shape == (2, 0, EVERY.vocab_size)
  assert logits.dtype == jnp.float32


def test_forward_derivatives_of_many_tokens(rng):
  """Tokens in blocks have both derivatives, forward and reverse."""
  trainable, stored = forms.split_params(params_of(MIXED))
  ids = rng.integers(123, size=200)

  def words_of(trainable):
    return grouped.lookup(MIXED, forms.merge_params(trainable, stored), ids)

  tangents = jax.tree.map(jnp.cos, trainable)
  words, slopes = jax.jvp(words_of, (trainable,), (tangents,))
  _, pull = jax.vjp(words_of, trainable)
  (gradients,) = pull(jnp.ones_like(words))
  products = jax.tree.map(lambda x, y: (x * y).sum(), gradients, tangents)
  total = sum(jax.tree.leaves(products))
  np.testing.assert_allclose(slopes.sum(), total, rtol=1e-4)


def test_ranks_go_by_group_and_then_by_id():
  groups = np.array([2, 0, 1, 0, 2, 1])
  order = order_from_groups(groups)
  assert order.tolist() == [4, 0, 2, 1, 5, 3]
  method = methods.Dense()
  scheme = Scheme(2, tuple(Group(2, method) for _ in range(3)), 'stored')
  np.testing.assert_array_equal(check_order(scheme, order), order)
  np.testing.assert_array_equal(groups_from_order(scheme, order), groups)


@pytest.mark.parametrize(
  'order',
  [[0, 1, 2], [0, 0, 1, 2], [1, 0, 2, 3], [0, 1, 2, 4], [0.0, 1.0, 2.0, 3.0]],
)
def test_orders_that_a_file_cannot_express_are_refused(order):
  method = methods.Dense()
  scheme = Scheme(2, (Group(2, method), Group(2, method)), 'stored')
  with pytest.raises(ValueError, match='order must'):
    group_params.init(jax.random.key(0), scheme, np.array(order))


def test_an_order_needs_a_scheme_that_stores_it():
  scheme = Scheme(2, (Group(4, methods.Dense()),))
  with pytest.raises(ValueError, match="needs a scheme with order='stored'"):
    group_params.init(jax.random.key(0), scheme, np.arange(4))


@pytest.mark.parametrize('shape', [(), (11,), (12, 3)])
def test_hidden_vectors_of_wrong_width_are_refused(shape):
  with pytest.raises(ValueError, match='hidden must end in 12 features'):
    grouped.logits(MIXED, params_of(MIXED), jnp.zeros(shape))


def test_more_tokens_than_words_are_read_alike(rng):
  scheme = Scheme(
    8,
    (Group(3, methods.Dense()), Group(17, methods.LowRank(4, 'int8'))),
    order='stored',
  )
  order = order_from_groups(rng.permutation([0] * 3 + [1] * 17))
  params = group_params.init(jax.random.key(0), scheme, order)
  # Sums of whole numbers are exact in whatever order a program takes them.
  params['group_1'] = {
    'basis': jnp.asarray(rng.integers(-9, 10, size=(4, 8)), jnp.float32),
    'coefficients': {
      'scale': jnp.ones((1, 4)),
      'values': jnp.asarray(rng.integers(-9, 10, size=(17, 4)), jnp.float32),
    },
  }
  ids = rng.integers(0, 20, size=(9, 7))
  one_by_one = [grouped.lookup(scheme, params, row) for row in ids]
  np.testing.assert_array_equal(
    grouped.lookup(scheme, params, ids), np.stack(one_by_one)
  )
  beyond = jax.jit(lambda ids: grouped.lookup(scheme, params, ids))(
    np.where(ids == ids[0, 0], 20, ids)
  )
  np.testing.assert_array_equal(np.isnan(beyond).all(-1), ids == ids[0, 0])
