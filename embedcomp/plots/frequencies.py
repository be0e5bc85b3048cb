"""Plot of word frequencies, their coverage, and the groups of a scheme."""

from typing import TYPE_CHECKING

import numpy as np

from embedcomp.compression import frequency
from embedcomp.plots.sizes import group_label
from embedcomp.plots.style import COLORS, INK, make_axes
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array

if TYPE_CHECKING:
  from matplotlib.axes import Axes

# Points of a drawn line; more are not seen and make vector files heavy.
_LINE_POINTS = 500
# Steps of the shares of groups along the ranks.
_WINDOWS = 60


def plot_frequency(
  counts: Array, scheme: Scheme | None = None, ax: 'Axes | None' = None
) -> 'Axes':
  """Draws frequencies of words by rank, and the share of a text they cover.

  Both axes are logarithmic, the coverage has its own axis on the right. A
  Zipf-Mandelbrot law is fitted where at least 3 words occur.

  Args:
    counts: [V] tokens of each word, any order; words that never occur are not
      drawn.
    scheme: whose groups are shaded. With a stored order the first holds the
      most frequent words. Else words are in groups by id; where these are not
      in the order of their counts, the heights of the shades say how much of
      the words around a rank is in each group.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes of the frequencies.

  Raises:
    ImportError: without matplotlib.
    ValueError: if counts are not valid or not those of the scheme's words.
  """
  counts = frequency.check_counts(
    counts, None if scheme is None else scheme.vocab_size
  )
  shares = frequency.coverage(counts)
  by_rank = np.argsort(-counts, kind='stable')
  counts = counts[by_rank]
  num_lines = 3 + (len(scheme.groups) if scheme else 0)
  ax = make_axes(ax, 7.5, 4.4 + 0.2 * num_lines)
  occurring = int((counts > 0).sum())
  ranks = np.unique(
    np.geomspace(1, occurring, _LINE_POINTS).round().astype(int)
  )
  ax.loglog(
    ranks, counts[ranks - 1], color=COLORS[0], lw=2.5, label='tokens of a word'
  )
  if occurring >= 3:
    law = frequency.fit_zipf_mandelbrot(counts)
    ax.loglog(
      ranks,
      law.frequency(ranks),
      color=INK,
      lw=1.2,
      ls=(0, (4, 2)),
      label=(
        f'Zipf-Mandelbrot: exponent {law.exponent:.2f}, shift {law.shift:.1f}'
        f' ($R^2$ {law.r_squared:.3f})'
      ),
    )
  ax.set_xlabel('rank of the word')
  ax.set_ylabel('tokens', color=COLORS[0])
  ax.set_xlim(0.8, max(len(counts), 2))
  covered = ax.twinx()
  covered.plot(
    ranks,
    100 * shares[ranks - 1],
    color=COLORS[5],
    lw=1.8,
    label='share of all tokens up to this rank',
  )
  covered.set_ylim(0, 104)
  covered.set_ylabel('coverage (%)', color=COLORS[5])
  covered.spines['top'].set_visible(False)
  handles = [*ax.get_lines(), *covered.get_lines()]
  if scheme is not None:
    group_of_word = np.repeat(
      np.arange(len(scheme.groups)), [group.size for group in scheme.groups]
    )
    if scheme.order == 'identity':
      group_of_word = group_of_word[by_rank]
    if (np.diff(group_of_word) >= 0).all():
      handles += _shade_groups(ax, scheme)
    else:
      handles += _stack_groups(ax, scheme, group_of_word)
  ax.legend(
    handles=handles,
    loc='upper left',
    bbox_to_anchor=(0, -0.12),
    frameon=False,
    fontsize='small',
  )
  return ax


def _label(index: int, scheme: Scheme) -> str:
  size = scheme.groups[index].size
  words = f'{size:,} word' + 's' * (size > 1)
  return f'{group_label(index, scheme)}: {words}'


def _stack_groups(
  ax: 'Axes', scheme: Scheme, group_of_word: np.ndarray
) -> list:
  """Draws shares of groups around each rank; returns the legend's handles."""
  num_words = scheme.vocab_size
  edges = np.unique(np.geomspace(1, num_words + 1, _WINDOWS).astype(int))
  sizes = np.diff(edges)
  is_in = np.arange(len(scheme.groups))[:, None] == group_of_word
  shares = np.add.reduceat(is_in, edges[:-1] - 1, axis=1) / sizes
  bottoms = shares.cumsum(axis=0) - shares
  return [
    ax.bar(
      edges[:-1],
      shares[index],
      sizes,
      bottoms[index],
      align='edge',
      transform=ax.get_xaxis_transform(),
      color=COLORS[(index + 1) % len(COLORS)],
      alpha=0.3,
      lw=0,
      label=_label(index, scheme),
    )
    for index in range(len(scheme.groups))
  ]


def _shade_groups(ax: 'Axes', scheme: Scheme) -> list:
  """Draws numbered bands of ranks; returns the legend's handles."""
  left, right = ax.get_xlim()
  bands = []
  for index, (start, stop) in enumerate(zip(scheme.splits, scheme.splits[1:])):
    # Ranks start at 1; a band ends half way to the next word.
    low = start + 0.5 if start else left
    high = stop + 0.5 if stop < scheme.vocab_size else right
    bands.append(
      ax.axvspan(
        low,
        high,
        color=COLORS[(index + 1) % len(COLORS)],
        alpha=0.16,
        lw=0,
        label=_label(index, scheme),
      )
    )
    ax.text(
      np.sqrt(low * high),
      1.01,
      str(index + 1),
      transform=ax.get_xaxis_transform(),
      ha='center',
      va='bottom',
      color=INK,
      fontweight='bold',
    )
  return bands
