"""Product quantization: a word is a few codes into codebooks.

The D features are cut into M blocks; in each block a word takes the nearest of
K codewords (Jegou et al., TPAMI 2011). M = 1 is plain vector quantization. A
rotation of the features before the cut evens out what the blocks have to
express (OPQ, Ge et al., CVPR 2013); it is stored and counted.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal import threads
from embedcomp.methods import base, gather, kmeans, registry, storage
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape

# Blocks that are quantized when only the error is asked for: all of few, or
# three of more, whose errors are alike.
_FEW_BOOKS, _QUICK_BOOKS = 6, 3
# Training points for each codeword; more hardly lowers the error.
_POINTS_PER_CODEWORD = 64
_MIN_POINTS = 4096
_ROTATION_ROUNDS = 4


def check_codewords(codewords: int, shape: Shape) -> None:
  """Raises ValueError unless the group has words for the codewords."""
  if not 1 <= codewords <= shape.num_words:
    raise ValueError(
      f"codewords must be 1 to the group's {shape.num_words} words, "
      f'got {codewords}.'
    )


def check_codebooks(books: int, codewords: int, shape: Shape) -> None:
  """Raises ValueError unless the codebooks suit the group."""
  check_codewords(codewords, shape)
  if not 1 <= books <= shape.features or shape.features % books:
    near = [m for m in range(1, shape.features + 1) if shape.features % m == 0]
    raise ValueError(
      f'books must divide the {shape.features} features (one of {near}), '
      f'got {books}.'
    )


def random_codes(
  key: PRNGKey, shape: Shape, books: int, codewords: int
) -> jax.Array:
  """[W, M] codes that use every codeword of a book about equally often."""

  def one_book(key):
    return jax.random.permutation(key, shape.num_words) % codewords

  return jax.vmap(one_book)(jax.random.split(key, books)).T


def fit_codebooks(
  table: np.ndarray,
  weights: np.ndarray,
  books: int,
  codewords: int,
  seed: int,
) -> np.ndarray:
  """Weighted k-means in every block of features, on a sample of the words.

  Args:
    table: [W, D] float32, M a divisor of D.
    weights: [W] non-negative, not all zero.
    books: M.
    codewords: K.
    seed: of the sample and the starts.

  Returns:
    [M, K, D // M] float32 codebooks, the heaviest codewords first.
  """
  size = max(_MIN_POINTS, _POINTS_PER_CODEWORD * codewords)
  rng = np.random.default_rng(seed)
  energies = np.square(table).sum(axis=1)
  rows, sample_weights = kmeans.training_sample(weights, size, rng, energies)
  blocks = table[rows].reshape(len(rows), books, -1)

  def fit_book(m):
    block = np.ascontiguousarray(blocks[:, m])
    return kmeans.kmeans(block, sample_weights, codewords, seed=seed + m)[0]

  return np.stack(list(threads.map_threads(fit_book, range(books))))


def quick_distortion(
  method: 'BookMethod', table: np.ndarray, weights: np.ndarray, seed: int
) -> np.ndarray:
  """Squared errors of words, as stored, under codebooks fitted to them.

  Only some blocks are quantized. Each stands for those that hold about as much,
  which are taken to lose the same share of it.

  Args:
    method: without a rotation.
    table: [W, D] float32.
    weights: [W] non-negative, not all zero.
    seed: of the starts.

  Returns:
    [W] float32.
  """
  blocks = table.reshape(len(table), method.books, -1)
  energies = weights @ np.square(blocks).sum(axis=2)  # [M]
  num = method.books if method.books <= _FEW_BOOKS else _QUICK_BOOKS
  alike = np.array_split(np.argsort(energies), num)
  size = (method.codewords, blocks.shape[2])
  part = storage.Factor('codebook', size, method.storage, (1,))
  rng = np.random.default_rng(seed)
  sampled = max(_MIN_POINTS, 2 * method.codewords)
  rows, sample_weights = kmeans.training_sample(
    weights, sampled, rng, np.square(table).sum(axis=1)
  )
  errors = np.zeros(len(table), np.float32)
  for books in alike:
    held = np.cumsum(energies[books])
    middle = int(np.searchsorted(held, held[-1] / 2))
    m = int(books[middle])
    block = np.ascontiguousarray(blocks[:, m])
    found, codes = kmeans.kmeans(
      block[rows], sample_weights, method.codewords, seed=seed + m
    )
    if len(rows) < len(block):
      codes = kmeans.assign(block, found)
    lost = np.square(block - part.round_trip(found)[codes]).sum(axis=1)
    errors += lost * (held[-1] / max(energies[m], np.finfo(np.float32).tiny))
  return errors


def encode(table: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
  """[W, M] nearest codewords of [W, D] words in [M, K, D // M] codebooks."""
  books, codewords, width = codebooks.shape
  dtype = np.min_scalar_type(codewords - 1)
  codes = np.empty((len(table), books), dtype)

  def encode_book(m):
    block = table[:, m * width : (m + 1) * width]
    codes[:, m] = kmeans.assign(block, codebooks[m])

  for _ in threads.map_threads(encode_book, range(books)):
    pass
  return codes


def decode(codes: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
  """[W, D] words from [W, M] codes, the reverse of `encode`."""
  books = np.arange(codebooks.shape[0])
  return codebooks[books, codes].reshape(len(codes), -1)


def flat_rows(codes: Array, codewords: int) -> jax.Array:
  """Returns rows that codes point to in codebooks laid one after another.

  Args:
    codes: [..., M] integers in [0, K).
    codewords: K.

  Returns:
    [..., M] int32 in [0, M K).
  """
  offsets = np.arange(codes.shape[-1], dtype=np.int32) * codewords
  lead = (1,) * (codes.ndim - 1)
  return jnp.asarray(codes.astype(jnp.int32) + offsets.reshape(*lead, -1))


class BookMethod(base.SubvectorMethod):
  """One codeword out of each of M codebooks, side by side.

  Attributes:
    books: M, a divisor of D.
    codewords: K, at most W.
    storage: of the codebooks; integers keep one scale a feature.
    rotation: whether a learned rotation (stored like the codebooks, one scale
      a row) precedes the cut into blocks.
  """

  books: int
  codewords: int
  storage: str
  rotation: bool

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)

  @property
  def is_plain(self) -> bool:
    return not self.rotation

  def validate(self, shape: Shape) -> None:
    check_codebooks(self.books, self.codewords, shape)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    width = shape.features // self.books
    codebooks = (self.books, self.codewords, width)
    parts: tuple[Part, ...] = (
      storage.Codes('codes', (shape.num_words, self.books), self.codewords),
      storage.Factor('codebooks', codebooks, self.storage, (0, 2), 'codebooks'),
    )
    if self.rotation:
      square = (shape.features, shape.features)
      rotation = storage.Factor('rotation', square, self.storage, (0,))
      parts += (dataclasses.replace(rotation, role='rotation'),)
    return parts

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    codes_key, codebooks_key, rotation_key = jax.random.split(key, 3)
    width = shape.features // self.books
    codebooks = jax.random.normal(
      codebooks_key, (self.books, self.codewords, width)
    ) / np.sqrt(shape.features)
    codes = random_codes(codes_key, shape, self.books, self.codewords)
    arrays = [codes, codebooks]
    if self.rotation:
      arrays.append(jax.random.orthogonal(rotation_key, shape.features))
    return self._params(arrays, shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    table = np.asarray(table, np.float32)
    shape = Shape(*table.shape)
    rotation = None
    if self.rotation:
      rotation = self._fit_rotation(table, weights, seed)
      table = table @ rotation.T
    codebooks = fit_codebooks(table, weights, self.books, self.codewords, seed)
    codes = encode(table, codebooks)
    for m in range(self.books):  # the sample placed them; all words refine
      width = table.shape[1] // self.books
      block = table[:, m * width : (m + 1) * width]
      means, mass = kmeans.weighted_means(
        block, weights, codes[:, m], self.codewords
      )
      codebooks[m][mass > 0] = means[mass > 0]
    arrays = [codes, codebooks]
    return self._params(arrays + [rotation] * self.rotation, shape)

  def _params(self, arrays, shape: Shape) -> Params:
    parts = self.parts(shape)
    return {p.name: p.trainable(a) for p, a in zip(parts, arrays, strict=True)}

  def _fit_rotation(self, table, weights, seed) -> np.ndarray:
    """[D, D] rotation: eigenvalue allocation, then alternating refinement."""
    rng = np.random.default_rng(seed)
    rows, weights = kmeans.training_sample(weights, _MIN_POINTS, rng)
    table = table[rows]
    codewords = min(self.codewords, len(rows))
    rotation = allocate_rotation(table, weights, self.books)
    for step in range(_ROTATION_ROUNDS):
      rotated = table @ rotation.T
      codebooks = fit_codebooks(rotated, weights, self.books, codewords, step)
      decoded = decode(encode(rotated, codebooks), codebooks)
      # The rotation nearest to taking the table to its decoded form.
      left, _, right = np.linalg.svd((decoded * weights[:, None]).T @ table)
      rotation = (left @ right).astype(np.float32)
    return rotation

  def num_subvectors(self, shape: Shape) -> tuple[int, int]:
    return self.books * self.codewords, self.books

  def subvectors(self, params: Params, shape: Shape) -> jax.Array:
    codebooks = storage.read(params['codebooks'], self.storage)
    return codebooks.reshape(-1, shape.features // self.books)

  def subvector_rows(
    self, params: Params, rows: Array, shape: Shape
  ) -> jax.Array:
    return flat_rows(gather.take(params['codes'].values, rows), self.codewords)

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    words = super().lookup(params, rows, shape)
    if self.rotation:
      rotation = storage.read(params['rotation'], self.storage)
      words = jnp.matmul(words, rotation, precision='highest')
    return words

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    if self.rotation:
      plain = dataclasses.replace(self, rotation=False)
      rotation = storage.read(params['rotation'], self.storage)
      rotated = jnp.matmul(hidden, rotation.T, precision='highest')
      return plain.logits(params, rotated, shape)
    if self.books > 1:
      return super().logits(params, hidden, shape)
    subvectors = self.subvectors(params, shape)  # [K, D]
    return gather.take_scores(subvectors, params['codes'].values[:, 0], hidden)

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    if any(option.rotation for option in options):
      return super().distortions(options, table, weights, seed)
    return np.stack(
      [quick_distortion(option, table, weights, seed) for option in options]
    )


@registry.register
@dataclasses.dataclass(frozen=True)
class ProductQuantization(BookMethod):
  """M codes a word of log2 K bits each; K x D values in the codebooks.

  Attributes:
    books: M, a divisor of D.
    codewords: K, at most W.
    storage: of the codebooks; integers keep one scale a feature.
    rotation: whether a learned rotation (stored like the codebooks, one scale
      a row) precedes the cut into blocks.
  """

  name: ClassVar[str] = 'pq'
  books: int
  codewords: int
  storage: str = 'float32'
  rotation: bool = False

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    divisors = [
      m
      for m in range(1, shape.features + 1)
      if shape.features % m == 0 and shape.features // m >= 2
    ]
    books = (
      {
        min(divisors, key=lambda m: abs(math.log(m * width / shape.features)))
        for width in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96)
      }
      if divisors
      else set()
    )
    return tuple(
      cls(m, k, 'int8')
      for m in sorted(books)
      for k in (16, 64, 256)
      # Above 3 bits a feature, plain integers are as good.
      if k <= shape.num_words and k <= 2 ** (3 * shape.features // m)
    )


def allocate_rotation(
  table: np.ndarray, weights: np.ndarray, books: int
) -> np.ndarray:
  """OPQ's starting rotation: principal axes dealt out to even blocks.

  Axes in order of variance go to the block with the least product of
  variances so far (Ge et al., CVPR 2013, section 3.2).

  Args:
    table: [W, D] float.
    weights: [W] non-negative.
    books: M, a divisor of D.

  Returns:
    [D, D] float32 orthogonal; words are rotated by `table @ rotation.T`.
  """
  weights = np.asarray(weights, np.float64)
  features = table.shape[1]
  centered = table - np.average(table, axis=0, weights=weights)
  covariance = (centered * weights[:, None]).T @ centered / weights.sum()
  values, vectors = np.linalg.eigh(covariance)
  logs = np.log(np.maximum(values, 1e-12 * max(values.max(), 1e-30)))
  totals = np.zeros(books)
  blocks: list[list[int]] = [[] for _ in range(books)]
  for axis in range(features)[::-1]:  # eigh sorts upwards
    open_blocks = [
      b for b in range(books) if len(blocks[b]) < features // books
    ]
    block = min(open_blocks, key=lambda b: totals[b])
    blocks[block].append(axis)
    totals[block] += logs[axis] - logs[0]
  return vectors[:, np.concatenate(blocks).astype(int)].T.astype(np.float32)
