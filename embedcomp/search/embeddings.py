"""Word tables as a loss function sees them while they change their form.

A loss function gets a table as an `Embedding`: something that looks words up
and scores them, in the caller's own ids. What stands behind it is a dense
table at first, then a supernet of all options, then a compressed table; a loss
function cannot tell, so that one serves linen models, NNX models and bare JAX.
"""

import dataclasses
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.methods import gather
from embedcomp.search.supernet import Supernet
from embedcomp.table import read
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params


class Embedding(Protocol):
  """A table of V words of D features."""

  def __call__(self, ids: Array) -> jax.Array:
    """[..., D] vectors of [...] integer ids; NaN where there is no such id."""

  def attend(self, hidden: Array) -> jax.Array:
    """[..., V] inner products of [..., D] vectors with every word."""


@dataclasses.dataclass(frozen=True, eq=False)
class DenseEmbedding:
  """A plain table, [V, D] float."""

  table: Array

  def __call__(self, ids: Array) -> jax.Array:
    rows = jnp.asarray(self.table).at[jnp.asarray(ids)]
    return rows.get(
      mode='fill', fill_value=jnp.nan, wrap_negative_indices=False
    )

  def attend(self, hidden: Array) -> jax.Array:
    return jnp.matmul(hidden, self.table.T)


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedEmbedding:
  """A compressed table, its params in either form."""

  scheme: Scheme
  params: Params

  def __call__(self, ids: Array) -> jax.Array:
    return read.lookup(self.scheme, self.params, ids)

  def attend(self, hidden: Array) -> jax.Array:
    return read.logits(self.scheme, self.params, hidden)


@dataclasses.dataclass(frozen=True, eq=False)
class SupernetEmbedding:
  """A supernet under a choice or a mixture of options.

  Attributes:
    supernet: of all options.
    params: trainable, of the supernet.
    buffers: of the supernet.
    mixture: [B] or [B, O], see `Supernet.lookup`.
    ranks: [V] the rank of each id; None if ids are ranks.
  """

  supernet: Supernet
  params: Params
  buffers: Params
  mixture: Array
  ranks: Array | None = None

  def __call__(self, ids: Array) -> jax.Array:
    ids = jnp.asarray(ids)
    is_word = (ids >= 0) & (ids < self.supernet.space.vocab_size)
    ids = jnp.where(is_word, ids, 0)
    if self.ranks is not None:
      ids = gather.take(self.ranks, ids.reshape(-1)).reshape(ids.shape)
    words = self.supernet.lookup(self.params, self.buffers, self.mixture, ids)
    return jnp.where(is_word[..., None], words, jnp.nan)

  def attend(self, hidden: Array) -> jax.Array:
    scores = self.supernet.logits(
      self.params, self.buffers, self.mixture, hidden
    )
    return scores if self.ranks is None else scores[..., self.ranks]


class EmbedModule(nn.Module):
  """An `Embedding` as a linen layer, in the place of `nn.Embed`.

  It has no variables: a model around it is applied to the params of all else.

  Attributes:
    embedding: that is called.

  Example:
    >>> embedding = DenseEmbedding(jnp.eye(3))
    >>> EmbedModule(embedding).apply({}, jnp.array([2])).tolist()
    [[0.0, 0.0, 1.0]]
  """

  embedding: Embedding

  def __call__(self, ids: Array) -> jax.Array:
    """[..., D] vectors of [...] ids."""
    return self.embedding(ids)

  def attend(self, query: Array) -> jax.Array:
    """[..., V] inner products of [..., D] queries with every word."""
    return self.embedding.attend(query)
