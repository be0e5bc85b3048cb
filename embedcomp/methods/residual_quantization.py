"""Residual quantization: a word is the sum of one codeword of every book.

Each book quantizes what the books before it left over (residual vector
quantization, Juang & Gray, ICASSP 1982; Chen, Guan & Wang, Sensors 2010).
Unlike a product quantizer's, every codeword spans all features: books cost M
times as much, and dependencies between features are caught.
"""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import (
  base,
  gather,
  kmeans,
  product_quantization,
  registry,
  storage,
)
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape


@registry.register
@dataclasses.dataclass(frozen=True)
class ResidualQuantization(base.Method):
  """M codes a word of log2 K bits each; M x K x D values in the codebooks.

  Words are encoded greedily, book after book, so that the leading books are
  themselves a residual quantizer: fewer books is the leading books.

  Attributes:
    books: M.
    codewords: K, at most W.
    storage: of the codebooks; integers keep one scale a book and feature.
  """

  name: ClassVar[str] = 'rvq'
  books: int
  codewords: int
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  def validate(self, shape: Shape) -> None:
    if self.books < 1:
      raise ValueError(f'books must be at least 1, got {self.books}.')
    product_quantization.check_codewords(self.codewords, shape)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    codebooks = (self.books, self.codewords, shape.features)
    return (
      storage.Codes('codes', (shape.num_words, self.books), self.codewords),
      storage.Factor('codebooks', codebooks, self.storage, (0, 2), 'codebooks'),
    )

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    codes_key, codebooks_key = jax.random.split(key)
    codebooks = jax.random.normal(
      codebooks_key, (self.books, self.codewords, shape.features)
    ) / np.sqrt(self.books * shape.features)
    codes = product_quantization.random_codes(
      codes_key, shape, self.books, self.codewords
    )
    return self._params(codes, codebooks, shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    residual = np.array(table, np.float32)
    codes, codebooks = [], []
    for m in range(self.books):
      codebook = product_quantization.fit_codebooks(
        residual, weights, 1, self.codewords, seed + m
      )[0]
      chosen = kmeans.assign(residual, codebook)
      means, mass = kmeans.weighted_means(
        residual, weights, chosen, self.codewords
      )
      codebook[mass > 0] = means[mass > 0]  # the sample placed them
      residual -= codebook[chosen]
      codes.append(chosen)
      codebooks.append(codebook)
    shape = Shape(*table.shape)
    return self._params(np.stack(codes, 1), np.stack(codebooks), shape)

  def _params(self, codes: Array, codebooks: Array, shape: Shape) -> Params:
    codes_part, codebooks_part = self.parts(shape)
    return {
      'codes': codes_part.trainable(codes),
      'codebooks': codebooks_part.trainable(codebooks),
    }

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    codes = gather.take(params['codes'].values, rows)  # [..., M]
    words = jnp.zeros((*codes.shape[:-1], shape.features), jnp.float32)
    for m in range(self.books):
      book = jax.tree.map(lambda x, m=m: x[m], params['codebooks'])
      words += storage.read(book, self.storage, codes[..., m])
    return words

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    # M K scores and M sums a word instead of D products. On CPU that beats
    # decoding blocks of words in the backward pass, and forward if M is small.
    codebooks = storage.read(params['codebooks'], self.storage)
    scores = [
      gather.take_scores(codebooks[m], params['codes'].values[:, m], hidden)
      for m in range(self.books)
    ]
    return sum(scores[1:], start=scores[0])

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    return tuple(
      cls(m, k, 'int8')
      for m in (2, 4, 8)
      for k in (16, 64, 256)
      if k <= shape.num_words
    )
