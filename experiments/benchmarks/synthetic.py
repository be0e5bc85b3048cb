"""Tables of any size with structure and noise, the same on every machine.

Words lie near a few directions of falling importance, norms change slowly with
the rank, and counts follow Zipf and Mandelbrot's law. They are of far lower
rank than real ones: at 768 features a 24th of the directions holds 86 % of the
energy, in MiniLM's table 20 %. Errors here flatter methods that use rank; only
a real table says how good a scheme is.
"""

import numpy as np

_DIRECTIONS = 64
_NOISE = 0.25
_BLOCK = 1 << 15


def zipf_counts(num_words: int) -> np.ndarray:
  """[V] int64 counts by rank, a few million words of text in all."""
  return (1_000_000 / (np.arange(num_words) + 2.7)).astype(np.int64)


def zipf_ids(by_rank: np.ndarray, num: int, seed: int) -> np.ndarray:
  """Draws words of a text.

  Args:
    by_rank: [V] the id at each rank.
    num: T.
    seed: of the draw.

  Returns:
    [T] int32 ids.
  """
  odds = 1 / (np.arange(len(by_rank)) + 2.7)
  rng = np.random.default_rng(seed)
  ranks = rng.choice(len(by_rank), num, p=odds / odds.sum())
  return by_rank[ranks].astype(np.int32)


def fill_table(table: np.ndarray, seed: int = 0) -> None:
  """Writes vectors in rank order into a [V, D] float32 array, block by block.

  Args:
    table: is overwritten; may be a file mapped to memory.
    seed: equal seeds and shapes give equal tables.
  """
  num_words, features = table.shape
  rng = np.random.default_rng(seed)
  directions = rng.standard_normal((_DIRECTIONS, features), np.float32)
  directions /= np.sqrt(np.arange(1, _DIRECTIONS + 1, dtype=np.float32))[
    :, None
  ]
  for start in range(0, num_words, _BLOCK):
    stop = min(start + _BLOCK, num_words)
    shape = (stop - start, _DIRECTIONS)
    # Cubes have heavy tails: a word has a few strong directions.
    weights = rng.standard_normal(shape, np.float32) ** 3 / np.float32(4)
    block = weights @ directions
    block += _NOISE * rng.standard_normal((stop - start, features), np.float32)
    norms = (np.arange(start, stop) + 10.0) ** -0.1
    table[start:stop] = block * (norms / np.sqrt(features))[:, None]
