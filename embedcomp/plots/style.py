"""What all pictures have in common: colours, frames, sizes in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from matplotlib.axes import Axes

# Distinct for all kinds of colour vision (Okabe & Ito, 2008).
COLORS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
INK = '#222222'
FAINT = '#666666'
GRID = '#dddddd'


def make_axes(ax: 'Axes | None', width: float, height: float) -> 'Axes':
  """The given Axes, or those of a new figure, without needless frames."""
  if ax is None:
    try:
      from matplotlib import pyplot
    except ImportError as error:
      raise ImportError(
        "plots need matplotlib: pip install 'embedcomp[plots]'."
      ) from error
    _, ax = pyplot.subplots(figsize=(width, height), layout='constrained')
  ax.spines[['top', 'right']].set_visible(False)
  ax.set_axisbelow(True)
  return ax


def bytes_text(num_bytes: float) -> str:
  """A size in the unit that reads best, 1 kB being 1,000 bytes.

  Example:
    >>> bytes_text(999), bytes_text(23_440_896)
    ('999 B', '23.4 MB')
  """
  for unit in ('B', 'kB', 'MB', 'GB'):
    if num_bytes < 999.5 or unit == 'GB':
      break
    num_bytes /= 1000
  digits = f'{num_bytes:.3g}' if num_bytes < 999.5 else f'{num_bytes:.0f}'
  return f'{digits} {unit}'
