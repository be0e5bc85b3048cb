"""Reading a compressed table: lookup and logits over a whole scheme.

Both forms of params (see `group_params`), trainable and stored, are read by
the same code.

Work is per token. Methods that gather subvectors are joined to one gather over
all groups, methods that multiply a basis to one product; the rest are computed
for every token and selected. Where that is more than making every word once,
tokens are read in blocks, so that no [V, D] array exists for any number of
tokens.

The exceptions are two cases of training, see `lookup`: what they save is more
than a table costs.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import axes_method, base, gather
from embedcomp.table.group_params import check_params, method_params
from embedcomp.table.order import check_ids
from embedcomp.table.scheme import Scheme
from embedcomp.table.sharding import with_explicit_axes
from embedcomp.types import Array, Params

# Index of a group, [T] bool and [T] int32; see `_members`.
_Member = tuple[int, jax.Array, jax.Array]

# Tokens read at a time where they are many: their arrays stay in the cache.
TOKENS_BLOCK = 2048


def lookup(scheme: Scheme, params: Params, ids: Array) -> jax.Array:
  """Vectors of words, without rebuilding the table.

  No [V, D] array is made for any number of tokens. In training there are two
  exceptions, where tokens, times the groups of hashed, tensor_train, rvq and
  dpq if these are several, are more than the V words: the gradient with respect
  to params of a scheme that does more than gather (dense, pq, vq and drop only
  gather, unless rotated) is summed by word; and trainable dpq, whose queries
  are a table already, lets each word choose its codewords once.

  Args:
    scheme: the scheme.
    params: of the scheme, trainable or stored.
    ids: [...] integers, the caller's own ids.

  Returns:
    [..., D] float32. Inside jit an id out of range gives NaN.

  Raises:
    TypeError: if ids are not integers, or arguments in another order.
    ValueError: for params that are not the scheme's; if an id is out of range,
      outside of jit.

  Example:
    >>> from embedcomp import Group, Scheme, methods, table
    >>> scheme = Scheme(4, (Group(3, methods.Dense()),))
    >>> params = table.init(jax.random.key(0), scheme)
    >>> table.lookup(scheme, params, np.array([[0, 2]])).shape
    (1, 2, 4)
  """
  check_params(scheme, params, 'scheme, params, ids')
  ids = check_ids(scheme.vocab_size, ids)
  read = functools.partial(_lookup, scheme)
  return with_explicit_axes(read, ids, ids.ndim)(params, ids)


@functools.partial(jax.jit, static_argnums=0)
def _lookup(scheme: Scheme, params: Params, ids: jax.Array) -> jax.Array:
  flat = ids.reshape(-1)
  if not _is_many(scheme, flat.size):
    words = _by_token(scheme, params, flat)
  elif any(
    group.method.chooses(method_params(scheme, params, index))
    for index, group in enumerate(scheme.groups)
  ):
    words = _by_word(scheme, params, flat)
  else:
    words = _by_block(scheme, params, flat)
  return words.reshape(*ids.shape, scheme.features)


def _is_many(scheme: Scheme, num_tokens: int) -> bool:
  """Whether making every word once is less work than making every token.

  It never is where words are only gathered. Groups that cannot be joined are
  computed for every token each.
  """
  computed = [
    group.method
    for group in scheme.groups
    if not (
      isinstance(group.method, base.SubvectorMethod) and group.method.is_plain
    )
  ]
  joined = (base.SubvectorMethod, base.BasisMethod, axes_method.AxesMethod)
  alone = sum(not isinstance(method, joined) for method in computed)
  return bool(computed) and num_tokens * max(alone, 1) > scheme.vocab_size


def _by_token(scheme: Scheme, params: Params, ids: jax.Array) -> jax.Array:
  """[T, D] words of [T] ids, each made for itself."""
  valid, members = _members(scheme, params, ids)
  clusters, projected, on_axes, single = _families(scheme, len(valid))
  # Without an id out of range there is no NaN, not even one that nobody reads:
  # `jax_debug_nans` would stop at it.
  nan = 0.0 / valid.all().astype(jnp.float32)
  words = [
    _join_subvectors(scheme, params, [members[i] for i in cluster], valid, nan)
    for cluster in clusters
  ]
  if projected:
    words.append(_join_bases(scheme, params, [members[i] for i in projected]))
  words += [
    _join_on_axes(scheme, params, [members[i] for i in indices])
    for indices in on_axes
  ]
  for index, inside, rows in (members[i] for i in single):
    group, shape = scheme.groups[index], scheme.shapes[index]
    found = group.method.lookup(
      method_params(scheme, params, index), rows, shape
    )
    is_alone = len(members) == 1
    words.append(found if is_alone else jnp.where(inside[:, None], found, 0))
  total = functools.reduce(jnp.add, words)  # [T, D]
  # Joined subvectors hold the NaN already.
  return total if clusters else jnp.where(valid[:, None], total, nan)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _by_block(scheme: Scheme, params: Params, ids: jax.Array) -> jax.Array:
  """[T, D] words of [T] ids, `TOKENS_BLOCK` of them at a time."""
  block = min(TOKENS_BLOCK, ids.size)

  def step(words, start):
    held = base.hold_floats(params, start, block * scheme.features)
    taken = jax.lax.dynamic_slice_in_dim(ids, start, block)
    found = _by_token(scheme, held, taken)
    return jax.lax.dynamic_update_slice_in_dim(words, found, start, 0), None

  words = jnp.zeros((ids.size, scheme.features), jnp.float32)
  return jax.lax.scan(step, words, base.block_starts(ids.size, block))[0]


@_by_block.defjvp
def _by_block_jvp(scheme: Scheme, primals, tangents):
  # Transposed, a loop over blocks adds to the gradient of every param in every
  # step; this adds up the gradient of each word, once.
  return jax.jvp(functools.partial(_by_word, scheme), primals, tangents)


def _by_word(scheme: Scheme, params: Params, ids: jax.Array) -> jax.Array:
  """[T, D] words of [T] ids, copied from a table in which each is made once."""
  valid, ids = _valid(scheme, ids)
  words = gather.take_subvectors(reconstruct(scheme, params), ids)
  nan = 0.0 / valid.all().astype(jnp.float32)
  return jnp.where(valid[:, None], words, nan)


def _valid(scheme: Scheme, ids: Array) -> tuple[jax.Array, jax.Array]:
  """[T] bool, True for ids in range, and int32 ids with 0 for the others."""
  if jnp.iinfo(ids.dtype).max < scheme.vocab_size:
    ids = ids.astype(jnp.int32)  # the comparison below has to fit the dtype
  valid = jnp.asarray((ids >= 0) & (ids < scheme.vocab_size))
  return valid, jnp.where(valid, ids, 0).astype(jnp.int32)


def _members(
  scheme: Scheme, params: Params, ids: Array
) -> tuple[jax.Array, list[_Member]]:
  """[T] which ids are valid, and for each group its index, [T] whether a word
  is inside, and [T] int32 rows in the group, in range for all words.
  """
  valid, ranks = _valid(scheme, ids.reshape(-1))
  if scheme.order == 'stored':
    ranks = gather.take(params['order'].values, ranks)
  members = []
  for index, shape in enumerate(scheme.shapes):
    rows = ranks - scheme.splits[index]
    inside = valid & (rows >= 0) & (rows < shape.num_words)
    members.append((index, inside, jnp.clip(rows, 0, shape.num_words - 1)))
  return valid, members


def _families(
  scheme: Scheme, num_tokens: int
) -> tuple[list[list[int]], list[int], list[list[int]], list[int]]:
  """Sorts groups by how they are read: clusters of subvectors, bases, shared
  axes, alone.

  Joining copies the members' subvectors, so it is done only where these are no
  more than the tokens' own vectors; and only where no member's subvectors are
  cut finer than those of the finest, for a gather costs the more the more of
  them it copies. A table of whole words is unpacked and cut up to be joined:
  that pays only for the few words of a head.
  """
  clusters: list[list[int]] = []
  projected: list[int] = []
  on_axes: dict[int, list[int]] = {}  # those of each rank
  single: list[int] = []
  pieces_of_word: dict[int, int] = {}
  for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes)):
    method = group.method
    if isinstance(method, base.BasisMethod):
      projected.append(index)
      continue
    if isinstance(method, axes_method.AxesMethod):
      on_axes.setdefault(method.rank, []).append(index)
      continue
    if not isinstance(method, base.SubvectorMethod) or not method.is_plain:
      single.append(index)
      continue
    num_rows, num_subvectors = method.num_subvectors(shape)
    pieces_of_word[index] = num_subvectors
    is_table = num_rows == shape.num_words and num_subvectors == 1
    most_rows = num_tokens // 4 if is_table else num_tokens * num_subvectors
    if num_rows > most_rows:
      single.append(index)
      continue
    for cluster in clusters:
      counts = [pieces_of_word[i] for i in (*cluster, index)]
      if math.lcm(*counts) == max(counts):
        cluster.append(index)
        break
    else:
      clusters.append([index])
  return clusters, projected, [*on_axes.values()], single


def _join_subvectors(scheme, params, members, valid, nan) -> jax.Array:
  """Gathers the words of several piece methods at once; others are zero."""
  methods: list[Any] = [scheme.groups[index].method for index, _, _ in members]
  shapes = [scheme.shapes[index] for index, _, _ in members]
  counts = [m.num_subvectors(s)[1] for m, s in zip(methods, shapes)]
  num_subvectors = math.lcm(*counts)
  width = scheme.features // num_subvectors
  zero = jnp.zeros((1, width), jnp.float32)
  tables = [zero, jnp.broadcast_to(nan, (1, width))]
  offset = 2
  subvectors = jnp.where(
    valid[:, None], 0, np.ones((1, num_subvectors), np.int32)
  )
  for (index, inside, rows), method, shape, count in zip(
    members, methods, shapes, counts
  ):
    group_params = method_params(scheme, params, index)
    table = method.subvectors(group_params, shape).reshape(-1, width)
    # Of the common subvectors in one of the group's.
    share = num_subvectors // count
    found = method.subvector_rows(group_params, rows, shape)[..., None] * share
    steps = np.arange(offset, offset + share, dtype=np.int32)
    found = (found + steps.reshape(1, 1, -1)).reshape(subvectors.shape)
    subvectors = jnp.where(inside[:, None], found, subvectors)
    tables.append(table)
    offset += len(table)
  words = gather.take_subvectors(jnp.concatenate(tables), subvectors)
  return words.reshape(-1, scheme.features)


def _join_bases(scheme, params, members) -> jax.Array:
  """One product for all groups with a basis; words of others are zero."""
  coefficients, bases = [], []
  for index, inside, rows in members:
    method: Any = scheme.groups[index].method
    group_params = method_params(scheme, params, index)
    found = method.coefficients(group_params, rows)  # [T, R]
    coefficients.append(jnp.where(inside[:, None], found, 0))
    bases.append(method.basis(group_params))
  return jnp.matmul(
    jnp.concatenate(coefficients, -1),
    jnp.concatenate(bases),
    precision='highest',
  )


def _join_on_axes(scheme, params, members) -> jax.Array:
  """Words of all groups on the same axes; those of others are zero."""
  coders = []
  for index, inside, rows in members:
    method: Any = scheme.groups[index].method
    group_params = method_params(scheme, params, index)
    coders.append(axes_method.Coder(method, group_params, inside, rows))
  return axes_method.lookup_groups(coders, scheme.features)


def commitment(scheme: Scheme, params: Params, ids: Array) -> jax.Array | None:
  """Terms that methods with learned codes add to a loss, word by word.

  Args:
    scheme: the scheme.
    params: of the scheme, trainable or stored.
    ids: [...] integers, the caller's own ids.

  Returns:
    [...] float32, 0 for words of other methods; None if no method of the
    scheme has such a term in the given form of the params.

  Raises:
    TypeError: if ids are not integers, or arguments in another order.
    ValueError: for params that are not the scheme's; if an id is out of range,
      outside of jit.
  """
  check_params(scheme, params, 'scheme, params, ids')
  ids = check_ids(scheme.vocab_size, ids)
  total = None
  for index, inside, rows in _members(scheme, params, ids)[1]:
    method, shape = scheme.groups[index].method, scheme.shapes[index]
    group_params = method_params(scheme, params, index)
    if rows.size > shape.num_words:  # each word's term is made once
      every = jnp.arange(shape.num_words)
      term = method.commitment(group_params, every, shape)
      term = None if term is None else gather.take(term, rows)
    else:
      term = method.commitment(group_params, rows, shape)
    if term is not None:
      term = jnp.where(inside, term, 0)
      total = term if total is None else total + term
  return None if total is None else total.reshape(ids.shape)


def logits(scheme: Scheme, params: Params, hidden: Array) -> jax.Array:
  """Inner products with every word, without rebuilding the table.

  Args:
    scheme: the scheme.
    params: of the scheme, trainable or stored.
    hidden: [..., D] float.

  Returns:
    [..., V] float32 in the order of the caller's ids.

  Raises:
    TypeError: for arguments in another order.
    ValueError: for params that are not the scheme's; if the last axis is not
      the scheme's features.
  """
  check_params(scheme, params, 'scheme, params, hidden')
  hidden = jnp.asarray(hidden)
  if not hidden.ndim or hidden.shape[-1] != scheme.features:
    raise ValueError(
      f'hidden must end in {scheme.features} features, got {hidden.shape}.'
    )
  read = functools.partial(_logits, scheme)
  return with_explicit_axes(read, hidden, hidden.ndim - 1)(params, hidden)


@functools.partial(jax.jit, static_argnums=0)
def _logits(scheme: Scheme, params: Params, hidden: jax.Array) -> jax.Array:
  hidden = hidden.astype(jnp.float32)
  scores = [
    group.method.logits(method_params(scheme, params, index), hidden, shape)
    for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes))
  ]
  by_rank = jnp.concatenate(scores, -1) if len(scores) > 1 else scores[0]
  if scheme.order == 'identity':
    return by_rank
  order = params['order'].values.astype(jnp.uint32)
  return by_rank.at[..., order].get(
    mode='promise_in_bounds', unique_indices=True
  )


def reconstruct(scheme: Scheme, params: Params) -> jax.Array:
  """Decodes the whole table, for inspection and tests.

  Args:
    scheme: the scheme.
    params: of the scheme, trainable or stored.

  Returns:
    [V, D] float32 in the order of the caller's ids.

  Raises:
    TypeError: for arguments in another order.
    ValueError: for params that are not the scheme's.
  """
  check_params(scheme, params)
  return _reconstruct(scheme, params)


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(scheme: Scheme, params: Params) -> jax.Array:
  by_rank = jnp.concatenate(
    [
      group.method.lookup(
        method_params(scheme, params, index), jnp.arange(shape.num_words), shape
      )
      for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes))
    ]
  )
  if scheme.order == 'identity':
    return by_rank
  return gather.take(by_rank, params['order'].values)
