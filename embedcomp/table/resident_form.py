"""Two forms of a table in memory: compact, and resident for fast reading.

*Compact* is what `compress` and `load` return: codes, codebooks and axes, which
take little more memory than the file. Words are decoded whenever they are read.

*Resident* is the same table decoded once: rows of numbers in the order of ids,
a group of `Dense`. A lookup copies a row, and nothing else is left to do. The
smaller file stays what it is; the memory is that of dense rows at the storage
that was chosen, whatever the method was.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods.base import block_starts
from embedcomp.methods.dense import Dense
from embedcomp.table.group_params import check_params, group_name
from embedcomp.table.read import TOKENS_BLOCK, lookup
from embedcomp.table.scheme import Group, Scheme
from embedcomp.types import Array, Params, Shape


def resident(
  scheme: Scheme, params: Params, storage: str = 'int8'
) -> tuple[Scheme, Params]:
  """Decodes a table once, so that reading it is copying rows.

  Words are decoded and rounded some thousand at a time: the most memory that
  takes is the result and one block in float32.

  What is rounded again gets an error of its own. With int8 and a scale a word
  it is about 0.7 % of a vector's length, far below what a compressed table has
  lost already; 16 bits lose 0.02 % (float16) or 0.17 % (bfloat16), and float32
  nothing. Words of `Dense('int8')` groups stay the same to the bit.

  Args:
    scheme: the scheme.
    params: of the scheme, trainable or stored.
    storage: of the rows, one of `methods.STORAGES`. Per word of D features,
      int8 takes D + 2 bytes in memory, 16 bits 2 D, and float32 4 D.

  Returns:
    A scheme of one group, words in the order of ids, and its params in stored
    form. Every function that takes a scheme and params takes these; saved, they
    are as large as they are in memory.

  Raises:
    TypeError: for arguments in another order.
    ValueError: for params that are not the scheme's, or an unknown storage.

  Example:
    >>> from embedcomp import Group, Scheme, init, methods
    >>> pq = methods.ProductQuantization(books=2, codewords=4)
    >>> scheme = Scheme(8, (Group(5, methods.Dense()), Group(20, pq)))
    >>> resident(scheme, init(jax.random.key(0), scheme))[0].groups
    (Group(size=25, method=Dense(storage='int8')),)
  """
  check_params(scheme, params)
  dense, num_words = Dense(storage), scheme.vocab_size
  block = min(TOKENS_BLOCK, num_words)
  ids = np.arange(block, dtype=np.int32)
  like = jax.eval_shape(_rows, scheme, dense, params, ids)
  table = jax.tree.map(
    lambda leaf: np.empty((num_words, *leaf.shape[1:]), leaf.dtype), like
  )
  for start in block_starts(num_words, block):
    rows = _rows(scheme, dense, params, ids + start)
    for whole, part in zip(jax.tree.leaves(table), jax.tree.leaves(rows)):
      whole[start : start + block] = part
  groups = (Group(num_words, dense),)
  made = Scheme(scheme.features, groups, dtype=scheme.dtype)
  return made, {group_name(0): jax.tree.map(jnp.asarray, table)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _rows(scheme: Scheme, dense: Dense, params: Params, ids: Array) -> Params:
  """Stored params of a dense table of some words."""
  words = lookup(scheme, params, ids)
  parts = dense.parts(Shape(*words.shape))
  return {part.name: part.quantize(part.trainable(words)) for part in parts}
