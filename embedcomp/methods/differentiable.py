"""Differentiable product quantization: codes that are learned with the task.

A trainable word is a query of D features, cut into M blocks; in each block it
takes one of K codewords (Chen, Li & Sun, ICML 2020, arXiv:1908.09756). The
forward pass is always the hard choice, to the bit what the stored form gives;
the methods differ in what passes gradients on:

  dpq_sx  codewords are chosen by keys of their own; queries and keys take the
          gradient of the softmax-weighted mean of the codewords;
  dpq_vq  the nearest codeword is chosen; the gradient goes straight through to
          the query (van den Oord et al., NeurIPS 2017).

In both, codewords learn from the words that chose them. (Chen et al. let them,
too, take dpq_sx's softmax gradient. They then answer for words that they do
not stand for: fitting random vectors that way diverged at every rate tried.)

Stored, both are product quantization: queries and keys are dropped and the
codes stored.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import (
  base,
  forms,
  gather,
  product_quantization,
  registry,
  storage,
)
from embedcomp.methods.product_quantization import ProductQuantization
from embedcomp.methods.rounding import straight_through
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape

# Queries coded at a time when params are quantized.
_CODED_AT_ONCE = 4096
# Keeps the gradient finite where all keys score the same.
_MIN_VARIANCE = 1e-12


def split_blocks(words: Array, books: int) -> jax.Array:
  """[..., D] -> [..., M, d]."""
  *lead, features = words.shape
  return jnp.asarray(words).reshape(*lead, books, features // books)


def closeness(queries: Array, keys: Array) -> jax.Array:
  """Scores keys, the nearest one highest: q k - |k|^2 / 2.

  This is half the negative squared distance, up to a term that all keys of a
  book share. A plain inner product could not choose a short key beside a long
  one, and so not take up every product quantizer.

  Args:
    queries: [..., M, d] float32.
    keys: [M, K, d] float32.

  Returns:
    [..., M, K] float32.
  """
  products = jnp.einsum('...Md,MKd->...MK', queries, keys, precision='highest')
  half_norms = 0.5 * jnp.square(keys).sum(-1)  # [M, K]
  lead = (1,) * (products.ndim - 2)
  return products - half_norms.reshape(*lead, *half_norms.shape)


def nearest(queries: Array, keys: Array) -> jax.Array:
  """The codeword of each book that is closest to a query.

  As `closeness(queries, keys).argmax(-1)`, but with the tokens along the last
  axis, where CPUs compare many at a time; an argmax compares one by one.

  Args:
    queries: [..., M, d] float32.
    keys: [M, K, d] float32.

  Returns:
    [..., M] int32 in [0, K), the first one of equals.
  """
  books, codewords, width = keys.shape
  flat = queries.reshape(-1, books, width)
  products = jnp.einsum('MKd,TMd->MKT', keys, flat, precision='highest')
  scores = products - 0.5 * jnp.square(keys).sum(-1, keepdims=True)
  is_best = scores >= scores.max(1, keepdims=True)
  numbers = jnp.arange(codewords, dtype=jnp.int32).reshape(1, -1, 1)
  codes = jnp.where(is_best, numbers, codewords - 1).min(1)  # [M, T]
  return codes.T.reshape(queries.shape[:-1])


def standardize(scores: Array) -> jax.Array:
  """Scores of mean 0 and variance 1 over the codewords, in the same order.

  Chen et al. normalise over a batch, each codeword by itself, which moves the
  maximum; over the codewords of one token it stays, so that export is exact.

  Args:
    scores: [..., K] float32.
  """
  centered = scores - scores.mean(-1, keepdims=True)
  variance = jnp.square(centered).mean(-1, keepdims=True)
  return jnp.asarray(centered * jax.lax.rsqrt(variance + _MIN_VARIANCE))


def gather_codewords(codebooks: Array, codes: Array) -> jax.Array:
  """[..., M, d] codewords of [M, K, d] codebooks at [..., M] codes."""
  _, codewords, width = codebooks.shape
  rows = product_quantization.flat_rows(codes, codewords)
  return gather.take(codebooks.reshape(-1, width), rows)


@dataclasses.dataclass(frozen=True)
class _Differentiable(base.Method):
  """Base of both methods.

  Not a SubvectorMethod, whose words are plain gathers: the trainable form needs
  gradients that a gather does not have.

  Attributes:
    books: M, a divisor of D.
    codewords: K, at most W.
    storage: of the codebooks; integers keep one scale a feature.
  """

  books: int
  codewords: int
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  @property
  def product(self) -> ProductQuantization:
    """The method that reads the stored form just as well."""
    return ProductQuantization(self.books, self.codewords, self.storage)

  def validate(self, shape: Shape) -> None:
    self.product.validate(shape)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    return self.product.parts(shape)

  def trainable_parts(self, shape: Shape) -> tuple[Part, ...]:
    _, codebooks = self.parts(shape)
    return codebooks, storage.Factor('queries', tuple(shape))

  @abc.abstractmethod
  def _keys(self, params: Params) -> jax.Array:
    """[M, K, d] float32, what queries are compared with."""

  @abc.abstractmethod
  def _blocks(self, params: Params, queries: jax.Array) -> jax.Array:
    """[..., M, d] words of [..., M, d] queries."""

  def _codebooks(self, params: Params) -> jax.Array:
    return storage.read(params['codebooks'], self.storage)

  def codes(self, params: Params, rows: Array) -> jax.Array:
    """The codewords that words choose.

    Args:
      params: of this method, either form.
      rows: [...] integers in [0, W).

    Returns:
      [..., M] integers in [0, K).
    """
    if forms.is_stored(params):
      return gather.take(params['codes'].values, rows)
    queries = split_blocks(gather.take(params['queries'], rows), self.books)
    return nearest(queries, self._keys(params))

  def chooses(self, params: Params) -> bool:
    return not forms.is_stored(params)

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    if forms.is_stored(params):
      return self.product.lookup(params, rows, shape)
    queries = split_blocks(gather.take(params['queries'], rows), self.books)
    words = self._blocks(params, queries)
    return words.reshape(*rows.shape, shape.features)

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    if forms.is_stored(params):
      return self.product.logits(params, hidden, shape)
    return super().logits(params, hidden, shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    # Words are their own queries: they take the nearest codeword after all
    # rounding, and know in which direction the next nearest lies.
    fitted = self.product.fit(table, weights, seed)
    return self._trainable(fitted['codebooks'], table)

  def dequantize(self, params: Params, shape: Shape) -> Params:
    if not forms.is_stored(params):
      return params
    words = self.lookup(params, np.arange(shape.num_words), shape)
    masters = self.product.dequantize(params, shape)
    return self._trainable(masters['codebooks'], words)

  def _trainable(self, codebooks, queries: Array) -> Params:
    """Params in which each word chooses the codeword nearest its query."""
    return {'codebooks': codebooks, 'queries': jnp.asarray(queries)}

  def quantize(self, params: Params, shape: Shape) -> Params:
    if forms.is_stored(params):
      return params
    rows = np.arange(shape.num_words)
    codes = jnp.concatenate(
      [
        self.codes(params, rows[start : start + _CODED_AT_ONCE])
        for start in range(0, shape.num_words, _CODED_AT_ONCE)
      ]
    )
    coded = dict(params, codes=forms.Stored(codes))
    return self.product.quantize(coded, shape)

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    return tuple(
      cls(option.books, option.codewords, option.storage)
      for option in ProductQuantization.options(shape)
    )

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    # Once stored, words and bytes are those of the product code.
    products = [option.product for option in options]
    return ProductQuantization.distortions(products, table, weights, seed)


@registry.register
@dataclasses.dataclass(frozen=True)
class DifferentiableSoftmax(_Differentiable):
  """Hard choice by keys, the gradient of a softmax over them (DPQ-SX).

  With s = standardize(closeness(query, keys)), a block takes the codeword of
  the largest s; queries and keys take the gradient of softmax(s) @ codewords.

  Attributes:
    books: M, a divisor of D.
    codewords: K, at most W.
    storage: of the codebooks; integers keep one scale a feature.
  """

  name: ClassVar[str] = 'dpq_sx'

  def trainable_parts(self, shape: Shape) -> tuple[Part, ...]:
    codebooks, queries = super().trainable_parts(shape)
    return codebooks, queries, storage.Factor('keys', codebooks.shape)

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    product_key, queries_key, keys_key = jax.random.split(key, 3)
    std = 1 / np.sqrt(shape.features)
    keys = (self.books, self.codewords, shape.features // self.books)
    return {
      'codebooks': self.product.init(product_key, shape)['codebooks'],
      'queries': std * jax.random.normal(queries_key, shape),
      'keys': std * jax.random.normal(keys_key, keys),
    }

  def _trainable(self, codebooks, queries: Array) -> Params:
    params = super()._trainable(codebooks, queries)
    return dict(params, keys=self._codebooks(params))

  def _keys(self, params: Params) -> jax.Array:
    return params['keys']

  def _blocks(self, params: Params, queries: jax.Array) -> jax.Array:
    codebooks = self._codebooks(params)
    scores = closeness(queries, params['keys'])  # [..., M, K]
    hard = gather_codewords(codebooks, scores.argmax(-1))
    probabilities = jax.nn.softmax(standardize(scores))
    fixed = jax.lax.stop_gradient(codebooks)
    soft = jnp.einsum(
      '...MK,MKd->...Md', probabilities, fixed, precision='highest'
    )
    return straight_through(hard, soft)


@registry.register
@dataclasses.dataclass(frozen=True)
class DifferentiableNearest(_Differentiable):
  """The nearest codeword, gradients straight through (DPQ-VQ).

  Codewords learn from the words that chose them, as in a plain product
  quantizer; `commitment`, added to a loss, keeps queries near their choice.

  Attributes:
    books: M, a divisor of D.
    codewords: K, at most W.
    storage: of the codebooks; integers keep one scale a feature.
  """

  name: ClassVar[str] = 'dpq_vq'

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    product_key, queries_key = jax.random.split(key)
    queries = jax.random.normal(queries_key, shape) / np.sqrt(shape.features)
    codebooks = self.product.init(product_key, shape)['codebooks']
    return {'codebooks': codebooks, 'queries': queries}

  def _keys(self, params: Params) -> jax.Array:
    return self._codebooks(params)

  def _nearest(self, params: Params, queries: jax.Array) -> jax.Array:
    codebooks = self._codebooks(params)
    return gather_codewords(codebooks, nearest(queries, codebooks))

  def _blocks(self, params: Params, queries: jax.Array) -> jax.Array:
    return straight_through(self._nearest(params, queries), queries)

  def commitment(
    self, params: Params, rows: Array, shape: Shape
  ) -> jax.Array | None:
    """Distances of queries from their codewords, to be added to a loss.

    The squared distance |q - stop_gradient(c)|^2 (van den Oord et al., NeurIPS
    2017, eq. 3), relative to the codewords' mean squared length, so that one
    coefficient (0.25 is usual) suits tables of any scale.

    Args:
      params: of this method, either form.
      rows: [...] integers in [0, W).
      shape: of the table.

    Returns:
      [...] float32, gradients reach the queries alone; None for stored params,
      which have no queries.
    """
    if forms.is_stored(params):
      return None
    queries = split_blocks(gather.take(params['queries'], rows), self.books)
    chosen = jax.lax.stop_gradient(self._nearest(params, queries))
    distances = jnp.square(queries - chosen).sum((-2, -1))
    length = jnp.square(self._codebooks(params)).mean() * shape.features
    return distances / jax.lax.stop_gradient(length + _MIN_VARIANCE)
