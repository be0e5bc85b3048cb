"""Patterns of attention: the blocks of a text that each chunk reads.

Plain NumPy, computed before any array is known and once for each number of
chunks.
"""

import dataclasses
import functools
import math

import numpy as np

from embedcomp._internal.checks import take_plain_ints


@dataclasses.dataclass(frozen=True)
class Pattern:
  """Tokens and summaries that the tokens of a chunk read, for any length.

  Attributes:
    chunk_size: C, tokens of a chunk.
    num_summaries: P, keys that stand for a block; a divisor of C.
    num_levels: levels of summaries; None for as many as shorten the lists. With
      0, far tokens are not read: a sliding window of chunks.
    reach: neighbours on each side that a chunk reads token by token.
    shift: tokens by which the first chunk is shorter.
    num_global: first tokens that read, and are read by, all others.

  Raises:
    ValueError: naming the field, its value and the rule that it breaks.

  Example:
    >>> pattern = Pattern(chunk_size=128)
    >>> pattern.is_dense(256), pattern.num_chunks(1000)
    (True, 8)
  """

  chunk_size: int = 256
  num_summaries: int = 16
  num_levels: int | None = None
  reach: int = 1
  shift: int = 0
  num_global: int = 1

  def __post_init__(self):
    take_plain_ints(self)
    least = {'chunk_size': 1, 'num_summaries': 1}
    for field in dataclasses.fields(self):
      name, value = field.name, getattr(self, field.name)
      if name == 'num_levels' and value is None:
        continue
      if type(value) is not int or value < least.get(name, 0):
        raise ValueError(
          f'{name} must be an int of at least {least.get(name, 0)}, '
          f'got {value!r}.'
        )
    if self.chunk_size % self.num_summaries:
      raise ValueError(
        f'num_summaries must divide chunk_size {self.chunk_size}, '
        f'got {self.num_summaries}.'
      )
    if self.shift >= self.chunk_size:
      raise ValueError(
        f'shift must be below chunk_size {self.chunk_size}, got {self.shift}.'
      )

  def is_dense(self, length: int) -> bool:
    """Returns whether all chunks of a text are near each other."""
    return self._least_chunks(length) <= self.reach + 1

  def count_levels(self, length: int) -> int:
    """Returns the number of levels of summaries that a text has use for."""
    return count_levels(self._least_chunks(length), self.num_levels, self.reach)

  def num_chunks(self, length: int) -> int:
    """Returns the chunks that a text is padded to: whole largest blocks."""
    largest = 2 ** max(0, self.count_levels(length) - 1)
    return -(-self._least_chunks(length) // largest) * largest

  def num_keys(self, length: int) -> int:
    """Returns the most keys that a query reads in a text.

    Example:
      >>> Pattern(chunk_size=128).num_keys(4096)
      561
    """
    if self.is_dense(length):
      return length
    near, *far = self._lists(length)
    num_summaries = self.num_summaries * sum(len(row) for row, *_ in far)
    return near.shape[1] * self.chunk_size + num_summaries + self.num_global

  def levels_read(self, length: int) -> np.ndarray:
    """Returns the level at which each token reads each other one.

    Args:
      length: T, tokens of a text.

    Returns:
      [T, T] integers, a row for each reader: 0 where a token is read itself,
      l + 1 where a summary of level l stands for it, -1 where it is not read.

    Example:
      >>> Pattern(1, num_summaries=1, num_global=0).levels_read(5)[0]
      array([0, 0, 1, 1, 2])
    """
    if self.is_dense(length):
      return np.zeros((length, length), int)
    tokens = self.shift + np.arange(length)
    found = np.full((self.num_chunks(length), len(tokens)), -1)
    for level, lists in enumerate(self._lists(length)):
      size = self.chunk_size << max(0, level - 1)
      is_listed = (lists[..., None] == tokens // size).any(axis=1)
      found[is_listed] = level
    found = found[tokens // self.chunk_size]
    found[: self.num_global], found[:, : self.num_global] = 0, 0
    return found

  def table(self, length: int) -> np.ndarray:
    """Returns the `flat_table` of a text; blocks hold `num_summaries` keys."""
    return flat_table(
      self._lists(length),
      self.chunk_size // self.num_summaries,
      -(-self.num_global // self.num_summaries),
    )

  def _least_chunks(self, length: int) -> int:
    return -(-(length + self.shift) // self.chunk_size)

  def _lists(self, length: int) -> tuple[np.ndarray, ...]:
    return block_table(self.num_chunks(length), self.num_levels, self.reach)


@functools.cache
def block_table(
  num_chunks: int, num_levels: int | None = None, reach: int = 1
) -> tuple[np.ndarray, ...]:
  """Lists the blocks that each chunk reads.

  Args:
    num_chunks: M, of the text; a multiple of the chunks of the largest block.
    num_levels: levels of summaries; None for as many as shorten the lists. The
      last one lists all that is left.
    reach: neighbours on each side that are read token by token.

  Returns:
    The chunks that are read token by token, then the blocks of each level whose
    summaries are read: [M, blocks] integers, -1 where a list has ended. A block
    of level l is `2**l` chunks.

  Example:
    >>> near, far = block_table(4)
    >>> near[0], far[0]
    (array([ 0,  1, -1]), array([2, 3]))
  """
  chunks = np.arange(num_chunks)
  lists = [_columns(_is_near(chunks, chunks, reach))]
  count = count_levels(num_chunks, num_levels, reach)
  for level in range(count):
    own, blocks = chunks >> level, chunks[: num_chunks >> level]
    is_far = ~_is_near(own, blocks, reach)
    if level + 1 < count:  # else a larger block would be far as a whole
      is_far &= _is_near(own >> 1, blocks >> 1, reach)
    lists.append(_columns(is_far))
  return tuple(lists)


def count_levels(num_chunks: int, num_levels: int | None, reach: int) -> int:
  """Returns the levels of summaries that `num_chunks` chunks have use for."""
  if num_chunks <= reach + 1:  # all are near
    return 0
  # At the last level, the blocks of each pair are near to all other pairs.
  count = 1 + math.ceil(math.log2(num_chunks / (2 * reach + 2)))
  return count if num_levels is None else min(count, num_levels)


def _is_near(own: np.ndarray, blocks: np.ndarray, reach: int) -> np.ndarray:
  return np.abs(own[:, None] - blocks) <= reach


def _columns(is_listed: np.ndarray) -> np.ndarray:
  """Returns the columns that are True in each row, and -1 behind them."""
  order = np.argsort(~is_listed, axis=1, kind='stable')
  order = np.where(np.take_along_axis(is_listed, order, axis=1), order, -1)
  return order[:, : is_listed.sum(axis=1).max()]


def flat_table(
  lists: tuple[np.ndarray, ...], per_chunk: int, num_global: int
) -> np.ndarray:
  """Joins lists of all kinds into one, of blocks in one common order.

  Tokens come first, then the summaries of each level, global tokens, and a last
  block that is masked.

  Args:
    lists: see `block_table`.
    per_chunk: number of blocks that the tokens of a chunk fill.
    num_global: number of blocks that global tokens fill.

  Returns:
    [M, F] integers; shorter lists are filled up with the last block.

  Example:
    >>> flat_table(block_table(3), 1, 0)[0]
    array([0, 1, 6, 5])
  """
  near, *far = lists
  num_chunks = len(near)
  sizes = [num_chunks * per_chunk]
  sizes += [num_chunks >> level for level in range(len(far))]
  starts = np.cumsum([0, *sizes, num_global])
  inside = near[..., None] * per_chunk + np.arange(per_chunk)
  columns = [np.where(near[..., None] < 0, -1, inside).reshape(num_chunks, -1)]
  columns += [
    np.where(blocks < 0, -1, blocks + start)
    for blocks, start in zip(far, starts[1:], strict=False)
  ]
  globals_ = np.arange(starts[-2], starts[-1])
  columns.append(np.broadcast_to(globals_, (num_chunks, num_global)))
  table = np.concatenate(columns, axis=1)
  return np.where(table < 0, starts[-1], table)
