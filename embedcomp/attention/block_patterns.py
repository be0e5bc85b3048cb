"""Which blocks of a text the tokens of each chunk read.

Plain NumPy, computed before any array is known and once for each number of
chunks.
"""

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pattern:
  """What the tokens of a chunk read, for texts of any length.

  Attributes:
    chunk_size: C, tokens of a chunk.
    num_summaries: P, keys that stand for a block; a divisor of C.
    num_levels: of summaries; None for as many as shorten the lists. With 0,
      what is far is not read.
    reach: neighbours on each side that are read token by token.
    shift: tokens by which the first chunk is shorter.
    num_global: so many first tokens read, and are read by, every other one.

  Raises:
    ValueError: naming the value and the rule that it breaks.
  """

  chunk_size: int
  num_summaries: int = 1
  num_levels: int | None = None
  reach: int = 1
  shift: int = 0
  num_global: int = 0

  def __post_init__(self):
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
    """Whether all chunks of a text are near each other."""
    return self._least_chunks(length) <= self.reach + 1

  def count_levels(self, length: int) -> int:
    """Levels of summaries that a text has use for."""
    return count_levels(self._least_chunks(length), self.num_levels, self.reach)

  def num_chunks(self, length: int) -> int:
    """Chunks that a text is padded to, so that the largest blocks are whole."""
    largest = 2 ** max(0, self.count_levels(length) - 1)
    return -(-self._least_chunks(length) // largest) * largest

  def num_keys(self, length: int) -> int:
    """The most keys that a query reads in a text.

    Example:
      >>> Pattern(chunk_size=128, num_summaries=16, num_global=1).num_keys(4096)
      561
    """
    if self.is_dense(length):
      return length
    near, *far = self._lists(length)
    num_summaries = self.num_summaries * sum(len(row) for row, *_ in far)
    return near.shape[1] * self.chunk_size + num_summaries + self.num_global

  def levels_read(self, length: int) -> np.ndarray:
    """How each token is read by each other one.

    Args:
      length: T, tokens of a text.

    Returns:
      [T, T] integers, a row for each reader: 0 where a token is read itself,
      l + 1 where a summary of level l stands for it, -1 where it is not read.

    Example:
      >>> Pattern(chunk_size=1).levels_read(5)[0]
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
    """See `flat_table`; blocks hold `num_summaries` keys."""
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
  """Which blocks each chunk reads.

  Args:
    num_chunks: M, of the text; a multiple of the chunks of the largest block.
    num_levels: of summaries; None for as many as shorten the lists. The last
      one lists all that is left.
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
  lists = [_lists(_is_near(chunks, chunks, reach))]
  count = count_levels(num_chunks, num_levels, reach)
  for level in range(count):
    own, blocks = chunks >> level, chunks[: num_chunks >> level]
    is_far = ~_is_near(own, blocks, reach)
    if level + 1 < count:  # else a larger block would be far as a whole
      is_far &= _is_near(own >> 1, blocks >> 1, reach)
    lists.append(_lists(is_far))
  return tuple(lists)


def count_levels(num_chunks: int, num_levels: int | None, reach: int) -> int:
  """Levels of summaries that a text of so many chunks has use for."""
  if num_chunks <= reach + 1:  # all are near
    return 0
  # At the last level, the blocks of each pair are near to all other pairs.
  count = 1 + max(0, math.ceil(math.log2(num_chunks / (2 * reach + 2))))
  return count if num_levels is None else min(count, num_levels)


def _is_near(own: np.ndarray, blocks: np.ndarray, reach: int) -> np.ndarray:
  return np.abs(own[:, None] - blocks) <= reach


def _lists(is_listed: np.ndarray) -> np.ndarray:
  """The columns that are listed in each row, and -1 behind them."""
  order = np.argsort(~is_listed, axis=1, kind='stable')
  order = np.where(np.take_along_axis(is_listed, order, axis=1), order, -1)
  return order[:, : is_listed.sum(axis=1).max()]


def flat_table(
  lists: tuple[np.ndarray, ...], per_chunk: int, num_global: int
) -> np.ndarray:
  """Lists of all kinds as one, of blocks that stand one after the other.

  Tokens come first, then the summaries of each level, global tokens, and a last
  block that is masked.

  Args:
    lists: see `block_table`.
    per_chunk: blocks that the tokens of a chunk fill.
    num_global: blocks that global tokens fill.

  Returns:
    [M, F] integers; lists that have ended go on with the last block.

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
