"""Graded codes: product codes of a few axes each, on axes that groups share.

Each group spends its own bits on the axes: a rate for every axis by reverse
water-filling (Cover and Thomas, "Elements of Information Theory", section
10.3.3). Axes in order are cut into blocks of about equal bits, so that a
codebook of K codewords codes one leading axis or several of the later ones;
axes that are worth no bit at all are left out.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal import threads
from embedcomp.methods import gather, kmeans, registry, storage
from embedcomp.methods.axes_method import AxesMethod, Coder, group_of_token
from embedcomp.methods.product_quantization import check_codewords, random_codes
from embedcomp.methods.storage import Codes, Factor, Part
from embedcomp.types import Array, Params, PRNGKey, Shape

_BLOCKS = re.compile(r'(?:[1-9]\d{0,6}x[1-9]\d{0,6}(?:\+|$))*')
# Lloyd iterations, and training points for each codeword.
_ITERATIONS = 8
_POINTS_PER_CODEWORD = 256


@registry.register
@dataclasses.dataclass(frozen=True)
class GradedCodes(AxesMethod):
  """M codes a word of log2 K bits each; K x A values in the codebooks.

  A word is coefficients times axes. The first A coefficients are codewords of M
  blocks of consecutive axes, side by side; to those of the R stored axes, coded
  or not, the group's mean is added.

  Attributes:
    rank: R, see `AxesMethod` for this and for how axes are stored.
    blocks: how many blocks of how many axes, from the first axis on, as in
      '4x1+10x2': 14 codes for A = 24 axes; '' for the mean alone.
    codewords: K, at most W.
    storage: of codebooks and mean; integers keep one scale an axis, and one
      for the mean.
  """

  name: ClassVar[str] = 'graded'
  rank: int
  blocks: str
  codewords: int
  storage: str = 'float32'
  axes_storage: str = 'float32'
  axes_bytes: int = 0

  @property
  def widths(self) -> tuple[int, ...]:
    """[M] axes of each block."""
    return parse_blocks(self.blocks)

  @property
  def num_axes(self) -> int:
    return count_axes(self.blocks)

  def validate(self, shape: Shape) -> None:
    self._check_axes(shape)
    check_codewords(self.codewords, shape)

  def parts(self, shape: Shape) -> tuple[Part, ...]:
    widths = self.widths
    codebooks = (self.codewords, sum(widths))
    return (
      Codes('codes', (shape.num_words, len(widths)), self.codewords),
      Factor('codebooks', codebooks, self.storage, (1,), 'codebooks'),
      *self._axes_parts(shape),
    )

  def init(self, key: PRNGKey, shape: Shape) -> Params:
    codes_key, codebooks_key, axes_key = jax.random.split(key, 3)
    widths = self.widths
    codes = random_codes(codes_key, shape, len(widths), self.codewords)
    size = (self.codewords, sum(widths))
    codebooks = jax.random.normal(codebooks_key, size)
    scale = np.sqrt(max(sum(widths), 1))
    axes = self._init_axes(axes_key, shape)
    return self._params([codes, codebooks / scale, *axes], shape)

  def fit_on_axes(
    self,
    axes: np.ndarray,
    coefficients: np.ndarray,
    weights: np.ndarray,
    seed: int,
    costs: np.ndarray | None = None,
  ) -> Params:
    shape = Shape(len(coefficients), axes.shape[1])
    mean = self._fit_mean(coefficients, weights)
    widths = self.widths
    codes = np.zeros((shape.num_words, len(widths)), np.int32)
    codebooks = np.zeros((self.codewords, sum(widths)), np.float32)
    rest = self._without_mean(coefficients, mean, costs)
    edges = np.cumsum((0, *widths))

    def fit_block(m):
      block = np.ascontiguousarray(rest[:, edges[m] : edges[m + 1]])
      return _fit_book(block, weights, self.codewords, seed + m)

    books = threads.map_threads(fit_block, range(len(widths)))
    for m, (codewords, found) in enumerate(books):
      codebooks[:, edges[m] : edges[m + 1]] = codewords
      codes[:, m] = found
    codebooks /= self._units(costs)
    return self._params([codes, codebooks, mean, axes], shape)

  @classmethod
  def coded(cls, coders: Sequence[Coder]) -> jax.Array:
    # Codes and codebooks of all groups are laid one after another, so that a
    # coefficient is found in two steps whatever its group: the code of its
    # axis's block, and the codeword's value on the axis.
    layout = _Layout.of(coders)
    group = group_of_token(coders)
    row = jnp.zeros(coders[0].rows.shape, jnp.int32)
    for coder in coders:
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
    return gather.take(books, values + gather.take(layout.first_value, group))


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

  first_code: np.ndarray  # [G + 1]
  codes_per_word: np.ndarray  # [G + 1]
  block_of_axis: np.ndarray  # [G + 1, A]
  first_value: np.ndarray  # [G + 1, A] of the first codeword
  stride: np.ndarray  # [G + 1, A] from one codeword to the next

  @classmethod
  def of(cls, coders: Sequence[Coder]) -> '_Layout':
    all_widths = [coder.method.widths for coder in coders]
    num_axes = max(map(sum, all_widths))
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
    return cls(firsts, counts, blocks, values, strides)
