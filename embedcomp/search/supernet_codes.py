"""The options of a supernet in which words are codes.

Product and vector quantization and their differentiable kin replace blocks of
a word's coefficients by codewords. Codes and codewords are not trained: they
follow the coefficients by k-means whenever they are fitted, and gradients pass
straight through to the coefficients. Between two fits a word's codewords stay
what they are, so they are kept put together: a search step then reads whole
words, one row for each, at the price of a table for each coded option.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp import methods as methods_lib
from embedcomp.compression.space import SearchSpace
from embedcomp.methods import gather, kmeans, rounding
from embedcomp.types import Array, Params

CODED = (
  methods_lib.ProductQuantization,
  methods_lib.VectorQuantization,
  methods_lib.DifferentiableSoftmax,
  methods_lib.DifferentiableNearest,
)
# Lloyd iterations for the first codewords; one whenever codes are refreshed.
_FIRST_ITERATIONS = 6


@dataclasses.dataclass(frozen=True)
class Codebooks:
  """Codes and codewords of all coded options of a space.

  Buffers are `codebooks` [A] float32, all [M, K, R / M] of the C coded options
  in a row, and `words` [C, V, R] float32; none if no option is coded.

  Attributes:
    space: whose options may be coded.
    rank: R, the number of coefficients of a word.
  """

  space: SearchSpace
  rank: int

  def validate(self) -> None:
    """Raises ValueError if an option's books do not divide the rank."""
    for index in self.options:
      if self.rank % self._sizes(index)[0]:
        raise ValueError(
          f'books must divide the rank {self.rank} of a supernet, '
          f'got {self.space.options[index]}.'
        )

  @functools.cached_property
  def options(self) -> tuple[int, ...]:
    """The C coded options, by their number in the space."""
    options = enumerate(self.space.options)
    return tuple(i for i, option in options if isinstance(option, CODED))

  def _sizes(self, index: int) -> tuple[int, int]:
    """M and K of a coded option; vq has one book."""
    option: Any = self.space.options[index]
    return getattr(option, 'books', 1), option.codewords

  def zeros(self) -> Params:
    """Buffers in which all codewords are zero."""
    if not self.options:
      return {}
    books = [self._no_codewords(index) for index in self.options]
    shape = (len(books), self.space.vocab_size, self.rank)
    return {
      'codebooks': jnp.zeros(sum(book.size for book in books)),
      'words': jnp.zeros(shape),
    }

  def _no_codewords(self, index: int) -> np.ndarray:
    """[M, K, R / M] zeros for an option."""
    books, codewords = self._sizes(index)
    return np.zeros((books, codewords, self.rank // books), np.float32)

  def fit(self, coefficients: np.ndarray, buffers: Params | None) -> Params:
    """Buffers that fit the present coefficients, on the host.

    Args:
      coefficients: [V, R] float32.
      buffers: earlier ones, from whose codewords k-means goes on by one
        iteration; None starts anew.

    Returns:
      `codebooks` and `words`, see the class's text.
    """
    if not self.options:
      return {}
    sizes = self.space.bin_sizes
    weights = np.repeat(1 / sizes, sizes)  # every bin weighs the same
    held = None if buffers is None else np.asarray(buffers['codebooks'])
    codebooks, words, offset = [], [], 0
    for index in self.options:
      old = self._no_codewords(index)
      if held is not None:
        taken = held[offset : offset + old.size]
        old, offset = taken.reshape(old.shape), offset + old.size
      blocks = coefficients.reshape(len(coefficients), len(old), -1)
      fitted, coded = _quantized(blocks, weights, old, is_first=held is None)
      codebooks.append(fitted.ravel())
      words.append(coded.reshape(coefficients.shape))
    return {
      'codebooks': jnp.asarray(np.concatenate(codebooks)),
      'words': jnp.asarray(np.stack(words)),
    }

  def codewords(
    self,
    buffers: Params,
    positions: Array | np.int32,
    ids: Array | None,
    own: Array,
  ) -> jax.Array:
    """Words as their codewords.

    Args:
      buffers: of `fit`.
      positions: [] or [T] integers, which of the C coded options to take.
      ids: [T] ranks of words, or None for all V of them.
      own: [T, R] their coefficients, to which gradients are passed on.

    Returns:
      [T, R] float32.
    """
    if ids is None:
      ids = jnp.arange(self.space.vocab_size)
    words = buffers['words'].reshape(-1, self.rank)
    chosen = gather.take(words, positions * self.space.vocab_size + ids)
    return rounding.straight_through(chosen, own)


def _quantized(
  blocks: np.ndarray,
  weights: np.ndarray,
  old: np.ndarray,
  is_first: bool,
) -> tuple[np.ndarray, np.ndarray]:
  """Codebooks [M, K, d], and [V, M, d] blocks as their codewords."""
  codebooks, words = np.empty_like(old), np.empty_like(blocks)
  for m in range(len(old)):
    block = np.ascontiguousarray(blocks[:, m])
    if is_first:
      codebooks[m], _ = kmeans.kmeans(
        block, weights, len(old[m]), seed=m, iterations=_FIRST_ITERATIONS
      )
    else:
      codebooks[m] = _lloyd(block, weights, old[m])
    words[:, m] = codebooks[m][kmeans.assign(block, codebooks[m])]
  return codebooks, words


def _lloyd(block, weights, book: np.ndarray) -> np.ndarray:
  """Takes one step of k-means.

  Codewords without words move to the points with the largest weighted error.
  """
  codes = kmeans.assign(block, book)
  means, mass = kmeans.weighted_means(block, weights, codes, len(book))
  dead = np.flatnonzero(mass <= 0)
  if len(dead):
    errors = weights * np.square(block - book[codes]).sum(axis=1)
    means[dead] = block[np.argsort(-errors, kind='stable')[: len(dead)]]
  return means.astype(np.float32)
