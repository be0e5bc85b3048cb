"""Hash embeddings: two vectors out of a small table, weighted word by word.

Word w is a_0 T[h_0(w)] + a_1 T[h_1(w)] with fixed hash functions h and two
importance weights of its own (Svenstrup, Hansen & Winther, NeurIPS 2017).
Words that share one bucket seldom share both.
"""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from embedcomp.methods import base, gather, registry, storage
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape

_ROUNDS = 8
# Conjugate gradient steps a round; each round goes on from the one before.
_SOLVER_STEPS = 12
# Relative to what is solved for; keeps nearly parallel buckets from cancelling.
_RIDGE = 1e-3


def mix(keys: Array) -> Array:
  """Scrambles 32-bit integers one to one: the finaliser of MurmurHash3.

  Args:
    keys: uint32, NumPy's or JAX's.

  Example:
    >>> [hex(key) for key in mix(np.arange(2, dtype=np.uint32))]
    ['0x0', '0x514e28b7']
  """
  keys = (keys ^ (keys >> 16)) * np.uint32(0x85EBCA6B)
  keys = (keys ^ (keys >> 13)) * np.uint32(0xC2B2AE35)
  return keys ^ (keys >> 16)


def bucket_pairs(rows: Array, buckets: int) -> Array:
  """The two buckets of each word, different ones if there are two.

  Args:
    rows: [...] non-negative integers, NumPy's or JAX's.
    buckets: B.

  Returns:
    [..., 2] uint32 in [0, B).
  """
  numpy = np if isinstance(rows, np.ndarray) else jnp
  rows = rows.astype(np.uint32)
  first = mix(rows + np.uint32(1)) % np.uint32(buckets)
  step = mix(rows ^ np.uint32(0x9E3779B9)) % np.uint32(max(buckets - 1, 1))
  second = (first + step + np.uint32(1)) % np.uint32(buckets)
  return numpy.stack([first, second], axis=-1)


@registry.register
@dataclasses.dataclass(frozen=True)
class Hashed(base.Method):
  """B vectors for all words and two weights a word; no index is stored.

  Attributes:
    buckets: B, at most W.
    storage: of both; integers keep one scale a bucket, and one for the first
      and one for the second weights.
  """

  name: ClassVar[str] = 'hashed'
  buckets: int
  storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  def validate(self, shape: Shape) -> None:
    if not 1 <= self.buckets <= shape.num_words:
      raise ValueError(
        f"buckets must be 1 to the group's {shape.num_words} words, "
        f'got {self.buckets}.'
      )

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    return (
      storage.Factor('weights', (shape.num_words, 2), self.storage, (1,)),
      storage.Factor(
        'buckets', (self.buckets, shape.features), self.storage, (0,)
      ),
    )

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    weights_key, buckets_key = jax.random.split(key)
    weights = jax.random.normal(weights_key, (shape.num_words, 2)) / np.sqrt(2)
    buckets = jax.random.normal(buckets_key, (self.buckets, shape.features))
    return self._params(weights, buckets / np.sqrt(shape.features), shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    del seed  # starts with equal weights
    table = np.asarray(table, np.float32)
    weights = np.asarray(weights, np.float32)
    pairs = np.asarray(bucket_pairs(np.arange(len(table)), self.buckets))
    shares = np.ones((len(table), 2), np.float32)
    buckets = np.zeros((self.buckets, table.shape[1]), np.float32)
    for _ in range(_ROUNDS):
      buckets = solve_buckets(table, weights, pairs, shares, buckets)
      shares = solve_shares(table, pairs, buckets)
    return self._params(shares, buckets, Shape(*table.shape))

  def _params(self, weights: Array, buckets: Array, shape: Shape) -> Params:
    weights_part, buckets_part = self.parts(shape)
    return {
      'weights': weights_part.trainable(weights),
      'buckets': buckets_part.trainable(buckets),
    }

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    pairs = bucket_pairs(rows, self.buckets)  # [..., 2]
    vectors = storage.read(params['buckets'], self.storage, pairs)
    weights = storage.read(params['weights'], self.storage, rows)
    return jnp.einsum('...h,...hD->...D', weights, vectors, precision='highest')

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    buckets = storage.read(params['buckets'], self.storage)
    weights = storage.read(params['weights'], self.storage)  # [W, 2]
    pairs = bucket_pairs(np.arange(shape.num_words), self.buckets)
    lead = (1,) * (hidden.ndim - 1)
    scores = [
      gather.take_scores(buckets, pairs[:, h], hidden)
      * weights[:, h].reshape(*lead, -1)
      for h in range(2)
    ]
    return scores[0] + scores[1]

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    sizes = {shape.num_words // share for share in (64, 32, 16, 8, 4)}
    return tuple(cls(size, 'int8') for size in sorted(sizes) if size)


def solve_shares(
  table: np.ndarray, pairs: np.ndarray, buckets: np.ndarray
) -> np.ndarray:
  """The least-squares weights of each word for given buckets.

  Args:
    table: [W, D] float32.
    pairs: [W, 2] buckets of each word.
    buckets: [B, D] float32.

  Returns:
    [W, 2] float32.
  """
  first, second = buckets[pairs[:, 0]], buckets[pairs[:, 1]]  # [W, D]
  aa, ab, bb = (
    np.einsum('WD,WD->W', x, y, dtype=np.float64)
    for x, y in ((first, first), (first, second), (second, second))
  )
  ya, yb = (np.einsum('WD,WD->W', table, x) for x in (first, second))
  ridge = _RIDGE * (aa + bb) / 2 + np.finfo(np.float32).tiny
  aa, bb = aa + ridge, bb + ridge
  # Cramer's rule for two unknowns.
  shares = np.stack([ya * bb - yb * ab, yb * aa - ya * ab], axis=1)
  return (shares / (aa * bb - ab * ab)[:, None]).astype(np.float32)


def solve_buckets(
  table: np.ndarray,
  weights: np.ndarray,
  pairs: np.ndarray,
  shares: np.ndarray,
  start: np.ndarray,
) -> np.ndarray:
  """Moves buckets towards the weighted least squares for given shares.

  Conjugate gradients on the normal equations, scaled by their diagonal, all
  features at once: a direct solver would fill in the random sparsity.

  Args:
    table: [W, D] float32.
    weights: [W] non-negative.
    pairs: [W, 2] buckets of each word.
    shares: [W, 2] importance weights of each word.
    start: [B, D] first guess.

  Returns:
    [B, D] float32.
  """
  num_words = len(table)
  design = sparse.csr_matrix(
    (shares.reshape(-1), pairs.reshape(-1), np.arange(num_words + 1) * 2),
    shape=(num_words, len(start)),
  )
  weighted = design.T.multiply(weights / weights.mean()).tocsr()
  normal = (weighted @ design).astype(np.float64)
  diagonal = normal.diagonal()
  ridge = _RIDGE * diagonal.mean() + np.finfo(np.float32).tiny
  normal = normal + ridge * sparse.identity(len(start))
  inverse = 1 / (diagonal + ridge)[:, None]

  solution = start.astype(np.float64)
  residual = weighted @ table - normal @ solution
  direction = inverse * residual
  energy = (residual * direction).sum(0)  # [D]
  for _ in range(_SOLVER_STEPS):
    image = normal @ direction
    step = energy / np.maximum((direction * image).sum(0), 1e-300)
    solution += step * direction
    residual -= step * image
    scaled = inverse * residual
    previous, energy = energy, (residual * scaled).sum(0)
    direction = scaled + energy / np.maximum(previous, 1e-300) * direction
  return solution.astype(np.float32)
