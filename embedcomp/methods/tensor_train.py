"""Tensor train: the table as a chain of three small cores.

Rows are numbered by digits (i1, i2, i3) in modes V1 x V2 x V3 >= W, features by
(j1, j2, j3) in modes D1 x D2 x D3 >= D, and

  E[i1 i2 i3, j1 j2 j3] = sum_ab F[i1, j1, a] G[a, i2, j2, b] H[b, i3, j3]

(Oseledets, SIAM J. Sci. Comput. 2011; for embeddings Hrinchuk et al., EMNLP
Findings 2020). In this file X, Y, Z are word modes, J, K, Q feature modes, P
and R the two ranks.
"""

import dataclasses
import functools
import math
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import base, gather, registry, storage
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape


@functools.lru_cache(maxsize=1024)
def balanced_modes(size: int) -> tuple[int, int, int]:
  """Three factors of like size whose product is `size` or just above.

  Args:
    size: at least 1.

  Returns:
    Increasing factors, each at most about twice the cube root, whose product
    is least; among those, of least sum.

  Example:
    >>> balanced_modes(300), balanced_modes(127)
    ((5, 6, 10), (4, 4, 8))
  """
  root = math.ceil(round(size ** (1 / 3), 6))
  found = []
  for first in range(max(1, root // 2), root + 1):
    for second in range(first, 2 * root + 1):
      third = -(-size // (first * second))
      if second <= third <= 2 * root:
        found.append((first, second, third))
  return min(found, key=lambda modes: (math.prod(modes), sum(modes)))


def word_modes(num_words: int) -> tuple[int, int, int]:
  """V1, V2, V3, the largest one leading and the smallest one in the middle.

  The leading mode carries the weights of `fit`; the middle core has the square
  of the rank.
  """
  low, mid, high = balanced_modes(num_words)
  return high, low, mid


def feature_modes(features: int) -> tuple[int, int, int]:
  """D1, D2, D3: large where the word mode is not, the middle one smallest."""
  low, mid, high = balanced_modes(features)
  return mid, low, high


_contract = functools.partial(jnp.einsum, precision='highest')


@registry.register
@dataclasses.dataclass(frozen=True)
class TensorTrain(base.Method):
  """Three cores of ranks (1, P, R, 1) for a table padded to their modes.

  Fitting is the TT-SVD of the table whose leading slices are scaled by the
  square root of their mean weight. A smaller rank is the leading part of the
  cores.

  Attributes:
    rank: of both bonds; a bond whose outer core has fewer columns takes those.
    storage: of the cores; integers keep one scale for each leading word mode
      of the first core, each pair of ranks of the second and each rank of the
      third.
  """

  name: ClassVar[str] = 'tensor_train'
  rank: int
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  def validate(self, shape: Shape) -> None:
    largest = max(_full_ranks(shape))
    if not 1 <= self.rank <= largest:
      raise ValueError(f'rank must be 1 to {largest}, got {self.rank}.')

  def _ranks(self, shape: Shape) -> tuple[int, int]:
    first, last = _full_ranks(shape)
    return min(self.rank, first), min(self.rank, last)

  def _core_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
    x, y, z = word_modes(shape.num_words)
    j, k, q = feature_modes(shape.features)
    p, r = self._ranks(shape)
    return {'first': (x, j, p), 'middle': (p, y, k, r), 'last': (r, z, q)}

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    axes = {'first': (0,), 'middle': (0, 3), 'last': (0,)}
    return tuple(
      storage.Factor(name, core_shape, self.storage, axes[name])
      for name, core_shape in self._core_shapes(shape).items()
    )

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    # An entry sums P R products of three: its variance is P R std^6.
    std = (shape.features * math.prod(self._ranks(shape))) ** (-1 / 6)
    keys = jax.random.split(key, 3)
    return {
      part.name: part.trainable(std * jax.random.normal(core_key, part.shape))
      for core_key, part in zip(keys, self.parts(shape))
    }

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    del seed  # an eigenvalue problem has one answer
    shape = Shape(*table.shape)
    cores = tt_svd(*padded_slices(table, weights), self._ranks(shape))
    return {p.name: p.trainable(c) for p, c in zip(self.parts(shape), cores)}

  def _read(self, params: Params, name: str, rows=None) -> jax.Array:
    return storage.read(params[name], self.storage, rows)

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    _, y, z = word_modes(shape.num_words)
    middle = self._read(params, 'middle').swapaxes(0, 1)  # [Y, P, K, R]
    flat = rows.reshape(-1)
    pairs, thirds = flat // z, flat % z
    num_pairs = -(-shape.num_words // z)
    if flat.size > num_pairs:
      # The first two cores are joined once for each pair of leading digits,
      # about V^(2/3) of them, instead of once for each token.
      every = np.arange(num_pairs)
      joined = self._join(params, middle, every // y, every % y)
      joined = gather.take(joined, pairs)
    else:
      joined = self._join(params, middle, pairs // y, pairs % y)
    last = self._read(params, 'last').swapaxes(0, 1)  # [Z, R, Q]
    thirds = gather.take(last, thirds)  # [T, R, Q]
    words = _contract('TJKR,TRQ->TJKQ', joined, thirds)
    words = words.reshape(flat.size, math.prod(words.shape[1:]))
    return words[:, : shape.features].reshape(*rows.shape, shape.features)

  def _join(self, params: Params, middle, firsts, seconds) -> jax.Array:
    """[T, J, K, R] products of the first two cores at the given digits."""
    first = self._read(params, 'first', firsts)  # [T, J, P]
    return _contract('TJP,TPKR->TJKR', first, gather.take(middle, seconds))

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    # Both ways avoid the table. Contracting hidden vectors core by core costs
    # about P R as much again for every vector; beyond small ranks decoding
    # blocks of words, once for all vectors, is cheaper.
    if self._contraction_cost(shape) > math.prod(shape):
      return super().logits(params, hidden, shape)
    modes = feature_modes(shape.features)
    flat = hidden.reshape(-1, shape.features)
    flat = jnp.pad(flat, ((0, 0), (0, math.prod(modes) - shape.features)))
    scores = flat.reshape(-1, *modes)  # [T, J, K, Q]
    first, middle, last = (
      self._read(params, name) for name in ('first', 'middle', 'last')
    )
    scores = _contract('TJKQ,RZQ->TJKRZ', scores, last)
    scores = _contract('TJKRZ,PYKR->TJPYZ', scores, middle)
    scores = _contract('TJPYZ,XJP->TXYZ', scores, first)
    scores = scores.reshape(len(flat), math.prod(scores.shape[1:]))
    scores = scores[:, : shape.num_words]
    return scores.reshape(*hidden.shape[:-1], shape.num_words)

  def _contraction_cost(self, shape: Shape) -> int:
    """Multiplications of `logits` for one hidden vector, core by core."""
    x, y, z = word_modes(shape.num_words)
    j, k, q = feature_modes(shape.features)
    p, r = self._ranks(shape)
    return j * k * q * r * z + j * z * k * r * p * y + y * z * j * p * x

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    dense = 4 * math.prod(shape)
    candidates = (cls(rank, 'int8') for rank in (4, 8, 16, 32, 64, 128))
    return tuple(
      option
      for option in candidates
      if option.rank <= max(_full_ranks(shape))
      and option.num_bytes(shape) < dense // 2
    )


def _full_ranks(shape: Shape) -> tuple[int, int]:
  """The ranks at which the cores can express every table of this shape."""
  x, y, z = word_modes(shape.num_words)
  j, k, q = feature_modes(shape.features)
  return min(x * j, y * k * z * q), min(z * q, x * j * y * k)


def padded_slices(
  table: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts a table into its six modes.

  Args:
    table: [W, D] float.
    weights: [W] non-negative.

  Returns:
    [X, J, Y, K, Z, Q] float32, padded with zeros, and [X] float64 positive
    square roots of the mean weight of each leading slice.
  """
  x, y, z = word_modes(table.shape[0])
  j, k, q = feature_modes(table.shape[1])
  padded = np.zeros((x * y * z, j * k * q), np.float32)
  padded[: table.shape[0], : table.shape[1]] = table
  mass = np.zeros(x * y * z)
  mass[: len(weights)] = weights
  mass = mass.reshape(x, -1).mean(axis=1)
  # Words without weight still want some vector.
  mass = np.maximum(mass, 1e-6 * mass.max())
  slices = padded.reshape(x, y, z, j, k, q).transpose(0, 3, 1, 4, 2, 5)
  return slices, np.sqrt(mass)


def tt_svd(
  slices: np.ndarray, slice_scale: np.ndarray, ranks: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """TT-SVD of a scaled table, by eigenvectors of two small Gram matrices.

  Args:
    slices: [X, J, Y, K, Z, Q] float32.
    slice_scale: [X] importance of the leading slices.
    ranks: P, R.

  Returns:
    [X, J, P], [P, Y, K, R] and [R, Z, Q] float32 cores; the middle one holds
    the singular values, leading ones first.
  """
  x, j, y, k, z, q = slices.shape
  scale = (slice_scale / slice_scale.max()).astype(np.float32)
  scaled = slices * scale.reshape(-1, 1, 1, 1, 1, 1)
  unfolded = scaled.reshape(x * j, -1)
  left = _leading_eigenvectors(unfolded @ unfolded.T, ranks[0])  # [XJ, P]
  rest = (left.T @ unfolded).reshape(-1, z * q)  # [PYK, ZQ]
  right = _leading_eigenvectors(rest.T @ rest, ranks[1])  # [ZQ, R]
  first = left.reshape(x, j, -1) / scale[:, None, None]
  middle = (rest @ right).reshape(-1, y, k, right.shape[1])
  return first, middle, right.T.reshape(-1, z, q)


def _leading_eigenvectors(gram: np.ndarray, num: int) -> np.ndarray:
  _, vectors = np.linalg.eigh(gram.astype(np.float64))
  return np.ascontiguousarray(vectors[:, ::-1][:, :num], np.float32)
