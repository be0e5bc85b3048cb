"""Base of all compression methods: a config with a few pure functions.

A method stands in for a table of `Shape(num_words, features)`. It is a frozen
dataclass of static choices and holds no arrays; its arrays are `params`, a
dict that `init` or `fit` makes and the other functions take. Words are
addressed by `rows`, their positions inside the group.

Two families share their reading with others of the same family, so that a
scheme of several groups costs about as much as one group:

  SubvectorMethod  a word is subvectors out of a small table, side by side;
  BasisMethod      a word is a few coefficients times a basis.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import forms, gather
from embedcomp.methods.storage import Part
from embedcomp.types import Array, Params, PRNGKey, Shape

# Words decoded at a time when logits have to visit every word: they stay in a
# core's own cache. More of them for fewer vectors than these, for starting
# threads would take longer than their work.
LOGITS_BLOCK = 256
_FEW_VECTORS = 8


class Method(abc.ABC):
  """A way to store the vectors of one group of words.

  Subclasses are frozen dataclasses, registered by `methods.register`. `params`
  may be trainable or stored (see `methods.forms`) wherever they are read.
  """

  name: ClassVar[str]
  # Tells type checkers that subclasses are dataclasses.
  __dataclass_fields__: ClassVar[dict[str, Any]]

  def validate(self, shape: Shape) -> None:
    """Raises ValueError if the method cannot stand in for `shape`."""

  @abc.abstractmethod
  def parts(self, shape: Shape) -> tuple[Part, ...]:
    """Arrays that are written to disk, in order."""

  @abc.abstractmethod
  def init(self, key: PRNGKey, shape: Shape) -> Params:
    """Trainable params from noise; vectors have variance 1 / D.

    Args:
      key: random key.
      shape: of the table.
    """

  @abc.abstractmethod
  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    """Trainable params of small weighted squared error.

    Args:
      table: [W, D] float32.
      weights: [W] float, non-negative and not all zero.
      seed: of whatever is random; equal seeds give equal params.
    """

  @abc.abstractmethod
  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    """Vectors of words.

    Args:
      params: of this method, either form.
      rows: [...] integers in [0, W).
      shape: of the table.

    Returns:
      [..., D] float32.
    """

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    """Inner products with every word of the group, without its table.

    The default decodes a block of words at a time, again in the backward pass,
    so that no more of the table than that ever exists.

    Args:
      params: of this method, either form.
      hidden: [..., D] float.
      shape: of the table.

    Returns:
      [..., W] float32.
    """

    def decode(held: Params, rows: jax.Array) -> jax.Array:
      return self.lookup(held, rows, shape)

    return logits_by_block(decode, params, hidden, shape.num_words)

  def commitment(
    self, params: Params, rows: Array, shape: Shape
  ) -> jax.Array | None:
    """Terms that the method adds to a task's loss, word by word.

    Args:
      params: of this method, either form.
      rows: [...] integers in [0, W).
      shape: of the table.

    Returns:
      [...] float32; None, the default, if there is no such term.
    """
    return None

  def chooses(self, params: Params) -> bool:
    """True if each word has to choose its codewords when it is read.

    That costs far more than to copy the word, and the params hold an array as
    large as the table to choose by: see `DifferentiableSoftmax`.
    """
    del params
    return False

  @classmethod
  def options(cls, shape: Shape) -> tuple[Self, ...]:
    """The configs worth trying on a group of this shape, any order."""
    return ()

  @classmethod
  def distortions(
    cls,
    options: Sequence[Self],
    table: np.ndarray,
    weights: np.ndarray,
    seed: int,
  ) -> np.ndarray:
    """Squared errors that configs of this method leave when they are fitted.

    Args:
      options: O configs.
      table: [W, D] float32.
      weights: [W] float, non-negative and not all zero.
      seed: of whatever is random.

    Returns:
      [O, W] float32, the squared error of every word.
    """
    shape = Shape(*table.shape)
    rows = np.arange(shape.num_words)
    errors = np.empty((len(options), shape.num_words), np.float32)
    for index, option in enumerate(options):
      params = option.fit(table, weights, seed)
      words = np.asarray(option.lookup(params, rows, shape))
      errors[index] = np.square(table - words).sum(axis=1)
    return errors

  def trainable_parts(self, shape: Shape) -> tuple[Part, ...]:
    """The arrays of the trainable form, by default those of `parts`."""
    return self.parts(shape)

  def quantize(self, params: Params, shape: Shape) -> Params:
    """The stored form: trainable params rounded, train-only ones dropped."""
    return {p.name: p.quantize(params[p.name]) for p in self.parts(shape)}

  def dequantize(self, params: Params, shape: Shape) -> Params:
    """The trainable form of stored params: float32 masters."""
    return {p.name: p.dequantize(params[p.name]) for p in self.parts(shape)}

  def check(self, params: Params, shape: Shape) -> None:
    """Checks types and shapes of params, which may be traced.

    Raises:
      ValueError: unless they are all arrays of this method in one form.
    """
    if not isinstance(params, Mapping):
      raise ValueError(f'params must be a dict, got {forms.spec(params)}.')
    is_stored = forms.is_stored(params)
    parts = self.parts(shape) if is_stored else self.trainable_parts(shape)
    names = [part.name for part in parts]
    if set(params) != set(names):
      raise ValueError(
        f'{"stored" if is_stored else "trainable"} params must have {names}, '
        f"got {sorted(params)}; pass both collections, 'params' and 'stored'."
      )
    for part in parts:
      part.check(params[part.name], is_stored)

  def num_bytes(self, shape: Shape) -> int:
    """Bytes on disk, exactly."""
    return sum(self.bytes_by_role(shape).values())

  def bytes_by_role(self, shape: Shape) -> dict[str, int]:
    """Bytes on disk by what they hold (codes, codebooks, scales, ...)."""
    totals: dict[str, int] = {}
    for part in self.parts(shape):
      for role, num_bytes in part.bytes_by_role().items():
        totals[role] = totals.get(role, 0) + num_bytes
    return totals

  def num_params(self, shape: Shape) -> int:
    """Stored numbers: values of factors and codes, scales not counted."""
    return sum(part.size for part in self.parts(shape))


def logits_by_block(
  decode: Callable[[Params, jax.Array], jax.Array],
  params: Params,
  hidden: Array,
  num_words: int,
) -> jax.Array:
  """Inner products with all words, a block of them decoded at a time.

  Args:
    decode: takes params and [N] rows to [N, F] float32.
    params: nested dict of arrays.
    hidden: [..., F] float.
    num_words: W, rows in all.

  Returns:
    [..., W] float32.
  """
  features = hidden.shape[-1]
  flat = hidden.reshape(-1, features)
  block = LOGITS_BLOCK * max(_FEW_VECTORS // max(len(flat), 1), 1)
  block = min(block, num_words)

  @jax.checkpoint
  def score(start):
    rows = start + jnp.arange(block, dtype=jnp.int32)
    words = decode(hold_floats(params, start, block * features), rows)
    return jnp.matmul(flat, words.T, precision='highest')  # [T, block]

  def step(logits, start):
    scores = score(start)
    return jax.lax.dynamic_update_slice_in_dim(logits, scores, start, 1), None

  logits = jnp.zeros((flat.shape[0], num_words), jnp.float32)
  logits, _ = jax.lax.scan(step, logits, block_starts(num_words, block))
  return logits.reshape(*hidden.shape[:-1], num_words)


def block_starts(size: int, block: int) -> np.ndarray:
  """Starts of blocks that cover a range, all of them full.

  Args:
    size: of the range, at least `block`.
    block: of each block; the last one starts early.

  Returns:
    [ceil(size / block)] int32.

  Example:
    >>> block_starts(10, 4).tolist()
    [0, 4, 6]
  """
  starts = np.arange(0, size, block, dtype=np.int32)
  return np.minimum(starts, np.int32(size - block))


def hold_floats(params: Params, step: jax.Array, size: int) -> Params:
  """Ties large arrays of 16-bit floats to a loop's step.

  XLA on CPU would else convert the whole array to float32 before the loop.
  Other arrays are left alone: what is made of held ones, such as codebooks of
  their scales, is made again in every step.

  Args:
    params: nested dicts of arrays.
    step: any array of the loop's body.
    size: the least number of elements of a large array.
  """

  def hold(leaf):
    is_short = leaf.dtype.itemsize == 2
    is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
    if is_short and is_float and leaf.size >= size:
      leaf, _ = jax.lax.optimization_barrier((leaf, step))
    return leaf

  return jax.tree.map(hold, params)


class SubvectorMethod(Method):
  """A method whose words are concatenated subvectors of a small table."""

  @property
  def is_plain(self) -> bool:
    """True if a word is its subvectors side by side and nothing else."""
    return True

  @abc.abstractmethod
  def subvectors(self, params: Params, shape: Shape) -> jax.Array:
    """[A, D // P] float32, every piece that a word may be made of."""

  @abc.abstractmethod
  def subvector_rows(
    self, params: Params, rows: Array, shape: Shape
  ) -> jax.Array:
    """[..., P] int32, the subvectors of each word in order."""

  @abc.abstractmethod
  def num_subvectors(self, shape: Shape) -> tuple[int, int]:
    """A, the subvectors in the table, and P, the subvectors of one word."""

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    subvector_rows = self.subvector_rows(params, rows, shape)  # [..., P]
    subvectors = gather.take_subvectors(
      self.subvectors(params, shape), subvector_rows
    )
    return subvectors.reshape(*rows.shape, shape.features)


class BasisMethod(Method):
  """A method whose words are coefficients times a shared basis."""

  @abc.abstractmethod
  def basis(self, params: Params) -> jax.Array:
    """[R, D] float32."""

  @abc.abstractmethod
  def coefficients(self, params: Params, rows: Array | None) -> jax.Array:
    """[..., R] float32 of the given rows, or of all words in order."""

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    coefficients = self.coefficients(params, rows)
    return jnp.matmul(coefficients, self.basis(params), precision='highest')

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    projected = jnp.matmul(hidden, self.basis(params).T, precision='highest')
    coefficients = self.coefficients(params, None)
    return jnp.matmul(projected, coefficients.T, precision='highest')
