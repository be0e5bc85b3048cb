"""Graded codes: product codes of a few axes each, on axes that groups share.

All graded groups of a scheme describe words by the same axes, sorted by what
they explain, and each group spends its own bits on them: a rate for every axis
by reverse water-filling (Cover and Thomas, "Elements of Information Theory",
section 10.3.3). Axes in order are cut into blocks of about equal bits, so that
a codebook of K codewords codes one leading axis or several of the later ones;
axes that are worth no bit at all are left out. The R x D values of the axes are
stored once.

Stored axes need be neither orthogonal nor of length 1. Groups of frequent words
also code what is orthogonal to all of them: the D - R further axes follow from
the stored ones by Householder reflections and cost no bytes.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal import threads
from embedcomp.methods import base, gather, kmeans, registry, storage
from embedcomp.methods.further_axes import full_axes, oriented
from embedcomp.methods.low_rank import weighted_basis
from embedcomp.methods.product_quantization import check_codewords, random_codes
from embedcomp.methods.storage import Codes, Factor, Part
from embedcomp.types import Array, Params, PRNGKey, Shape

_BLOCKS = re.compile(r'(?:[1-9]\d{0,6}x[1-9]\d{0,6}(?:\+|$))*')
# Lloyd iterations, and training points for each codeword.
_ITERATIONS = 8
_POINTS_PER_CODEWORD = 256


class Coder(NamedTuple):
  """One group's words to be read beside those of other groups.

  Attributes:
    method: of the group.
    params: of the group, either form.
    inside: [T] bool, which tokens are words of the group.
    rows: [T] integers in [0, W), whatever `inside`.
  """

  method: 'GradedCodes'
  params: Params
  inside: Array
  rows: Array


@registry.register
@dataclasses.dataclass(frozen=True)
class GradedCodes(base.Method):
  """M codes a word of log2 K bits each; K x A values in the codebooks.

  A word is coefficients times axes. The first A coefficients are codewords of M
  blocks of consecutive axes, side by side; to those of the R stored axes, coded
  or not, the group's mean is added.

  Attributes:
    rank: R, the axes that are stored, 0 to D; the same in all graded groups of
      a scheme, as is `axes_storage`. Without any, axes are the features.
    blocks: how many blocks of how many axes, from the first axis on, as in
      '4x1+10x2': 14 codes for A = 24 axes; '' for the mean alone.
    codewords: K, at most W.
    storage: of codebooks and mean; integers keep one scale an axis, and one
      for the mean.
    axes_storage: of the axes; integers keep one scale an axis.
  """

  name: ClassVar[str] = 'graded'
  rank: int
  blocks: str
  codewords: int
  storage: str = 'float32'
  axes_storage: str = 'float32'

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)
    storage.check_storage(self.axes_storage)

  @property
  def widths(self) -> tuple[int, ...]:
    """[M] axes of each block."""
    return parse_blocks(self.blocks)

  @property
  def num_axes(self) -> int:
    """A, the axes of all blocks together."""
    return count_axes(self.blocks)

  def validate(self, shape: Shape) -> None:
    if not 0 <= self.rank <= shape.features:
      raise ValueError(
        f'rank must be 0 to the {shape.features} features, got {self.rank}.'
      )
    if self.num_axes > shape.features:
      raise ValueError(
        f'blocks must have at most {shape.features} axes together, one a '
        f'feature, got {self.num_axes} in {self.blocks!r}.'
      )
    check_codewords(self.codewords, shape)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    widths = self.widths
    codebooks = (self.codewords, sum(widths))
    parts = (
      Codes('codes', (shape.num_words, len(widths)), self.codewords),
      Factor('codebooks', codebooks, self.storage, (1,), 'codebooks'),
      Factor('mean', (self.rank,), self.storage, (), 'means'),
      self.axes_part(shape.features),
    )
    return parts if self.rank else parts[:2]

  def axes_part(self, features: int) -> Factor:
    """The axes, which groups share."""
    size = (self.rank, features)
    return Factor('axes', size, self.axes_storage, (0,), 'axes', shared=True)

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    codes_key, codebooks_key, axes_key = jax.random.split(key, 3)
    widths = self.widths
    codes = random_codes(codes_key, shape, len(widths), self.codewords)
    size = (self.codewords, sum(widths))
    codebooks = jax.random.normal(codebooks_key, size)
    axes = jax.random.orthogonal(axes_key, shape.features)[: self.rank]
    mean = np.zeros(self.rank, np.float32)
    scale = np.sqrt(max(sum(widths), 1))
    return self._params([codes, codebooks / scale, mean, axes], shape)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    table = np.asarray(table, np.float32)
    axes = oriented(weighted_basis(table, weights, self.rank))
    coefficients = table @ np.linalg.inv(np.asarray(full_axes(axes)))
    return self.fit_on_axes(axes, coefficients, weights, seed)

  def fit_on_axes(
    self,
    axes: np.ndarray,
    coefficients: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> Params:
    """Fits codes on given axes.

    Args:
      axes: [R, D] float32.
      coefficients: [W, A or more] float32 of the words, one an axis.
      weights: [W] non-negative, not all zero.
      seed: of whatever is random.

    Returns:
      Trainable params.
    """
    shape = Shape(len(coefficients), axes.shape[1])
    mean = self._fit_mean(coefficients, weights)
    widths = self.widths
    codes = np.zeros((shape.num_words, len(widths)), np.int32)
    codebooks = np.zeros((self.codewords, sum(widths)), np.float32)
    rest = coefficients[:, : sum(widths)].astype(np.float32)
    rest[:, : self.rank] -= mean[: rest.shape[1]]
    edges = np.cumsum((0, *widths))

    def fit_block(m):
      block = np.ascontiguousarray(rest[:, edges[m] : edges[m + 1]])
      return _fit_book(block, weights, self.codewords, seed + m)

    books = threads.map_threads(fit_block, range(len(widths)))
    for m, (codewords, found) in enumerate(books):
      codebooks[:, edges[m] : edges[m + 1]] = codewords
      codes[:, m] = found
    return self._params([codes, codebooks, mean, axes], shape)

  def _fit_mean(self, coefficients, weights) -> np.ndarray:
    """[R] weighted mean, as it is read."""
    if not self.rank:
      return np.zeros(0, np.float32)
    part = Factor('mean', (self.rank,), self.storage, ())
    stored = coefficients[:, : self.rank]
    mean = np.average(stored, axis=0, weights=weights).astype(np.float32)
    return part.round_trip(mean)

  def _params(self, arrays: Sequence[Any], shape: Shape) -> Params:
    # Without stored axes there is neither a mean nor an axis.
    return {p.name: p.trainable(a) for p, a in zip(self.parts(shape), arrays)}

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    flat = jnp.asarray(rows).reshape(-1)
    everywhere = np.ones(flat.shape, bool)
    words = lookup_groups(
      [Coder(self, params, everywhere, flat)], shape.features
    )
    return words.reshape(*rows.shape, shape.features)

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    num_axes = max(self.rank, self.num_axes)
    if not num_axes:  # all words are zero
      return jnp.zeros((*hidden.shape[:-1], shape.num_words), jnp.float32)
    axes = _read_axes(self, params, num_axes, shape.features)
    projected = jnp.matmul(hidden, axes.T, precision='highest')
    params = {k: v for k, v in params.items() if k != 'axes'}

    def decode(held: Params, rows: jax.Array) -> jax.Array:
      everywhere = np.ones(rows.shape, bool)
      return _coefficients([Coder(self, held, everywhere, rows)])

    return base.logits_by_block(decode, params, projected, shape.num_words)


@functools.lru_cache
def parse_blocks(text: str) -> tuple[int, ...]:
  """The axes of each block of a text such as '4x1+10x2'.

  Raises:
    ValueError: if it is not of this form.

  Example:
    >>> parse_blocks('2x1+3x4')
    (1, 1, 4, 4, 4)
  """
  return tuple(
    width for count, width in _runs_of_blocks(text) for _ in range(count)
  )


def describe_blocks(widths: Sequence[int]) -> str:
  """Reverses `parse_blocks`.

  Example:
    >>> describe_blocks((1, 1, 4, 4, 4))
    '2x1+3x4'
  """
  runs: list[list[int]] = []
  for width in widths:
    if runs and runs[-1][1] == width:
      runs[-1][0] += 1
    else:
      runs.append([1, width])
  return '+'.join(f'{count}x{width}' for count, width in runs)


def count_axes(text: str) -> int:
  """The axes of all blocks of a text together, without laying them out."""
  return sum(count * width for count, width in _runs_of_blocks(text))


def _runs_of_blocks(text: str) -> list[tuple[int, int]]:
  if not _BLOCKS.fullmatch(text) or text.endswith('+'):
    raise ValueError(
      "blocks must be like '4x1+10x2', four blocks of an axis and ten of two, "
      f"or '', got {text!r}."
    )
  runs = [run.split('x') for run in text.split('+') if run]
  return [(int(count), int(width)) for count, width in runs]


def _fit_book(
  block: np.ndarray, weights: np.ndarray, codewords: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """[K, d] codewords of a block and [W] codes, by k-means on a sample."""
  rng = np.random.default_rng(seed)
  size = _POINTS_PER_CODEWORD * codewords
  rows, sample_weights = kmeans.training_sample(weights, size, rng)
  found, codes = kmeans.kmeans(
    *(block[rows], sample_weights, codewords),
    seed=seed,
    iterations=_ITERATIONS,
    oversampling=1,
  )
  if len(rows) == len(block):
    return found, codes
  codes = kmeans.assign(block, found)  # the sample placed them; all refine
  means, mass = kmeans.weighted_means(block, weights, codes, codewords)
  found[mass > 0] = means[mass > 0]
  return found, codes


def _read_axes(
  method: GradedCodes, params: Params, num: int, features: int
) -> jax.Array:
  """[num, D] float32, the first axes."""
  if not method.rank:
    return jnp.eye(num, features, dtype=jnp.float32)
  axes = storage.read(params['axes'], method.axes_storage)
  return axes if num <= method.rank else full_axes(axes)[:num]


def lookup_groups(coders: Sequence[Coder], features: int) -> jax.Array:
  """Vectors of words of several groups on the same axes, by one product.

  Args:
    coders: groups of one scheme.
    features: D.

  Returns:
    [T, D] float32, zero for tokens that are in none of the groups.
  """
  coefficients = _coefficients(coders)
  method, params = coders[0].method, coders[0].params
  axes = _read_axes(method, params, coefficients.shape[-1], features)
  return jnp.matmul(coefficients, axes, precision='highest')


def _coefficients(coders: Sequence[Coder]) -> jax.Array:
  """[T, A] float32, A as in the group that has most axes.

  Codes and codebooks of all groups are laid one after another, so that a
  coefficient is found in two steps whatever its group: the code of its axis's
  block, and the codeword's value on the axis.
  """
  layout = _Layout.of(coders)
  group = jnp.full(coders[0].rows.shape, len(coders), jnp.int32)
  row = jnp.zeros(coders[0].rows.shape, jnp.int32)
  for index, coder in enumerate(coders):
    group = jnp.where(coder.inside, index, group)
    row = jnp.where(coder.inside, coder.rows.astype(jnp.int32), row)
  flat_codes = _laid_out([c.params['codes'].values for c in coders])
  books = _laid_out(
    [storage.read(c.params['codebooks'], c.method.storage) for c in coders]
  )
  starts = gather.take(layout.first_code, group) + row * gather.take(
    layout.codes_per_word, group
  )
  places = starts[:, None] + gather.take(layout.block_of_axis, group)
  codes = gather.take(flat_codes, places).astype(jnp.int32)  # [T, A]
  values = codes * gather.take(layout.stride, group)
  values = gather.take(books, values + gather.take(layout.first_value, group))
  if not layout.rank:
    return values
  means = jnp.stack(
    [*map(_read_mean, coders), np.zeros(layout.rank, np.float32)]
  )
  means = jnp.pad(means, ((0, 0), (0, layout.num_axes - layout.rank)))
  return values + gather.take(means, group)


def _read_mean(coder: Coder) -> jax.Array:
  return storage.read(coder.params['mean'], coder.method.storage)


def _laid_out(arrays: Sequence[Array]) -> jax.Array:
  """All elements one after another, and a zero before them."""
  dtype = jnp.result_type(*arrays)
  zero = jnp.zeros(1, dtype)
  return jnp.concatenate([zero, *(a.reshape(-1).astype(dtype) for a in arrays)])


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where codes and values of groups are, laid one after another.

  Rows are groups, and a last one for tokens of none. What is not coded is
  found at 0, where there is a zero.
  """

  rank: int
  num_axes: int
  first_code: np.ndarray  # [G + 1]
  codes_per_word: np.ndarray  # [G + 1]
  block_of_axis: np.ndarray  # [G + 1, A]
  first_value: np.ndarray  # [G + 1, A] of the first codeword
  stride: np.ndarray  # [G + 1, A] from one codeword to the next

  @classmethod
  def of(cls, coders: Sequence[Coder]) -> '_Layout':
    rank = coders[0].method.rank
    all_widths = [coder.method.widths for coder in coders]
    num_axes = max(rank, *(sum(widths) for widths in all_widths), 0)
    firsts, counts = np.zeros((2, len(coders) + 1), np.int32)
    blocks, values, strides = np.zeros((3, len(coders) + 1, num_axes), np.int32)
    next_code = next_value = 1
    for index, (coder, widths) in enumerate(zip(coders, all_widths)):
      axes = sum(widths)
      firsts[index], counts[index] = next_code, len(widths)
      blocks[index, :axes] = np.repeat(np.arange(len(widths)), widths)
      values[index, :axes] = next_value + np.arange(axes)
      strides[index, :axes] = axes
      next_code += coder.params['codes'].values.size
      next_value += coder.method.codewords * axes
    firsts[counts == 0] = 0
    return cls(rank, num_axes, firsts, counts, blocks, values, strides)
