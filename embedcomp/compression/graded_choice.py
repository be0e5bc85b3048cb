"""Graded codes for a run of words at the price of a byte.

A run takes the codes of least loss plus price, its bits dealt out to the axes
by reverse water-filling (Cover and Thomas, "Elements of Information Theory",
section 10.3.3). Losses are those of Gaussian axes, so that nothing is fitted
before the sizes are known.
"""

import math

import numpy as np

from embedcomp.compression.rate_allocation import Choice, Run
from embedcomp.methods import graded
from embedcomp.methods.graded import GradedCodes

# Most codes are of at least so many words.
_CODEWORDS = (16, 32, 64, 128, 256)
# Axes of no more than so many bits are left out where all are alike.
_LEAST_BITS = 0.08
# Of int8 codebooks, whose largest values are three deviations or so: a twelfth
# of the squared step, as a share of the variance.
_ROUNDING = (3 / 127) ** 2 / 12
_STORAGE = 'int8'


def choose(run: Run, rank: int, price: float) -> Choice:
  """The codes of least expected loss plus price.

  Args:
    run: statistics, of at least one word.
    rank: R, axes that are stored.
    price: loss that a byte has to save.
  """
  variances = run.variances(rank)
  level = price / (16 * math.log(2))  # of water, at 8 bits a byte
  options = [_mean_option(run, rank)]
  for codewords in _CODEWORDS:
    if codewords <= run.size:
      widths = _blocks(variances * run.weight, rank, level, codewords)
      if widths:
        options.append(_option(run, variances, rank, widths, codewords))
  costs = [option.loss + price * option.num_bytes for option in options]
  return options[costs.index(min(costs))]


def _blocks(
  variances: np.ndarray, rank: int, level: float, codewords: int
) -> tuple[int, ...]:
  """Widths of blocks that have as many bits each as a code."""
  bits_of_code = math.log2(codewords)
  with np.errstate(divide='ignore'):
    bits = 0.5 * np.log2(np.maximum(variances, 1e-300) / max(level, 1e-300))
  bits = np.clip(bits, 0, bits_of_code)
  if rank < len(bits) and bits[rank:].mean() < _LEAST_BITS:
    bits = bits[:rank]
  num_blocks = round(bits.sum() / bits_of_code)
  if not num_blocks:
    return ()
  used = int(np.flatnonzero(bits)[-1]) + 1
  shares = np.cumsum(bits[:used] + 1e-3)
  block_of_axis = np.ceil(shares / shares[-1] * num_blocks - 1e-9).astype(int)
  widths = np.bincount(block_of_axis, minlength=num_blocks + 1)[1:]
  # Sorted, for then a few words say them; bits fall from axis to axis.
  return tuple(sorted(widths[widths > 0].tolist()))


def _mean_option(run: Run, rank: int) -> Choice:
  """Bytes and the loss of the mean alone, which is a codeword without axes."""
  means = run.means[:rank] if rank else run.means
  loss = max(float(run.energies.sum() - np.square(means).sum()), 0.0)
  widths = () if rank else (len(means),)
  return _choice(run, rank, widths, 1, loss)


def _option(
  run: Run,
  variances: np.ndarray,
  rank: int,
  widths: tuple[int, ...],
  codewords: int,
) -> Choice:
  """Bytes and the expected loss of codes."""
  coded = sum(widths)
  loss = float(variances[coded:].sum())
  edges = np.cumsum((0, *widths))
  errors = _code_errors(variances[:coded], edges[:-1], codewords)
  # Fitted to few words, codewords are nearer to them; as many as words, equal.
  loss += float(errors.sum()) * (1 - codewords / run.size)
  loss += _ROUNDING * float(variances[:coded].sum())
  return _choice(run, rank, widths, codewords, loss)


def _code_errors(
  variances: np.ndarray, edges: np.ndarray, codewords: int
) -> np.ndarray:
  """[M] squared errors of codes of Gaussian axes, by blocks from `edges` on.

  A code serves the first k axes of its block, whichever k loses least: that is
  water-filling inside of the block.
  """
  starts = np.repeat(edges, np.diff((*edges, len(variances))))
  number = np.arange(len(variances)) - starts + 1
  logs = np.cumsum(np.log2(np.maximum(variances, 1e-300)))
  energies = np.cumsum(variances)
  before = np.r_[0.0, logs][starts], np.r_[0.0, energies][starts]
  means = 2 ** ((logs - before[0]) / number)
  # The factor is that of k-means on Gaussian noise, within 5 % for 1 to 16.
  errors = number * means * (1 + 1.6 / number) * codewords ** (-2 / number)
  errors -= energies - before[1]  # those of the axes that are served
  totals = np.add.reduceat(variances, edges)
  return totals + np.minimum(np.minimum.reduceat(errors, edges), 0)


def _choice(
  run: Run, rank: int, widths: tuple[int, ...], codewords: int, loss: float
) -> Choice:
  blocks = graded.describe_blocks(widths)
  method = GradedCodes(rank, blocks, codewords, _STORAGE, _STORAGE)
  num_bytes = -(-run.size * len(widths) * int(math.log2(codewords)) // 8)
  num_bytes += (codewords + 2) * sum(widths) + (rank + 2 if rank else 0)
  return Choice(method, num_bytes, loss * run.weight * run.size)
