"""How often words occur, and which group holds which of them."""

from typing import TYPE_CHECKING

import numpy as np

from embedcomp import frequency
from embedcomp.plots.sizes import group_label
from embedcomp.plots.style import COLORS, INK, make_axes
from embedcomp.scheme import Scheme
from embedcomp.types import Array

if TYPE_CHECKING:
  from matplotlib.axes import Axes

# Points of a drawn line; more are not seen and make vector files heavy.
_LINE_POINTS = 500


def plot_frequency(
  counts: Array, scheme: Scheme | None = None, ax: 'Axes | None' = None
) -> 'Axes':
  """Draws how often words occur by rank, and how much of a text they cover.

  Both axes are logarithmic, the coverage has its own axis on the right. A
  Zipf-Mandelbrot law is fitted where at least 3 words occur.

  Args:
    counts: [V] tokens of each word, any order; words that never occur are not
      drawn.
    scheme: whose groups are shaded, the most frequent words in the first.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes of the frequencies.

  Raises:
    ImportError: without matplotlib.
    ValueError: if counts are not valid or not those of the scheme's words.
  """
  counts = frequency.check_counts(counts, scheme and scheme.vocab_size)
  shares = frequency.coverage(counts)
  counts = np.sort(counts)[::-1]
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
    handles += _shade_groups(ax, scheme)
  ax.legend(
    handles=handles,
    loc='upper left',
    bbox_to_anchor=(0, -0.12),
    frameon=False,
    fontsize='small',
  )
  return ax


def _shade_groups(ax: 'Axes', scheme: Scheme) -> list:
  """Bands of ranks, numbered; returns what the legend shows."""
  left, right = ax.get_xlim()
  bands = []
  for index, (start, stop) in enumerate(zip(scheme.splits, scheme.splits[1:])):
    # Ranks start at 1; a band ends half way to the next word.
    low = start + 0.5 if start else left
    high = stop + 0.5 if stop < scheme.vocab_size else right
    size = scheme.groups[index].size
    words = f'{size:,} word' + 's' * (size > 1)
    bands.append(
      ax.axvspan(
        low,
        high,
        color=COLORS[(index + 1) % len(COLORS)],
        alpha=0.16,
        lw=0,
        label=f'{group_label(index, scheme)}: {words}',
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
