"""Plot of an attention pattern."""

from typing import TYPE_CHECKING

import numpy as np

from embedcomp.attention.block_patterns import Pattern
from embedcomp.plots.style import FAINT, make_axes

if TYPE_CHECKING:
  from matplotlib.axes import Axes

_UNSEEN = '#ffffff'
_SHADES = (0.95, 0.3)  # of the colour map, from tokens to the largest blocks


def plot_pattern(
  pattern: Pattern, length: int, ax: 'Axes | None' = None
) -> 'Axes':
  """Draws which tokens read which, and how coarsely.

  Args:
    pattern: of an attention; see `attention.block_patterns`.
    length: tokens of the text; some hundreds can be told apart.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes.

  Raises:
    ImportError: without matplotlib.
  """
  from matplotlib import colormaps, colors, patches

  levels = pattern.levels_read(length)
  count = levels.max() + 1
  shades = colormaps['Blues'](np.linspace(*_SHADES, count))
  palette = colors.ListedColormap([colors.to_rgba(_UNSEEN), *shades])
  ax = make_axes(ax, 7, 4)
  ax.imshow(levels, palette, vmin=-1, vmax=count - 1, interpolation='nearest')
  names = ['tokens']
  names += [
    f'summaries of {pattern.chunk_size << level} tokens'
    for level in range(count - 1)
  ]
  handles = [
    patches.Patch(color=shade, label=name) for name, shade in zip(names, shades)
  ]
  if (levels < 0).any():
    handles.append(
      patches.Patch(facecolor=_UNSEEN, edgecolor=FAINT, label='not read')
    )
  ax.legend(
    handles=handles,
    loc='center left',
    bbox_to_anchor=(1, 0.5),
    frameon=False,
    fontsize='small',
  )
  ax.set(xlabel='token that is read', ylabel='token that reads')
  return ax
