"""Reading a compressed table: lookup and logits over a whole scheme.

Both forms of params (see `group_params`), trainable and stored, are read by
the same code.

Work is per token, or per word where tokens are more than words. Methods that
gather pieces are joined to one gather over all groups, methods that multiply a
basis to one product; the rest are computed for every token and selected.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import base, gather
from embedcomp.table.group_params import check_params, group_name
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params


def check_ids(vocab_size: int, ids: Array) -> jax.Array:
  """Checks ids; their range only where they are known (outside of jit).

  Raises:
    TypeError: for ids that are not integers.
    ValueError: for known ids outside [0, vocab_size).
  """
  if not hasattr(ids, 'dtype'):
    ids = np.asarray(ids)
  if not jnp.issubdtype(ids.dtype, jnp.integer):
    raise TypeError(f'ids must be integers, got {ids.dtype}.')
  is_known = not isinstance(ids, jax.core.Tracer) and getattr(
    ids, 'is_fully_addressable', True
  )
  if is_known and ids.size:
    known = np.asarray(ids)
    lowest, highest = known.min(), known.max()
    if lowest < 0 or highest >= vocab_size:
      wrong = lowest if lowest < 0 else highest
      raise ValueError(f'ids must be in [0, {vocab_size}), got {wrong}.')
  return jnp.asarray(ids)


def lookup(scheme: Scheme, params: Params, ids: Array) -> jax.Array:
  """Vectors of words, without rebuilding the table.

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
  return _lookup(scheme, params, check_ids(scheme.vocab_size, ids))


@functools.partial(jax.jit, static_argnums=0)
def _lookup(scheme: Scheme, params: Params, ids: jax.Array) -> jax.Array:
  if _is_many(scheme, ids):  # each word is made once, then copied
    valid, ids = _valid(scheme, ids)
    words = gather.take_pieces(reconstruct(scheme, params), ids)
    return jnp.where(valid[..., None], words, jnp.nan)
  valid, members = _members(scheme, params, ids)
  clusters, projected, single = _families(scheme, len(valid))
  words = [
    _join_pieces(scheme, params, [members[i] for i in cluster], valid)
    for cluster in clusters
  ]
  if projected:
    words.append(_join_bases(scheme, params, [members[i] for i in projected]))
  for index, inside, rows in (members[i] for i in single):
    group, shape = scheme.groups[index], scheme.shapes[index]
    found = group.method.lookup(params[group_name(index)], rows, shape)
    words.append(jnp.where(inside[:, None], found, 0))
  total = functools.reduce(jnp.add, words)  # [T, D]
  if not clusters:  # joined pieces hold the NaN already
    total = jnp.where(valid[:, None], total, jnp.nan)
  return total.reshape(*ids.shape, scheme.features)


def _is_many(scheme: Scheme, ids: jax.Array) -> bool:
  """Whether making every word once is less work than making every token.

  Groups that cannot be joined are computed for every token each.
  """
  joined = (base.PieceMethod, base.BasisMethod)
  alone = sum(not isinstance(g.method, joined) for g in scheme.groups)
  return ids.size * max(alone, 1) > scheme.vocab_size


def _valid(scheme: Scheme, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Which ids are in range, and int32 ids with 0 for those that are not."""
  if jnp.iinfo(ids.dtype).max < scheme.vocab_size:
    ids = ids.astype(jnp.int32)  # the comparison below has to fit the dtype
  valid = (ids >= 0) & (ids < scheme.vocab_size)
  return valid, jnp.where(valid, ids, 0).astype(jnp.int32)


def _members(scheme: Scheme, params: Params, ids: jax.Array):
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


def _families(scheme: Scheme, num_tokens: int):
  """Which groups are read together: clusters of pieces, bases, single ones.

  Joining copies the members' pieces, so it is done only where these are no
  more than the tokens' own vectors; and only where no member's pieces are cut
  finer than those of the finest, for a gather costs the more the more pieces it
  copies. A table of whole words is unpacked and cut up to be joined: that pays
  only for the few words of a head.
  """
  clusters: list[list[int]] = []
  projected, single = [], []
  for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes)):
    method = group.method
    if isinstance(method, base.BasisMethod):
      projected.append(index)
      continue
    if not isinstance(method, base.PieceMethod) or not method.is_plain:
      single.append(index)
      continue
    num_rows, num_pieces = method.num_pieces(shape)
    is_table = num_rows == shape.num_words and num_pieces == 1
    most_rows = num_tokens // 4 if is_table else num_tokens * num_pieces
    if num_rows > most_rows:
      single.append(index)
      continue
    for cluster in clusters:
      counts = [
        scheme.groups[i].method.num_pieces(scheme.shapes[i])[1]
        for i in (*cluster, index)
      ]
      if math.lcm(*counts) == max(counts):
        cluster.append(index)
        break
    else:
      clusters.append([index])
  return clusters, projected, single


def _join_pieces(scheme, params, members, valid) -> jax.Array:
  """Gathers the words of several piece methods at once; others are zero."""
  methods = [scheme.groups[index].method for index, _, _ in members]
  shapes = [scheme.shapes[index] for index, _, _ in members]
  counts = [m.num_pieces(s)[1] for m, s in zip(methods, shapes)]
  num_pieces = math.lcm(*counts)
  width = scheme.features // num_pieces
  tables = [jnp.zeros((1, width)), jnp.full((1, width), jnp.nan)]
  offset = 2
  pieces = jnp.where(valid[:, None], 0, np.ones((1, num_pieces), np.int32))
  for (index, inside, rows), method, shape, count in zip(
    members, methods, shapes, counts
  ):
    group_params = params[group_name(index)]
    table = method.pieces(group_params, shape).reshape(-1, width)
    share = num_pieces // count  # of the common pieces in one of the group's
    found = method.piece_rows(group_params, rows, shape)[..., None] * share
    steps = np.arange(offset, offset + share, dtype=np.int32)
    found = (found + steps.reshape(1, 1, -1)).reshape(pieces.shape)
    pieces = jnp.where(inside[:, None], found, pieces)
    tables.append(table)
    offset += len(table)
  words = gather.take_pieces(jnp.concatenate(tables), pieces)  # [T, P, D // P]
  return words.reshape(-1, scheme.features)


def _join_bases(scheme, params, members) -> jax.Array:
  """One product for all groups with a basis; words of others are zero."""
  coefficients, bases = [], []
  for index, inside, rows in members:
    method = scheme.groups[index].method
    group_params = params[group_name(index)]
    found = method.coefficients(group_params, rows)  # [T, R]
    coefficients.append(jnp.where(inside[:, None], found, 0))
    bases.append(method.basis(group_params))
  return jnp.concatenate(coefficients, -1) @ jnp.concatenate(bases)


def commitment(scheme: Scheme, params: Params, ids: Array) -> jax.Array | None:
  """What methods with learned codes want added to a loss, word by word.

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
  if _is_many(scheme, ids):
    terms = _commitment(scheme, params, jnp.arange(scheme.vocab_size))
    rows = _valid(scheme, ids)[1]
    return None if terms is None else gather.take(terms, rows)
  return _commitment(scheme, params, ids)


def _commitment(scheme: Scheme, params: Params, ids: jax.Array):
  total = None
  for index, inside, rows in _members(scheme, params, ids)[1]:
    term = scheme.groups[index].method.commitment(
      params[group_name(index)], rows, scheme.shapes[index]
    )
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
  return _logits(scheme, params, hidden)


@functools.partial(jax.jit, static_argnums=0)
def _logits(scheme: Scheme, params: Params, hidden: jax.Array) -> jax.Array:
  hidden = hidden.astype(jnp.float32)
  by_rank = [
    group.method.logits(params[group_name(index)], hidden, shape)
    for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes))
  ]
  by_rank = jnp.concatenate(by_rank, -1) if len(by_rank) > 1 else by_rank[0]
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
        params[group_name(index)], jnp.arange(shape.num_words), shape
      )
      for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes))
    ]
  )
  if scheme.order == 'identity':
    return by_rank
  return gather.take(by_rank, params['order'].values)
