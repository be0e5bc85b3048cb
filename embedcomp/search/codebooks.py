"""The options of a supernet in which words are codes.

Product and vector quantization and their differentiable kin replace blocks of
a word's coefficients by codewords. Codes and codewords are not trained: they
follow the coefficients by k-means whenever they are fitted, and gradients pass
straight through to the coefficients. Codewords of all options are cut to
pieces of one size and kept in one table, so that one gather serves any option.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp import kmeans
from embedcomp import methods as methods_lib
from embedcomp.methods import storage
from embedcomp.search.space import SearchSpace
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

  Buffers are `pieces` [A, R / P] float32 and `rows` [C, V, P] integers, for C
  coded options and words of P pieces each; none if no option is coded.

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
    option = self.space.options[index]
    return getattr(option, 'books', 1), option.codewords

  @property
  def _num_pieces(self) -> int:
    """P, the pieces of a word that all coded options can be made of."""
    return math.lcm(*(self._sizes(index)[0] for index in self.options))

  def zeros(self) -> Params:
    """Buffers in which all codes and codewords are zero."""
    if not self.options:
      return {}
    return self._join([self._no_codes(index) for index in self.options])

  def _no_codes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Codebooks [M, K, R / M] and codes [V, M] of an option, all zero."""
    books, codewords = self._sizes(index)
    codebooks = np.zeros((books, codewords, self.rank // books), np.float32)
    return codebooks, np.zeros((self.space.vocab_size, books), np.int64)

  def _join(self, coded: list[tuple[np.ndarray, np.ndarray]]) -> Params:
    """Buffers of the codebooks [M, K, R / M] and codes [V, M] of all."""
    rows, pieces, offset = [], [], 0
    for codebooks, codes in coded:
      books, codewords, _ = codebooks.shape
      share = self._num_pieces // books  # of a codeword
      first = (codes + np.arange(books) * codewords)[..., None] * share
      joined = (offset + first + np.arange(share)).reshape(len(codes), -1)
      rows.append(joined)
      pieces.append(codebooks.reshape(-1, self.rank // self._num_pieces))
      offset += len(pieces[-1])
    dtype = np.uint16 if offset <= 1 << 16 else np.int32
    return {
      'rows': jnp.asarray(np.stack(rows), dtype),
      'pieces': jnp.asarray(np.concatenate(pieces)),
    }

  def fit(self, coefficients: np.ndarray, buffers: Params | None) -> Params:
    """Buffers that fit the present coefficients, on the host.

    Args:
      coefficients: [V, R] float32.
      buffers: earlier ones, from whose codewords k-means goes on by one
        iteration; None starts anew.

    Returns:
      `rows` and `pieces`, see the class's text.
    """
    if not self.options:
      return {}
    sizes = self.space.bin_sizes
    weights = np.repeat(1 / sizes, sizes)  # every bin weighs the same
    pieces = None if buffers is None else np.asarray(buffers['pieces'])
    coded, offset = [], 0
    for index in self.options:
      old, _ = self._no_codes(index)
      if pieces is not None:
        taken = pieces.reshape(-1)[offset : offset + old.size]
        old, offset = taken.reshape(old.shape), offset + old.size
      blocks = coefficients.reshape(len(coefficients), len(old), -1)
      coded.append(_quantized(blocks, weights, old, is_first=pieces is None))
    return self._join(coded)

  def codewords(
    self, buffers: Params, positions: Array, ids: Array | None, own: Array
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
    rows = buffers['rows'].reshape(-1, buffers['rows'].shape[-1])
    rows = storage.take(rows, positions * self.space.vocab_size + ids)
    chosen = storage.take_pieces(buffers['pieces'], rows).reshape(own.shape)
    return chosen + (own - jax.lax.stop_gradient(own))  # the bracket is 0


def _quantized(
  blocks: np.ndarray,
  weights: np.ndarray,
  old: np.ndarray,
  is_first: bool,
) -> tuple[np.ndarray, np.ndarray]:
  """Codebooks [M, K, d] and codes [V, M] of [V, M, d] blocks."""
  codebooks, codes = np.empty_like(old), []
  for m in range(len(old)):
    block = np.ascontiguousarray(blocks[:, m])
    if is_first:
      codebooks[m], _ = kmeans.kmeans(
        block, weights, len(old[m]), seed=m, iterations=_FIRST_ITERATIONS
      )
    else:
      codebooks[m] = _lloyd(block, weights, old[m])
    codes.append(kmeans.assign(block, codebooks[m]))
  return codebooks, np.stack(codes, 1)


def _lloyd(block, weights, book: np.ndarray) -> np.ndarray:
  """One step of k-means; codewords without words move to heavy strangers."""
  codes = kmeans.assign(block, book)
  means, mass = kmeans.weighted_means(block, weights, codes, len(book))
  dead = np.flatnonzero(mass <= 0)
  if len(dead):
    errors = weights * np.square(block - book[codes]).sum(axis=1)
    means[dead] = block[np.argsort(-errors, kind='stable')[: len(dead)]]
  return means.astype(np.float32)
